"""Two-phase commit (RFC 5810 section 4.3.1.2) and the execution modes (4.3.1.1), by clause: an FE
alone, and several live FE cores driven by the CE's coordinator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ce.exchange import Exchange
from ce.transaction import Phase, Transaction
from fe_datapath.datapath import SetNextHop, SetRoute
from forces.association import Association
from forces.effects import Effect, Send
from forces.errors import ResultCode
from forces.events import LossCause, PeerLost
from forces.header import Ack, ExecMode, Flags, Header, MessageType, TransPhase
from forces.messages import PRIORITY, LfbSelect, Message, Operation, OperType
from forces.paths import Result
from tests.conformance.fe_rig import (
    CE1,
    CONFIG,
    FEPO,
    HOPS,
    LPM,
    FeRig,
    codes,
    lfb,
    operation,
    packed,
    path,
    set_hop,
    set_prefix,
)
from tests.conformance.rig import MS

OK, FAILED = ResultCode.SUCCESS, ResultCode.UNSPECIFIED_ERROR
SOT, MOT, EOT, ABT = TransPhase.SOT, TransPhase.MOT, TransPhase.EOT, TransPhase.ABT
COMMIT = lfb(FEPO, operation(OperType.COMMIT))
TRCOMP = lfb(FEPO, operation(OperType.TRCOMP))


@pytest.fixture
def rig() -> FeRig:
    rig = FeRig()
    rig.associate()
    return rig


def results(
    rig: FeRig, *selects: LfbSelect, phase: TransPhase | None = None, **more: Any
) -> list[int]:
    response = rig.config(*selects, phase=phase, **more)
    assert response is not None
    return codes(response)


# One FE


def test_rfc5810_4_3_1_2_2_sot_and_mot_are_validated_and_not_executed(rig: FeRig) -> None:
    before = rig.picture()
    assert results(rig, set_hop(1), phase=SOT) == [OK]
    assert rig.picture() == before
    # a later message builds on an earlier one: the prefix needs the next hop
    assert results(rig, set_prefix(1, "20.0.0.0"), phase=MOT) == [OK]
    assert rig.picture() == before
    assert rig.get("IPv4NextHop", "IPv4NextHopTable") == {}


def test_rfc5810_4_3_1_2_2_eot_with_commit_executes_all_and_is_answered(rig: FeRig) -> None:
    results(rig, set_hop(1), phase=SOT)
    results(rig, set_prefix(1, "20.0.0.0"), phase=MOT)
    response = rig.config(COMMIT, phase=EOT)
    assert response is not None
    (answer,) = response.lfbs[0].operations
    assert (answer.type, answer.result) == (OperType.COMMIT_RESPONSE, Result(OK))
    assert response.header.flags.transaction
    assert response.header.flags.phase is EOT
    assert rig.datapath.routes() == {(bytes((20, 0, 0, 0)), 24): 1}


def test_rfc5810_4_3_1_2_2_an_fe_does_not_answer_a_trcomp(rig: FeRig) -> None:
    results(rig, set_hop(1), phase=SOT)
    results(rig, COMMIT, phase=EOT)
    assert rig.config(TRCOMP, phase=EOT, ack=Ack.ALWAYS_ACK) is None
    assert rig.datapath.nexthops().keys() == {1}
    # nothing is left to roll back
    assert results(rig, COMMIT, phase=ABT) == [OK]
    assert rig.datapath.nexthops().keys() == {1}


def test_rfc5810_4_3_1_2_2_abt_before_the_commit_leaves_nothing(rig: FeRig) -> None:
    before = rig.picture()
    results(rig, set_hop(1), phase=SOT)
    assert results(rig, COMMIT, phase=ABT) == [OK]
    assert rig.picture() == before
    assert results(rig, COMMIT, phase=EOT) == [ResultCode.INVALID_FLAGS]


def test_rfc5810_4_3_1_2_2_abt_after_the_commit_rolls_back_the_datapath_too(rig: FeRig) -> None:
    results(rig, set_hop(1), set_prefix(1, "20.0.0.0"))
    before = rig.picture()
    results(rig, set_hop(2, 2, "10.1.1.2"), phase=SOT)
    results(rig, set_prefix(1, "20.0.0.0", 2), set_prefix(2, "20.0.1.0", 2), phase=MOT)
    results(rig, lfb(HOPS, operation(OperType.DEL, path(1, 1))), phase=MOT)
    assert results(rig, COMMIT, phase=EOT) == [OK]
    assert rig.datapath.nexthops().keys() == {2}
    assert results(rig, COMMIT, phase=ABT) == [OK]
    assert rig.picture() == before


def test_rfc5810_4_3_1_2_1_a_transaction_in_process_is_isolated(rig: FeRig) -> None:
    """Another Config sees, and changes, committed values only; the COMMIT then says if it still
    can be."""
    results(rig, set_hop(1), phase=SOT)
    assert results(rig, set_prefix(5, "20.0.5.0")) == [ResultCode.INVALID_PARAMETERS]
    assert results(rig, set_hop(9)) == [OK]
    assert results(rig, COMMIT, phase=EOT) == [OK]
    assert rig.datapath.nexthops().keys() == {1, 9}


def test_rfc5810_4_3_1_2_2_a_refused_message_makes_the_commit_fail(rig: FeRig) -> None:
    before = rig.picture()
    results(rig, set_hop(1), phase=SOT)
    assert results(rig, set_prefix(1, "20.0.0.0", 7), phase=MOT) == [ResultCode.INVALID_PARAMETERS]
    assert results(rig, COMMIT, phase=EOT) == [ResultCode.INVALID_OP]
    assert rig.picture() == before


def test_rfc5810_4_3_1_2_1_what_the_kernel_refuses_undoes_the_whole_commit(rig: FeRig) -> None:
    before = rig.picture()
    results(rig, set_hop(1), phase=SOT)
    results(rig, set_prefix(1, "20.0.0.0"), set_prefix(2, "20.0.1.0"), phase=MOT)
    rig.datapath.fail_next(SetRoute, ResultCode.MEMORY_ERROR)
    assert results(rig, COMMIT, phase=EOT) == [ResultCode.MEMORY_ERROR]
    assert rig.picture() == before


@pytest.mark.parametrize("mode", [ExecMode.UNTIL_FAILURE, ExecMode.CONTINUE_ON_FAILURE])
def test_rfc5810_4_3_1_2_2_another_execution_mode_is_a_transaction_failure(
    rig: FeRig, mode: ExecMode
) -> None:
    assert results(rig, set_hop(1), phase=SOT, mode=mode) == [ResultCode.INVALID_FLAGS]
    results(rig, set_hop(1), phase=SOT)
    assert results(rig, set_hop(2), phase=MOT, mode=mode) == [ResultCode.INVALID_FLAGS]
    assert results(rig, COMMIT, phase=EOT) == [ResultCode.INVALID_OP]


@pytest.mark.parametrize(
    ("selects", "phase", "code"),
    [
        ((set_hop(1),), MOT, ResultCode.INVALID_FLAGS),
        ((COMMIT,), EOT, ResultCode.INVALID_FLAGS),
        ((COMMIT,), None, ResultCode.INVALID_FLAGS),
        ((COMMIT,), SOT, ResultCode.INVALID_OP),
        ((set_hop(1),), EOT, ResultCode.INVALID_OP),
        ((set_hop(1),), ABT, ResultCode.INVALID_OP),
    ],
)
def test_rfc5810_4_3_1_2_2_a_phase_out_of_turn_is_refused(
    rig: FeRig, selects: tuple[LfbSelect, ...], phase: TransPhase | None, code: ResultCode
) -> None:
    before = rig.picture()
    assert results(rig, *selects, phase=phase) == [code]
    assert rig.picture() == before


def test_rfc5810_4_3_1_2_2_a_second_sot_is_refused_while_one_is_open(rig: FeRig) -> None:
    results(rig, set_hop(1), phase=SOT)
    assert results(rig, set_hop(2), phase=SOT) == [ResultCode.BUSY]
    assert results(rig, COMMIT, phase=EOT) == [OK]
    assert rig.datapath.nexthops().keys() == {1}


def test_rfc5810_4_3_1_2_3_a_lost_association_ends_what_was_not_committed(rig: FeRig) -> None:
    before = rig.picture()
    results(rig, set_hop(1), phase=SOT)
    rig.event(PeerLost(CE1, LossCause.ABORT))
    rig.fire_due(rig.now + 2 * CONFIG.connect_retry_ms * MS)
    assert rig.picture()[1:3] == before[1:3]
    assert len(rig.core.configs.two_phase) == 0


def test_a_transaction_has_a_limit(rig: FeRig) -> None:
    results(rig, set_hop(1), phase=SOT)
    for _ in range(63):
        assert results(rig, set_hop(1), phase=MOT) == [OK]
    assert results(rig, set_hop(1), phase=MOT) == [ResultCode.MEMORY_ERROR]


def test_rfc5810_4_3_1_2_2_a_rollback_that_the_tables_do_not_allow_any_more_says_so(
    rig: FeRig,
) -> None:
    """A stand-alone Config came between COMMIT and ABT and uses what the transaction made."""
    results(rig, set_hop(1), phase=SOT)
    results(rig, COMMIT, phase=EOT)
    results(rig, set_prefix(1, "20.0.0.0", 1))
    after = rig.picture()
    assert results(rig, COMMIT, phase=ABT) == [ResultCode.INVALID_PARAMETERS]
    assert rig.picture() == after


def test_a_subscription_of_a_transaction_is_made_by_its_commit(rig: FeRig) -> None:
    subscribe = lfb(3, operation(OperType.SET_PROP, path(60, 1, data=b"\0\0\0\1")))
    results(rig, subscribe, phase=SOT)
    assert rig.core.phys[1].registered == set()
    results(rig, COMMIT, phase=EOT)
    assert rig.core.phys[1].registered == {1}
    results(rig, COMMIT, phase=ABT)
    assert rig.core.phys[1].registered == set()


# Execution modes

THREE = (set_hop(1), set_prefix(1, "20.0.0.0", 7), set_prefix(2, "20.0.1.0", 1))
BAD = ResultCode.INVALID_PARAMETERS


@pytest.mark.parametrize(
    ("mode", "expected", "hops", "routes"),
    [
        (ExecMode.ALL_OR_NONE, [FAILED, BAD, FAILED], set(), 0),
        (ExecMode.UNTIL_FAILURE, [OK, BAD, FAILED], {1}, 0),
        (ExecMode.CONTINUE_ON_FAILURE, [OK, BAD, OK], {1}, 1),
        (ExecMode.RESERVED, [FAILED, BAD, FAILED], set(), 0),
    ],
)
def test_rfc5810_4_3_1_1_execution_modes(
    rig: FeRig, mode: ExecMode, expected: list[int], hops: set[int], routes: int
) -> None:
    assert results(rig, *THREE, mode=mode) == expected
    assert rig.datapath.nexthops().keys() == hops
    assert len(rig.datapath.routes()) == routes


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_6_1_ack_says_when_a_config_is_answered(
    rig: FeRig, ack: Ack, failing: bool
) -> None:
    selects = THREE if failing else (set_hop(1),)
    response = rig.config(*selects, ack=ack, mode=ExecMode.CONTINUE_ON_FAILURE)
    wanted = {
        Ack.NO_ACK: False,
        Ack.SUCCESS_ACK: not failing,
        Ack.FAILURE_ACK: failing,
        Ack.ALWAYS_ACK: True,
    }[ack]
    assert (response is not None) is wanted
    if response is not None and ack is Ack.FAILURE_ACK:
        assert codes(response) == [BAD], "only what has failed"


# Several FEs, driven by the CE


class Fabric:
    """Live FE cores and the CE's exchanges with them; `pump` carries messages to and fro."""

    def __init__(self, count: int = 3) -> None:
        self.out: list[Effect] = []
        self.now = 1_000 * MS
        self.fes: dict[int, FeRig] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.mute: set[int] = set()
        self.ended: list[Transaction] = []
        self.phases: list[TransPhase] = []
        for number in range(1, count + 1):
            rig = FeRig(id=number, name=f"fe{number}", ces=CONFIG.ces[:1], ha_mode=0)
            rig.associate()
            self.fes[number] = rig
            association = Association(CE1, number, self.now, None, None)
            self.exchanges[number] = Exchange(association, self.out)

    def transact(self, changes: dict[int, list[tuple[LfbSelect, ...]]]) -> Transaction:
        def end(one: Transaction, now: int) -> None:
            self.ended.append(one)

        transaction = Transaction(changes, self.exchanges, end)
        transaction.start(self.now)
        return transaction

    def pump(self, between: Callable[[Send], None] = lambda _: None) -> None:
        while self.out:
            effect = self.out.pop(0)
            assert isinstance(effect, Send)
            flags = effect.message.header.flags
            assert flags.transaction
            assert flags.ack is Ack.ALWAYS_ACK
            assert flags.mode is ExecMode.ALL_OR_NONE
            self.phases.append(flags.phase)
            between(effect)
            if effect.peer in self.mute:
                continue
            for answer in self.fes[effect.peer].receive(CE1, effect.message):
                self.exchanges[effect.peer].received(answer, self.now)

    def time_out(self) -> None:
        self.now += 3_000 * MS
        for exchange in self.exchanges.values():
            exchange.expire(self.now)

    def pictures(self) -> list[Any]:
        return [rig.picture() for rig in self.fes.values()]

    def hops(self) -> list[set[int]]:
        return [set(rig.datapath.nexthops()) for rig in self.fes.values()]


def two_messages(fabric: Fabric) -> dict[int, list[tuple[LfbSelect, ...]]]:
    return {fe: [(set_hop(1),), (set_prefix(1, "20.0.0.0"),)] for fe in fabric.fes}


def test_rfc5810_4_3_1_2_2_three_fes_commit_together() -> None:
    fabric = Fabric()
    transaction = fabric.transact(two_messages(fabric))
    fabric.pump()
    assert transaction.phase is Phase.COMMITTED
    assert fabric.ended == [transaction]
    assert fabric.hops() == [{1}, {1}, {1}]
    assert fabric.phases == [SOT, MOT] * 3 + [EOT] * 3 + [EOT] * 3
    assert all(len(rig.core.configs.two_phase) == 0 for rig in fabric.fes.values())


def test_rfc5810_4_3_1_2_2_a_refusal_of_one_fe_aborts_on_all() -> None:
    fabric = Fabric()
    before = fabric.pictures()
    changes = two_messages(fabric)
    changes[2][1] = (set_prefix(1, "20.0.0.0", 99),)
    transaction = fabric.transact(changes)
    fabric.pump()
    assert transaction.phase is Phase.ABORTED
    assert fabric.pictures() == before
    assert transaction.failures == {2: "LFB 10.1 path 1.1: result 0x10"}
    assert fabric.phases.count(ABT) == 3
    assert transaction.unconfirmed == set()


def test_rfc5810_4_3_1_2_2_a_commit_that_fails_in_one_datapath_is_rolled_back_on_all() -> None:
    fabric = Fabric()
    before = fabric.pictures()
    fabric.fes[3].datapath.fail_next(SetNextHop, ResultCode.MEMORY_ERROR)
    transaction = fabric.transact(two_messages(fabric))
    fabric.pump()
    assert transaction.phase is Phase.ABORTED
    assert set(transaction.failures) == {3}
    assert fabric.pictures() == before


@pytest.mark.parametrize("silent_from", [SOT, EOT])
def test_rfc5810_4_3_1_2_2_no_answer_within_the_timeout_aborts_on_all(
    silent_from: TransPhase,
) -> None:
    fabric = Fabric()
    before = fabric.pictures()

    def silence(effect: Send) -> None:
        if effect.peer == 2 and effect.message.header.flags.phase is silent_from:
            fabric.mute.add(2)

    transaction = fabric.transact(two_messages(fabric))
    fabric.pump(silence)
    assert transaction.phase in (Phase.VALIDATING, Phase.COMMITTING)
    fabric.time_out()
    assert transaction.phase is Phase.ABORTING
    fabric.pump()
    fabric.time_out()
    assert transaction.phase is Phase.ABORTED
    assert transaction.failures == {2: "no answer in time"}
    assert transaction.unconfirmed == {2}
    assert fabric.pictures()[0] == before[0]
    assert fabric.pictures()[2] == before[2]


def test_rfc5810_4_3_1_2_3_a_lost_fe_aborts_on_the_others() -> None:
    fabric = Fabric()
    before = fabric.pictures()
    transaction = fabric.transact(two_messages(fabric))
    fabric.mute.add(1)
    fabric.pump()
    fabric.exchanges[1].close(fabric.now)
    fabric.pump()
    fabric.exchanges[1].close(fabric.now)
    assert transaction.phase is Phase.ABORTED
    assert fabric.pictures() == before


def test_an_empty_or_endless_transaction_is_not_begun() -> None:
    fabric = Fabric(1)
    for changes in ({}, {1: []}, {1: [(set_hop(1),)] * 65}):
        with pytest.raises(ValueError, match="1 to 64 Configs"):
            fabric.transact(changes)
    assert fabric.out == []


def test_rfc5810_7_6_2_a_commit_response_without_a_path_is_read_by_the_ce() -> None:
    """Also one with a path, as Figure 31 draws it."""
    from ce.answers import all_failures

    kind = MessageType.CONFIG_RESPONSE
    header = Header(kind, 2, CE1, 1, Flags(priority=PRIORITY[kind]))
    bare = Operation(OperType.COMMIT_RESPONSE, result=Result(ResultCode.BUSY))
    drawn = operation(OperType.COMMIT_RESPONSE, path())
    assert all_failures(Message(header, (lfb(FEPO, bare),))) == {(FEPO, 1, ()): 0x1E}
    assert all_failures(Message(header, (lfb(LPM, drawn),))) == {}


def test_set_ceid_in_a_transaction_switches_on_its_commit_only() -> None:
    rig = FeRig()
    rig.associate(CE1)
    other = CONFIG.ces[1].id
    rig.associate(other)
    ceid = lfb(FEPO, operation(OperType.SET, packed("FEPO", "CEID", value=other)))
    results(rig, ceid, phase=SOT)
    assert rig.core.ha.master == CE1
    results(rig, COMMIT, phase=EOT)
    assert rig.core.ha.master == other
