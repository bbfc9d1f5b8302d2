"""`Datapath` on the kernel of the network namespace that this process is in.

Programming is done by one worker thread, strictly in order, so that the event loop stays free
(sending drops the interpreter lock, and the kernel may well sleep in it: it rebuilds its trie as
the table grows); link events and readings are the event loop's own. The exception is a handful of
small changes while the worker has nothing to do: handing them over and back would take 0.1-0.5 ms,
five times as long as carrying them out, just when a cut link waits.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fe_datapath.config import ROUTE_PROTOCOL, PortConfig, RedirectConfig
from fe_datapath.datapath import (
    Change,
    DelRoute,
    Failure,
    Found,
    LinkListener,
    NeighborKey,
    PacketListener,
    PortState,
    Queue,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    SetRoutes,
)
from fe_datapath.linux import sysctl
from fe_datapath.linux.claim import claim
from fe_datapath.linux.counters import read_counters
from fe_datapath.linux.ledger import Ledger
from fe_datapath.linux.noroute import NoRoute
from fe_datapath.linux.ports import Ports
from fe_datapath.linux.programmer import Programmer
from fe_datapath.linux.reading import KernelReader
from fe_datapath.linux.redirect import PacketPorts

AT_ONCE = 8
"""Changes, at most, that are carried out in the event loop's thread."""
MAY_BE_ENTERED = 2500
"""Routes, at most, that the ledger may enter in that thread: 1 ms."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LinuxDatapath:
    """See `fe_datapath.datapath.Datapath`. Opens nothing before `start`, so that it can be made
    before a fork."""

    def __init__(
        self,
        ports: Sequence[PortConfig],
        protocol: int = ROUTE_PROTOCOL,
        redirect: RedirectConfig | None = None,
    ) -> None:
        self._configured = tuple(ports)
        self._protocol = protocol
        self._redirect = redirect
        self._running: _Running | None = None

    async def start(self, on_link: LinkListener, on_packet: PacketListener | None = None) -> None:
        """OSError with a clear text if a port's interface is not there, if we may not, or if
        another FE lives here."""
        if self._running is not None:
            raise RuntimeError("already started")
        held = claim(self._protocol)
        try:
            running = _Running(self._configured, self._protocol, held)
        except BaseException:
            held.close()
            raise
        try:
            running.ports.find()
            sysctl.prepare_namespace()
            for port in self._configured:
                sysctl.prepare_port(port.interface)
            loop = asyncio.get_running_loop()
            running.found = await asyncio.wrap_future(running.submit(running.programmer.inherit))
            if self._redirect is not None and on_packet is not None:
                on_link = running.redirect(self._redirect, self._configured, on_link, on_packet)
            running.ports.watch(loop, on_link, running.port_lost)
        except BaseException:
            running.close()
            raise
        self._running = running

    def ports(self) -> Mapping[int, PortState]:
        return self._started().ports.read()

    def neighbors(self) -> Mapping[NeighborKey, bytes]:
        return self._started().ports.neighbors()

    def counters(self) -> Mapping[int, Mapping[str, int]]:
        return read_counters()

    def queues(self, port: int) -> Sequence[Queue]:
        return self._started().ports.queues(port)

    def found(self) -> Found:
        return self._started().found

    def apply_at_once(
        self, changes: Sequence[Change], stop_on_failure: bool
    ) -> Sequence[Failure] | None:
        """`apply` without giving way to anything else; None, and nothing done, if it would take
        long or has to wait for what is under way."""
        running = self._started()
        if running.idle and len(changes) <= AT_ONCE:
            ledger = running.programmer.ledger
            routes = sum(isinstance(change, SetRoute | DelRoute) for change in changes)
            asks = routes > 1 and ledger.waiting_rows > MAY_BE_ENTERED  # if one is refused
            if not asks and all(_is_small(change, ledger) for change in changes):
                return running.programmer.apply(changes, stop_on_failure)
        return None

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        running = self._started()
        failures = self.apply_at_once(changes, stop_on_failure)
        if failures is not None:
            return failures
        return await asyncio.wrap_future(
            running.submit(running.programmer.apply, changes, stop_on_failure)
        )

    def inject(self, port: int, frame: bytes) -> None:
        packets = self._started().packets
        if packets is not None:
            packets.inject(port, frame)

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        return self._started().reader.routes()

    def route_columns(self, octets: int) -> SetRoutes:
        return self._started().reader.columns(octets)

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        running = self._started()
        return {
            identifier: (running.ports.port_of(ifindex) or 0, gateway)
            for identifier, (ifindex, gateway) in running.reader.nexthops().items()
        }

    def groups(self) -> Mapping[int, frozenset[int]]:
        return self._started().reader.groups()

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            # What is being programmed is programmed to its end.
            await asyncio.wrap_future(running.submit(lambda: None))
            running.close()

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("not started")
        return self._running


def _is_small(change: Change, ledger: Ledger) -> bool:
    """Takes the kernel some 10 us, and the ledger no more, however many routes there are. For an
    IPv6 next hop, or a group of them, the kernel walks all routes, and so it does when a next hop,
    a port or forwarding goes; for one that comes back after a loss, the ledger does."""
    match change:
        case SetRoute() | DelRoute():
            return True
        case SetNextHop():
            return ":" not in change.gateway and change.id not in ledger.lost
        case SetNextHopGroup():
            hops = [ledger.nexthops.get(hop) for hop, _ in change.members]
            six = any(hop is not None and ":" in hop[1] for hop in hops)
            return not six and change.id not in ledger.lost
    return False


class _Running:
    """The sockets and the worker thread of a started datapath."""

    def __init__(
        self, configured: Sequence[PortConfig], protocol: int, held: socket.socket
    ) -> None:
        self.claim = held
        self.found = Found()
        self.ports = Ports(configured)
        self.reader = KernelReader(protocol)
        self.programmer = Programmer(self.ports, protocol)
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="datapath")
        self.packets: PacketPorts | None = None
        self.no_route: NoRoute | None = None
        self._protocol = protocol
        self._last: Future[Any] | None = None

    @property
    def idle(self) -> bool:
        """The worker has nothing to do: one thread at a time uses the programmer."""
        return self._last is None or self._last.done()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        future = self.worker.submit(function, *arguments)
        self._last = future
        return future

    def redirect(
        self,
        config: RedirectConfig,
        ports: Sequence[PortConfig],
        on_link: LinkListener,
        on_packet: PacketListener,
    ) -> LinkListener:
        """Gives the listener to be used instead: sockets follow what becomes of interfaces."""
        packets = self.packets = PacketPorts(config, ports, self.ports.ifindex_of, on_packet)
        if config.no_route:
            self.no_route = NoRoute(config, ports, self._protocol, self.ports.mac_of, on_packet)

        def changed(state: PortState, at_ns: int) -> None:
            packets.refresh(state.port)
            on_link(state, at_ns)

        return changed

    def port_lost(self, port: int) -> None:
        if self.idle:
            self.programmer.ledger.port_lost(port)
        else:
            self.submit(self.programmer.ledger.port_lost, port).add_done_callback(_report)

    def close(self) -> None:
        if self.no_route is not None:
            self.no_route.close()
        if self.packets is not None:
            self.packets.close()
        self.ports.close()
        self.worker.shutdown(wait=True)
        self.reader.close()
        self.programmer.close()
        self.claim.close()


def _report(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        logger.error("after a carrier loss", exc_info=error)
