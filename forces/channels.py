"""The three channels between an FE and a CE (RFC 5811 section 4.2)."""

from __future__ import annotations

from enum import IntEnum

from forces.header import MessageType


class Channel(IntEnum):
    """One SCTP association each; a smaller number is read and written first."""

    HP = 0
    MP = 1
    LP = 2

    @property
    def port(self) -> int:
        """The CE's SCTP port."""
        return 6704 + self

    @property
    def ppid(self) -> int:
        """SCTP payload protocol identifier."""
        return 21 + self

    @property
    def priorities(self) -> range:
        """Message priorities that belong on this channel."""
        return (range(4, 8), range(3, 4), range(1, 3))[self]


CHANNEL_OF = {
    MessageType.ASSOCIATION_SETUP: Channel.HP,
    MessageType.ASSOCIATION_SETUP_RESPONSE: Channel.HP,
    MessageType.ASSOCIATION_TEARDOWN: Channel.HP,
    MessageType.CONFIG: Channel.HP,
    MessageType.CONFIG_RESPONSE: Channel.HP,
    MessageType.QUERY: Channel.HP,
    MessageType.QUERY_RESPONSE: Channel.HP,
    MessageType.EVENT_NOTIFICATION: Channel.MP,
    MessageType.PACKET_REDIRECT: Channel.LP,
    MessageType.HEARTBEAT: Channel.LP,
}
"""RFC 5811 sections 4.2.1.2 to 4.2.1.4."""
