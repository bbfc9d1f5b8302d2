"""The ten messages of RFC 5810 section 7, as immutable values.

Their wire form is in `forces.wire`; `encode`, `decode` and `encoded_length` are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

from forces.header import Ack, ExecMode, Flags, Header, MessageType
from forces.paths import ExtendedResult, PathData, Result
from forces.values import value


class OperType(IntEnum):
    """OPER-TLV types, a number space of their own inside LFBselect (RFC 5810 A.2)."""

    SET = 0x1
    SET_PROP = 0x2
    SET_RESPONSE = 0x3
    SET_PROP_RESPONSE = 0x4
    DEL = 0x5
    DEL_RESPONSE = 0x6
    GET = 0x7
    GET_PROP = 0x8
    GET_RESPONSE = 0x9
    GET_PROP_RESPONSE = 0xA
    REPORT = 0xB
    COMMIT = 0xC
    COMMIT_RESPONSE = 0xD
    TRCOMP = 0xE


class SetupResult(IntEnum):
    """ASResult-TLV (RFC 5810 section 7.5.2)."""

    SUCCESS = 0
    FE_ID_INVALID = 1
    PERMISSION_DENIED = 2


class TeardownReason(IntEnum):
    """ASTreason-TLV (RFC 5810 section 7.5.3)."""

    NORMAL = 0
    LOSS_OF_HEARTBEATS = 1
    OUT_OF_BANDWIDTH = 2
    OUT_OF_MEMORY = 3
    APPLICATION_CRASH = 4
    UNSPECIFIED = 255


@value
class Operation:
    """One OPER-TLV. COMMIT and TRCOMP have neither paths nor a result."""

    type: OperType
    paths: Sequence[PathData] = ()
    """A tuple, or a run (`forces.runs`)."""
    result: Result | ExtendedResult | None = None
    """COMMIT-RESPONSE only: it carries its RESULT without a path (RFC 5810 section 7.6.2)."""


@value
class LfbSelect:
    """One LFBselect-TLV: the operations on one LFB instance."""

    class_id: int
    instance_id: int
    operations: tuple[Operation, ...]


@value
class Redirect:
    """One REDIRECT-TLV: a packet with its metadata (RFC 5810 section 7.9)."""

    metadata: tuple[tuple[int, bytes], ...]
    """(metadata ID, value octets)."""
    packet: bytes


@value
class Message:
    """A ForCES message. Which of the body fields is used follows from `header.type`."""

    header: Header
    lfbs: tuple[LfbSelect, ...] = ()
    """AssociationSetup, Config, Query, their responses, EventNotification."""
    result: int | None = None
    """AssociationSetupResponse: a `SetupResult` where it is a known one."""
    reason: int | None = None
    """AssociationTeardown: a `TeardownReason` where it is a known one."""
    redirects: tuple[Redirect, ...] = ()
    """PacketRedirect."""

    @property
    def type(self) -> MessageType:
        return self.header.type


PRIORITY = {
    MessageType.ASSOCIATION_SETUP: 7,
    MessageType.ASSOCIATION_SETUP_RESPONSE: 7,
    MessageType.ASSOCIATION_TEARDOWN: 7,
    MessageType.CONFIG: 4,
    MessageType.CONFIG_RESPONSE: 4,
    MessageType.QUERY: 4,
    MessageType.QUERY_RESPONSE: 4,
    MessageType.EVENT_NOTIFICATION: 3,
    MessageType.PACKET_REDIRECT: 2,
    MessageType.HEARTBEAT: 1,
}
"""Default priority of each message (RFC 5811 section 4.2.1)."""


@lru_cache(maxsize=256)
def flags_for(
    kind: MessageType, ack: Ack = Ack.NO_ACK, mode: ExecMode = ExecMode.RESERVED
) -> Flags:
    """Flags of a stand-alone message of this type, with RFC 5811's priority."""
    return Flags(ack=ack, priority=PRIORITY[kind], mode=mode)
