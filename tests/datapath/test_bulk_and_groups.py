"""Bulk changes and next hop groups, as any `Datapath` has them: on the fake and on a kernel."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest

from fe_datapath.datapath import (
    DelNextHop,
    DelRoute,
    DelRoutes,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    SetRoutes,
)
from forces.errors import ResultCode
from tests.datapath.rigs import GATEWAYS, Rig, Session
from tests.datapath.test_datapath import HOP1, HOP2, NET, done, failed

HOP61, HOP62 = SetNextHop(61, 1, "fe80::2"), SetNextHop(62, 2, "fe80::6")
BASE = {4: int(ipaddress.ip_address("20.0.0.0")), 16: int(ipaddress.ip_address("2001:db8::"))}


def bulk(count: int, nexthop: int, octets: int = 4, length: int = 24) -> SetRoutes:
    """Consecutive prefixes of one length."""
    step = 1 << 8 * octets - length
    networks = [(BASE[octets] + n * step).to_bytes(octets) for n in range(count)]
    return SetRoutes(
        np.frombuffer(b"".join(networks), np.uint8).reshape(-1, octets).copy(),
        np.full(count, length, np.uint8),
        np.full(count, nexthop, np.uint32),
    )


def away(routes: SetRoutes) -> DelRoutes:
    return DelRoutes(routes.prefixes, routes.lengths)


def table(routes: SetRoutes) -> dict[tuple[bytes, int], int]:
    return {(r.prefix, r.length): r.nexthop for r in routes.singles()}


@pytest.mark.parametrize(("octets", "length"), [(4, 24), (4, 32), (16, 48), (16, 127)])
def test_bulk_routes_are_the_single_ones(rig: Rig, octets: int, length: int) -> None:
    async def scenario(session: Session) -> None:
        hops = (HOP1, HOP2) if octets == 4 else (HOP61, HOP62)
        routes = bulk(1001, hops[0].id, octets, length)
        await done(session, *hops, routes)
        assert session.datapath.routes() == table(routes)
        assert table(session.datapath.route_columns(octets)) == table(routes)
        assert len(session.datapath.route_columns(20 - octets)) == 0
        routes.nexthops[::2] = hops[1].id
        await done(session, routes)
        assert session.datapath.routes() == table(routes)
        gone = DelRoutes(routes.prefixes[:600], routes.lengths[:600])
        await done(session, gone, gone)
        assert session.datapath.routes() == table(routes.part(600, 1001))
        assert await failed(session, [DelNextHop(hops[1].id)]) == {0: ResultCode.BUSY}
        await done(session, away(routes), DelNextHop(hops[1].id))
        assert session.datapath.routes() == {}

    rig.play(scenario)


def test_lengths_mix_in_one_bulk_change(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        routes = bulk(33, 1, 4, 32)
        routes.lengths[:] = range(33)
        for row, length in enumerate(routes.lengths.tolist()):
            network = 0xC0000000 & ~((1 << 32 - length) - 1)
            routes.prefixes[row] = list(network.to_bytes(4))
        await done(session, HOP1, routes)
        assert session.datapath.routes() == table(routes)
        assert table(session.datapath.route_columns(4)) == table(routes)
        await done(session, away(routes))
        assert session.datapath.routes() == {}

    rig.play(scenario)


@pytest.mark.parametrize("bad", [0, 249, 250, 700])
def test_a_refused_row_is_named_and_nothing_after_it_stays(rig: Rig, bad: int) -> None:
    """Rows before stay, as with single changes; the caller takes them back."""

    async def scenario(session: Session) -> None:
        routes = bulk(800, 1)
        before = table(bulk(800, 2))
        await done(session, HOP1, HOP2, bulk(800, 2))
        routes.nexthops[bad] = 99
        assert await failed(session, [HOP1, routes, HOP2]) == {
            1 + bad: ResultCode.INVALID_PARAMETERS
        }
        expected = before | table(routes.part(0, bad))
        assert session.datapath.routes() == expected

    rig.play(scenario)


def test_without_stopping_every_refused_row_is_named(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        routes = bulk(600, 1)
        routes.nexthops[[3, 300]] = 99
        bad_gateway = SetNextHop(7, 1, "10.9.9.9")
        assert await failed(session, [HOP1, routes, bad_gateway], False) == {
            4: ResultCode.INVALID_PARAMETERS,
            301: ResultCode.INVALID_PARAMETERS,
            601: ResultCode.INVALID_PARAMETERS,
        }
        assert len(session.datapath.routes()) == 598

    rig.play(scenario)


def test_a_row_that_is_no_route_is_named(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1)
        for column, value, code in (
            ("prefixes", [20, 0, 0, 1], ResultCode.INVALID_PARAMETERS),
            ("lengths", 33, ResultCode.VALUE_OUT_OF_RANGE),
            ("nexthops", 0, ResultCode.INVALID_PARAMETERS),
        ):
            routes = bulk(300, 1)
            getattr(routes, column)[260] = value
            assert await failed(session, [routes]) == {260: code}
            assert session.datapath.routes() == table(routes.part(0, 260))
            await done(session, away(bulk(300, 1)))

    rig.play(scenario)


def test_routes_over_a_group_move_by_one_replacement(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        routes = bulk(500, 100)
        await done(session, HOP1, HOP2, SetNextHopGroup(100, ((1, 1), (2, 3))), routes)
        assert session.datapath.groups() == {100: frozenset({1, 2})}
        assert session.datapath.nexthops() == {1: (1, GATEWAYS[1]), 2: (2, GATEWAYS[2])}
        await done(session, SetNextHopGroup(100, ((2, 1),)))
        assert session.datapath.groups() == {100: frozenset({2})}
        await done(session, SetNextHopGroup(100, ((1, 255),), standby=2))
        assert session.datapath.groups() == {100: frozenset({1, 2})}
        assert session.datapath.routes() == table(routes)
        assert await failed(session, [DelNextHop(100)]) == {0: ResultCode.BUSY}
        assert await failed(session, [DelNextHop(2)]) == {0: ResultCode.BUSY}
        await done(session, away(routes), DelNextHop(100), DelNextHop(2), DelNextHop(1))
        assert (session.datapath.groups(), session.datapath.nexthops()) == ({}, {})

    rig.play(scenario)


def test_a_group_that_cannot_be_is_refused(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2)
        wrong, out = ResultCode.INVALID_PARAMETERS, ResultCode.VALUE_OUT_OF_RANGE
        for group, code in (
            (SetNextHopGroup(100, ()), wrong),
            (SetNextHopGroup(100, ((1, 1), (1, 1))), wrong),
            (SetNextHopGroup(100, ((1, 1),), standby=1), wrong),
            (SetNextHopGroup(100, ((9, 1),)), wrong),
            (SetNextHopGroup(100, ((1, 1),), standby=9), wrong),
            (SetNextHopGroup(100, ((1, 0),)), out),
            (SetNextHopGroup(100, ((1, 257),)), out),
            (SetNextHopGroup(0, ((1, 1),)), out),
            (SetNextHopGroup(2, ((1, 1),)), wrong),
        ):
            assert await failed(session, [group]) == {0: code}, group
        await done(session, SetNextHopGroup(100, ((1, 1),)))
        assert await failed(session, [SetNextHop(100, 1, GATEWAYS[1])]) == {0: wrong}

    rig.play(scenario)


@pytest.mark.parametrize("octets", [4, 16])
def test_a_standby_takes_over_when_the_port_of_the_primary_goes(rig: Rig, octets: int) -> None:
    """And the routes stay: with the primary alone they would go with it."""

    async def scenario(session: Session) -> None:
        one, two = (HOP1, HOP2) if octets == 4 else (HOP61, HOP62)
        routes = bulk(300, 100, octets, 24 if octets == 4 else 48)
        protected = SetNextHopGroup(100, ((one.id, 1),), standby=two.id)
        await done(session, one, two, protected, routes)
        await session.cut(1)
        assert session.datapath.routes() == table(routes)
        assert session.datapath.groups() == {100: frozenset({two.id})}
        assert await failed(session, [protected]) == {0: ResultCode.BUSY}
        await session.mend(1)
        await done(session, one, protected)
        assert session.datapath.groups() == {100: frozenset({one.id, two.id})}
        assert session.datapath.routes() == table(routes)
        await session.cut(2)
        assert session.datapath.groups() == {100: frozenset({one.id})}
        await session.cut(1)
        assert (session.datapath.groups(), session.datapath.routes()) == ({}, {})
        assert await failed(session, [SetRoute(NET, 24, 100)]) == {0: ResultCode.BUSY}
        await done(session, DelRoute(NET, 24), DelNextHop(100))

    rig.play(scenario)


def test_an_ipv6_route_over_a_group_with_an_ipv4_next_hop_is_refused(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        wrong = {0: ResultCode.INVALID_PARAMETERS}
        await done(session, HOP1, HOP62, SetNextHopGroup(100, ((1, 1), (62, 1))))
        assert await failed(session, [bulk(1, 100, 16, 48)]) == wrong
        await done(session, SetNextHopGroup(100, ((62, 1),)), bulk(1, 100, 16, 48))
        assert await failed(session, [SetNextHopGroup(100, ((1, 1),))]) == wrong

    rig.play(scenario)
