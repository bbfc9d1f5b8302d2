"""The captures of 2011 (tcpdump's own test material) against our cores, in lenient mode: their PPID
is 0 and their priorities are not RFC 5811's.

What their CE sent goes to our FE, what their FE sent goes to our CE. Their FE IDs and CE IDs are
taken over; LFB rows of theirs follow a draft older than RFC 6956, and must be refused row by row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ce.config import Peer
from fe_datapath.config import CePeer
from forces.channels import Channel
from forces.errors import ResultCode
from forces.header import Ack, MessageType
from forces.messages import Message, SetupResult
from forces.paths import FullData
from forces.wire import decode
from tests.ce.network import diamond
from tests.conformance.ce_rig import CeRig
from tests.conformance.fe_rig import CONFIG, FeRig, codes, leaves
from tests.conformance.rig import MS
from tests.forces.captures import capture_files, captured_messages, need_captures

THEIR_CE, THEIR_FE = 0x40000003, 2
DRAFT_ROWS = {10, 12}
"""Classes whose rows have another layout in the draft of 2011."""


def messages(name: str, source: int) -> list[tuple[str, bytes, Channel]]:
    """(title, octets, channel) of what this side of the capture sent."""
    need_captures()
    (file,) = [path for path in capture_files() if path.name.startswith(name)]
    found = []
    for title, octets in captured_messages(file):
        if decode(octets).header.source == source:
            port = next(p for p in (6704, 6705, 6706) if f":{p}" in title)
            found.append((title, octets, Channel(port - 6704)))
    return found


def our_fe() -> FeRig:
    ces = (CePeer(THEIR_CE, "ce3", "10.255.0.3"),)
    rig = FeRig(CONFIG, ces=ces, ha_mode=0, cehdi_ms=30_000)
    rig.associate(THEIR_CE)
    return rig


def our_ce() -> CeRig:
    """The diamond's fe2 has their FE's ID."""
    ces = (Peer(THEIR_CE, "ce3", "10.255.0.3"),)
    return CeRig(replace(diamond(), id=THEIR_CE, name="ce3", ces=ces))


@pytest.mark.parametrize("name", ["forces2", "forces3"])
def test_rfc6984_every_heartbeat_of_their_ce_is_answered_at_once(name: str) -> None:
    rig = our_fe()
    seen = 0
    for title, octets, channel in messages(name, THEIR_CE):
        request = decode(octets)
        if request.type is not MessageType.HEARTBEAT:
            continue
        answers = rig.octets(THEIR_CE, octets, channel, strict=False)
        assert [a.type for a in answers] == [MessageType.HEARTBEAT], title
        assert answers[0].header.correlator == request.header.correlator
        assert answers[0].header.flags.ack is Ack.NO_ACK
        assert answers[0].header.source == THEIR_FE
        seen += 1
    assert seen >= 3
    assert rig.errors(THEIR_CE) == 0


def test_rfc6984_their_configs_and_queries_of_draft_rows_are_refused_by_row_not_by_message() -> (
    None
):
    """forces2: SET and GET of NextHop and Prefix rows of a draft's layout."""
    rig = our_fe()
    picture = rig.picture()
    kinds = []
    for title, octets, channel in messages("forces2", THEIR_CE):
        request = decode(octets)
        if request.type not in (MessageType.CONFIG, MessageType.QUERY):
            continue
        (answer,) = rig.octets(THEIR_CE, octets, channel, strict=False)
        kinds.append(request.type)
        assert answer.header.correlator == request.header.correlator, title
        assert answer.header.flags.priority == request.header.flags.priority
        same_shape(request, answer)
        if request.type is MessageType.CONFIG:
            assert ResultCode.SUCCESS not in codes(answer), title
        else:
            assert all(isinstance(content, FullData) for _, _, _, content in leaves(answer))
    assert kinds == [MessageType.CONFIG, MessageType.QUERY]
    assert rig.picture() == picture
    assert rig.errors(THEIR_CE) == 0


def test_rfc6984_their_nested_set_of_multicast_ids_is_answered_in_its_own_shape() -> None:
    """forces3: FEPO 3.{2, 1} nested, values of 4 octets that are no multicast IDs."""
    rig = our_fe()
    answers = []
    for title, octets, channel in messages("forces3", THEIR_CE):
        request = decode(octets)
        if request.type not in (MessageType.CONFIG, MessageType.QUERY):
            continue
        found = rig.octets(THEIR_CE, octets, channel, strict=False)
        if request.type is MessageType.CONFIG:
            # SuccessACK and a refusal (2 is no multicast ID): silence is the answer
            assert request.header.flags.ack is Ack.SUCCESS_ACK
            assert found == [], title
        else:
            same_shape(request, found[0])
        answers.append(request.type)
    assert answers == [MessageType.CONFIG, MessageType.QUERY]
    assert rig.get("FEPO", "MulticastFEIDs", ce=THEIR_CE) == {}


def test_rfc5810_7_5_3_their_teardown_ends_the_association_for_our_fe() -> None:
    rig = our_fe()
    teardowns = [
        (octets, channel)
        for _, octets, channel in messages("forces3", THEIR_CE)
        if decode(octets).type is MessageType.ASSOCIATION_TEARDOWN
    ]
    assert len(teardowns) == 1
    assert rig.core.ha.associated(THEIR_CE)
    assert rig.octets(THEIR_CE, *teardowns[0], strict=False) == []
    assert not rig.core.ha.associated(THEIR_CE)
    assert rig.journal("detect")[-1]["source"] == "teardown"


@pytest.mark.parametrize("name", ["forces2", "forces3"])
def test_rfc6984_their_setup_is_accepted_by_our_ce_and_their_heartbeats_are_not_answered(
    name: str,
) -> None:
    rig = our_ce()
    setups = heartbeats = 0
    for title, octets, channel in messages(name, THEIR_FE):
        message = decode(octets)
        answers = rig.octets(THEIR_FE, octets, channel, strict=False)
        if message.type is MessageType.ASSOCIATION_SETUP:
            setups += 1
            assert answers[0].type is MessageType.ASSOCIATION_SETUP_RESPONSE
            assert answers[0].result == SetupResult.SUCCESS
            assert answers[0].header.correlator == message.header.correlator
            assert answers[0].header.destination == THEIR_FE
            assert MessageType.QUERY in {a.type for a in answers}, "it is discovered"
        elif message.type is MessageType.HEARTBEAT:
            heartbeats += 1
            assert answers == [], title
            assert rig.core.sessions[THEIR_FE].association.last_received_ns == rig.now
        rig.now += 10 * MS
    assert setups >= 1
    assert heartbeats >= 3
    assert rig.errors(THEIR_FE) == 0


def test_rfc6984_their_responses_that_nobody_waits_for_are_journaled_and_change_nothing() -> None:
    rig = our_ce()
    rig.setup(THEIR_FE)
    before = rig.core.sessions[THEIR_FE].news.picture
    unexpected = 0
    for _, octets, channel in messages("forces2", THEIR_FE):
        message = decode(octets)
        if message.type in (MessageType.CONFIG_RESPONSE, MessageType.QUERY_RESPONSE):
            assert rig.octets(THEIR_FE, octets, channel, strict=False) == []
            unexpected += 1
    assert unexpected == 2
    assert len(rig.journal("unexpected")) == 2
    assert rig.core.sessions[THEIR_FE].news.picture == before


@pytest.mark.parametrize("name", ["forces2", "forces3"])
def test_rfc5811_4_2_1_a_strict_receiver_drops_what_has_another_priority(name: str) -> None:
    """Their CE's heartbeats have priority 0: RFC 5811 section 4.2.1.4 has 1 and 2."""
    rig = our_fe()
    before = rig.errors(THEIR_CE)
    dropped = 0
    for _, octets, channel in messages(name, THEIR_CE):
        if decode(octets).type is MessageType.HEARTBEAT:
            assert rig.octets(THEIR_CE, octets, channel, strict=True) == []
            dropped += 1
    assert rig.errors(THEIR_CE) == before + dropped


def same_shape(request: Message, answer: Message) -> None:
    """RFC 6984 section 5.1: the answer in the form of the request."""
    assert [(s.class_id, s.instance_id) for s in answer.lfbs] == [
        (s.class_id, s.instance_id) for s in request.lfbs
    ]
    asked = [ids for _, _, ids, _ in leaves(request)]
    assert [ids for _, _, ids, _ in leaves(answer)] == asked


def test_the_captures_have_both_sides() -> None:
    need_captures()
    assert {Path(file).name.split(".")[0] for file in capture_files()} >= {"forces2", "forces3"}
