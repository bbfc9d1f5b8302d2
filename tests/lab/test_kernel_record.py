"""Invariant 2's raw material: a kernel's table against what a CE has of it, row for row."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ce.alternates import Group
from ce.commands import packed
from ce.fe_tables import FeTables, Table
from ce.routes import NextHop, Route
from ce.rows import pack_group, pack_next_hop, pack_route
from fe_datapath.config import ROUTE_PROTOCOL
from lab.emulated.meters.route_dump import DumpFailed, dump, messages, parse_nexthops, parse_routes
from lab.emulated.meters.route_rows import committed_rows, comparison, kernel_rows
from lab.emulated.namespaces import network_of
from tests.lab.namespaces import Namespace, namespaces

ROUTES = 12_000
PLAIN, OTHER = 16, 32
BOTH = Group(PLAIN, OTHER)


def network(number: int) -> int:
    return 0x14000000 + (number << 8)


def tables(count: int = ROUTES) -> FeTables:
    """An FE with two ways out: every third route has the second as its alternate."""
    found = FeTables()
    found.confirmed[Table.NEXT_HOPS] = {
        PLAIN: pack_next_hop(NextHop(1, "10.1.0.2")),
        OTHER: pack_next_hop(NextHop(2, "10.1.1.2")),
    }
    found.confirmed[Table.GROUPS] = {BOTH.index: pack_group(BOTH)}
    found.confirmed[Table.PREFIXES] = {
        1000 + n: pack_route(Route(network(n), 24, PLAIN, 0 if n % 3 else OTHER))
        for n in range(count)
    }
    return found


@pytest.fixture(scope="module")
def fe() -> Iterator[Namespace]:
    """A kernel that holds exactly these tables; a beat of a beacon, and what is not ours."""
    with namespaces(1) as (one,):
        for port, far in ((1, "10.1.0.1"), (2, "10.1.1.1")):
            one.ip(*f"link add fe1-eth{port} type veth peer name far{port}".split())
            one.ip(*f"addr add {far}/30 dev fe1-eth{port}".split())
            one.ip("link", "set", f"far{port}", "up")
            one.ip("link", "set", f"fe1-eth{port}", "up")
        ours = f"proto {ROUTE_PROTOCOL}"
        batch(
            one,
            f"nexthop add id {PLAIN} via 10.1.0.2 dev fe1-eth1 {ours}",
            f"nexthop add id {OTHER} via 10.1.1.2 dev fe1-eth2 {ours}",
            f"nexthop add id 900 group {PLAIN},63/{OTHER},1 {ours}",
            *(route("add", n) for n in range(ROUTES)),
            f"route add 198.18.0.7/32 dev lo {ours}",
            "route add 9.9.9.0/24 dev fe1-eth1 proto 201",
        )
        yield one


def route(what: str, number: int, nexthop: int | None = None) -> str:
    over = nexthop or (PLAIN if number % 3 else 900)
    place = f"20.{number >> 8}.{number & 255}.0/24"
    return f"route {what} {place} nhid {over} metric 1200 proto {ROUTE_PROTOCOL}"


def batch(one: Namespace, *lines: str) -> None:
    command = one.command("ip", "-batch", "-")
    subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True)


def compared(one: Namespace) -> dict[str, Any]:
    with network_of(one.pid):
        held = dump(ROUTE_PROTOCOL)
    return comparison("fe1", "ce1", kernel_rows(held), committed_rows("fe1", packed(tables())), "")


@pytest.mark.kernel
def test_a_large_table_that_is_whole_agrees_and_costs_little(fe: Namespace) -> None:
    begun = time.process_time()
    found = compared(fe)
    assert time.process_time() - begun < 2, "of a core; 0.05 s where nothing else runs"
    assert found["agree"], found["differ"]
    assert (found["held"], found["committed"]) == (ROUTES, ROUTES)
    assert found["routes"] is None, "too large to be written down"


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("done", "undone", "stray", "lost"),
    [
        (
            f"route add 21.0.0.0/8 nhid {PLAIN} proto {ROUTE_PROTOCOL}",
            "route del 21.0.0.0/8",
            ["21.0.0.0/8 fe1-eth1 10.1.0.2"],
            [],
        ),
        (
            f"route add 20.0.1.0/24 nhid {PLAIN} metric 7 proto {ROUTE_PROTOCOL}",
            "route del 20.0.1.0/24 metric 7",
            ["20.0.1.0/24 fe1-eth1 10.1.0.2"],
            [],
        ),
        (
            f"route add 20.0.1.0/24 nhid {PLAIN} table 77 proto {ROUTE_PROTOCOL}",
            "route del 20.0.1.0/24 table 77",
            ["20.0.1.0/24 fe1-eth1 10.1.0.2 table 77"],
            [],
        ),
        (
            route("del", 11_999),
            route("add", 11_999),
            [],
            ["20.46.223.0/24 fe1-eth1 10.1.0.2"],
        ),
        (
            route("replace", 7, OTHER),
            route("replace", 7),
            ["20.0.7.0/24 fe1-eth2 10.1.1.2"],
            ["20.0.7.0/24 fe1-eth1 10.1.0.2"],
        ),
        (
            route("replace", 3, PLAIN),
            route("replace", 3),
            ["20.0.3.0/24 fe1-eth1 10.1.0.2"],
            ["20.0.3.0/24 fe1-eth1 10.1.0.2 fe1-eth2 10.1.1.2"],
        ),
        (
            "route replace 20.0.8.0/24 via 10.1.0.2 dev fe1-eth1 metric 1200 proto 201",
            route("replace", 8),
            [],
            ["20.0.8.0/24 fe1-eth1 10.1.0.2"],
        ),
    ],
    ids=["stray", "twice", "other table", "lost", "next hop", "without alternate", "not ours"],
)
def test_one_route_among_thousands_is_found_and_named(
    fe: Namespace, done: str, undone: str, stray: list[str], lost: list[str]
) -> None:
    batch(fe, done)
    try:
        found = compared(fe)
    finally:
        batch(fe, undone)
    assert not found["agree"]
    assert found["differ"] == {"stray": stray, "lost": lost}
    assert (found["stray"], found["lost"]) == (len(stray), len(lost))


@pytest.mark.kernel
def test_a_next_hop_object_that_leads_elsewhere_moves_every_route_over_it(fe: Namespace) -> None:
    ours = f"proto {ROUTE_PROTOCOL}"
    fe.ip(*f"nexthop replace id {PLAIN} via 10.1.1.2 dev fe1-eth2 {ours}".split())
    try:
        found = compared(fe)
    finally:
        fe.ip(*f"nexthop replace id {PLAIN} via 10.1.0.2 dev fe1-eth1 {ours}".split())
    assert (found["stray"], found["lost"]) == (ROUTES, ROUTES)
    assert len(found["differ"]["stray"]) == 20, "some are named, all are counted"


def test_what_is_not_known_agrees_with_nothing() -> None:
    found = comparison("fe1", None, ["100.64.0.0/24 fe1-eth1 10.1.0.2"], None, "no master")
    assert (found["agree"], found["stray"], found["committed"]) == (False, None, None)
    assert (found["stream"], found["not_known"]) == (1, "no master")


def test_a_ce_shows_what_was_acknowledged_and_not_what_it_intends() -> None:
    some = tables(4)
    some.intended[Table.PREFIXES] = {}
    assert committed_rows("fe1", packed(some)) == [
        "20.0.0.0/24 fe1-eth1 10.1.0.2 fe1-eth2 10.1.1.2",
        "20.0.1.0/24 fe1-eth1 10.1.0.2",
        "20.0.2.0/24 fe1-eth1 10.1.0.2",
        "20.0.3.0/24 fe1-eth1 10.1.0.2 fe1-eth2 10.1.1.2",
    ]


@given(st.binary(max_size=200))
def test_any_octets_give_routes_and_next_hops_or_one_error(octets: bytes) -> None:
    for parse in (messages, lambda o: parse_routes(o, ROUTE_PROTOCOL), parse_nexthops):
        try:
            parse(octets)
        except DumpFailed:
            continue


@given(st.binary(max_size=60), st.sampled_from([24, 104]))
def test_any_attributes_give_routes_and_next_hops_or_one_error(tail: bytes, kind: int) -> None:
    body = bytes((2, 24, 0, 0, 254, ROUTE_PROTOCOL, 0, 1)) + bytes(4) + tail
    octets = struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body
    octets += bytes(-len(octets) % 4)
    parse = parse_nexthops if kind == 104 else (lambda o: parse_routes(o, ROUTE_PROTOCOL))
    try:
        assert len(parse(octets)) == 1
    except DumpFailed:
        pass
