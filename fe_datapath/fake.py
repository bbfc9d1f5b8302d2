"""A forwarding plane in memory that behaves as the kernel does, refusals and silent losses
included: for the simulator and for tests. The suite in tests/datapath/ holds it to the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from fe_datapath.config import PortConfig, RedirectConfig
from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    DelNextHop,
    DelRoute,
    Failure,
    Found,
    LinkListener,
    Media,
    NeighborKey,
    PacketListener,
    PortState,
    Queue,
    SetForwarding,
    SetNeighbor,
    SetNextHop,
    SetNextHopGroup,
    SetPort,
    SetRoute,
    SetRoutes,
    columns,
    singles,
)
from fe_datapath.fake_fib import FakeFib, Refused, address_of, hops_of
from fe_datapath.fake_ip import FakeIp, Fate
from fe_datapath.neighbors import is_station, wrong_neighbor
from fe_datapath.punting import ExceptionId, rules_of
from forces.errors import ResultCode

MTU_RANGE = range(68, 65536)
"""A veth's."""

_interface = lru_cache(maxsize=4096)(ipaddress.ip_interface)
"""The same few texts again and again."""


class FakeDatapath:
    """`apply_now`, `set_carrier` and `fail_next` need no event loop (virtual time)."""

    def __init__(
        self,
        ports: Sequence[PortConfig],
        latency_s: float = 0.0,
        redirect: RedirectConfig | None = None,
    ) -> None:
        """`latency_s`: pause before `apply` carries changes out."""
        self.forwarding = False
        self.applied: list[Change] = []
        """Every change carried out, in order, bulk changes row by row."""
        self._latency_s = latency_s
        self._turn = asyncio.Lock()
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
        networks = {port.id: _interface(port.address).network for port in ports}
        self.fib = FakeFib(self._ports, networks)
        self._neighbors: dict[NeighborKey, bytes] = {}
        self._resolved: dict[NeighborKey, bytes] = {}
        own = {_interface(port.address).ip.packed for port in ports}
        goes_to_ce = redirect is not None and redirect.no_route
        self._ip = FakeIp(own, lambda destination: goes_to_ce or self.fib.leads(destination))
        self._found = Found()
        self._on_link: LinkListener | None = None
        self._on_packet: PacketListener | None = None
        self._rules = rules_of(redirect, ports) if redirect is not None else {}
        self.injected: list[tuple[int, bytes]] = []
        """(port, frame) of everything that left by `inject`."""
        self._injected: list[tuple[type[Change] | None, ResultCode, str]] = []

    # The seam

    async def start(self, on_link: LinkListener, on_packet: PacketListener | None = None) -> None:
        if self._on_link is not None:
            raise OSError(errno.EADDRINUSE, "another FE lives here")
        self._found = Found(
            self.forwarding,
            frozenset(self.fib.routes),
            frozenset(self.fib.nexthops),
            frozenset(self.fib.groups),
            frozenset(self._neighbors),
        )
        self.fib.lost.clear()
        self._on_link, self._on_packet = on_link, on_packet

    def found(self) -> Found:
        return self._found

    def ports(self) -> Mapping[int, PortState]:
        return dict(self._ports)

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        async with self._turn:
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            return self.apply_now(changes, stop_on_failure)

    def inject(self, port: int, frame: bytes) -> None:
        if self._rules and port in self._ports and self._ports[port].carrier:
            self.injected.append((port, frame))

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        return dict(self.fib.routes)

    def route_columns(self, octets: int) -> SetRoutes:
        return columns([SetRoute(*key, hop) for key, hop in self.fib.routes.items()], octets)

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        return dict(self.fib.nexthops)

    def groups(self) -> Mapping[int, frozenset[int]]:
        return {identifier: hops_of(group) for identifier, group in self.fib.groups.items()}

    def neighbors(self) -> Mapping[NeighborKey, bytes]:
        return {**self._resolved, **self._neighbors}

    def counters(self) -> Mapping[int, Mapping[str, int]]:
        return {version: dict(counted) for version, counted in self._ip.counters.items()}

    def queues(self, port: int) -> Sequence[Queue]:
        """As a veth: packets do not wait."""
        return ()

    def killed(self) -> None:
        """The process is gone: nobody listens, and another may start."""
        self._on_link = self._on_packet = None

    async def close(self) -> None:
        self.killed()

    # Hooks

    def arrive(self, port: int, frame: bytes) -> None:
        """A frame comes in by a port."""
        rules = self._rules.get(port)
        fate = self._ip.judge(frame, self.forwarding)
        if rules is None or self._on_packet is None or not self._ports[port].carrier:
            return
        if rules.exception(frame) is not None:
            self._on_packet(port, frame, None)
        elif fate is Fate.FORWARDED and not self.fib.leads(self._ip.destination(frame)):
            mac = self._ports[port].mac
            self._on_packet(port, mac + bytes(6) + frame[12:], ExceptionId.LPMLookupFailed)

    def resolve(self, port: int, address: str, mac: bytes) -> None:
        """The kernel has found out a neighbour's MAC address by itself."""
        self._resolved[port, address] = mac

    def apply_now(self, changes: Sequence[Change], stop_on_failure: bool) -> list[Failure]:
        """`apply` without an event loop."""
        failures = []
        for index, change in enumerate(singles(changes)):
            try:
                self._fail_if_asked(change)
                self._apply(change)
            except Refused as refused:
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
                raise Refused(code, reason)

    def _apply(self, change: Change) -> None:
        match change:
            case SetNeighbor() | DelNeighbor():
                self._neighbor(change)
            case SetRoute():
                self.fib.set_route(change)
            case DelRoute():
                self.fib.delete_route(change)
            case SetNextHop():
                self.fib.set_nexthop(change)
            case DelNextHop():
                self.fib.delete_nexthop(change.id)
            case SetNextHopGroup():
                self.fib.set_group(change)
            case SetPort():
                self._set_port(change)
            case SetForwarding():
                self.forwarding = change.on
            case _:
                raise TypeError(f"not a change: {change!r}")

    def _neighbor(self, change: SetNeighbor | DelNeighbor) -> None:
        wrong = wrong_neighbor(change)
        if wrong is not None:
            raise Refused(ResultCode.INVALID_PARAMETERS, wrong)
        key = (change.port, str(address_of(change.address)))
        if isinstance(change, DelNeighbor):
            self._neighbors.pop(key, None)
            self._resolved.pop(key, None)
        elif change.port not in self._ports:
            raise Refused(ResultCode.INVALID_PARAMETERS, f"no port {change.port}")
        else:
            self._neighbors[key] = change.mac
            self._resolved.pop(key, None)

    def _set_port(self, change: SetPort) -> None:
        state = self._ports.get(change.port)
        if state is None:
            raise Refused(ResultCode.NOT_FOUND, f"there is no port {change.port}")
        if change.media not in (None, Media()):
            raise Refused(ResultCode.NOT_SUPPORTED, f"{change.media}: as a veth")
        if change.mac is not None:
            if not is_station(change.mac):
                raise Refused(ResultCode.VALUE_OUT_OF_RANGE, f"mac {change.mac.hex(':')}")
            state = replace(state, mac=change.mac)
        if change.mtu is not None:
            if change.mtu not in MTU_RANGE:
                raise Refused(ResultCode.VALUE_OUT_OF_RANGE, f"mtu {change.mtu}")
            state = replace(state, mtu=change.mtu)
        if change.promiscuous is not None:
            state = replace(state, promiscuous=change.promiscuous)
        if change.admin_up is False:
            self._neighbors = {k: v for k, v in self._neighbors.items() if k[0] != change.port}
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
            self.fib.flush(state.port)
            self._resolved = {k: v for k, v in self._resolved.items() if k[0] != state.port}
        if self._on_link is not None:
            self._on_link(state, time.monotonic_ns() if at_ns is None else at_ns)
