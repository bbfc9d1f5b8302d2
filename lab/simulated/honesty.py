"""Messages travel as objects, for speed; a share of them really goes through octets.

What the sampled ones prove: that the cores send nothing that `forces.wire` cannot carry, that it
arrives equal, and that damaged octets give a message or one error type (invariant 7).
"""

from __future__ import annotations

import random

from forces.channels import Channel
from forces.errors import ProtocolError
from forces.io.receiving import read_message
from forces.messages import Message
from forces.wire import encode

NOMINAL_OCTETS = 64
"""Size told for a message that was not encoded."""


class Dishonest(AssertionError):
    """What arrived is not what was sent."""


class Honesty:
    def __init__(self, rng: random.Random, share: float) -> None:
        """`share` of messages to encode and decode; 1.0: all."""
        self.checked = 0
        self._rng = rng
        self._share = share

    def look(self, message: Message, channel: Channel, source: int, own_id: int) -> int:
        """The message's size."""
        if self._share < 1.0 and self._rng.random() >= self._share:
            return NOMINAL_OCTETS
        self.checked += 1
        data = encode(message)
        again = read_message(data, channel, channel.ppid, source, own_id, True)
        if again != message:
            raise Dishonest(f"sent {message!r}, arrived {again!r}")
        return len(data)

    def damaged(
        self, message: Message, channel: Channel, source: int, own_id: int
    ) -> tuple[ProtocolError | None, int]:
        """The error that a damaged copy makes, and its size. None: the decoder did not notice; it
        cannot (a heartbeat's other correlator is as good as its own), and SCTP has a checksum."""
        data = bytearray(encode(message))
        for _ in range(self._rng.randint(1, 4)):
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        try:
            read_message(bytes(data), channel, channel.ppid, source, own_id, True)
        except ProtocolError as error:
            return error, len(data)
        return None, len(data)
