"""A kernel's forwarding tables, for `FakeDatapath`: routes, next hops and their groups, what it
refuses of them, and what it drops with a port's carrier.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from fe_datapath.datapath import DelRoute, PortState, SetNextHop, SetNextHopGroup, SetRoute
from forces.errors import ResultCode


class Refused(Exception):
    """A change that is not carried out; becomes a `Failure`."""

    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Network = ipaddress.IPv4Network | ipaddress.IPv6Network

address_of = lru_cache(maxsize=4096)(ipaddress.ip_address)
"""The same few texts again and again."""


class FakeFib:
    def __init__(self, ports: Mapping[int, PortState], networks: Mapping[int, Network]) -> None:
        """`ports`: as they are at any time. `networks`: of each port."""
        self._ports = ports
        self._networks = networks
        self.routes: dict[tuple[bytes, int], int] = {}
        self.nexthops: dict[int, tuple[int, str]] = {}
        self.groups: dict[int, SetNextHopGroup] = {}
        self.lost: set[int] = set()
        """Next hops and groups that went with a port."""
        self._users: Counter[int] = Counter()

    def lookup(self, prefix: tuple[bytes, int]) -> int | None:
        """The port that this exact prefix leads to; None where there is no such route."""
        identifier = self.routes.get(prefix)
        if identifier is None:
            return None
        if identifier in self.nexthops:
            return self.nexthops[identifier][0]
        return next((self.nexthops[way][0] for way in self.ways(identifier)), None)

    def ways(self, identifier: int) -> list[int]:
        """The next hops of a group that packets can take; the standby, which they take when none
        of the others is left, last. Of a next hop itself."""
        group = self.groups.get(identifier)
        ways = [identifier]
        if group is not None:
            ways = [*(hop for hop, _ in group.members), group.standby]
        return [way for way in ways if way in self.nexthops]

    def leads(self, destination: bytes) -> bool:
        """Whether there is a route, or a port's own network."""
        address = ipaddress.ip_address(destination)
        if any(address in network for network in self._networks.values()):
            return True
        number, octets = int.from_bytes(destination), len(destination)
        return any(
            number >> 8 * octets - length == int.from_bytes(prefix) >> 8 * octets - length
            for prefix, length in self.routes
            if len(prefix) == octets
        )

    def set_route(self, change: SetRoute) -> None:
        _check_prefix(change.prefix, change.length)
        nexthop = change.nexthop
        if nexthop in self.lost:
            raise Refused(ResultCode.BUSY, f"next hop {nexthop} lost its port")
        if nexthop not in self.nexthops and nexthop not in self.groups:
            raise Refused(ResultCode.INVALID_PARAMETERS, f"there is no next hop {nexthop}")
        if len(change.prefix) == 16 and self._has_ipv4(nexthop):
            raise Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self._drop_route((change.prefix, change.length))
        self.routes[change.prefix, change.length] = nexthop
        self._users[nexthop] += 1

    def _drop_route(self, key: tuple[bytes, int]) -> None:
        before = self.routes.pop(key, None)
        if before is not None:
            self._users[before] -= 1

    def delete_route(self, change: DelRoute) -> None:
        _check_prefix(change.prefix, change.length)
        self._drop_route((change.prefix, change.length))

    def set_nexthop(self, change: SetNextHop) -> None:
        if not 0 < change.id <= 0xFFFFFFFF:
            raise Refused(
                ResultCode.VALUE_OUT_OF_RANGE, f"next hop {change.id} is not in 1..2^32-1"
            )
        try:
            gateway = address_of(change.gateway)
        except ValueError:
            raise Refused(
                ResultCode.INVALID_PARAMETERS, f"gateway {change.gateway!r} is no address"
            ) from None
        if change.port not in self._ports:
            raise Refused(
                ResultCode.INVALID_PARAMETERS, f"next hop {change.id}: no port {change.port}"
            )
        if not self._ports[change.port].carrier:
            raise Refused(
                ResultCode.BUSY, f"next hop {change.id}: carrier for nexthop device is down"
            )
        network = self._networks[change.port]
        on_link = gateway in network or (gateway.version == 6 and gateway.is_link_local)
        broadcast = gateway == network.broadcast_address and network.prefixlen < 31
        if not gateway.is_unspecified and (not on_link or broadcast):
            raise Refused(ResultCode.INVALID_PARAMETERS, f"next hop {change.id}: invalid gateway")
        if change.id in self.groups:
            raise Refused(ResultCode.INVALID_PARAMETERS, f"next hop {change.id} is a group")
        ways = {change.id} | {g.id for g in self.groups.values() if change.id in hops_of(g)}
        if gateway.version == 4 and self._carries_ipv6(ways):
            raise Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self.nexthops[change.id] = (change.port, str(gateway))
        self.lost.discard(change.id)

    def delete_nexthop(self, identifier: int) -> None:
        """A group, likewise."""
        if users := self._users[identifier]:
            raise Refused(ResultCode.BUSY, f"next hop {identifier} is in use by {users} routes")
        for group in self.groups.values():
            if identifier in hops_of(group):
                raise Refused(ResultCode.BUSY, f"next hop {identifier} is in group {group.id}")
        self.nexthops.pop(identifier, None)
        self.groups.pop(identifier, None)
        self.lost.discard(identifier)

    def set_group(self, change: SetNextHopGroup) -> None:
        name = f"next hop group {change.id}"
        if not 0 < change.id <= 0xFFFFFFFF:
            raise Refused(ResultCode.VALUE_OUT_OF_RANGE, f"{name} is not in 1..2^32-1")
        _check_members(change)
        if change.id in self.nexthops:
            raise Refused(ResultCode.INVALID_PARAMETERS, f"{name} is a single next hop")
        for member in hops_of(change):
            if member in self.lost:
                raise Refused(ResultCode.BUSY, f"{name}: next hop {member} lost its port")
            if member not in self.nexthops:
                raise Refused(ResultCode.INVALID_PARAMETERS, f"{name}: no next hop {member}")
        if any(map(self._has_ipv4, hops_of(change))) and self._carries_ipv6({change.id}):
            raise Refused(ResultCode.INVALID_PARAMETERS, "IPv6 routes can not use an IPv4 nexthop")
        self.groups[change.id] = change
        self.lost.discard(change.id)

    def _has_ipv4(self, identifier: int) -> bool:
        group = self.groups.get(identifier)
        hops = [identifier] if group is None else hops_of(group)
        return any(_version(self.nexthops[hop][1]) == 4 for hop in hops)

    def _carries_ipv6(self, ways: set[int]) -> bool:
        return any(len(prefix) == 16 and hop in ways for (prefix, _), hop in self.routes.items())

    def flush(self, port: int) -> None:
        """What the kernel drops with the carrier, without a word."""
        gone = {identifier for identifier, (owner, _) in self.nexthops.items() if owner == port}
        for group in list(self.groups.values()):
            left = tuple(member for member in group.members if member[0] not in gone)
            standby = 0 if group.standby in gone else group.standby
            if left or standby:
                self.groups[group.id] = replace(group, members=left, standby=standby)
            else:
                gone.add(group.id)
        self.routes = {key: hop for key, hop in self.routes.items() if hop not in gone}
        for identifier in gone:
            self.nexthops.pop(identifier, None)
            self.groups.pop(identifier, None)
            self._users.pop(identifier, None)
        self.lost |= gone


def _check_prefix(prefix: bytes, length: int) -> None:
    if len(prefix) not in (4, 16):
        raise Refused(
            ResultCode.INVALID_PARAMETERS, f"a prefix has 4 or 16 octets, not {len(prefix)}"
        )
    bits = 8 * len(prefix)
    if not 0 <= length <= bits:
        raise Refused(ResultCode.VALUE_OUT_OF_RANGE, f"prefix length {length} is not in 0..{bits}")
    if int.from_bytes(prefix) & ((1 << (bits - length)) - 1):
        raise Refused(
            ResultCode.INVALID_PARAMETERS, f"prefix {prefix.hex()}/{length} has host bits set"
        )


def _check_members(change: SetNextHopGroup) -> None:
    """What no kernel needs to be asked about."""
    hops = [hop for hop, _ in change.members] + ([change.standby] if change.standby else [])
    name = f"next hop group {change.id}"
    if not change.members or len(set(hops)) != len(hops):
        raise Refused(ResultCode.INVALID_PARAMETERS, f"{name}: its members, each once")
    if not all(0 < weight <= 256 for _, weight in change.members):
        raise Refused(ResultCode.VALUE_OUT_OF_RANGE, f"{name}: a weight is 1..256")


def hops_of(group: SetNextHopGroup) -> frozenset[int]:
    return frozenset(hop for hop, _ in group.members) | ({group.standby} - {0})


def _version(gateway: str) -> int:
    return address_of(gateway).version
