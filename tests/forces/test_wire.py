"""The wire form against others' octets, against its own inverse, and against any octets."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forces.channels import CHANNEL_OF
from forces.errors import ProtocolError, ResultCode, UsageError
from forces.header import Ack, ExecMode, Flags, Header, MessageType, TransPhase
from forces.messages import LfbSelect, Message, Operation, OperType, Redirect
from forces.paths import ExtendedResult, FullData, KeyInfo, PathData, Result, TableRange
from forces.wire import decode, encode, encoded_length
from tests.forces.captures import (
    FOLDER,
    capture_files,
    captured_messages,
    need_captures,
    write_pcap,
)
from tests.forces.strategies import messages
from tests.lab.pcap import messages as pcap_messages

SETUP = "1001000600000002400000030000000000000001f8000000"
SETUP_RESPONSE = "1011000840000003000000020000000000000001381000000010000800000000"
TEARDOWN = "1002000840000003000000020000000000000000381000000011000800000000"
SUBSCRIBE = (
    "1003001040000001000000020000000000000004f84000001000002800000003000000010002001c"
    "01100018000000020000003c000000010112000800000001"
)
COMPLAINTS = ("illegal", "invalid forces", "invalid oper", "mess ", "bogus", "truncated", "[|")


def test_captured_messages_decode_and_reencode_octet_for_octet() -> None:
    need_captures()
    seen = 0
    for path in capture_files():
        for title, octets in captured_messages(path):
            assert encode(decode(octets)) == octets, title
            seen += 1
    assert seen >= 40


def test_every_capture_of_the_collection_decodes_and_reencodes_octet_for_octet() -> None:
    """Straight from the pcap files, whichever are there; the extracted ones say the same."""
    need_captures()
    for path in sorted(FOLDER.glob("*.pcap")):
        found = [octets for _, octets in pcap_messages(path)]
        assert found, path
        for octets in found:
            assert encode(decode(octets)) == octets, path
        extracted = path.with_suffix(".pdus.txt")
        if extracted.exists():
            assert sorted(found) == sorted(octets for _, octets in captured_messages(extracted))


def test_rfc5810_6_1_header_fields_of_a_captured_setup() -> None:
    message = decode(bytes.fromhex(SETUP))
    assert message.header == Header(
        MessageType.ASSOCIATION_SETUP, 2, 0x40000003, 1, Flags(Ack.ALWAYS_ACK, priority=7)
    )
    assert message.lfbs == ()


def test_rfc5810_7_5_2_setup_response_keeps_the_reserved_bits() -> None:
    message = decode(bytes.fromhex(SETUP_RESPONSE))
    assert message.result == 0
    assert message.header.flags.phase is TransPhase.EOT  # the CE of 2011 sent it so
    assert encode(message).hex() == SETUP_RESPONSE


def test_rfc5810_7_5_3_teardown_reason() -> None:
    assert decode(bytes.fromhex(TEARDOWN)).reason == 0


def test_event_subscription_is_a_set_prop_on_the_event_path() -> None:
    message = decode(bytes.fromhex(SUBSCRIBE))
    path = PathData((60, 1), content=FullData(bytes([0, 0, 0, 1])))
    assert message.lfbs == (LfbSelect(3, 1, (Operation(OperType.SET_PROP, (path,)),)),)
    assert message.header.flags.mode is ExecMode.ALL_OR_NONE


@given(messages())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_decode_is_the_inverse_of_encode(message: Message) -> None:
    octets = encode(message)
    assert len(octets) % 4 == 0
    assert decode(octets) == message


@given(st.binary(max_size=200))
def test_any_octets_give_a_message_or_a_protocol_error(octets: bytes) -> None:
    try:
        message = decode(octets)
    except ProtocolError:
        return
    assert decode(encode(message)) == message


@given(messages(), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_damaged_messages_give_a_message_or_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    octets = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    damaged = bytes(octets[:cut])
    if cut >= 4:
        damaged = damaged[:2] + (cut // 4).to_bytes(2, "big") + damaged[4 : cut // 4 * 4]
    try:
        decode(damaged)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        ("", ResultCode.INVALID_HEADER),
        ("2" + SETUP[1:], ResultCode.VERSION_MISMATCH),
        (SETUP + "00000000", ResultCode.LENGTH_MISMATCH),
        (SETUP.replace("1001", "1007", 1), ResultCode.INVALID_MESSAGE_TYPE),
        (SETUP_RESPONSE.replace("00100008", "00110008"), ResultCode.INVALID_TLV),
        (SUBSCRIBE.replace("0002001c", "0007001c"), ResultCode.INVALID_TLV),
        (SUBSCRIBE.replace("0110001800000002", "0110001800010002"), ResultCode.INVALID_TFLAGS),
    ],
)
def test_malformed_messages_name_the_rfc_result_code(octets: str, code: ResultCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(bytes.fromhex(octets))
    assert caught.value.code is code


@pytest.mark.parametrize("selector", [KeyInfo(1, FullData(b"\0\0\0\1")), TableRange(1, 2)])
def test_a_selector_without_its_path_flag_is_refused(selector: KeyInfo | TableRange) -> None:
    """Found by fuzzing: it was taken, and encoded again with the flag."""
    path = PathData((1,), selector)
    header = Header(MessageType.QUERY, 1, 2)
    octets = bytearray(
        encode(Message(header, (LfbSelect(10, 1, (Operation(OperType.GET, (path,)),)),)))
    )
    assert octets[44:46] == (b"\0\1" if isinstance(selector, KeyInfo) else b"\0\2")
    octets[44:46] = b"\0\0"
    with pytest.raises(ProtocolError) as caught:
        decode(bytes(octets))
    assert caught.value.code is ResultCode.INVALID_TFLAGS


def test_paths_nested_deeper_than_the_limit_are_refused() -> None:
    path = PathData((1,), content=FullData(b"\0"))
    for _ in range(20):
        path = PathData((1,), children=(path,))
    query = Message(
        Header(MessageType.CONFIG, 1, 2), (LfbSelect(1, 1, (Operation(OperType.SET, (path,)),)),)
    )
    with pytest.raises(ProtocolError) as caught:
        decode(encode(query))
    assert caught.value.code is ResultCode.INVALID_TLV


def test_bodies_of_another_message_type_are_not_encoded() -> None:
    heartbeat = Message(Header(MessageType.HEARTBEAT, 1, 2))
    wrong = (
        replace(heartbeat, result=0),
        replace(heartbeat, reason=0),
        replace(heartbeat, redirects=(Redirect((), b""),)),
        replace(heartbeat, lfbs=(LfbSelect(1, 1, (Operation(OperType.SET),)),)),
    )
    for message in wrong:
        with pytest.raises(UsageError):
            encode(message)


def test_content_beyond_a_tlv_is_a_usage_error() -> None:
    path = PathData((1,), content=FullData(bytes(70_000)))
    message = Message(
        Header(MessageType.CONFIG, 1, 2), (LfbSelect(1, 1, (Operation(OperType.SET, (path,)),)),)
    )
    with pytest.raises(UsageError):
        encode(message)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@given(batch=st.lists(messages(), min_size=1, max_size=4))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_tcpdump_decodes_what_we_encode(batch: list[Message], tmp_path: Path) -> None:
    readable = [message for message in batch if tcpdump_can_read(message)]
    capture = tmp_path / "batch.pcap"
    write_pcap(capture, [(CHANNEL_OF[m.type].port, encode(m)) for m in readable])
    output = subprocess.run(
        ["tcpdump", "-nn", "-vvv", "-r", str(capture)], capture_output=True, text=True, check=True
    ).stdout
    assert output.count("ForCES") >= len(readable)
    for line in output.lower().splitlines():
        assert not any(word in line for word in COMPLAINTS), line


RFC7391_CODES = range(ResultCode.TIMED_OUT, ResultCode.UNSPECIFIED_ERROR)


def tcpdump_can_read(message: Message) -> bool:
    """tcpdump 4.99 knows neither RFC 7391 nor its result codes, misses the FULLDATA of a KEYINFO
    that is there ("expecting FULLDATA!"), knows no COMMIT-RESPONSE without a path, calls the empty
    COMMIT and TRCOMP "truncated: 0 bytes missing", and takes one LFBselect in an
    EventNotification, as Figure 38 of RFC 5810 draws it; it reads the rest."""

    def plain(path: PathData) -> bool:
        return (
            not isinstance(path.selector, TableRange | KeyInfo)
            and not isinstance(path.content, ExtendedResult)
            and not (isinstance(path.content, Result) and path.content.code in RFC7391_CODES)
            and all(map(plain, path.children))
        )

    if message.type is MessageType.EVENT_NOTIFICATION and len(message.lfbs) > 1:
        return False
    operations = [op for select in message.lfbs for op in select.operations]
    return all(op.paths and all(map(plain, op.paths)) for op in operations)


@given(messages())
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_the_counted_length_is_that_of_the_octets(message: Message) -> None:
    assert encoded_length(message) == len(encode(message))


def test_what_cannot_be_encoded_has_no_length_either() -> None:
    path = PathData((1,), content=FullData(bytes(40_000)))
    long = Message(
        Header(MessageType.CONFIG, 1, 2),
        (LfbSelect(1, 1, (Operation(OperType.SET, (path, path)),)),),
    )
    for convert in (encode, encoded_length):
        with pytest.raises(UsageError):
            convert(long)
