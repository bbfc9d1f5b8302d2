"""Messages that the transport would not take yet: in order, per peer and channel, up to a limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from forces.channels import Channel

OUTBOX_LIMIT = 16 << 20
"""Octets waiting for one peer beyond the transport's own queue: a full table of 100,000 rows."""


class Outbox:
    """What waits for one peer. A channel that is stuck does not hold up the others."""

    def __init__(self, limit: int = OUTBOX_LIMIT) -> None:
        self.limit = limit
        self.octets = 0
        self._waiting: tuple[deque[bytes], ...] = tuple(deque() for _ in Channel)

    def waits(self, channel: Channel) -> bool:
        return bool(self._waiting[channel])

    def put(self, channel: Channel, data: bytes) -> bool:
        """False: the limit is reached."""
        if self.octets + len(data) > self.limit:
            return False
        self._waiting[channel].append(data)
        self.octets += len(data)
        return True

    def drain(self, send: Callable[[Channel, bytes], bool]) -> bool:
        """Send what can be sent, HP first. True: nothing waits any more."""
        for channel in Channel:
            waiting = self._waiting[channel]
            while waiting and send(channel, waiting[0]):
                self.octets -= len(waiting.popleft())
        return self.octets == 0
