"""IPv6UcastLPM, IPv6NextHop and Ext-ECMP (a vendor class) on the FE's core: what the datapath is
asked for, what is refused, and how a cut is repaired without a CE."""

from __future__ import annotations

from typing import Any

import pytest

from fe_datapath.datapath import Change, DelNextHop, SetNextHop, SetNextHopGroup, SetRoute
from fe_datapath.lfbs.family import IPV4, IPV6
from forces.effects import Effect, Program, Send
from forces.errors import ResultCode as C
from forces.messages import LfbSelect
from tests.fe_datapath.rig import (
    Rig,
    associated,
    codes,
    delete,
    hop,
    key,
    prefix,
    set_hop,
    set_prefix,
    set_value,
)

V4, V6 = 1, 2


def set_hop6(index: int, through: int) -> LfbSelect:
    gateway = bytes.fromhex(f"fe8000000000000000000000000000{through:02x}")
    row = hop(through) | {"NextHopIPAddr": gateway}
    return set_value("IPv6NextHop", "IPv6NextHopTable", index, value=row)


def prefix6(number: int, selector: int, ecmp: bool = False) -> dict[str, Any]:
    row = prefix(number, selector, 48) | {"ECMPFlag": ecmp}
    row["IPv6Address"] = bytes.fromhex("20010db8") + number.to_bytes(2) + bytes(10)
    del row["IPv4Address"]
    return row


def set_prefix6(index: int, row: dict[str, Any]) -> LfbSelect:
    return set_value("IPv6UcastLPM", "IPv6PrefixTable", index, value=row)


def group(*members: tuple[int, int, bool]) -> dict[str, Any]:
    rows = enumerate(members)
    return {"Members": {n: {"HopSelector": h, "Weight": w, "Backup": b} for n, (h, w, b) in rows}}


def set_group(index: int, row: dict[str, Any], instance: int = V4) -> LfbSelect:
    return set_value("Ext-ECMP", "GroupTable", index, value=row, instance=instance)


def ecmp(number: int, selector: int) -> dict[str, Any]:
    return prefix(number, selector) | {"ECMPFlag": True}


def programmed(effects: list[Effect]) -> list[Change]:
    return [change for e in effects if isinstance(e, Program) for change in e.changes]


def protected(instance: int = V4) -> Rig:
    """A prefix over a group of a primary on port 1 and a backup on port 2."""
    made = associated()
    hops = [set_hop(5, hop(1)), set_hop(6, hop(2))]
    if instance == V6:
        hops = [set_hop6(5, 1), set_hop6(6, 2)]
    members = set_group(9, group((5, 1, False), (6, 1, True)), instance)
    route = set_prefix(1, ecmp(1, 9)) if instance == V4 else set_prefix6(1, prefix6(1, 9, True))
    assert set(codes(made.config(*hops, members, route))) == {C.SUCCESS}
    return made


def test_ipv6_rows_are_routes_over_objects_of_their_own_numbers() -> None:
    made = associated()
    answer = made.config(
        set_hop(5, hop(1)),
        set_hop6(5, 2),
        set_prefix(1, prefix(1, 5)),
        set_prefix6(1, prefix6(1, 5)),
    )
    assert set(codes(answer)) == {C.SUCCESS}
    one, other = IPV4.hop_id(5), IPV6.hop_id(5)
    assert made.next_hops == {one: (1, "10.1.0.2"), other: (2, "fe80::2")}
    destination = bytes.fromhex("20010db80001") + bytes(10)
    assert made.routes == {key(1): one, (destination, 48): other}
    assert made.get("IPv6UcastLPM", "IPv6PrefixTable") == {1: prefix6(1, 5)}
    assert codes(made.config(delete("IPv6NextHop", 1, 5))) == [C.INVALID_PARAMETERS]
    assert set(codes(made.config(delete("IPv6UcastLPM", 1, 1), delete("IPv6NextHop", 1, 5)))) == {
        C.SUCCESS
    }
    assert (made.next_hops.keys(), made.routes.keys()) == ({one}, {key(1)})


def test_ipv6_host_bits_do_not_make_another_prefix() -> None:
    made = associated()
    made.config(set_hop6(5, 1), set_prefix6(1, prefix6(1, 5)))
    row = prefix6(1, 5)
    row["IPv6Address"] = row["IPv6Address"][:-1] + b"\1"
    assert codes(made.config(set_prefix6(2, row))) == [C.EXISTS]


@pytest.mark.parametrize("instance", [V4, V6])
def test_a_flagged_prefix_goes_over_the_group(instance: int) -> None:
    made = protected(instance)
    family = IPV4 if instance == V4 else IPV6
    wanted = SetNextHopGroup(family.group_id(9), ((family.hop_id(5), 1),), standby=family.hop_id(6))
    assert made.groups == {family.group_id(9): wanted}
    assert set(made.routes.values()) == {family.group_id(9)}


def test_several_members_share_by_weight() -> None:
    made = associated()
    made.config(set_hop(5, hop(1)), set_hop(6, hop(2)), set_hop(7, hop(2, 9)))
    answer = made.config(set_group(9, group((5, 1, False), (6, 3, False), (7, 1, True))))
    assert codes(answer) == [C.SUCCESS]
    wanted = SetNextHopGroup(IPV4.group_id(9), ((5, 1), (6, 3)), standby=7)
    assert made.groups == {IPV4.group_id(9): wanted}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (group(), C.INVALID_PARAMETERS),
        (group((5, 1, True)), C.INVALID_PARAMETERS),
        (group((5, 1, False), (5, 1, True)), C.INVALID_PARAMETERS),
        (group((77, 1, False)), C.INVALID_PARAMETERS),
        (group(*[(n, 1, False) for n in range(100, 133)]), C.MEMORY_ERROR),
        (group((5, 0, False)), C.VALUE_OUT_OF_RANGE),
    ],
)
def test_groups_that_cannot_be(row: dict[str, Any], code: C) -> None:
    made = associated()
    made.config(set_hop(5, hop(1)))
    assert codes(made.config(set_group(9, row))) == [code]
    assert made.groups == {}


def test_what_is_used_cannot_go() -> None:
    made = protected()
    for doomed in (delete("Ext-ECMP", 1, 9), delete("IPv4NextHop", 1, 6)):
        assert codes(made.config(doomed)) == [C.INVALID_PARAMETERS]
    assert codes(made.config(set_prefix(2, ecmp(2, 8)))) == [C.INVALID_PARAMETERS]
    doomed = [delete("IPv4UcastLPM", 1, 1), delete("Ext-ECMP", 1, 9), delete("IPv4NextHop", 1, 6)]
    assert set(codes(made.config(*doomed))) == {C.SUCCESS}
    assert (made.routes, made.groups, made.next_hops.keys()) == ({}, {}, {5})


def test_the_repair_is_one_change_and_goes_before_the_event() -> None:
    """DESIGN section 13, a link's failure."""
    made = protected()
    effects = made.link(1, False)
    over_the_backup = SetNextHopGroup(IPV4.group_id(9), ((6, 1),))
    assert programmed(effects) == [over_the_backup]
    reports = [n for n, e in enumerate(effects) if isinstance(e, Send)]
    repair = next(n for n, e in enumerate(effects) if isinstance(e, Program))
    assert all(repair < n for n in reports)
    assert made.routes == {key(1): IPV4.group_id(9)}
    effects = made.link(1, True)
    whole = SetNextHopGroup(IPV4.group_id(9), ((5, 1),), standby=6)
    assert programmed(effects) == [SetNextHop(5, 1, "10.1.0.2"), whole]
    assert made.groups == {IPV4.group_id(9): whole}


def test_a_group_without_any_port_comes_back_with_its_routes() -> None:
    made = protected()
    made.link(2, False)
    assert programmed(made.link(1, False)) == []
    assert (made.routes, made.groups, made.next_hops) == ({}, {}, {})
    assert codes(made.config(set_prefix(2, ecmp(2, 9)))) == [C.SUCCESS]
    effects = made.link(2, True)
    assert programmed(effects) == [
        SetNextHop(6, 2, "10.1.1.2"),
        SetNextHopGroup(IPV4.group_id(9), ((6, 1),)),
        SetRoute(*key(1), IPV4.group_id(9)),
        SetRoute(*key(2), IPV4.group_id(9)),
    ]


def test_a_member_is_taken_out_before_it_is_deleted() -> None:
    made = protected()
    answer = made.config(set_group(9, group((5, 1, False))), delete("IPv4NextHop", 1, 6))
    assert set(codes(answer)) == {C.SUCCESS}
    assert made.groups == {IPV4.group_id(9): SetNextHopGroup(IPV4.group_id(9), ((5, 1),))}
    assert made.next_hops.keys() == {5}


def test_a_refused_group_is_taken_back_with_everything() -> None:
    made = protected()
    before = dict(made.groups), dict(made.routes), dict(made.next_hops)
    made.refuse = lambda change: isinstance(change, SetNextHopGroup) and change.members == ((6, 2),)
    answer = made.config(
        set_hop(8, hop(1, 3)), set_group(9, group((6, 2, False))), set_prefix(2, ecmp(2, 9))
    )
    assert codes(answer) == [C.UNSPECIFIED_ERROR, C.MEMORY_ERROR, C.UNSPECIFIED_ERROR]
    assert (made.groups, made.routes, made.next_hops) == before
    made.refuse = lambda change: False
    assert codes(made.config(set_group(9, group((6, 2, False))))) == [C.SUCCESS]
    assert made.groups == {IPV4.group_id(9): SetNextHopGroup(IPV4.group_id(9), ((6, 2),))}


def test_all_state_goes_groups_before_members() -> None:
    made = protected()
    made.core.context.now = made.now
    made.core.stop_forwarding()
    deletions = [c.id for c in programmed(made.core.context.take()) if isinstance(c, DelNextHop)]
    assert deletions == [IPV4.group_id(9), 6, 5]
