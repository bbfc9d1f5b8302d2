"""Messages that the transport would not take yet: in order, per peer and channel, up to a limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from forces.channels import Channel

OUTBOX_LIMIT = 16 << 20
"""Octets waiting for one peer beyond the transport's own queue: a full table of 100,000 rows."""
LP_SHARE = 16
"""LP may have one part in so many of it, beside what the others have. It promises nothing (RFC 5811
section 4.2.1.4): its oldest make room, and a storm of redirects costs no Config and no peer."""


class Outbox:
    """What waits for one peer. A channel that is stuck does not hold up the others."""

    def __init__(self, limit: int = OUTBOX_LIMIT) -> None:
        self.limit = limit
        self.octets = 0
        """LP's not among them."""
        self.abandoned = 0
        """Messages of LP that made room for later ones."""
        self._lp_octets = 0
        self._waiting: tuple[deque[bytes], ...] = tuple(deque() for _ in Channel)

    def waits(self, channel: Channel) -> bool:
        return bool(self._waiting[channel])

    def put(self, channel: Channel, data: bytes) -> bool:
        """False: the limit is reached."""
        if channel is Channel.LP:
            self._put_on_lp(data)
            return True
        if self.octets + len(data) > self.limit:
            return False
        self._waiting[channel].append(data)
        self.octets += len(data)
        return True

    def _put_on_lp(self, data: bytes) -> None:
        waiting = self._waiting[Channel.LP]
        waiting.append(data)
        self._lp_octets += len(data)
        while self._lp_octets > self.limit // LP_SHARE and len(waiting) > 1:
            self._lp_octets -= len(waiting.popleft())
            self.abandoned += 1

    def drain(self, send: Callable[[Channel, bytes], bool]) -> bool:
        """Send what can be sent, HP first. True: nothing waits any more."""
        for channel in Channel:
            waiting = self._waiting[channel]
            while waiting and send(channel, waiting[0]):
                size = len(waiting.popleft())
                if channel is Channel.LP:
                    self._lp_octets -= size
                else:
                    self.octets -= size
        return not any(self._waiting)
