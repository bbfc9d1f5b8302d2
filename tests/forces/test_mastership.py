"""Mastership by mode and policy, sentence by sentence of RFC 7121."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forces.errors import UsageError
from forces.mastership import CeStatus, HaMode, Mastership
from forces.mastership_actions import (
    Action,
    Associate,
    CancelCefti,
    Dial,
    Hangup,
    MasterLost,
    NewMaster,
    PrimaryCeChanged,
    PrimaryCeDown,
    RetryLater,
    StartCefti,
    StateChanged,
    StopForwarding,
)
from forces.mastership_table import IllegalTransition, State, Trigger


def associate(machine: Mastership, ce: int) -> list[Action]:
    return machine.trigger(Trigger.CONNECTED, ce) + machine.trigger(Trigger.ACCEPTED, ce)


def started(mode: HaMode, policy: int = 1, ces: Sequence[int] = (1, 2, 3)) -> Mastership:
    """Associated with CE 1; in hot standby with all."""
    machine = Mastership(ces, mode, policy)
    machine.start()
    associate(machine, ces[0])
    if machine.hot:
        for ce in ces[1:]:
            associate(machine, ce)
    return machine


def dialled(actions: list[Action]) -> list[int]:
    return [action.ce for action in actions if isinstance(action, Dial)]


def test_rfc7121_3_2_the_first_ce_of_all_ces_is_tried_first_then_the_second_and_round() -> None:
    machine = Mastership((1, 2, 3), HaMode.HOT, 1)
    order = dialled(machine.start())
    for _ in range(3):
        actions = machine.trigger(Trigger.CONNECT_FAILED, machine.ceid)
        order += dialled(actions)
    assert order == [1, 2, 3]
    assert actions == [RetryLater(1, standby=False)]
    assert dialled(machine.trigger(Trigger.RETRY_DUE, 1)) == [1]
    assert set(machine.status.values()) == {CeStatus.Unreachable}


def test_rfc7121_3_2_ceid_identifies_the_master_after_association() -> None:
    machine = Mastership((1, 2), HaMode.COLD, 1)
    machine.start()
    machine.trigger(Trigger.CONNECT_FAILED, 1)
    assert machine.trigger(Trigger.CONNECTED, 2) == [Associate(2)]
    actions = machine.trigger(Trigger.ACCEPTED, 2)
    assert machine.ceid == machine.master == 2
    assert machine.status == {1: CeStatus.Unreachable, 2: CeStatus.IsMaster}
    assert actions == [
        StateChanged(State.PRE_ASSOCIATION, State.ASSOCIATED, "association accepted"),
        NewMaster(2, 0),
        PrimaryCeDown(0),
        PrimaryCeChanged(2),
    ]


def test_rfc7121_2_1_1_cold_adds_the_primary_to_the_bottom_of_backup_ces() -> None:
    machine = started(HaMode.COLD)
    actions = machine.trigger(Trigger.LOST, 1, "tml", "abort")
    assert actions == [
        MasterLost(1, "tml", "abort"),
        StateChanged(State.ASSOCIATED, State.NOT_ASSOCIATED, "association lost"),
        Hangup(1, abort=True),
        StartCefti(),
        Dial(2),
    ]
    assert (machine.ceid, machine.backups, machine.last_ceid) == (2, [3, 1], 1)
    machine.trigger(Trigger.CONNECT_FAILED, 2)
    assert (machine.ceid, machine.backups) == (3, [1, 2])


def test_rfc7121_2_1_1_cold_round_robin_until_success_cancels_cefti() -> None:
    machine = started(HaMode.COLD)
    machine.trigger(Trigger.LOST, 1)
    machine.trigger(Trigger.CONNECT_FAILED, 2)
    machine.trigger(Trigger.CONNECTED, 3)
    actions = machine.trigger(Trigger.ACCEPTED, 3)
    assert CancelCefti() in actions
    assert actions[-2:] == [PrimaryCeDown(1), PrimaryCeChanged(3)]
    assert machine.state is State.ASSOCIATED


def test_rfc7121_2_1_1_cefti_expiry_stops_forwarding_and_goes_on_trying() -> None:
    machine = started(HaMode.COLD)
    machine.trigger(Trigger.LOST, 1)
    actions = machine.trigger(Trigger.CEFTI_EXPIRED)
    assert StopForwarding() in actions
    assert machine.state is State.PRE_ASSOCIATION
    assert PrimaryCeDown(1) in associate(machine, 2)


@pytest.mark.parametrize("mode", list(HaMode))
def test_rfc7121_2_1_1_policy_0_stops_forwarding_at_once(mode: HaMode) -> None:
    machine = started(mode, policy=0)
    actions = machine.trigger(Trigger.LOST, 1, "heartbeat")
    assert machine.state is State.PRE_ASSOCIATION
    assert StopForwarding() in actions
    assert StartCefti() not in actions


def test_rfc7121_3_2_hot_with_policy_0_keeps_no_standby() -> None:
    machine = Mastership((1, 2), HaMode.HOT, 0)
    machine.start()
    assert not dialled(associate(machine, 1))


def test_rfc7121_3_2_hot_associates_with_all_ces_after_the_master() -> None:
    machine = Mastership((1, 2, 3), HaMode.HOT, 1)
    machine.start()
    assert dialled(associate(machine, 1)) == [2, 3]
    associate(machine, 2)
    assert machine.status[2] is CeStatus.Associated
    assert machine.trigger(Trigger.CONNECT_FAILED, 3) == [RetryLater(3, standby=True)]
    assert machine.status[3] is CeStatus.Unreachable
    assert dialled(machine.trigger(Trigger.RETRY_DUE, 3)) == [3]


def test_rfc7121_3_2_hot_first_associated_ce_of_all_ces_takes_over_in_the_same_instant() -> None:
    machine = started(HaMode.HOT)
    actions = machine.trigger(Trigger.LOST, 1, "heartbeat", "silence")
    assert actions == [
        MasterLost(1, "heartbeat", "silence"),
        StateChanged(State.ASSOCIATED, State.NOT_ASSOCIATED, "association lost"),
        Hangup(1, abort=True),
        StartCefti(),
        StateChanged(State.NOT_ASSOCIATED, State.ASSOCIATED, "associated CE found"),
        CancelCefti(),
        NewMaster(2, 1),
        PrimaryCeDown(1),
        PrimaryCeChanged(2),
        RetryLater(1, standby=True),
    ]
    assert machine.backups == [1, 3]
    assert machine.status[1] is CeStatus.LostConnection


def test_rfc7121_3_2_hot_a_lost_master_that_returns_becomes_a_backup() -> None:
    machine = started(HaMode.HOT)
    machine.trigger(Trigger.LOST, 1)
    assert dialled(machine.trigger(Trigger.RETRY_DUE, 1)) == [1]
    associate(machine, 1)
    assert machine.master == 2
    assert machine.status[1] is CeStatus.Associated


def test_rfc7121_3_2_hot_without_standby_starts_with_the_first_of_all_ces() -> None:
    machine = started(HaMode.HOT)
    for ce in (2, 3):
        assert machine.trigger(Trigger.LOST, ce)[-1] == RetryLater(ce, standby=True)
    assert dialled(machine.trigger(Trigger.LOST, 1)) == [1]
    assert dialled(machine.trigger(Trigger.CONNECT_FAILED, 1)) == [2]
    assert machine.state is State.NOT_ASSOCIATED


def test_rfc7121_3_2_hot_a_standby_that_is_just_associating_becomes_the_master() -> None:
    machine = Mastership((1, 2), HaMode.HOT, 1)
    machine.start()
    associate(machine, 1)
    machine.trigger(Trigger.CONNECTED, 2)
    machine.trigger(Trigger.LOST, 1)
    assert NewMaster(2, 1) in machine.trigger(Trigger.ACCEPTED, 2)


def test_no_ha_knows_one_ce_and_keeps_trying_it() -> None:
    machine = started(HaMode.NONE)
    assert machine.all_ces == (1,)
    assert dialled(machine.trigger(Trigger.LOST, 1)) == [1]
    assert machine.trigger(Trigger.CONNECT_FAILED, 1) == [RetryLater(1, standby=False)]
    assert dialled(machine.trigger(Trigger.RETRY_DUE, 1)) == [1]
    assert associate(machine, 1)[-2:] == [PrimaryCeDown(1), PrimaryCeChanged(1)]


def test_rfc7121_3_1_ha_mode_set_to_none_stays_with_its_one_ce() -> None:
    machine = started(HaMode.HOT)
    machine.configure(mode=HaMode.NONE)
    assert dialled(machine.trigger(Trigger.LOST, 1)) == [1]
    assert machine.trigger(Trigger.CONNECT_FAILED, 1) == [RetryLater(1, standby=False)]
    assert machine.ceid == 1


def test_rfc7121_2_1_1_planned_switch_cold_disconnects_the_old_and_connects_to_the_new() -> None:
    machine = started(HaMode.COLD)
    actions = machine.trigger(Trigger.SET_CEID, 3, "planned")
    assert actions == [
        MasterLost(1, "planned", ""),
        StateChanged(State.ASSOCIATED, State.NOT_ASSOCIATED, "master changed by the CE"),
        Hangup(1, abort=False),
        StartCefti(),
        Dial(3),
    ]
    assert machine.backups == [2, 1]


def test_rfc7121_3_2_planned_switch_hot_is_immediate_and_keeps_the_old_master_as_backup() -> None:
    machine = started(HaMode.HOT)
    actions = machine.trigger(Trigger.SET_CEID, 3, "planned")
    assert machine.master == 3
    assert machine.status[1] is CeStatus.Associated
    assert actions[-2:] == [PrimaryCeDown(1), PrimaryCeChanged(3)]
    assert not [a for a in actions if isinstance(a, Hangup | Dial)]


def test_planned_switch_hot_to_an_unreachable_ce_falls_back_to_an_associated_one() -> None:
    machine = started(HaMode.HOT)
    machine.trigger(Trigger.LOST, 3)
    assert dialled(machine.trigger(Trigger.SET_CEID, 3, "planned")) == [3]
    assert machine.master is None
    machine.trigger(Trigger.CONNECT_FAILED, 3)
    assert machine.master == 1


def test_setting_ceid_to_the_present_master_is_a_confirmation() -> None:
    machine = started(HaMode.COLD)
    assert machine.trigger(Trigger.SET_CEID, 1) == []
    assert machine.master == 1


def test_teardown_by_the_master_counts_as_a_loss() -> None:
    machine = started(HaMode.HOT)
    actions = machine.trigger(Trigger.TEARDOWN, 1, "teardown")
    assert actions[0] == MasterLost(1, "teardown", "")
    assert Hangup(1, abort=False) in actions
    assert machine.master == 2


def test_ha_mode_set_to_cold_closes_the_standby_associations_and_back_opens_them() -> None:
    machine = started(HaMode.HOT)
    actions = machine.configure(mode=HaMode.COLD)
    assert actions == [Hangup(2, abort=False), Hangup(3, abort=False)]
    assert dialled(machine.configure(mode=HaMode.HOT)) == [2, 3]


def test_a_ce_that_is_not_in_all_ces_is_a_usage_error() -> None:
    machine = started(HaMode.COLD)
    with pytest.raises(UsageError, match="not in AllCEs"):
        machine.trigger(Trigger.SET_CEID, 9)
    with pytest.raises(UsageError, match="BackupCEs"):
        machine.set_backups([9])


TRIGGERS = [t for t in Trigger if t not in (Trigger.START, Trigger.FOUND)]


@settings(max_examples=300, deadline=None)
@given(
    mode=st.sampled_from(HaMode),
    policy=st.sampled_from((0, 1)),
    steps=st.lists(st.tuples(st.sampled_from(TRIGGERS), st.sampled_from((1, 2, 3))), max_size=40),
)
def test_whatever_happens_one_master_at_most_and_the_tables_agree(
    mode: HaMode, policy: int, steps: list[tuple[Trigger, int]]
) -> None:
    machine = Mastership((1, 2, 3), mode, policy)
    actions = machine.start()
    for trigger, ce in steps:
        if ce not in machine.status:
            continue
        try:
            taken = machine.trigger(trigger, ce)
        except IllegalTransition:
            taken = []
        actions += taken
        masters = [ce for ce, s in machine.status.items() if s is CeStatus.IsMaster]
        assert len(masters) <= 1
        assert masters == ([machine.ceid] if machine.state is State.ASSOCIATED else [])
        assert sorted([machine.ceid, *machine.backups]) == sorted(machine.all_ces)
        assert taken.count(StopForwarding()) <= 1
    downs = sum(isinstance(a, PrimaryCeDown) for a in actions)
    changes = sum(isinstance(a, PrimaryCeChanged) for a in actions)
    assert downs == changes == sum(isinstance(a, NewMaster) for a in actions)
