"""The unicast LFBs of both address families, as the FE's core sees them: what the datapath needs
when a port goes or comes, when a change was refused, and when all is to be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    DelNextHop,
    DelRoute,
    NeighborKey,
    Readings,
    SetNeighbor,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
)
from fe_datapath.lfbs.counted import Tally, lookups
from fe_datapath.lfbs.ecmp import Groups
from fe_datapath.lfbs.encap import EtherEncap
from fe_datapath.lfbs.ether import Port
from fe_datapath.lfbs.family import GROUPS_FROM, IPV4, IPV6, Family, Prefix
from fe_datapath.lfbs.instance import ChangesByInstance, Instance
from fe_datapath.lfbs.nexthops import NextHops
from fe_datapath.lfbs.plan import Plan
from fe_datapath.lfbs.prefixes import Prefixes
from forces.model import Library


class _OneFamily:
    def __init__(
        self,
        library: Library,
        family: Family,
        ports: Iterable[int],
        port_up: Callable[[int], bool],
        encap: EtherEncap,
        tally: Tally,
    ) -> None:
        self.family = family
        self.next_hops = NextHops(library, family, ports, port_up, encap)
        self.groups = Groups(library, family, self.next_hops)
        self.prefixes = Prefixes(library, family, self.next_hops, self.groups, tally)
        self.next_hops.groups = self.groups
        self.next_hops.prefixes = self.groups.prefixes = self.prefixes


@dataclass(frozen=True, slots=True)
class Held:
    """All that the datapath may have."""

    routes: set[Prefix]
    objects: set[int]
    """Identifiers of next hops and groups."""
    neighbors: set[NeighborKey]

    def __or__(self, other: Held) -> Held:
        return Held(
            self.routes | other.routes,
            self.objects | other.objects,
            self.neighbors | other.neighbors,
        )

    def deletions(self) -> list[Change]:
        """In the order in which they can be deleted: a group before its members."""
        return [
            *(DelRoute(*prefix) for prefix in sorted(self.routes)),
            *(DelNextHop(number) for number in sorted(self.objects, reverse=True)),
            *(DelNeighbor(*neighbor) for neighbor in sorted(self.neighbors)),
        ]


class Unicast:
    def __init__(
        self, library: Library, ports: Mapping[int, Port], readings: Readings | None = None
    ) -> None:
        def port_up(port: int) -> bool:
            return ports[port].up

        def of(family: Family) -> _OneFamily:
            tally = lookups(readings, family.version)
            return _OneFamily(library, family, ports, port_up, self.encap, tally)

        self._port_up = port_up
        self.encap = EtherEncap(library, ports, readings)
        self.ipv4, self.ipv6 = of(IPV4), of(IPV6)
        self._families = (self.ipv4, self.ipv6)

    @property
    def instances(self) -> Sequence[Instance]:
        return [
            self.encap,
            *(
                instance
                for one in self._families
                for instance in (one.prefixes, one.groups, one.next_hops)
            ),
        ]

    def usable(self, identifier: int) -> bool:
        """Whether the datapath can have this next hop or group now."""
        one = self._of(identifier)
        if identifier >= GROUPS_FROM:
            return one.groups.usable(identifier - one.family.group_id(0))
        return one.next_hops.usable(identifier - one.family.first_id)

    def excused(self, change: Change) -> bool:
        """A port went down after this was planned: the row is accepted all the same, and gets
        into the kernel when the port is back."""
        match change:
            case SetNextHop(id=target) | SetRoute(nexthop=target):
                return not self.usable(target)
            case SetNeighbor(port=port):
                return not self._port_up(port)
            case SetNextHopGroup(id=target):
                return not self.usable(target) or self._of(target).groups.excused(change)
        return False

    def refused(self, change: Change) -> None:
        """The datapath did not take this change of the latest plan."""
        if isinstance(change, SetNextHop | SetNextHopGroup):
            one = self._of(change.id)
            one.next_hops.refused(change)
            one.groups.refused(change)
        self.encap.refused(change)

    def insist(self, refused: Iterable[Change], tables: ChangesByInstance, plan: Plan) -> None:
        """The datapath did not take these changes. The tables' own way back does not speak of a
        route whose row was refused while another row of the Config, which stays, has the same
        prefix and target."""
        for change in refused:
            if isinstance(change, SetRoute | DelRoute):
                one = self.ipv4 if len(change.prefix) == 4 else self.ipv6
                one.prefixes.insist((change.prefix, change.length), tables, plan)

    def port_lost(self, port: int, plan: Plan) -> None:
        """Groups that have lost a member go on with what they have."""
        for one in self._families:
            one.next_hops.port_lost(port, plan)

    def port_back(self, port: int, plan: Plan) -> None:
        self.encap.port_back(port, plan)
        for one in self._families:
            one.next_hops.port_back(port, plan)

    def held(self) -> Held:
        routes = {prefix for one in self._families for prefix in one.prefixes.by_prefix}
        found: set[int] = set()
        for one in self._families:
            found.update(map(one.family.hop_id, one.next_hops.in_kernel))
            found.update(map(one.family.group_id, one.groups.in_kernel))
        return Held(routes, found, set(self.encap.in_kernel))

    def clear(self) -> None:
        self.encap.clear()
        for one in self._families:
            one.prefixes.clear()
            one.groups.clear()
            one.next_hops.clear()

    def sizes(self) -> dict[str, int]:
        """Rows by table: IPv4's always, the others if they have any."""
        sizes = {}
        for one in self._families:
            sizes[one.family.next_hop_table] = len(one.next_hops.rows)
            sizes[one.family.prefix_table] = len(one.prefixes.rows)
            sizes[f"{one.groups.cls.name} {one.groups.id}"] = len(one.groups.rows)
        sizes["EncapTable"] = len(self.encap.rows)
        always = (IPV4.next_hop_table, IPV4.prefix_table)
        return {name: size for name, size in sizes.items() if size or name in always}

    def _of(self, identifier: int) -> _OneFamily:
        return self.ipv6 if identifier & IPV6.first_id else self.ipv4
