"""SCTP notifications as octets, and messages in parts (RFC 6458 section 6)."""

from __future__ import annotations

import struct

import pytest

from forces.header import MAX_MESSAGE_LENGTH
from forces.io import tml_sctp, usrsctp_lib
from forces.io.sctp_events import AssocChange, AssocState, MessageTooLong, Partial


def octets(state: int, error: int = 0, info: bytes = b"") -> bytes:
    return struct.pack("=HHIHHHHI", 1, 0, 20 + len(info), state, error, 1, 1, 0) + info


@pytest.mark.parametrize("number", range(5))
def test_rfc6458_6_1_1_the_states_are_numbered_from_0_in_linux_and_from_1_in_usrsctp(
    number: int,
) -> None:
    expected = tuple(AssocState)[number]
    for first in (tml_sctp.FIRST_ASSOC_STATE, usrsctp_lib.FIRST_ASSOC_STATE):
        change = AssocChange.parse(octets(number + first, 7), first)
        assert change is not None
        assert (change.state, change.error, change.abort_chunk) == (expected, 7, b"")


def test_the_peers_abort_chunk_tells_an_abort_from_a_retransmission_limit() -> None:
    change = AssocChange.parse(octets(1, 0, b"\6\0\0\4"), 0)
    assert change is not None
    assert change.abort_chunk == b"\6\0\0\4"


@pytest.mark.parametrize("data", [b"", octets(0)[:19], octets(9), octets(0)])
def test_a_notification_that_is_short_or_unknown_is_none(data: bytes) -> None:
    assert AssocChange.parse(data, 1) is None


def test_parts_make_one_message_and_an_abandoned_one_leaves_nothing() -> None:
    partial = Partial()
    assert partial.add(b"ab", False) is None
    assert partial.add(b"cd", True) == b"abcd"
    assert partial.add(b"lost", False) is None
    partial.clear()
    assert partial.add(b"ef", True) == b"ef"


def test_a_message_without_an_end_is_bounded() -> None:
    partial = Partial()
    assert partial.add(bytes(MAX_MESSAGE_LENGTH), False) is None
    with pytest.raises(MessageTooLong):
        partial.add(b"x", False)
    with pytest.raises(MessageTooLong):
        Partial().add(bytes(MAX_MESSAGE_LENGTH + 1), True)


def test_linux_structures_have_the_kernels_sizes() -> None:
    """include/uapi/linux/sctp.h on a 64-bit machine."""
    assert tml_sctp._SNDRCV.size == 32
    assert struct.calcsize("=i128sIHIIIIBx") == 156
    assert len(usrsctp_lib.paddrparams(1, 1)) >= 152
