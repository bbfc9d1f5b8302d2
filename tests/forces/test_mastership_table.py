"""Every state x trigger pair of RFC 7121 Figures 3 and 4, and the page drawn from the table."""

from pathlib import Path

import pytest

from forces.mastership import HaMode, Mastership
from forces.mastership_table import (
    BY_PAIR,
    RULES,
    Condition,
    IllegalTransition,
    State,
    Step,
    Trigger,
    render,
)

PRE, ASSOCIATED, WITHOUT = State.PRE_ASSOCIATION, State.ASSOCIATED, State.NOT_ASSOCIATED

NEXT_STATES = {
    (PRE, Trigger.START): {PRE},
    (PRE, Trigger.CONNECTED): {PRE},
    (PRE, Trigger.CONNECT_FAILED): {PRE},
    (PRE, Trigger.ACCEPTED): {ASSOCIATED},
    (PRE, Trigger.REFUSED): {PRE},
    (PRE, Trigger.LOST): {PRE},
    (PRE, Trigger.TEARDOWN): {PRE},
    (PRE, Trigger.FOUND): {ASSOCIATED},
    (PRE, Trigger.RETRY_DUE): {PRE},
    (PRE, Trigger.CONFIGURED): {PRE},
    (PRE, Trigger.SET_CEID): set(),
    (PRE, Trigger.CEFTI_EXPIRED): set(),
    (ASSOCIATED, Trigger.START): set(),
    (ASSOCIATED, Trigger.CONNECTED): {ASSOCIATED},
    (ASSOCIATED, Trigger.CONNECT_FAILED): {ASSOCIATED},
    (ASSOCIATED, Trigger.ACCEPTED): {ASSOCIATED},
    (ASSOCIATED, Trigger.REFUSED): {ASSOCIATED},
    (ASSOCIATED, Trigger.LOST): {ASSOCIATED, PRE, WITHOUT},
    (ASSOCIATED, Trigger.TEARDOWN): {ASSOCIATED, PRE, WITHOUT},
    (ASSOCIATED, Trigger.SET_CEID): {ASSOCIATED, PRE, WITHOUT},
    (ASSOCIATED, Trigger.FOUND): set(),
    (ASSOCIATED, Trigger.RETRY_DUE): {ASSOCIATED},
    (ASSOCIATED, Trigger.CONFIGURED): {ASSOCIATED},
    (ASSOCIATED, Trigger.CEFTI_EXPIRED): set(),
    (WITHOUT, Trigger.START): set(),
    (WITHOUT, Trigger.CONNECTED): {WITHOUT},
    (WITHOUT, Trigger.CONNECT_FAILED): {WITHOUT},
    (WITHOUT, Trigger.ACCEPTED): {ASSOCIATED},
    (WITHOUT, Trigger.REFUSED): {WITHOUT},
    (WITHOUT, Trigger.LOST): {WITHOUT},
    (WITHOUT, Trigger.TEARDOWN): {WITHOUT},
    (WITHOUT, Trigger.SET_CEID): set(),
    (WITHOUT, Trigger.FOUND): {ASSOCIATED},
    (WITHOUT, Trigger.RETRY_DUE): {WITHOUT},
    (WITHOUT, Trigger.CONFIGURED): {WITHOUT},
    (WITHOUT, Trigger.CEFTI_EXPIRED): {PRE},
}

PAIRS = [(state, trigger) for state in State for trigger in Trigger]


def test_every_pair_is_listed() -> None:
    assert set(NEXT_STATES) == set(PAIRS) == set(BY_PAIR)


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_rfc7121_figure_4_next_states(state: State, trigger: Trigger) -> None:
    assert {rule.next for rule in BY_PAIR[state, trigger]} == NEXT_STATES[state, trigger]


def _in_state(state: State) -> Mastership:
    machine = Mastership((1, 2, 3), HaMode.HOT, 1)
    machine.start()
    if state is not PRE:
        machine.trigger(Trigger.CONNECTED, 1)
        machine.trigger(Trigger.ACCEPTED, 1)
    if state is WITHOUT:
        machine.trigger(Trigger.LOST, 1)
    assert machine.state is state
    return machine


@pytest.mark.parametrize(
    ("state", "trigger"),
    [p for p in PAIRS if not NEXT_STATES[p] and p[1] not in (Trigger.START, Trigger.FOUND)],
)
def test_illegal_pair_raises_naming_state_and_trigger(state: State, trigger: Trigger) -> None:
    machine = _in_state(state)
    with pytest.raises(IllegalTransition) as caught:
        machine.trigger(trigger, 1)
    assert state.value in str(caught.value)
    assert trigger.value in str(caught.value)
    assert machine.state is state


@pytest.mark.parametrize(
    ("state", "trigger"),
    [p for p in PAIRS if NEXT_STATES[p] and p[1] not in (Trigger.START, Trigger.FOUND)],
)
@pytest.mark.parametrize("ce", [1, 2])
def test_legal_pair_leads_where_the_table_says(state: State, trigger: Trigger, ce: int) -> None:
    machine = _in_state(state)
    of_master = (Trigger.LOST, Trigger.TEARDOWN, Trigger.SET_CEID, Trigger.CONFIGURED)
    if state is ASSOCIATED and ce == 1 and trigger not in of_master:
        with pytest.raises(IllegalTransition, match="as things are"):
            machine.trigger(trigger, ce)
    else:
        machine.trigger(trigger, ce)
    assert machine.state in NEXT_STATES[state, trigger]


def test_start_twice_is_illegal_once_associated() -> None:
    with pytest.raises(IllegalTransition, match=r"'associated'.*'start'"):
        _in_state(ASSOCIATED).start()


def test_cold_has_no_standby_so_accepted_while_associated_is_illegal() -> None:
    machine = Mastership((1, 2), HaMode.COLD, 1)
    machine.start()
    machine.trigger(Trigger.CONNECTED, 1)
    machine.trigger(Trigger.ACCEPTED, 1)
    with pytest.raises(IllegalTransition, match="as things are"):
        machine.trigger(Trigger.ACCEPTED, 2)


def test_rfc7121_2_1_1_left_side_stops_forwarding_right_side_starts_cefti() -> None:
    for rule in RULES:
        if rule.state is ASSOCIATED and rule.next is PRE:
            assert Step.STOP_FORWARDING in rule.steps
            assert Step.START_CEFTI not in rule.steps
            assert rule.condition in (Condition.PRIMARY_POLICY_0, Condition.NEW_POLICY_0)
        if rule.next is WITHOUT and rule.state is ASSOCIATED:
            assert Step.START_CEFTI in rule.steps
            assert Step.STOP_FORWARDING not in rule.steps


def test_rfc7121_figures_3_and_4_each_way_into_associated_issues_the_events() -> None:
    for rule in RULES:
        if rule.next is ASSOCIATED and rule.state is not ASSOCIATED:
            down = rule.steps.index(Step.ISSUE_PRIMARY_CE_DOWN)
            changed = rule.steps.index(Step.ISSUE_PRIMARY_CE_CHANGED)
            assert down < changed
            assert (Step.CANCEL_CEFTI in rule.steps) == (rule.state is WITHOUT)


def test_the_documentation_is_drawn_from_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "mastership.md"
    assert page.read_text() == render(), "write forces.mastership_table.render() to the page"
