"""Routing against a dumb model: enumerate every simple path, keep the cheapest."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ce.config import CeConfig, Destination, FeView, Peer, PortView
from ce.routes import FIRST_DESTINATION_ROW, FIRST_RUN_TIME_ROW, FIRST_SYNTHETIC_ROW
from ce.routing import Routing
from tests.ce.network import diamond


def config_of(
    fes: int, links: list[tuple[int, int, int]], attached: list[tuple[int, bool]], extra: int = 0
) -> CeConfig:
    """FEs 1..n, links (a, b, cost), destinations (FE, through a gateway?); port 1 is the host."""
    ports: dict[int, list[PortView]] = {
        fe: [PortView(1, f"10.100.{fe}.1/24", None, None, f"10.100.{fe}.10")]
        for fe in range(1, fes + 1)
    }
    for n, (a, b, cost) in enumerate(links):
        pa, pb = len(ports[a]) + 1, len(ports[b]) + 1
        ports[a].append(PortView(pa, f"10.1.{n}.1/30", b, pb, f"10.1.{n}.2", cost))
        ports[b].append(PortView(pb, f"10.1.{n}.2/30", a, pa, f"10.1.{n}.1", cost))
    return CeConfig(
        id=0x40000001,
        name="ce1",
        control_address="10.255.0.1",
        fes=tuple(Peer(fe, f"fe{fe}", f"10.255.0.{100 + fe}") for fe in ports),
        ces=(Peer(0x40000001, "ce1", "10.255.0.1"),),
        network=tuple(FeView(fe, f"fe{fe}", tuple(views)) for fe, views in ports.items()),
        destinations=tuple(
            Destination(f"10.200.{n}.0/24", fe, 1, f"10.100.{fe}.10" if via else None)
            for n, (fe, via) in enumerate(attached)
        ),
        extra_routes=extra,
    )


@st.composite
def networks(draw: st.DrawFn) -> tuple[CeConfig, frozenset[tuple[int, int]]]:
    fes = draw(st.integers(1, 5))
    pairs = list(itertools.combinations(range(1, fes + 1), 2))
    links = draw(
        st.lists(
            st.tuples(st.sampled_from(pairs), st.integers(1, 3)).map(lambda t: (*t[0], t[1])),
            max_size=7,
        )
        if pairs
        else st.just([])
    )
    attached = draw(st.lists(st.tuples(st.integers(1, fes), st.booleans()), min_size=1, max_size=5))
    config = config_of(fes, links, attached, draw(st.integers(0, 3)))
    everything = [(fe.id, port.id) for fe in config.network for port in fe.ports]
    return config, draw(st.frozensets(st.sampled_from(everything)))


def brute_force_hops(
    config: CeConfig, down: frozenset[tuple[int, int]], source: int, destination: Destination
) -> set[int]:
    """First ports of all cheapest simple paths, found by walking every path there is."""
    views = {fe.id: fe for fe in config.network}
    best: list[tuple[int, int]] = []

    def walk(fe: int, seen: frozenset[int], cost: int, first: int | None) -> None:
        if fe == destination.fe:
            assert first is not None
            best.append((cost, first))
            return
        for port in views[fe].ports:
            far = (port.neighbor_fe, port.neighbor_port)
            if port.neighbor_fe is None or (fe, port.id) in down or far in down:
                continue
            if port.neighbor_fe not in seen:
                step = port.id if first is None else first
                walk(port.neighbor_fe, seen | {port.neighbor_fe}, cost + port.cost, step)

    walk(source, frozenset({source}), 0, None)
    cheapest = min((cost for cost, _ in best), default=0)
    return {first for cost, first in best if cost == cheapest}


@settings(max_examples=120, deadline=None)
@given(networks())
def test_every_row_is_a_first_hop_of_a_cheapest_path_and_none_is_missing(
    case: tuple[CeConfig, frozenset[tuple[int, int]]],
) -> None:
    config, down = case
    rows = Routing(config).compute(down)
    for fe in config.network:
        for n, destination in enumerate(config.destinations):
            row = rows[fe.id].prefixes.get(FIRST_DESTINATION_ROW + n)
            attached_up = (destination.fe, destination.port) not in down
            if destination.fe == fe.id:
                assert (row is not None) == (attached_up and destination.gateway is not None)
                continue
            hops = brute_force_hops(config, down, fe.id, destination) if attached_up else set()
            assert (row is not None) == bool(hops)
            if row is not None:
                assert rows[fe.id].next_hops[row.selector].port in hops


@settings(max_examples=60, deadline=None)
@given(networks())
def test_following_the_rows_reaches_the_destination_without_a_loop(
    case: tuple[CeConfig, frozenset[tuple[int, int]]],
) -> None:
    config, down = case
    rows = Routing(config).compute(down)
    ports = {(fe.id, port.id): port for fe in config.network for port in fe.ports}
    for index in rows[1].prefixes:
        for start in rows:
            at, steps = start, 0
            while (route := rows[at].prefixes.get(index)) is not None:
                port = ports[at, rows[at].next_hops[route.selector].port]
                if port.neighbor_fe is None:
                    break
                at, steps = port.neighbor_fe, steps + 1
                assert steps < len(rows), "a loop"


@settings(max_examples=60, deadline=None)
@given(networks())
def test_every_row_points_to_a_next_hop_row_over_a_live_link(
    case: tuple[CeConfig, frozenset[tuple[int, int]]],
) -> None:
    config, down = case
    ports = {(fe.id, port.id): port for fe in config.network for port in fe.ports}
    for fe, rows in Routing(config).compute(down).items():
        assert {route.selector for route in rows.prefixes.values()} <= rows.next_hops.keys()
        for hop in rows.next_hops.values():
            port = ports[fe, hop.port]
            assert (fe, hop.port) not in down
            assert (port.neighbor_fe, port.neighbor_port) not in down


def test_two_subnets_of_one_host_take_the_two_paths_of_the_diamond() -> None:
    rows = Routing(diamond()).compute(frozenset())
    ports = {index: rows[1].next_hops[rows[1].prefixes[index].selector].port for index in (4, 5)}
    assert ports == {4: 1, 5: 2}
    back = {index: rows[4].next_hops[rows[4].prefixes[index].selector].port for index in (2, 3)}
    assert back == {2: 1, 3: 2}


def test_both_paths_are_taken_however_the_list_mixes_the_hosts() -> None:
    config = diamond()
    a, b, c, d = config.destinations
    rows = Routing(diamond(destinations=(a, c, b, d))).compute(frozenset())
    assert {rows[1].next_hops[rows[1].prefixes[index].selector].port for index in (3, 5)} == {1, 2}


def test_a_cut_link_moves_only_what_went_over_it() -> None:
    routing = Routing(diamond())
    before, after = routing.compute(frozenset()), routing.compute(frozenset({(2, 2)}))
    moved = {
        (fe, index)
        for fe in before
        for index in before[fe].prefixes
        if after[fe].prefixes.get(index) != before[fe].prefixes[index]
    }
    # fe1 to h2's first subnet, fe4 back to h1's first; fe2 itself turns round to fe1.
    assert moved == {(1, 4), (4, 2), (2, 4), (2, 5)}


def test_hop_selectors_do_not_depend_on_what_is_up() -> None:
    routing = Routing(diamond())
    everything = routing.compute(frozenset())[1].next_hops
    for port in (1, 2, 3):
        left = routing.compute(frozenset({(1, port)}))[1].next_hops
        assert left == {n: hop for n, hop in everything.items() if hop.port != port}


def test_the_directly_connected_fe_gets_no_row() -> None:
    rows = Routing(diamond()).compute(frozenset())
    assert 2 not in rows[1].prefixes
    assert 4 not in rows[4].prefixes


def test_synthetic_prefixes_follow_the_last_destination_on_every_fe() -> None:
    rows = Routing(diamond(extra_routes=300)).compute(frozenset())
    for fe_rows in rows.values():
        synthetic = [row for row in fe_rows.prefixes if row >= FIRST_SYNTHETIC_ROW]
        assert synthetic == list(range(FIRST_SYNTHETIC_ROW, FIRST_SYNTHETIC_ROW + 300))
        last = fe_rows.prefixes[5].selector
        assert {fe_rows.prefixes[row].selector for row in synthetic} == {last}
    assert rows[1].prefixes[FIRST_SYNTHETIC_ROW + 256].prefix == "20.1.0.0/24"


def test_a_destination_at_run_time_has_the_same_row_on_every_ce() -> None:
    one, other = Routing(diamond()), Routing(diamond())
    added = [Destination(f"10.77.{n}.0/24", 4, 3, "10.102.1.10") for n in range(3)]
    rows = [one.add(destination) for destination in added]
    assert [other.add(destination) for destination in reversed(added)] == rows[::-1]
    assert one.compute(frozenset()) == other.compute(frozenset())
    assert all(row >= FIRST_RUN_TIME_ROW for row in rows)


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        (Destination("10.101.1.0/24", 1, 3), "10.101.1.0/24 is a destination of the configuration"),
        (Destination("10.9.0.0/24", 1, 9), "FE 1 has no port 9"),
        (Destination("10.9.0.1/24", 1, 3), "host bits"),
        (Destination("10.9.0.0/24", 1, 3, "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_destination_is_refused_with_a_reason(
    destination: Destination, reason: str
) -> None:
    routing = Routing(diamond())
    before = routing.compute(frozenset())
    with pytest.raises(ValueError, match=reason):
        routing.add(destination)
    assert routing.compute(frozenset()) == before


def test_a_configuration_that_cannot_be_routed_is_refused() -> None:
    with pytest.raises(ValueError, match="FE 9 has no port 1"):
        Routing(diamond(destinations=(Destination("10.9.0.0/24", 9, 1),)))
    with pytest.raises(ValueError, match="needs a destination"):
        Routing(diamond(destinations=(), extra_routes=1))
    lonely = FeView(1, "fe1", (PortView(1, "10.1.0.1/30", 2, 1, "10.1.0.2"),))
    with pytest.raises(ValueError, match="does not lead back"):
        Routing(diamond(network=(lonely,), destinations=()))
