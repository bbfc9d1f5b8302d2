"""Which CE an FE obeys: RFC 7121 sections 2.1 (cold standby) and 3.2 (hot standby).

`Mastership` holds what FEPO shows of it (CEID, LastCEID, BackupCEs, the CEStatus column of AllCEs)
and drives the table of `forces.mastership_table`. It is told what happened and returns what to do
(`forces.mastership_actions`); it knows no clock, no transport and no message.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from forces.errors import UsageError
from forces.mastership_actions import (
    Action,
    Associate,
    CancelCefti,
    CancelRetry,
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
from forces.mastership_table import (
    BY_PAIR,
    Condition,
    Illegal,
    IllegalTransition,
    Rule,
    State,
    Step,
    Trigger,
)


class HaMode(IntEnum):
    """FEPO.HAMode (RFC 7121 section 3.1)."""

    NONE = 0
    COLD = 1
    HOT = 2


class CeStatus(IntEnum):
    """FEPO.AllCEs.CEStatus, under the names of RFC 7121 Appendix A."""

    Disconnected = 0
    Connected = 1
    Associated = 2
    IsMaster = 3
    LostConnection = 4
    Unreachable = 5


_UP = (CeStatus.Connected, CeStatus.Associated, CeStatus.IsMaster)


class Mastership:
    """`trigger(...)` with what happened returns the actions, in the order to take them."""

    def __init__(self, ces: Sequence[int], mode: HaMode, policy: int) -> None:
        """`ces` is AllCEs in its order. Without HA an FE knows the first alone."""
        if not ces or len(set(ces)) != len(ces) or 0 in ces:
            raise UsageError("AllCEs needs at least one CE, each once, none with ID 0")
        self.mode = mode
        self.policy = policy
        self.all_ces = tuple(ces[:1] if mode is HaMode.NONE else ces)
        self.state = State.PRE_ASSOCIATION
        self.status = dict.fromkeys(self.all_ces, CeStatus.Disconnected)
        self.ceid = self.all_ces[0]
        self.last_ceid = 0
        self.backups = list(self.all_ces[1:])
        self._dialling: set[int] = set()
        self._tried = 0
        self._waiting: set[int] = set()
        self._actions: list[Action] = []

    @property
    def hot(self) -> bool:
        """RFC 7121 section 3.2: standby associations are kept with HAMode 2 and policy 1."""
        return self.mode is HaMode.HOT and self.policy == 1

    @property
    def master(self) -> int | None:
        return self.ceid if self.state is State.ASSOCIATED else None

    @property
    def associated(self) -> tuple[int, ...]:
        """In AllCEs order, the master among them."""
        held = (CeStatus.Associated, CeStatus.IsMaster)
        return tuple(ce for ce in self.all_ces if self.status[ce] in held)

    def start(self) -> list[Action]:
        return self._run(Trigger.START, self.ceid, "", "")

    def trigger(
        self, trigger: Trigger, ce: int | None = None, source: str = "", cause: str = ""
    ) -> list[Action]:
        """`ce`: whom it is about (SET_CEID: the new master). `source` and `cause` of a loss are
        handed through to `MasterLost`. Raises IllegalTransition, and UsageError for a CE that is
        not in AllCEs."""
        if trigger in (Trigger.START, Trigger.FOUND):
            raise UsageError(f"{trigger.value!r} is not raised from outside")
        about = self.ceid if ce is None else ce
        if about not in self.status:
            raise UsageError(f"CE 0x{about:08x} is not in AllCEs")
        return self._run(trigger, about, source, cause)

    def configure(self, mode: HaMode | None = None, policy: int | None = None) -> list[Action]:
        """FEPO.HAMode or CEFailoverPolicy was SET."""
        if mode is not None:
            self.mode = mode
        if policy is not None:
            self.policy = policy
        return self._run(Trigger.CONFIGURED, self.ceid, "", "")

    def set_backups(self, backups: Sequence[int]) -> None:
        """FEPO.BackupCEs was SET: the order in which a cold FE goes round."""
        if not set(backups) <= set(self.status) - {self.ceid}:
            raise UsageError("BackupCEs may hold CEs of AllCEs only, and not the primary")
        self.backups = list(dict.fromkeys(backups))

    def _run(self, trigger: Trigger, ce: int, source: str, cause: str) -> list[Action]:
        self._fire(trigger, ce, source, cause)
        actions, self._actions = self._actions, []
        return actions

    def _fire(self, trigger: Trigger, ce: int, source: str = "", cause: str = "") -> None:
        rules = BY_PAIR[self.state, trigger]
        if not rules:
            raise IllegalTransition(self.state, trigger, Illegal.PAIR)
        rule = next((rule for rule in rules if self._holds(rule.condition, ce)), None)
        if rule is None:
            raise IllegalTransition(self.state, trigger, Illegal.CONDITION)
        self._apply(rule, ce, source or trigger.value, cause)

    def _holds(self, condition: Condition, ce: int) -> bool:
        primary = ce == self.ceid
        match condition:
            case Condition.ALWAYS:
                return True
            case Condition.HOT:
                return self.hot
            case Condition.HOT_OTHER:
                return self.hot and not primary
            case Condition.NOT_HOT:
                return not self.hot
            case Condition.OTHER:
                return not primary
            case Condition.PRIMARY | Condition.SAME:
                return primary
            case Condition.PRIMARY_POLICY_0:
                return primary and self.policy == 0
            case Condition.PRIMARY_POLICY_1:
                return primary and self.policy == 1
            case Condition.NEW_POLICY_0:
                return not primary and self.policy == 0
            case Condition.NEW_POLICY_1:
                return not primary and self.policy == 1

    def _apply(self, rule: Rule, ce: int, source: str, cause: str) -> None:
        if rule.trigger in (Trigger.CONNECTED, Trigger.CONNECT_FAILED):
            self._dialling.discard(ce)
        if rule.trigger is Trigger.RETRY_DUE:
            self._waiting.discard(ce)
        if rule.state is not rule.next:
            if Step.RETIRE in rule.steps or Step.HAND_OVER in rule.steps:
                self._do(MasterLost(self.ceid, source, cause))
            self.state = rule.next
            self._do(StateChanged(rule.state, rule.next, rule.trigger.value))
        for step in rule.steps:
            self._step(step, rule.trigger, ce)

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _step(self, step: Step, trigger: Trigger, ce: int) -> None:
        match step:
            case Step.DIAL:
                self._tried += 1
                self._dial(self.ceid)
            case Step.DIAL_THAT:
                self._dial(ce)
            case Step.ASSOCIATE:
                self.status[ce] = CeStatus.Connected
                self._do(Associate(ce))
            case Step.STAND_BY:
                self.status[ce] = CeStatus.Associated
            case Step.MARK_FAILED:
                self._let_go(ce, CeStatus.Unreachable, trigger)
            case Step.MARK_LOST:
                held = self.status[ce] is CeStatus.Associated
                lost = CeStatus.LostConnection if held else CeStatus.Unreachable
                self._let_go(ce, lost, trigger)
            case Step.RETRY_LATER:
                if self.hot:
                    self._retry(ce, standby=True)
            case Step.RETIRE:
                self._let_go(self.ceid, CeStatus.LostConnection, trigger)
                self.last_ceid = self.ceid
                self._tried = 0
            case Step.HAND_OVER:
                self._hand_over(ce)
            case Step.STOP_FORWARDING:
                self._do(StopForwarding())
            case Step.START_CEFTI:
                self._do(StartCefti())
            case Step.CANCEL_CEFTI:
                self._do(CancelCefti())
            case Step.SEEK_FIRST:
                self._seek(self.all_ces[0] if self.mode is HaMode.HOT else self._rotated())
            case Step.SEEK_NEXT:
                self._seek(self._after() if self.mode is HaMode.HOT else self._rotated())
            case Step.SEEK_NAMED:
                self._seek_named()
            case Step.ADOPT:
                self._adopt(ce)
            case Step.ISSUE_PRIMARY_CE_DOWN:
                self._do(PrimaryCeDown(self.last_ceid))
            case Step.ISSUE_PRIMARY_CE_CHANGED:
                self._do(PrimaryCeChanged(self.ceid))
            case Step.GATHER:
                self._gather()
            case Step.DISBAND:
                self._disband()

    def _dial(self, ce: int) -> None:
        if ce in self._waiting:
            self._waiting.discard(ce)
            self._do(CancelRetry(ce))
        if ce not in self._dialling and self.status[ce] not in _UP:
            self._dialling.add(ce)
            self._do(Dial(ce))

    def _retry(self, ce: int, standby: bool) -> None:
        self._waiting.add(ce)
        self._do(RetryLater(ce, standby))

    def _let_go(self, ce: int, status: CeStatus, trigger: Trigger) -> None:
        """What is left of the connection is closed: a lost CE may be asleep only, and must learn
        when it wakes that the FE is no longer its own."""
        if self.status[ce] in _UP:
            self._do(Hangup(ce, abort=trigger is not Trigger.TEARDOWN))
        self.status[ce] = status

    def _name(self, ce: int) -> None:
        """CEID = ce; BackupCEs keeps the others, a dismissed primary at its end (2.1.1)."""
        others = [other for other in self.backups if other != ce]
        if self.ceid != ce and self.ceid not in others:
            others.append(self.ceid)
        self.ceid = ce
        if self.mode is HaMode.HOT:
            others = [other for other in self.all_ces if other in others]
        self.backups = others

    def _rotated(self) -> int:
        """Cold: the first of BackupCEs; the old primary goes to its end. Without HA there is no
        other."""
        alone = self.mode is HaMode.NONE or not self.backups
        return self.ceid if alone else self.backups[0]

    def _after(self) -> int:
        """Hot: the next in the order of AllCEs."""
        return self.all_ces[(self.all_ces.index(self.ceid) + 1) % len(self.all_ces)]

    def _seek(self, candidate: int) -> None:
        standby = next(iter(self.associated), None)
        if standby is not None:
            self._fire(Trigger.FOUND, standby)
            return
        self._name(candidate)
        if self._tried < (1 if self.mode is HaMode.NONE else len(self.all_ces)):
            self._tried += 1
            self._dial(candidate)
        else:
            self._tried = 0
            self._retry(candidate, standby=False)

    def _hand_over(self, new: int) -> None:
        old = self.ceid
        self.last_ceid = old
        self._tried = 0
        if self.hot:
            self.status[old] = CeStatus.Associated
        else:
            self.status[old] = CeStatus.Disconnected
            self._do(Hangup(old, abort=False))
        self._name(new)

    def _seek_named(self) -> None:
        if self.status[self.ceid] is CeStatus.Associated:
            self._fire(Trigger.FOUND, self.ceid)
        else:
            self._tried = 1
            self._dial(self.ceid)

    def _adopt(self, ce: int) -> None:
        self._name(ce)
        self.status[ce] = CeStatus.IsMaster
        self._tried = 0
        for other in sorted(self._waiting):
            self._do(CancelRetry(other))
        self._waiting.clear()
        if not self.hot:
            self._disband()
        self._do(NewMaster(ce, self.last_ceid))

    def _gather(self) -> None:
        """RFC 7121 section 3.2: the FE MUST attempt to associate with every CE it knows. Those
        that just failed are left alone for a while."""
        if not self.hot:
            return
        for ce in self.all_ces:
            status = self.status[ce]
            if ce in self._dialling or ce in self._waiting or status in _UP:
                continue
            if status is CeStatus.Disconnected:
                self._dial(ce)
            else:
                self._retry(ce, standby=True)

    def _disband(self) -> None:
        """Cold: an FE is associated to one CE at a time (section 2.1)."""
        for ce in self.all_ces:
            if ce == self.ceid:
                continue
            if ce in self._waiting:
                self._waiting.discard(ce)
                self._do(CancelRetry(ce))
            if ce in self._dialling or self.status[ce] in _UP:
                self._dialling.discard(ce)
                self.status[ce] = CeStatus.Disconnected
                self._do(Hangup(ce, abort=False))
