"""A forwarding plane in memory that behaves as the kernel does, refusals and silent losses
included: for the simulator and for tests. The suite in tests/datapath/ holds it to the kernel.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fe_datapath.config import PortConfig
from fe_datapath.datapath import (
    Change,
    DelNextHop,
    DelRoute,
    Failure,
    LinkListener,
    PortState,
    SetForwarding,
    SetNextHop,
    SetPort,
    SetRoute,
)
from forces.errors import ResultCode

MTU_RANGE = range(68, 65536)
"""A veth's."""


class _Refused(Exception):
    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FakeDatapath:
    """`apply_now`, `set_carrier` and `fail_next` need no event loop (virtual time)."""

    def __init__(self, ports: Sequence[PortConfig], latency_s: float = 0.0) -> None:
        """`latency_s`: pause before `apply` carries changes out."""
        self.forwarding = False
        self.applied: list[Change] = []
        """Every change carried out, in order."""
        self._latency_s = latency_s
        self._turn = asyncio.Lock()
        self._networks = {port.id: ipaddress.ip_interface(port.address).network for port in ports}
        self._ports = {
            port.id: PortState(
                port=port.id,
                name=port.interface,
                admin_up=True,
                carrier=True,
                mtu=1500,
                mac=bytes((2, 0, 0, 0, port.id >> 8 & 0xFF, port.id & 0xFF)),
                speed_mbit=10_000,
                full_duplex=True,
                promiscuous=False,
                counters={"rx_packets": 0, "rx_dropped": 0, "tx_packets": 0, "tx_dropped": 0},
            )
            for port in ports
        }
        self._peer_up = dict.fromkeys(self._ports, True)
        self._nexthops: dict[int, tuple[int, str]] = {}
        self._lost: set[int] = set()
        self._routes: dict[tuple[bytes, int], int] = {}
        self._users: Counter[int] = Counter()
        self._on_link: LinkListener | None = None
        self._injected: list[tuple[type[Change] | None, ResultCode, str]] = []

    # The seam

    async def start(self, on_link: LinkListener) -> None:
        self._nexthops, self._routes = {}, {}
        self._users, self._lost = Counter(), set()
        self._on_link = on_link

    def ports(self) -> Mapping[int, PortState]:
        return dict(self._ports)

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        async with self._turn:
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            return self.apply_now(changes, stop_on_failure)

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        return dict(self._routes)

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        return dict(self._nexthops)

    async def close(self) -> None:
        self._on_link = None

    # Hooks

    def apply_now(self, changes: Sequence[Change], stop_on_failure: bool) -> list[Failure]:
        """`apply` without an event loop."""
        failures = []
        for index, change in enumerate(changes):
            try:
                self._fail_if_asked(change)
                self._apply(change)
            except _Refused as refused:
                failures.append(Failure(index, refused.code, refused.reason))
                if stop_on_failure:
                    break
            else:
                self.applied.append(change)
        return failures

    def fail_next(
        self,
        kind: type[Change] | None = None,
        code: ResultCode = ResultCode.INTERNAL_ERROR,
        reason: str = "injected",
    ) -> None:
        """Refuse the next change, or the next one of a kind."""
        self._injected.append((kind, code, reason))

    def set_carrier(self, port: int, up: bool, at_ns: int | None = None) -> None:
        """The far end of a link goes down or comes back. `at_ns`: virtual time."""
        self._peer_up[port] = up
        state = self._ports[port]
        self._update(replace(state, carrier=state.admin_up and up), at_ns)

    def count(self, port: int, **packets: int) -> None:
        """Add to a port's counters."""
        state = self._ports[port]
        counters = {name: value + packets.get(name, 0) for name, value in state.counters.items()}
        self._ports[port] = replace(state, counters=counters)

    # What the kernel does

    def _fail_if_asked(self, change: Change) -> None:
        for number, (kind, code, reason) in enumerate(self._injected):
            if kind is None or type(change) is kind:
                del self._injected[number]
                raise _Refused(code, reason)

    def _apply(self, change: Change) -> None:
        match change:
            case SetRoute():
                self._check_prefix(change.prefix, change.length)
                self._set_route(change)
            case DelRoute():
                self._check_prefix(change.prefix, change.length)
                self._drop_route((change.prefix, change.length))
            case SetNextHop():
                self._set_nexthop(change)
            case DelNextHop():
                if users := self._users[change.id]:
                    raise _Refused(
                        ResultCode.BUSY, f"next hop {change.id} is in use by {users} routes"
                    )
                self._nexthops.pop(change.id, None)
                self._lost.discard(change.id)
            case SetPort():
                self._set_port(change)
            case SetForwarding():
                self.forwarding = change.on
            case _:
                raise TypeError(f"not a change: {change!r}")

    def _check_prefix(self, prefix: bytes, length: int) -> None:
        if len(prefix) not in (4, 16):
            raise _Refused(
                ResultCode.INVALID_PARAMETERS, f"a prefix has 4 or 16 octets, not {len(prefix)}"
            )
        bits = 8 * len(prefix)
        if not 0 <= length <= bits:
            raise _Refused(
                ResultCode.VALUE_OUT_OF_RANGE, f"prefix length {length} is not in 0..{bits}"
            )
        if int.from_bytes(prefix) & ((1 << (bits - length)) - 1):
            raise _Refused(
                ResultCode.INVALID_PARAMETERS, f"prefix {prefix.hex()}/{length} has host bits set"
            )

    def _set_route(self, change: SetRoute) -> None:
        nexthop = change.nexthop
        if nexthop in self._lost:
            raise _Refused(ResultCode.BUSY, f"next hop {nexthop} lost its port")
        if nexthop not in self._nexthops:
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"there is no next hop {nexthop}")
        if len(change.prefix) == 16 and _version(self._nexthops[nexthop][1]) == 4:
            raise _Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self._drop_route((change.prefix, change.length))
        self._routes[change.prefix, change.length] = nexthop
        self._users[nexthop] += 1

    def _drop_route(self, key: tuple[bytes, int]) -> None:
        before = self._routes.pop(key, None)
        if before is not None:
            self._users[before] -= 1

    def _set_nexthop(self, change: SetNextHop) -> None:
        if not 0 < change.id <= 0xFFFFFFFF:
            raise _Refused(
                ResultCode.VALUE_OUT_OF_RANGE, f"next hop {change.id} is not in 1..2^32-1"
            )
        try:
            gateway = ipaddress.ip_address(change.gateway)
        except ValueError:
            raise _Refused(
                ResultCode.INVALID_PARAMETERS, f"gateway {change.gateway!r} is no address"
            ) from None
        if change.port not in self._ports:
            raise _Refused(
                ResultCode.INVALID_PARAMETERS, f"next hop {change.id}: no port {change.port}"
            )
        if not self._ports[change.port].carrier:
            raise _Refused(
                ResultCode.BUSY, f"next hop {change.id}: carrier for nexthop device is down"
            )
        network = self._networks[change.port]
        on_link = gateway in network or (gateway.version == 6 and gateway.is_link_local)
        broadcast = gateway == network.broadcast_address and network.prefixlen < 31
        if not gateway.is_unspecified and (not on_link or broadcast):
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"next hop {change.id}: invalid gateway")
        if gateway.version == 4 and any(
            len(prefix) == 16 and hop == change.id for (prefix, _), hop in self._routes.items()
        ):
            raise _Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self._nexthops[change.id] = (change.port, str(gateway))
        self._lost.discard(change.id)

    def _set_port(self, change: SetPort) -> None:
        state = self._ports.get(change.port)
        if state is None:
            raise _Refused(ResultCode.NOT_FOUND, f"there is no port {change.port}")
        if change.mtu is not None:
            if change.mtu not in MTU_RANGE:
                raise _Refused(ResultCode.VALUE_OUT_OF_RANGE, f"mtu {change.mtu}")
            state = replace(state, mtu=change.mtu)
        if change.promiscuous is not None:
            state = replace(state, promiscuous=change.promiscuous)
        if change.admin_up is not None:
            carrier = change.admin_up and self._peer_up[change.port]
            state = replace(state, admin_up=change.admin_up, carrier=carrier)
        self._update(state, None)

    def _update(self, state: PortState, at_ns: int | None) -> None:
        before = self._ports[state.port]
        if state == before:
            return
        self._ports[state.port] = state
        if before.carrier and not state.carrier:
            self._flush(state.port)
        if self._on_link is not None:
            self._on_link(state, time.monotonic_ns() if at_ns is None else at_ns)

    def _flush(self, port: int) -> None:
        """What the kernel drops with the carrier, without a word."""
        gone = {identifier for identifier, (owner, _) in self._nexthops.items() if owner == port}
        self._routes = {key: hop for key, hop in self._routes.items() if hop not in gone}
        for identifier in gone:
            del self._nexthops[identifier]
            self._users.pop(identifier, None)
        self._lost |= gone


def _version(gateway: str) -> int:
    return ipaddress.ip_address(gateway).version
