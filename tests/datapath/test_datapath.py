"""What any `Datapath` promises; every test runs on the fake and on a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fe_datapath.datapath import (
    Change,
    DelNextHop,
    DelRoute,
    Found,
    SetForwarding,
    SetNextHop,
    SetPort,
    SetRoute,
)
from fe_datapath.fake import FakeDatapath
from fe_datapath.linux.datapath import LinuxDatapath
from forces.errors import ResultCode
from tests.datapath.rigs import GATEWAYS, PORTS, Rig, Session

NET = bytes((20, 0, 0, 0))
NET6 = bytes.fromhex("20010db8000100000000000000000000")
HOP1 = SetNextHop(1, 1, GATEWAYS[1])
HOP2 = SetNextHop(2, 2, GATEWAYS[2])
HOP6 = SetNextHop(6, 1, "fe80::2")


def nets(count: int, nexthop: int, first: int = 20) -> list[Change]:
    return [SetRoute(bytes((first, n >> 8, n & 255, 0)), 24, nexthop) for n in range(count)]


async def done(session: Session, *changes: Change) -> None:
    assert await session.datapath.apply(changes, True) == []


async def failed(
    session: Session, changes: Sequence[Change], stop_on_failure: bool = True
) -> dict[int, ResultCode]:
    failures = await session.datapath.apply(changes, stop_on_failure)
    assert all(failure.reason for failure in failures)
    return {failure.index: failure.code for failure in failures}


def test_what_is_set_is_read_back(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(
            session, HOP1, HOP2, SetRoute(NET, 24, 1), SetRoute(NET, 8, 2), SetRoute(bytes(4), 0, 1)
        )
        assert session.datapath.nexthops() == {1: (1, "10.1.0.2"), 2: (2, "10.1.0.6")}
        assert session.datapath.routes() == {(NET, 24): 1, (NET, 8): 2, (bytes(4), 0): 1}

    rig.play(scenario)


def test_ipv6_too(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        on_link = SetNextHop(7, 2, "::")
        await done(session, HOP6, on_link, SetRoute(NET6, 48, 6), SetRoute(bytes(16), 0, 7))
        assert session.datapath.nexthops() == {6: (1, "fe80::2"), 7: (2, "::")}
        assert session.datapath.routes() == {(NET6, 48): 6, (bytes(16), 0): 7}
        await done(session, SetRoute(NET6, 48, 7), DelRoute(bytes(16), 0))
        assert session.datapath.routes() == {(NET6, 48): 7}

    rig.play(scenario)


def test_families_mix_only_one_way(rig: Rig) -> None:
    """IPv4 over an IPv6 next hop is RFC 5549; the other way round there is nothing."""

    async def scenario(session: Session) -> None:
        await done(session, HOP6, SetRoute(NET, 24, 6), SetRoute(NET6, 48, 6))
        refused = {0: ResultCode.INVALID_PARAMETERS}
        assert await failed(session, [replace(HOP1, id=6)]) == refused
        assert session.datapath.routes() == {(NET, 24): 6, (NET6, 48): 6}
        await done(session, DelRoute(NET6, 48), replace(HOP1, id=6))
        assert session.datapath.nexthops() == {6: (1, GATEWAYS[1])}

    rig.play(scenario)


def test_a_next_hop_on_the_link_itself(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, SetNextHop(9, 1, "0.0.0.0"), SetRoute(NET, 32, 9))
        assert session.datapath.nexthops() == {9: (1, "0.0.0.0")}

    rig.play(scenario)


def test_setting_what_is_already_so_is_no_error(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        everything = (
            HOP1,
            HOP6,
            SetRoute(NET, 24, 1),
            SetRoute(NET6, 48, 6),
            SetForwarding(True),
            SetPort(1, admin_up=True, mtu=1500, promiscuous=False),
        )
        await done(session, *everything)
        await done(session, *everything)
        assert session.datapath.routes() == {(NET, 24): 1, (NET6, 48): 6}
        assert session.links == []

    rig.play(scenario)


def test_deleting_what_is_not_there_is_no_error(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, DelRoute(NET, 24), DelRoute(NET6, 48), DelNextHop(1))
        await done(session, HOP1, SetRoute(NET, 24, 1), DelRoute(NET, 24), DelRoute(NET, 24))
        await done(session, DelNextHop(1), DelNextHop(1))
        assert session.datapath.nexthops() == {}

    rig.play(scenario)


def test_a_replaced_next_hop_takes_its_routes_along(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, *nets(300, 1))
        await done(session, SetNextHop(1, 2, GATEWAYS[2]))
        assert session.datapath.nexthops() == {1: (2, GATEWAYS[2])}
        assert len(session.datapath.routes()) == 300

    rig.play(scenario)


def test_many_routes_set_moved_and_deleted(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, *nets(2600, 1))
        assert set(session.datapath.routes().values()) == {1}
        await done(session, *nets(1300, 2))
        routes = session.datapath.routes()
        assert sorted(routes.values()) == [1] * 1300 + [2] * 1300
        await done(session, *(DelRoute(prefix, length) for prefix, length in routes))
        assert session.datapath.routes() == {}
        await done(session, DelNextHop(1), DelNextHop(2))

    rig.play(scenario)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (SetRoute(NET, 24, 99), ResultCode.INVALID_PARAMETERS),
        (SetRoute(NET, 24, 0), ResultCode.INVALID_PARAMETERS),
        (SetRoute(NET, 24, 1 << 32), ResultCode.INVALID_PARAMETERS),
        (SetRoute(NET, 33, 1), ResultCode.VALUE_OUT_OF_RANGE),
        (SetRoute(NET6, 129, 6), ResultCode.VALUE_OUT_OF_RANGE),
        (SetRoute(NET, -1, 1), ResultCode.VALUE_OUT_OF_RANGE),
        (SetRoute(bytes((20, 0, 0, 1)), 24, 1), ResultCode.INVALID_PARAMETERS),
        (SetRoute(NET6[:-1] + b"\1", 64, 6), ResultCode.INVALID_PARAMETERS),
        (SetRoute(b"\0\0\0", 24, 1), ResultCode.INVALID_PARAMETERS),
        (SetRoute(NET6, 48, 1), ResultCode.INVALID_PARAMETERS),  # IPv6 over an IPv4 next hop
        (DelRoute(NET, 33), ResultCode.VALUE_OUT_OF_RANGE),
        (DelRoute(bytes((20, 0, 0, 1)), 24), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 9, "10.1.0.2"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 1, "10.9.9.9"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 1, "10.1.0.3"), ResultCode.INVALID_PARAMETERS),  # the link's broadcast
        (SetNextHop(3, 1, "224.0.0.1"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 1, "169.254.0.1"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 1, "2001:db8::2"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(3, 1, "nowhere"), ResultCode.INVALID_PARAMETERS),
        (SetNextHop(0, 1, "10.1.0.2"), ResultCode.VALUE_OUT_OF_RANGE),
        (SetNextHop(1 << 32, 1, "10.1.0.2"), ResultCode.VALUE_OUT_OF_RANGE),
        (DelNextHop(1), ResultCode.BUSY),
        (SetPort(9, admin_up=True), ResultCode.NOT_FOUND),
        (SetPort(1, mtu=1), ResultCode.VALUE_OUT_OF_RANGE),
        (SetPort(1, mtu=1 << 20), ResultCode.VALUE_OUT_OF_RANGE),
        (SetPort(1, mtu=-1), ResultCode.VALUE_OUT_OF_RANGE),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    rig: Rig, change: Change, code: ResultCode
) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP6, SetRoute(bytes((21, 0, 0, 0)), 8, 1))
        before = session.datapath.routes(), session.datapath.nexthops(), ports(session)
        assert await failed(session, [change]) == {0: code}
        after = session.datapath.routes(), session.datapath.nexthops(), ports(session)
        assert after == before

    rig.play(scenario)


def ports(session: Session) -> list[object]:
    return [replace(state, counters={}) for state in session.datapath.ports().values()]


@pytest.mark.parametrize("at", [0, 1, 137, 248, 249, 250, 251, 500, 599])
@pytest.mark.parametrize(
    "bad", [SetRoute(NET, 24, 99), SetRoute(NET, 40, 1)], ids=["kernel", "itself"]
)
def test_stop_on_failure_leaves_what_was_before_and_nothing_after(
    rig: Rig, at: int, bad: Change
) -> None:
    """Wherever in a batch the failure is: the kernel carries on after it, we do not."""

    async def scenario(session: Session) -> None:
        old = [c for c in nets(600, 2, first=30)]
        await done(session, HOP1, HOP2, *old[:300])
        before = dict(session.datapath.routes())
        changes: list[Change] = []
        for n in range(200):  # a new route, a moved or new one, a deletion
            changes += [*nets(200, 1, first=40)[n : n + 1], replace(old[2 * n], nexthop=1)]
            changes.append(DelRoute(*key(old[2 * n + 1])))
        changes[at] = bad
        assert list(await failed(session, changes)) == [at]
        expected = before
        for change in changes[:at]:
            if isinstance(change, SetRoute):
                expected[key(change)] = change.nexthop
            else:
                expected.pop(key(change), None)
        assert session.datapath.routes() == expected

    rig.play(scenario)


def key(change: Change) -> tuple[bytes, int]:
    assert isinstance(change, SetRoute | DelRoute)
    return change.prefix, change.length


def test_without_stop_every_failure_is_named_and_the_rest_is_in_force(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        changes = [HOP1, *nets(700, 1)]
        wrong = {1, 2, 250, 251, 252, 500, 700}
        for index in wrong:
            changes[index] = replace(changes[index], nexthop=77)
        changes[300] = SetNextHop(5, 9, "10.1.0.2")
        changes[301] = replace(changes[301], length=99)
        assert set(await failed(session, changes, False)) == wrong | {300, 301}
        good = [c for c in changes if isinstance(c, SetRoute) and c.length == 24 and c.nexthop == 1]
        assert session.datapath.routes() == {key(change): 1 for change in good}

    rig.play(scenario)


def test_a_next_hop_in_use_is_not_deleted_until_its_routes_are_gone(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, SetRoute(NET, 24, 1), SetRoute(NET, 16, 1))
        assert await failed(session, [DelNextHop(1)]) == {0: ResultCode.BUSY}
        await done(session, DelRoute(NET, 24), SetRoute(NET, 16, 2), DelNextHop(1))
        assert session.datapath.nexthops() == {2: (2, GATEWAYS[2])}
        assert session.datapath.routes() == {(NET, 16): 2}

    rig.play(scenario)


def test_carrier_loss_drops_the_ports_next_hops_and_their_routes_silently(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, *nets(20, 1), *nets(10, 2, first=30))
        await session.cut(1)
        assert session.datapath.nexthops() == {2: (2, GATEWAYS[2])}
        assert session.datapath.routes() == {key(c): 2 for c in nets(10, 2, first=30)}
        await session.mend(1)
        assert len(session.datapath.routes()) == 10, "nothing comes back by itself"

    rig.play(scenario)


def test_what_the_kernel_dropped_can_be_deleted_and_set_again(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, *nets(20, 1))
        await session.cut(1)
        await done(session, *(DelRoute(*key(c)) for c in nets(20, 1)), DelNextHop(1))
        await session.mend(1)
        await done(session, HOP1, *nets(20, 1))
        assert len(session.datapath.routes()) == 20
        await session.cut(1)
        await session.mend(1)
        await done(session, HOP1, *nets(20, 1))
        assert len(session.datapath.routes()) == 20
        assert await failed(session, [DelNextHop(1)]) == {0: ResultCode.BUSY}

    rig.play(scenario)


def test_over_a_port_without_carrier_the_answer_is_busy(rig: Rig) -> None:
    """BUSY: not now. What never was is refused as a wrong parameter."""

    async def scenario(session: Session) -> None:
        await done(session, HOP1)
        await session.cut(1)
        assert await failed(session, [SetNextHop(3, 1, GATEWAYS[1])]) == {0: ResultCode.BUSY}
        assert await failed(session, [HOP1]) == {0: ResultCode.BUSY}
        assert await failed(session, [SetRoute(NET, 24, 1)]) == {0: ResultCode.BUSY}
        refused = {0: ResultCode.INVALID_PARAMETERS}
        assert await failed(session, [SetRoute(NET, 24, 3)]) == refused
        await done(session, DelNextHop(1))
        assert await failed(session, [SetRoute(NET, 24, 1)]) == refused

    rig.play(scenario)


def test_a_next_hop_that_cannot_move_stays_where_it_is(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, *nets(5, 1))
        await session.cut(2)
        assert await failed(session, [replace(HOP2, id=1)]) == {0: ResultCode.BUSY}
        assert session.datapath.nexthops() == {1: (1, GATEWAYS[1])}
        assert len(session.datapath.routes()) == 5

    rig.play(scenario)


def test_taking_back_after_a_carrier_loss_brings_no_dropped_route_back(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, SetRoute(NET, 24, 1))
        await session.cut(1)
        await session.mend(1)
        await done(session, HOP1)
        changes = [SetRoute(NET, 8, 99), SetRoute(NET, 24, 2)]
        assert list(await failed(session, changes)) == [0]
        assert session.datapath.routes() == {}

    rig.play(scenario)


def test_a_carrier_change_is_told_once(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        for _ in range(5):
            await session.cut(1)
            await session.mend(1)
        await session.cut(2)
        told = [(state.port, state.carrier) for state, _ in session.links]
        assert told == [(1, False), (1, True)] * 5 + [(2, False)]
        stamps = [at_ns for _, at_ns in session.links]
        assert stamps == sorted(stamps)

    rig.play(scenario)


def test_admin_down_is_carrier_loss_and_told_once(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, *nets(5, 1), SetRoute(NET, 8, 2))
        await done(session, SetPort(1, admin_up=False))
        await session.until(lambda: len(session.links) >= 1)
        assert session.datapath.routes() == {(NET, 8): 2}
        assert await failed(session, [HOP1]) == {0: ResultCode.BUSY}
        assert await failed(session, nets(1, 1)) == {0: ResultCode.BUSY}
        await done(session, SetPort(1, admin_up=True))
        await session.until(lambda: session.datapath.ports()[1].carrier)
        await done(session, HOP1, *nets(5, 1))
        await session.until(lambda: len(session.links) >= 2)
        assert [(s.port, s.admin_up, s.carrier) for s, _ in session.links] == [
            (1, False, False),
            (1, True, True),
        ]

    rig.play(scenario)


def test_the_state_of_a_port(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        state = session.datapath.ports()[2]
        assert (state.port, state.name) == (2, "fe-eth2")
        assert state.admin_up
        assert state.carrier
        assert (state.speed_mbit, state.full_duplex) == (10_000, True)
        assert (state.mtu, len(state.mac), state.promiscuous) == (1500, 6, False)
        assert set(state.counters) == {"rx_packets", "rx_dropped", "tx_packets", "tx_dropped"}
        await done(session, SetPort(2, mtu=1400, promiscuous=True))
        state = session.datapath.ports()[2]
        assert (state.mtu, state.promiscuous, state.admin_up) == (1400, True, True)
        await done(session, SetPort(2, promiscuous=False))
        assert session.datapath.ports()[2].promiscuous is False
        assert session.datapath.ports()[2].mtu == 1400

    rig.play(scenario)


def test_a_start_finds_what_an_earlier_process_left_and_can_go_on_with_it(rig: Rig) -> None:
    routes = {(r.prefix, r.length) for r in nets(500, 1) if isinstance(r, SetRoute)} | {(NET6, 48)}

    async def first(session: Session) -> None:
        assert session.datapath.found() == Found()
        await done(session, HOP1, HOP6, *nets(500, 1), SetRoute(NET6, 48, 6), SetForwarding(True))

    async def second(session: Session) -> None:
        found = session.datapath.found()
        assert found == Found(True, frozenset(routes), frozenset((1, 6)))
        assert session.datapath.routes().keys() == routes
        (busy,) = await session.datapath.apply([DelNextHop(1)], True)
        assert busy.code == ResultCode.BUSY, "it knows who uses it"
        await done(session, HOP1, *nets(3, 1))
        await done(session, *(DelRoute(*key) for key in sorted(routes)), DelNextHop(1))
        await done(session, SetForwarding(False))

    async def third(session: Session) -> None:
        assert session.datapath.found() == Found(False, frozenset(), frozenset((6,)))

    rig.play(first)
    rig.play(second)
    rig.play(third)


def test_what_the_kernel_dropped_while_no_process_was_there_is_not_found(rig: Rig) -> None:
    async def first(session: Session) -> None:
        await done(session, HOP1, HOP2, *nets(3, 1), SetRoute(NET6[:4], 32, 2))
        await session.cut(1)

    async def second(session: Session) -> None:
        assert session.datapath.found().nexthops == frozenset((2,))
        assert session.datapath.found().routes == {(NET6[:4], 32)}

    rig.play(first)
    rig.play(second)


def test_a_second_fe_beside_a_living_one_is_refused(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        other = type(session.datapath)
        second = session.datapath if other is FakeDatapath else LinuxDatapath(PORTS)
        with pytest.raises(OSError, match="another FE lives"):
            await second.start(session.heard)
        await done(session, HOP1)

    rig.play(scenario)
