"""Loop-free alternates (RFC 5286) against a dumb model: distances by relaxing every link again and
again, and packets that are followed hop by hop while a link is cut."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ce.alternates import Group
from ce.config import CeConfig
from ce.fe_tables import Table
from ce.lfbs import row
from ce.routes import FIRST_DESTINATION_ROW, FeRoutes, Route
from ce.routing import Routing
from ce.rows import pack_group, pack_route
from tests.ce.network import diamond
from tests.ce.test_routing import config_of

FAR = 10**6
Cut = frozenset[tuple[int, int]]


@st.composite
def networks(draw: st.DrawFn) -> CeConfig:
    """A destination at each FE, and links enough for a second way."""
    fes = draw(st.integers(2, 6))
    pairs = list(itertools.combinations(range(1, fes + 1), 2))
    link = st.tuples(st.sampled_from(pairs), st.integers(1, 4)).map(lambda t: (*t[0], t[1]))
    links = draw(st.lists(link, min_size=fes - 1, max_size=2 * fes))
    config = config_of(fes, links, [(fe, False) for fe in range(1, fes + 1)])
    return replace(config, alternates=True)


def distances(config: CeConfig) -> dict[tuple[int, int], int]:
    """Between any two FEs."""
    fes = [fe.id for fe in config.network]
    known = {(a, b): 0 if a == b else FAR for a in fes for b in fes}
    for _ in fes:
        for fe in config.network:
            for port in fe.ports:
                for to in fes:
                    if port.neighbor_fe is not None:
                        over = port.cost + known[port.neighbor_fe, to]
                        known[fe.id, to] = min(known[fe.id, to], over)
    return known


def cuts(config: CeConfig) -> list[Cut]:
    """Each link between FEs, by both of its ports."""
    return sorted(
        {
            frozenset({(fe.id, port.id), (port.neighbor_fe, port.neighbor_port)})
            for fe in config.network
            for port in fe.ports
            if port.neighbor_fe is not None and port.neighbor_port is not None
        },
        key=sorted,
    )


def journey(config: CeConfig, rows: dict[int, FeRoutes], start: int, index: int, cut: Cut) -> str:
    """What becomes of a packet: only the ends of the cut know of it."""
    far = {(fe.id, port.id): port.neighbor_fe for fe in config.network for port in fe.ports}
    here, to = start, config.destinations[index].fe
    for _ in range(2 * len(config.network)):
        if here == to:
            return "arrives"
        route = rows[here].prefixes[FIRST_DESTINATION_ROW + index]
        port = rows[here].next_hops[route.selector].port
        if (here, port) in cut:
            if not route.standby:
                return f"no alternate at {here}"
            port = rows[here].next_hops[route.standby].port
            if (here, port) in cut:
                return "the alternate is the link itself"
        following = far[here, port]
        assert following is not None
        here = following
    return "loops"


@settings(max_examples=150, deadline=None)
@given(networks())
def test_rfc5286_3_1_no_packet_loops_after_any_cut_and_protected_ones_arrive(
    config: CeConfig,
) -> None:
    rows = Routing(config).compute(frozenset())
    for cut in cuts(config):
        for fe in rows:
            for index in range(len(config.destinations)):
                if FIRST_DESTINATION_ROW + index in rows[fe].prefixes:
                    fate = journey(config, rows, fe, index, cut)
                    assert fate == "arrives" or fate.startswith("no alternate")


@settings(max_examples=150, deadline=None)
@given(networks())
def test_rfc5286_3_1_there_is_an_alternate_exactly_where_a_neighbour_fulfils_inequality_1(
    config: CeConfig,
) -> None:
    rows = Routing(config).compute(frozenset())
    dist = distances(config)
    for fe in config.network:
        for index, destination in enumerate(config.destinations):
            route = rows[fe.id].prefixes.get(FIRST_DESTINATION_ROW + index)
            if route is None:
                continue
            to, primary = destination.fe, rows[fe.id].next_hops[route.selector].port
            free = {
                port.id
                for port in fe.ports
                if port.neighbor_fe is not None
                and port.id != primary
                and dist[port.neighbor_fe, to] < dist[port.neighbor_fe, fe.id] + dist[fe.id, to]
            }
            if route.standby:
                assert rows[fe.id].next_hops[route.standby].port in free
            else:
                assert not free


@settings(max_examples=60, deadline=None)
@given(networks(), st.randoms())
def test_alternates_do_not_depend_on_the_order_in_which_a_ce_was_told(
    config: CeConfig, random: object
) -> None:
    shuffled = list(config.network)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = replace(config, network=tuple(shuffled))
    assert Routing(other).compute(frozenset()) == Routing(config).compute(frozenset())


def standby_port(config: CeConfig, fe: int, index: int) -> int | None:
    rows = Routing(config).compute(frozenset())[fe]
    route = rows.prefixes[FIRST_DESTINATION_ROW + index]
    return rows.next_hops[route.standby].port if route.standby else None


def test_diamond_has_an_alternate_where_the_paths_part_and_none_on_the_way() -> None:
    config = diamond(alternates=True)
    assert standby_port(config, 1, 2) == 2  # fe1, by fe2 to h2: fe3
    assert standby_port(config, 1, 3) == 1
    assert standby_port(config, 2, 0) is None  # fe2 to h1: fe4 would send it back
    assert standby_port(config, 2, 2) is None


def test_rfc5286_3_2_an_alternate_that_spares_the_next_fe_goes_first() -> None:
    # 1 reaches 4 over 2; 3 is as near to 4 by itself, and the second link to 2 is cheaper
    links = [(1, 2, 1), (1, 2, 2), (1, 3, 3), (2, 4, 1), (3, 4, 1)]
    config = replace(config_of(4, links, [(4, False)]), alternates=True)
    assert standby_port(config, 1, 0) == 4
    without = replace(config_of(4, links[:2] + links[3:], [(4, False)]), alternates=True)
    assert standby_port(without, 1, 0) == 3


def test_without_alternates_the_rows_are_what_they_were() -> None:
    plain = Routing(diamond(extra_routes=3)).compute(frozenset())
    protected = Routing(diamond(extra_routes=3, alternates=True)).compute(frozenset())
    assert not any(rows.groups for rows in plain.values())
    for fe, rows in protected.items():
        assert rows.next_hops == plain[fe].next_hops
        stripped = {index: replace(route, standby=0) for index, route in rows.prefixes.items()}
        assert stripped == plain[fe].prefixes
        routes = rows.prefixes.values()
        assert {route.group for route in routes if route.group} == set(rows.groups.values())


def test_the_rows_of_a_protected_prefix_on_the_wire() -> None:
    """Ext-ECMP.GroupTable (ecmp.xml) and IPv4PrefixTable (RFC 6956 section 5.3.1)."""
    route = Route(0x0A660100, 24, 16, 32)
    assert route.group == Group(16, 32)
    contents = row(Table.PREFIXES).unpack(pack_route(route))
    assert contents["ECMPFlag"]
    assert contents["HopSelector"] == Group(16, 32).index == 16 << 15 | 32
    members = row(Table.GROUPS).unpack(pack_group(Group(16, 32)))["Members"]
    assert members == {
        0: {"HopSelector": 16, "Weight": 1, "Backup": False},
        1: {"HopSelector": 32, "Weight": 1, "Backup": True},
    }
    assert not row(Table.PREFIXES).unpack(pack_route(replace(route, standby=0)))["ECMPFlag"]


def test_a_port_number_that_no_group_has_room_for_is_refused() -> None:
    config = diamond(alternates=True)
    first = config.network[0]
    port = replace(first.ports[-1], id=5000)
    network = (replace(first, ports=(*first.ports, port)), *config.network[1:])
    with pytest.raises(ValueError, match="port 5000 of FE 1: no alternates"):
        Routing(replace(config, network=network))
