"""A forwarding plane in memory that behaves as the kernel does, refusals and silent losses
included: for the simulator and for tests. The suite in tests/datapath/ holds it to the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
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
from fe_datapath.fake_ip import FakeIp, Fate
from fe_datapath.neighbors import is_station, wrong_neighbor
from fe_datapath.punting import ExceptionId, rules_of
from forces.errors import ResultCode

MTU_RANGE = range(68, 65536)
"""A veth's."""


class _Refused(Exception):
    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_address = lru_cache(maxsize=4096)(ipaddress.ip_address)
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
        self._networks = {port.id: _interface(port.address).network for port in ports}
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
        self._groups: dict[int, SetNextHopGroup] = {}
        self._lost: set[int] = set()
        """Next hops and groups that went with a port."""
        self._routes: dict[tuple[bytes, int], int] = {}
        self._users: Counter[int] = Counter()
        self._neighbors: dict[NeighborKey, bytes] = {}
        self._resolved: dict[NeighborKey, bytes] = {}
        own = {_interface(port.address).ip.packed for port in ports}
        goes_to_ce = redirect is not None and redirect.no_route
        self._ip = FakeIp(own, lambda destination: goes_to_ce or self._leads(destination))
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
            frozenset(self._routes),
            frozenset(self._nexthops),
            frozenset(self._groups),
            frozenset(self._neighbors),
        )
        self._lost.clear()
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
        return dict(self._routes)

    @property
    def prefixes(self) -> AbstractSet[tuple[bytes, int]]:
        """Of all routes; a view of this moment."""
        return self._routes.keys()

    def route_columns(self, octets: int) -> SetRoutes:
        return columns([SetRoute(*key, hop) for key, hop in self._routes.items()], octets)

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        return dict(self._nexthops)

    def groups(self) -> Mapping[int, frozenset[int]]:
        return {identifier: _hops(group) for identifier, group in self._groups.items()}

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
        elif fate is Fate.FORWARDED and not self._leads(self._ip.destination(frame)):
            mac = self._ports[port].mac
            self._on_packet(port, mac + bytes(6) + frame[12:], ExceptionId.LPMLookupFailed)

    def resolve(self, port: int, address: str, mac: bytes) -> None:
        """The kernel has found out a neighbour's MAC address by itself."""
        self._resolved[port, address] = mac

    def lookup(self, prefix: tuple[bytes, int]) -> int | None:
        """The port that this exact prefix leads to; None where there is no such route."""
        identifier = self._routes.get(prefix)
        if identifier is None:
            return None
        if identifier in self._nexthops:
            return self._nexthops[identifier][0]
        return next((self._nexthops[way][0] for way in self.ways(identifier)), None)

    def ways(self, identifier: int) -> list[int]:
        """The next hops of a group that packets can take; the standby, which they take when none
        of the others is left, last. Of a next hop itself."""
        group = self._groups.get(identifier)
        ways = [identifier]
        if group is not None:
            ways = [*(hop for hop, _ in group.members), group.standby]
        return [way for way in ways if way in self._nexthops]

    def _leads(self, destination: bytes) -> bool:
        """Whether there is a route, or a port's own network."""
        address = ipaddress.ip_address(destination)
        if any(address in network for network in self._networks.values()):
            return True
        number, octets = int.from_bytes(destination), len(destination)
        return any(
            number >> 8 * octets - length == int.from_bytes(prefix) >> 8 * octets - length
            for prefix, length in self._routes
            if len(prefix) == octets
        )

    def apply_now(self, changes: Sequence[Change], stop_on_failure: bool) -> list[Failure]:
        """`apply` without an event loop."""
        failures = []
        for index, change in enumerate(singles(changes)):
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
            case SetNeighbor() | DelNeighbor():
                self._neighbor(change)
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
                for group in self._groups.values():
                    if change.id in _hops(group):
                        raise _Refused(
                            ResultCode.BUSY, f"next hop {change.id} is in group {group.id}"
                        )
                self._nexthops.pop(change.id, None)
                self._groups.pop(change.id, None)
                self._lost.discard(change.id)
            case SetNextHopGroup():
                self._set_group(change)
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
        if nexthop not in self._nexthops and nexthop not in self._groups:
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"there is no next hop {nexthop}")
        if len(change.prefix) == 16 and self._has_ipv4(nexthop):
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
            gateway = _address(change.gateway)
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
        if change.id in self._groups:
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"next hop {change.id} is a group")
        ways = {change.id} | {g.id for g in self._groups.values() if change.id in _hops(g)}
        if gateway.version == 4 and self._carries_ipv6(ways):
            raise _Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self._nexthops[change.id] = (change.port, str(gateway))
        self._lost.discard(change.id)

    def _set_group(self, change: SetNextHopGroup) -> None:
        name = f"next hop group {change.id}"
        if not 0 < change.id <= 0xFFFFFFFF:
            raise _Refused(ResultCode.VALUE_OUT_OF_RANGE, f"{name} is not in 1..2^32-1")
        _check_members(change)
        if change.id in self._nexthops:
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"{name} is a single next hop")
        for member in _hops(change):
            if member in self._lost:
                raise _Refused(ResultCode.BUSY, f"{name}: next hop {member} lost its port")
            if member not in self._nexthops:
                raise _Refused(ResultCode.INVALID_PARAMETERS, f"{name}: no next hop {member}")
        if any(map(self._has_ipv4, _hops(change))) and self._carries_ipv6({change.id}):
            raise _Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self._groups[change.id] = change
        self._lost.discard(change.id)

    def _has_ipv4(self, identifier: int) -> bool:
        group = self._groups.get(identifier)
        hops = [identifier] if group is None else _hops(group)
        return any(_version(self._nexthops[hop][1]) == 4 for hop in hops)

    def _carries_ipv6(self, ways: set[int]) -> bool:
        return any(len(prefix) == 16 and hop in ways for (prefix, _), hop in self._routes.items())

    def _neighbor(self, change: SetNeighbor | DelNeighbor) -> None:
        wrong = wrong_neighbor(change)
        if wrong is not None:
            raise _Refused(ResultCode.INVALID_PARAMETERS, wrong)
        key = (change.port, str(_address(change.address)))
        if isinstance(change, DelNeighbor):
            self._neighbors.pop(key, None)
            self._resolved.pop(key, None)
        elif change.port not in self._ports:
            raise _Refused(ResultCode.INVALID_PARAMETERS, f"no port {change.port}")
        else:
            self._neighbors[key] = change.mac
            self._resolved.pop(key, None)

    def _set_port(self, change: SetPort) -> None:
        state = self._ports.get(change.port)
        if state is None:
            raise _Refused(ResultCode.NOT_FOUND, f"there is no port {change.port}")
        if change.media not in (None, Media()):
            raise _Refused(ResultCode.NOT_SUPPORTED, f"{change.media}: as a veth")
        if change.mac is not None:
            if not is_station(change.mac):
                raise _Refused(ResultCode.VALUE_OUT_OF_RANGE, f"mac {change.mac.hex(':')}")
            state = replace(state, mac=change.mac)
        if change.mtu is not None:
            if change.mtu not in MTU_RANGE:
                raise _Refused(ResultCode.VALUE_OUT_OF_RANGE, f"mtu {change.mtu}")
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
            self._flush(state.port)
            self._resolved = {k: v for k, v in self._resolved.items() if k[0] != state.port}
        if self._on_link is not None:
            self._on_link(state, time.monotonic_ns() if at_ns is None else at_ns)

    def _flush(self, port: int) -> None:
        """What the kernel drops with the carrier, without a word."""
        gone = {identifier for identifier, (owner, _) in self._nexthops.items() if owner == port}
        for group in list(self._groups.values()):
            left = tuple(member for member in group.members if member[0] not in gone)
            standby = 0 if group.standby in gone else group.standby
            if left or standby:
                self._groups[group.id] = replace(group, members=left, standby=standby)
            else:
                gone.add(group.id)
        self._routes = {key: hop for key, hop in self._routes.items() if hop not in gone}
        for identifier in gone:
            self._nexthops.pop(identifier, None)
            self._groups.pop(identifier, None)
            self._users.pop(identifier, None)
        self._lost |= gone


def _check_members(change: SetNextHopGroup) -> None:
    """What no kernel needs to be asked about."""
    hops = [hop for hop, _ in change.members] + ([change.standby] if change.standby else [])
    name = f"next hop group {change.id}"
    if not change.members or len(set(hops)) != len(hops):
        raise _Refused(ResultCode.INVALID_PARAMETERS, f"{name}: its members, each once")
    if not all(0 < weight <= 256 for _, weight in change.members):
        raise _Refused(ResultCode.VALUE_OUT_OF_RANGE, f"{name}: a weight is 1..256")


def _hops(group: SetNextHopGroup) -> frozenset[int]:
    return frozenset(hop for hop, _ in group.members) | ({group.standby} - {0})


def _version(gateway: str) -> int:
    return _address(gateway).version
