"""From octets on a channel to a message that belongs there.

RFC 5811 sections 4.2.1.2 to 4.2.1.4: a message with a type, PPID or priority that is not its
channel's must be dropped. RFC 5810 section 6.1: who may be named as source and destination.
"""

from __future__ import annotations

from forces.channels import CHANNEL_OF, Channel
from forces.errors import ProtocolError, ResultCode
from forces.header import (
    ALL_CES,
    ALL_ELEMENTS,
    ALL_FES,
    CE_ID_FIRST,
    MULTICAST_FIRST,
    Header,
)
from forces.messages import Message
from forces.wire import decode

MULTICAST_LAST = 0xFFFFFFEF
CE_ID_LAST = 0x7FFFFFFF


def read_message(
    data: bytes, channel: Channel, ppid: int, peer: int, own_id: int, strict: bool
) -> Message:
    """The message, or ProtocolError. `strict=False` tolerates another channel, PPID or priority
    (the captures of the 2011 interoperability tests have them)."""
    if strict and ppid != channel.ppid:
        raise ProtocolError(ResultCode.INVALID_HEADER, f"PPID {ppid} on {channel.name}")
    message = decode(data)
    header = message.header
    if strict:
        _check_channel(header, channel)
    if header.source != peer:
        raise ProtocolError(
            ResultCode.INVALID_HEADER, f"source 0x{header.source:08x}, peer is 0x{peer:08x}"
        )
    if not is_for(header.destination, own_id):
        raise ProtocolError(
            ResultCode.INVALID_DESTINATION_PID, f"destination 0x{header.destination:08x}"
        )
    return message


def _check_channel(header: Header, channel: Channel) -> None:
    if CHANNEL_OF[header.type] is not channel:
        raise ProtocolError(
            ResultCode.INVALID_MESSAGE_TYPE, f"{header.type.name} on {channel.name}"
        )
    if header.flags.priority not in channel.priorities:
        raise ProtocolError(
            ResultCode.INVALID_FLAGS, f"priority {header.flags.priority} on {channel.name}"
        )


def is_for(destination: int, own_id: int) -> bool:
    """Unicast to us, a broadcast to our kind, or a multicast group (which only FEs join: FEPO's
    MulticastFEIDs)."""
    if destination in (own_id, ALL_ELEMENTS):
        return True
    if CE_ID_FIRST <= own_id <= CE_ID_LAST:
        return destination == ALL_CES
    return destination == ALL_FES or MULTICAST_FIRST <= destination <= MULTICAST_LAST
