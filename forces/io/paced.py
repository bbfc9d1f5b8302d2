"""Reads packets from a descriptor no faster than a limit allows. What comes beyond waits in the
kernel's queue and overflows there: a storm costs us neither processor time nor memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forces.token_bucket import NS_PER_S, TokenBucket

BATCH = 16
"""Packets in one turn of the event loop; the rest comes in the next one."""


class PacedReader:
    """`read` gives a packet, or None where there is none (any more)."""

    def __init__(
        self,
        descriptor: int,
        limit: TokenBucket,
        read: Callable[[], bytes | None],
        deliver: Callable[[bytes], None],
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._read = read
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(descriptor, self._readable)

    def close(self) -> None:
        """The descriptor stays open."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._descriptor)

    def _readable(self) -> None:
        for _ in range(BATCH):
            if self._closed:  # by whom it was delivered to
                return
            now = time.monotonic_ns()
            if self._limit.wait_ns(now):
                self._rest(now)
                return
            packet = self._read()
            if packet is None:
                return
            self._limit.take(now)
            self._deliver(packet)

    def _rest(self, now: int) -> None:
        """Until a tenth of the burst may be read again: not a wake-up for every packet."""
        wait_ns = self._limit.wait_ns(now) + self._limit.burst * NS_PER_S // self._limit.rate // 10
        self._loop.remove_reader(self._descriptor)
        self._pause = self._loop.call_later(wait_ns / NS_PER_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._descriptor, self._readable)
