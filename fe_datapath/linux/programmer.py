"""Changes -> kernel, in order (DESIGN section 5: transactions, bulk).

Routes go in batches; everything else is rare and goes alone (`singles`), so that only routes ever
have to be taken back: with `stop_on_failure` the kernel has already carried out the messages of the
batch after the failed one, and the routes that they touched are put back to what the ledger has.
"""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Sequence

from fe_datapath.datapath import (
    Change,
    DelRoute,
    DelRoutes,
    Failure,
    Found,
    SetRoute,
    SetRoutes,
    count,
)
from fe_datapath.linux import messages, noroute, sysctl
from fe_datapath.linux.ledger import Ledger, RouteKey
from fe_datapath.linux.messages import ROUTE_METRIC, RT_TABLE_MAIN, Flag, MessageType
from fe_datapath.linux.neighbors import read_neighbors
from fe_datapath.linux.netlink import (
    HEADER,
    KernelRefused,
    NetlinkSocket,
    NoAnswer,
    Refusal,
    again,
)
from fe_datapath.linux.ports import Ports
from fe_datapath.linux.reading import KernelReader, KernelRoute
from fe_datapath.linux.refusals import ChangeRefused, failure_of
from fe_datapath.linux.singles import Singles
from fe_datapath.linux.templates import BulkChange, RouteChange, RouteEncoder, wrong_rows
from forces.errors import ResultCode

BATCH = 250
"""Routes per send. The kernel holds one lock and, without preemption, one core for as long as a
batch takes: 1,000 messages stall even SCHED_FIFO tasks for 2-3.5 ms, 10,000 for 20 ms; below 100
the send calls themselves begin to cost."""

_FLAGS = struct.Struct("=H")
_FLAGS_OFFSET = 6
_ACK = int(Flag.ACK)

_ROUTES = frozenset((SetRoute, DelRoute))

logger = logging.getLogger(__name__)


class Programmer:
    """Owns the sockets and the ledger; used by one thread at a time."""

    def __init__(self, ports: Ports, protocol: int) -> None:
        self.ledger = Ledger()
        self._ports = ports
        self._protocol = protocol
        self._encoder = RouteEncoder(protocol)
        self._netlink = NetlinkSocket()
        try:
            self._reader = KernelReader(protocol)
        except OSError:
            self._netlink.close()
            raise
        self._singles = Singles(self._netlink, ports, self.ledger, protocol, self._resynchronise)

    def close(self) -> None:
        self._netlink.close()
        self._reader.close()

    def inherit(self) -> Found:
        """Take over what an earlier process left: everything with our protocol number. What no
        change could speak of (another table or metric, no nexthop object) is deleted."""
        port_of = self._ports.port_of
        noroute.sweep(self._netlink, self._protocol)
        routes: dict[RouteKey, int] = {}
        for route in self._reader.routes_in_detail():
            if (route.table, route.metric) == (RT_TABLE_MAIN, ROUTE_METRIC) and route.nexthop:
                routes[route.prefix, route.length] = route.nexthop
            else:
                self._delete_odd(route)
        nexthops = {
            identifier: (port_of(ifindex) or 0, gateway)
            for identifier, (ifindex, gateway) in self._reader.nexthops().items()
        }
        self.ledger.replace(routes, nexthops, self._reader.groups())
        ours = again(lambda: read_neighbors(self._netlink, port_of, self._protocol))
        return Found(sysctl.forwarding(), *self.ledger.known(), frozenset(ours))

    def _delete_odd(self, route: KernelRoute) -> None:
        message = bytearray(
            messages.route(
                MessageType.DELROUTE,
                self._netlink.sequences(1),
                self._protocol,
                route.prefix,
                route.length,
                None,
                route.metric,
                route.table,
            )
        )
        _ask_for_ack(message, 0)
        self._netlink.delete(bytes(message))

    def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> list[Failure]:
        failures: list[Failure] = []
        start = base = 0
        while start < len(changes) and not (failures and stop_on_failure):
            change = changes[start]
            end = start + 1
            if isinstance(change, SetRoutes | DelRoutes):
                failures += self._bulk(change, base, stop_on_failure)
            elif isinstance(change, SetRoute | DelRoute):
                end = _end_of_routes(changes, start)
                failures += self._routes(changes[start:end], base, stop_on_failure)  # type: ignore[arg-type]
            else:
                try:
                    self._singles.carry_out(change)
                except ChangeRefused as refused:
                    failures.append(Failure(base, refused.code, refused.reason))
                except KernelRefused as refused:
                    failures.append(failure_of(base, change, refused.refusal, self.ledger))
                except (NoAnswer, OSError) as error:
                    failures += self._lost_track(base, 1, error, stop_on_failure)
            base += count(changes[start:end])
            start = end
        return failures

    def _lost_track(
        self, base: int, tried: int, error: Exception, stop_on_failure: bool
    ) -> list[Failure]:
        """None of these is known to be in force."""
        logger.warning("netlink: %s", error)
        self._resynchronise()
        last = base + (1 if stop_on_failure else tried)
        return [Failure(i, ResultCode.INTERNAL_ERROR, str(error)) for i in range(base, last)]

    def _routes(
        self, changes: Sequence[RouteChange], base: int, stop_on_failure: bool
    ) -> list[Failure]:
        """One batch. `base` is the index of its first change."""
        first = self._netlink.sequences(len(changes))
        packed, refused = self._encoder.encode(changes, first, stop_on_failure)
        failures = {n: Failure(base + n, e.code, e.reason) for n, e in refused.items()}
        try:
            refusals = self._send(packed, first)
        except (NoAnswer, OSError) as error:
            return self._lost_track(base, len(changes), error, stop_on_failure)
        failures |= self._failures(changes, base, first, refusals)
        if not failures:
            self.ledger.enter(changes)
            return []
        sent = min(refused, default=len(changes)) if stop_on_failure else len(changes)
        return self._after(changes, base, failures, sent, stop_on_failure)

    def _failures(
        self, changes: Sequence[RouteChange], base: int, first: int, refusals: list[Refusal]
    ) -> dict[int, Failure]:
        failures: dict[int, Failure] = {}
        for refusal in refusals:
            number = refusal.sequence - first
            change = changes[number]
            if type(change) is DelRoute and refusal.errno == errno.ESRCH:
                continue  # gone already: the kernel drops routes with a port's carrier
            failures[number] = failure_of(base + number, change, refusal, self.ledger)
        return failures

    def _after(
        self,
        changes: Sequence[RouteChange],
        base: int,
        failures: dict[int, Failure],
        sent: int,
        stop_on_failure: bool,
    ) -> list[Failure]:
        """A batch with failures: enter what is in force, take back what should not have been."""
        if not stop_on_failure:
            self.ledger.enter([c for n, c in enumerate(changes) if n not in failures])
            return [failures[number] for number in sorted(failures)]
        failed = min(failures)
        self.ledger.enter(changes[:failed])
        tried = changes[failed + 1 : sent]
        self._take_back({(change.prefix, change.length) for change in tried})
        return [failures[failed]]

    def _bulk(self, changes: BulkChange, base: int, stop_on_failure: bool) -> list[Failure]:
        """As `_routes`, batch after batch, from arrays."""
        failures: list[Failure] = []
        plain = bool(wrong_rows(changes).any())
        first = self._netlink.sequences(len(changes))
        rows = None if plain else self._encoder.encode_bulk(changes, first)
        if rows is not None and len(rows):  # the last of each batch is to be acknowledged
            rows[BATCH - 1 : -1 : BATCH, _FLAGS_OFFSET] |= _ACK
            rows[-1, _FLAGS_OFFSET] |= _ACK
        for start in range(0, len(changes), BATCH):
            part = changes.part(start, start + BATCH)
            if rows is None:
                failures += self._routes(list(part.singles()), base + start, stop_on_failure)
            else:
                batch = rows[start : start + BATCH]
                number = first + start
                try:
                    refusals = self._netlink.batch(batch.data, number, number + len(batch) - 1)
                except (NoAnswer, OSError) as error:
                    failures += self._lost_track(base + start, len(batch), error, stop_on_failure)
                else:
                    failures += self._enter(part, base + start, number, refusals, stop_on_failure)
            if failures and stop_on_failure:
                break
        return failures

    def _enter(
        self,
        changes: BulkChange,
        base: int,
        first: int,
        refusals: list[Refusal],
        stop_on_failure: bool,
    ) -> list[Failure]:
        if refusals:
            singles: list[RouteChange] = list(changes.singles())
            failures = self._failures(singles, base, first, refusals)
            if failures:
                return self._after(singles, base, failures, len(singles), stop_on_failure)
        self.ledger.enter_bulk(changes)
        return []

    def _send(self, packed: list[bytes], first: int) -> list[Refusal]:
        if not packed:
            return []
        buffer = bytearray(b"".join(packed))
        _ask_for_ack(buffer, len(buffer) - len(packed[-1]))
        return self._netlink.batch(buffer, first, HEADER.unpack_from(packed[-1])[3])

    def _take_back(self, keys: set[RouteKey]) -> None:
        """Put routes back to what the ledger has."""
        if not keys:
            return
        before: list[RouteChange] = []
        for key in keys:
            nexthop = self.ledger.route(key)
            before.append(DelRoute(*key) if nexthop is None else SetRoute(*key, nexthop))
        first = self._netlink.sequences(len(before))
        packed, _ = self._encoder.encode(before, first, False)
        for refusal in self._send(packed, first):
            change = before[refusal.sequence - first]
            if type(change) is SetRoute:
                # Its next hop went with the carrier meanwhile, so the route would be gone too.
                self._routes([DelRoute(change.prefix, change.length)], 0, False)

    def _resynchronise(self) -> None:
        try:
            ports = self._reader.nexthops()
            self.ledger.replace(
                self._reader.routes(),
                {
                    identifier: self.ledger.nexthops.get(identifier, (0, gateway))
                    for identifier, (_, gateway) in ports.items()
                },
                self._reader.groups(),
            )
        except (NoAnswer, KernelRefused, OSError) as error:
            logger.warning("cannot read the kernel's tables: %s", error)


def _end_of_routes(changes: Sequence[Change], start: int) -> int:
    end = start + 1
    limit = min(len(changes), start + BATCH)
    if _ROUTES.issuperset(map(type, changes[start:limit])):
        return limit
    while end < limit and type(changes[end]) in _ROUTES:
        end += 1
    return end


def _ask_for_ack(buffer: bytearray, message: int) -> None:
    at = message + _FLAGS_OFFSET
    _FLAGS.pack_into(buffer, at, _FLAGS.unpack_from(buffer, at)[0] | Flag.ACK)
