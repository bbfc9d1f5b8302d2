"""ForCES, Forwarding and Control Element Separation, as a library.

RFC 5810 (protocol), 5811 (SCTP), 5812 (model), 7121 (high availability), 7391 (extensions).

    from forces import Message, decode, encode

The wire form (`encode`, `decode`), the messages as immutable values, the model of LFB classes
(`forces.model`), associations and mastership as pure state machines, and the vocabulary between a
core and its driver (`forces.events`, `forces.effects`). Pure: sockets, clocks and files are only in
`forces.io`. Everything raised on purpose is a `ForcesError`.
"""

from forces.association import Association, Due, Statistics, heartbeat_answer
from forces.channels import CHANNEL_OF, Channel
from forces.errors import ForcesError, ProtocolError, ResultCode, UsageError
from forces.header import Ack, ExecMode, Flags, Header, MessageType, TransPhase
from forces.messages import (
    LfbSelect,
    Message,
    Operation,
    OperType,
    Redirect,
    SetupResult,
    TeardownReason,
    flags_for,
)
from forces.paths import (
    ExtendedResult,
    FullData,
    KeyInfo,
    PathData,
    Result,
    SparseData,
    TableRange,
)
from forces.wire import decode, encode, encoded_length

__all__ = [
    "CHANNEL_OF",
    "Ack",
    "Association",
    "Channel",
    "Due",
    "ExecMode",
    "ExtendedResult",
    "Flags",
    "ForcesError",
    "FullData",
    "Header",
    "KeyInfo",
    "LfbSelect",
    "Message",
    "MessageType",
    "OperType",
    "Operation",
    "PathData",
    "ProtocolError",
    "Redirect",
    "Result",
    "ResultCode",
    "SetupResult",
    "SparseData",
    "Statistics",
    "TableRange",
    "TeardownReason",
    "TransPhase",
    "UsageError",
    "decode",
    "encode",
    "encoded_length",
    "flags_for",
    "heartbeat_answer",
]
