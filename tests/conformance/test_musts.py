"""MUSTs that no other test was about, and the table of all of them (docs/conformance.md)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from forces.channels import CHANNEL_OF, Channel
from forces.errors import ResultCode
from forces.events import PeerUp
from forces.header import Ack, Flags, Header, MessageType
from forces.io.tml import TmlConfig
from forces.messages import (
    LfbSelect,
    Message,
    Operation,
    OperType,
    SetupResult,
    flags_for,
)
from forces.paths import ExtendedResult, FullData, PathData, Result, SparseData
from forces.wire import encode
from tests.conformance.ce_rig import FE1, CeRig
from tests.conformance.ce_rig import MS as CE_MS
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    FE,
    FEPO,
    HOPS,
    FeRig,
    codes,
    lfb,
    operation,
    packed,
    path,
    set_hop,
)
from tests.conformance.rig import MS
from tests.conformance.table import PAGE, known_tests, musts, page


def associated() -> FeRig:
    rig = FeRig()
    rig.associate(CE1)
    rig.associate(CE2)
    return rig


def query(flags: Flags, correlator: int = 7) -> Message:
    header = Header(MessageType.QUERY, CE1, FE, correlator, flags)
    return Message(header, (lfb(FEPO, operation(OperType.GET, path(2))),))


@pytest.mark.parametrize("correlator", [0, 1, 2**63, 2**64 - 1])
def test_rfc5810_6_1_the_correlator_comes_back(correlator: int) -> None:
    (answer,) = associated().receive(CE1, query(Flags(priority=4), correlator))
    assert answer.header.correlator == correlator


@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_6_1_the_ack_flag_of_a_query_is_ignored(ack: Ack) -> None:
    assert len(associated().receive(CE1, query(Flags(ack, 4)))) == 1


def test_rfc5810_7_1_8_padding_is_zero_when_sent_and_ignored_when_received() -> None:
    rig = associated()
    kind = MessageType.CONFIG
    value = packed("FEPO", "CEFailoverPolicy", value=1)
    header = Header(kind, CE1, FE, 1, flags_for(kind, Ack.ALWAYS_ACK))
    octets = encode(Message(header, (lfb(FEPO, operation(OperType.SET, value)),)))
    assert octets[-4:] == b"\1\0\0\0"
    (answer,) = rig.octets(CE1, octets[:-3] + b"\xff\xff\xff", Channel.HP)
    assert codes(answer) == [0]


def test_rfc5810_7_3_the_two_lfbs_exist_before_the_first_message() -> None:
    rig = FeRig()
    assert rig.sent(CE1) == []
    instances = list(rig.core.store.instances)
    assert [one for one in instances if one[0] == 2] == [(2, 1)]
    assert [one for one in instances if one[0] == 1] == [(1, 1)]


def test_rfc5810_7_5_2_a_setup_response_is_not_answered() -> None:
    """Whatever its ACK flag says."""
    rig = FeRig(ces=FeRig().settings.ces[:1], ha_mode=0)
    rig.event(PeerUp(CE1))
    (setup,) = rig.sent(CE1)
    kind = MessageType.ASSOCIATION_SETUP_RESPONSE
    header = setup.header.reply(kind, Flags(Ack.ALWAYS_ACK, 7))
    answers = rig.receive(CE1, Message(header, result=SetupResult.SUCCESS))
    assert {m.type for m in answers} <= {MessageType.EVENT_NOTIFICATION}


def setup_with(content: FullData | Result | ExtendedResult) -> Message:
    """An AssociationSetup that reports FEPO.CurrentRunningVersion, as Figure 24 draws it."""
    kind = MessageType.ASSOCIATION_SETUP
    body = (LfbSelect(2, 1, (Operation(OperType.REPORT, (PathData((1,), content=content),)),)),)
    return Message(Header(kind, FE1, 0x40000001, 1, flags_for(kind)), body)


@pytest.mark.parametrize("content", [FullData(b"\1"), Result(0), Result(3), ExtendedResult(3)])
def test_rfc5810_7_5_1_a_result_in_a_setup_is_counted_and_the_fe_served(
    content: FullData | Result | ExtendedResult,
) -> None:
    """It must not be there; what a setup reports is not believed either way: the CE asks."""
    rig = CeRig()
    rig.event(PeerUp(FE1))
    sent = rig.receive(FE1, setup_with(content))
    assert [m.result for m in sent if m.result is not None] == [SetupResult.SUCCESS]
    assert MessageType.QUERY in {m.type for m in sent}
    assert rig.errors() == (0 if isinstance(content, FullData) else 1)


def test_rfc5810_7_5_1_our_fe_s_setup_has_no_result() -> None:
    rig = FeRig()
    rig.event(PeerUp(CE1))
    (setup,) = rig.sent(CE1)
    assert setup.type is MessageType.ASSOCIATION_SETUP
    assert codes(setup) == []


def test_rfc5810_7_6_1_a_result_in_a_set_is_refused() -> None:
    rig = associated()
    one = PathData((4,), content=Result(0))
    response = rig.config(lfb(FEPO, operation(OperType.SET, one)))
    assert response is not None
    assert codes(response) == [ResultCode.INVALID_TLV]


@pytest.mark.parametrize("content", [Result(0), ExtendedResult(0)])
def test_rfc5810_7_6_1_a_result_in_a_del_is_refused(content: Result | ExtendedResult) -> None:
    """Data is allowed there, and means nothing."""
    rig = associated()
    rig.config(set_hop(1))
    for given, code in ((content, ResultCode.INVALID_TLV), (FullData(b"\0"), ResultCode.SUCCESS)):
        one = PathData((1, 1), content=given)
        response = rig.config(lfb(HOPS, operation(OperType.DEL, one)))
        assert response is not None
        assert codes(response) == [code]


@pytest.mark.parametrize("content", [FullData(b"\0"), SparseData(((1, b"\0"),)), Result(0)])
@pytest.mark.parametrize("kind", [OperType.GET, OperType.GET_PROP])
def test_rfc5810_7_7_1_a_get_with_contents_is_refused(
    kind: OperType, content: FullData | SparseData | Result
) -> None:
    one = PathData((4,), content=content)
    response = associated().query(lfb(FEPO, operation(kind, one)))
    assert codes(response) == [ResultCode.INVALID_TLV]


def report(content: FullData | Result, ack: Ack = Ack.NO_ACK) -> Message:
    kind = MessageType.EVENT_NOTIFICATION
    flags = replace(flags_for(kind), ack=ack)
    body = (LfbSelect(3, 1, (Operation(OperType.REPORT, (PathData((60, 1), content=content),)),)),)
    return Message(Header(kind, FE1, 0x40000001, 0, flags), body)


@pytest.mark.parametrize("ack", list(Ack))
def test_rfc5810_7_8_an_event_is_not_answered_whatever_its_ack_flag_says(ack: Ack) -> None:
    rig = CeRig()
    rig.setup(FE1)
    assert rig.receive(FE1, report(FullData(b"\2"), ack)) == []
    assert rig.core.ne.port(FE1, 1) is False


def test_rfc5810_7_8_a_result_in_a_report_is_not_believed() -> None:
    rig = CeRig()
    rig.setup(FE1)
    before = rig.core.ne.port(FE1, 1)
    assert rig.receive(FE1, report(Result(0))) == []
    assert rig.core.ne.port(FE1, 1) == before


def test_rfc5811_4_2_1_2_to_4_what_our_cores_send_fits_its_channel() -> None:
    """Priority and type of everything that both cores send in a life."""
    fe = associated()
    fe.config(set_hop(1))
    fe.get("FEPO", "CEID")
    fe.fire_due(fe.now + 400 * MS)
    ce = CeRig()
    ce.setup(FE1)
    ce.fire_due(ce.now + 400 * CE_MS)
    sent = [*fe.sent(CE1), *fe.sent(CE2), *ce.sent(FE1)]
    assert {m.type for m in sent} >= {
        MessageType.ASSOCIATION_SETUP,
        MessageType.ASSOCIATION_SETUP_RESPONSE,
        MessageType.ASSOCIATION_TEARDOWN,
        MessageType.CONFIG_RESPONSE,
        MessageType.QUERY,
        MessageType.QUERY_RESPONSE,
        MessageType.EVENT_NOTIFICATION,
        MessageType.HEARTBEAT,
    }
    for message in sent:
        assert message.header.flags.priority in CHANNEL_OF[message.type].priorities


def test_rfc5811_4_2_1_4_lp_lives_shorter_than_mp() -> None:
    config = TmlConfig("127.0.0.1", {}, False)
    assert 0 < config.lp_lifetime_ms < config.mp_lifetime_ms


def test_every_must_has_a_test_or_a_reason() -> None:
    for must in musts():
        assert must.tests or must.why, must.sentence
        assert must.why.split(":")[0] in {"", "not ours", "defers", "open"} or must.tests


REFERENCES = Path(__file__).parents[3] / "shared" / "refs" / "rfc"


def sentences(rfc: int) -> Counter[str]:
    """Section -> sentences with MUST, SHALL or REQUIRED in the RFC's own text."""
    file = REFERENCES / f"rfc{rfc}.txt"
    if not file.exists():
        pytest.skip("no RFC texts: ../shared is absent")
    pages = r"\n+[^\n]*\[Page \d+\]\n\f?\n*RFC \d+[^\n]*\n+"
    found: Counter[str] = Counter()
    section = ""
    for paragraph in re.split(r"\n\s*\n", re.sub(pages, "\n", file.read_text())):
        head = re.match(r"(\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+\S", paragraph)
        if head:
            section = head[1]
        if "....." not in paragraph and ". . ." not in paragraph:
            flat = " ".join(paragraph.split())
            for sentence in re.split(r"(?<=[.:;])\s+(?=[A-Z(*o])", flat):
                found[section] += bool(re.search(r"\b(MUST|SHALL|REQUIRED)\b", sentence))
    return +found


@pytest.mark.parametrize("rfc", [5810, 5811, 7121])
def test_every_sentence_with_must_is_in_the_table(rfc: int) -> None:
    """Counted by section. An entry that stands for several sentences says so."""
    listed: Counter[str] = Counter()
    for must in musts():
        if must.rfc == rfc:
            clauses = must.clause.split(" (")[0].split(", ")
            several = re.search(r"\((\d) sentences\)", must.sentence)
            each = int(several[1]) // len(clauses) if several else 1
            listed.update(dict.fromkeys(clauses, each))
    assert listed == sentences(rfc)


def test_every_test_that_the_table_names_exists() -> None:
    names = known_tests()
    for must in musts():
        for test in must.tests:
            assert any(name.startswith(test) for name in names), test


def test_the_page_is_up_to_date() -> None:
    """Otherwise: python -m tests.conformance.table"""
    assert PAGE.read_text() == page()
