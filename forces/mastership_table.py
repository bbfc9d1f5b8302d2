"""The HA state machine of an FE as one table: RFC 7121 Figure 3 (cold) and Figure 4 (hot).

The table says, for a state, a trigger and a condition, the next state and the steps to take; it
knows nothing of CEs. `forces.mastership` evaluates the conditions and carries the steps out. A
pair of state and trigger that the table does not have is an error that names both. The diagram in
docs/mastership.md is drawn from this table by `render`.

"Hot" in a condition is RFC 7121 section 3.2's: HAMode 2 *and* CEFailoverPolicy 1. With policy 0
an FE in HAMode 2 has no standby associations to fall back on, and follows the left side of the
figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from forces.errors import UsageError


class State(StrEnum):
    """RFC 7121 Figures 3 and 4."""

    PRE_ASSOCIATION = "pre-association"
    ASSOCIATED = "associated"
    NOT_ASSOCIATED = "not-associated"


class Trigger(StrEnum):
    """What can happen."""

    START = "start"
    CONNECTED = "connected"
    """The transport to a CE is up."""
    CONNECT_FAILED = "connect failed"
    ACCEPTED = "association accepted"
    REFUSED = "association refused"
    """The CE said no, or said nothing for too long."""
    LOST = "association lost"
    """By the transport's or the dead interval's word (which is the same: section 2.1.1)."""
    TEARDOWN = "teardown by the CE"
    SET_CEID = "master changed by the CE"
    CONFIGURED = "HA mode or policy set"
    FOUND = "associated CE found"
    """A standby CE is there at once. Raised by the machine itself, never from outside."""
    RETRY_DUE = "retry due"
    CEFTI_EXPIRED = "CEFTI expired"


class Condition(StrEnum):
    """What else must hold. The first rule of a pair whose condition holds is taken. "Primary" is
    the CE that FEPO.CEID names: the master, or the candidate while there is none."""

    ALWAYS = ""
    HOT = "hot"
    HOT_OTHER = "hot, another CE than the primary"
    NOT_HOT = "not hot"
    OTHER = "another CE than the primary"
    PRIMARY = "the primary"
    PRIMARY_POLICY_0 = "the primary, policy 0"
    PRIMARY_POLICY_1 = "the primary, policy 1"
    SAME = "names the present master"
    NEW_POLICY_0 = "another CE, policy 0"
    NEW_POLICY_1 = "another CE, policy 1"


class Step(StrEnum):
    """What is done on the way, in this order."""

    DIAL = "connect"
    """Connect to the CE that FEPO.CEID names, or wait for a connection that is under way."""
    DIAL_THAT = "connect to that CE"
    ASSOCIATE = "associate"
    """Send the AssociationSetup."""
    STAND_BY = "note it as a standby"
    MARK_FAILED = "mark it unreachable"
    MARK_LOST = "mark the connection lost"
    RETRY_LATER = "retry it later"
    RETIRE = "LastCEID = the lost master"
    HAND_OVER = "LastCEID = the old master, CEID = the new one"
    STOP_FORWARDING = "forwarding off, OperDisable"
    START_CEFTI = "start CEFTI"
    CANCEL_CEFTI = "cancel CEFTI"
    SEEK_FIRST = "find the first associated CE or connect to the first"
    SEEK_NEXT = "find an associated CE or connect to the next"
    SEEK_NAMED = "take or connect to the named CE"
    ADOPT = "CEID = that CE"
    ISSUE_PRIMARY_CE_DOWN = "issue PrimaryCEDown"
    ISSUE_PRIMARY_CE_CHANGED = "issue PrimaryCEChanged"
    GATHER = "hot: connect to all other CEs"
    DISBAND = "close all other associations"


@dataclass(frozen=True, slots=True)
class Rule:
    state: State
    trigger: Trigger
    condition: Condition
    next: State
    steps: tuple[Step, ...]


_TAKE_OFFICE = (
    Step.ADOPT,
    Step.ISSUE_PRIMARY_CE_DOWN,
    Step.ISSUE_PRIMARY_CE_CHANGED,
    Step.GATHER,
)
"""Figure 3 has only PrimaryCEDown because it is older than FEPO 1.1, which defines
PrimaryCEChanged for every mastership change; both are issued in every mode."""


def _seeking(state: State) -> tuple[Rule, ...]:
    """Rules of the two states without a master: any CE that accepts becomes the master."""
    adopt: tuple[Step, ...] = _TAKE_OFFICE
    if state is State.NOT_ASSOCIATED:
        adopt = (Step.CANCEL_CEFTI, *_TAKE_OFFICE)
    t, c, s = Trigger, Condition, Step
    failed = (s.MARK_FAILED, s.SEEK_NEXT)
    return (
        Rule(state, t.CONNECTED, c.ALWAYS, state, (s.ASSOCIATE,)),
        Rule(state, t.ACCEPTED, c.ALWAYS, State.ASSOCIATED, adopt),
        Rule(state, t.FOUND, c.ALWAYS, State.ASSOCIATED, adopt),
        Rule(state, t.CONNECT_FAILED, c.PRIMARY, state, failed),
        Rule(state, t.CONNECT_FAILED, c.OTHER, state, (s.MARK_FAILED,)),
        Rule(state, t.REFUSED, c.PRIMARY, state, failed),
        Rule(state, t.REFUSED, c.OTHER, state, (s.MARK_FAILED,)),
        Rule(state, t.LOST, c.PRIMARY, state, failed),
        Rule(state, t.LOST, c.OTHER, state, (s.MARK_LOST,)),
        Rule(state, t.TEARDOWN, c.PRIMARY, state, failed),
        Rule(state, t.TEARDOWN, c.OTHER, state, (s.MARK_LOST,)),
        Rule(state, t.RETRY_DUE, c.PRIMARY, state, (s.DIAL,)),
        Rule(state, t.RETRY_DUE, c.OTHER, state, ()),
        Rule(state, t.CONFIGURED, c.ALWAYS, state, ()),
    )


def _associated() -> tuple[Rule, ...]:
    here, pre, without = State.ASSOCIATED, State.PRE_ASSOCIATION, State.NOT_ASSOCIATED
    t, c, s = Trigger, Condition, Step
    stop = (s.RETIRE, s.STOP_FORWARDING, s.SEEK_FIRST)
    keep = (s.RETIRE, s.START_CEFTI, s.SEEK_FIRST)
    later = (s.MARK_FAILED, s.RETRY_LATER)
    back = (s.MARK_LOST, s.RETRY_LATER)
    return (
        Rule(here, t.CONNECTED, c.HOT_OTHER, here, (s.ASSOCIATE,)),
        Rule(here, t.ACCEPTED, c.HOT_OTHER, here, (s.STAND_BY,)),
        Rule(here, t.CONNECT_FAILED, c.HOT_OTHER, here, later),
        Rule(here, t.REFUSED, c.HOT_OTHER, here, later),
        Rule(here, t.RETRY_DUE, c.HOT_OTHER, here, (s.DIAL_THAT,)),
        Rule(here, t.LOST, c.OTHER, here, back),
        Rule(here, t.LOST, c.PRIMARY_POLICY_0, pre, stop),
        Rule(here, t.LOST, c.PRIMARY_POLICY_1, without, keep),
        Rule(here, t.TEARDOWN, c.OTHER, here, back),
        Rule(here, t.TEARDOWN, c.PRIMARY_POLICY_0, pre, stop),
        Rule(here, t.TEARDOWN, c.PRIMARY_POLICY_1, without, keep),
        Rule(here, t.SET_CEID, c.SAME, here, ()),
        Rule(here, t.SET_CEID, c.NEW_POLICY_0, pre, (s.HAND_OVER, s.STOP_FORWARDING, s.SEEK_NAMED)),
        Rule(here, t.SET_CEID, c.NEW_POLICY_1, without, (s.HAND_OVER, s.START_CEFTI, s.SEEK_NAMED)),
        Rule(here, t.CONFIGURED, c.HOT, here, (s.GATHER,)),
        Rule(here, t.CONFIGURED, c.NOT_HOT, here, (s.DISBAND,)),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        State.PRE_ASSOCIATION,
        Trigger.START,
        Condition.ALWAYS,
        State.PRE_ASSOCIATION,
        (Step.DIAL,),
    ),
    *_seeking(State.PRE_ASSOCIATION),
    *_associated(),
    *_seeking(State.NOT_ASSOCIATED),
    Rule(
        State.NOT_ASSOCIATED,
        Trigger.CEFTI_EXPIRED,
        Condition.ALWAYS,
        State.PRE_ASSOCIATION,
        (Step.STOP_FORWARDING,),
    ),
)

BY_PAIR: dict[tuple[State, Trigger], tuple[Rule, ...]] = {
    (state, trigger): tuple(r for r in RULES if r.state is state and r.trigger is trigger)
    for state in State
    for trigger in Trigger
}


class Illegal(Enum):
    """Why a trigger cannot be handled."""

    PAIR = "has no trigger"
    CONDITION = "has no rule, as things are, for trigger"


class IllegalTransition(UsageError):
    """A trigger that the state does not have, or not in this mode."""

    def __init__(self, state: State, trigger: Trigger, why: Illegal) -> None:
        super().__init__(f"state {state.value!r} {why.value} {trigger.value!r}")
        self.state = state
        self.trigger = trigger
        self.why = why


def render() -> str:
    """docs/mastership.md: the diagram (Mermaid) and the whole table."""
    lines = [
        "# Mastership",
        "",
        "The state machine of an FE (RFC 7121 Figures 3 and 4), drawn from the table in",
        "`forces/mastership_table.py`; a test compares this page with it.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> pre_association",
    ]
    for state in State:
        lines.append(f'    state "{state.value}" as {_ident(state)}')
    for rule in RULES:
        if rule.next is not rule.state:
            lines.append(f"    {_ident(rule.state)} --> {_ident(rule.next)}: {_label(rule)}")
    lines += ["```", "", "| state | trigger | if | next | steps |", "|---|---|---|---|---|"]
    for rule in RULES:
        steps = ", ".join(step.value for step in rule.steps) or "none"
        lines.append(
            f"| {rule.state.value} | {rule.trigger.value} | {rule.condition.value} "
            f"| {rule.next.value} | {steps} |"
        )
    return "\n".join(lines) + "\n"


def _ident(state: State) -> str:
    return state.value.replace("-", "_")


def _label(rule: Rule) -> str:
    condition = f" [{rule.condition.value}]" if rule.condition.value else ""
    return f"{rule.trigger.value}{condition}"
