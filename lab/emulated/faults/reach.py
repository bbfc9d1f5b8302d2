"""Does a packet pass between two nodes, now? The witness that a silent cut is one.

Two UDP sockets, one in each namespace, held open while a fault is armed; tokens are sent both
ways. Nothing of what a fault does is asked: a cut that the kernel reports and that lets packets
through is not a cut.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

from lab.emulated.namespaces import network_of


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a witness has to grant links that are impaired (lab/emulated/impairments.py)."""

    more_ms: float = 0.0
    """A token is under way for so much longer."""
    copies: int = 1
    """Of each token: on a lossy link one alone says nothing."""


WHOLE = Allowance()


class Reach:
    """Between address `a` in the namespace of `a_pid` and `b` in that of `b_pid`."""

    def __init__(
        self, a_pid: int, a: str, b_pid: int, b: str, allowance: Allowance = WHOLE
    ) -> None:
        self._ends = (_bound(a_pid, a), _bound(b_pid, b))
        self._allowance = allowance
        self._round = 0

    def passes(self, patience_ms: float) -> tuple[bool, bool]:
        """(a to b, b to a): whether a token of this round arrived within the patience."""
        self._round += 1
        token = self._round.to_bytes(8, "big")
        a, b = self._ends
        for source, target in ((a, b), (b, a)) * self._allowance.copies:
            try:
                source.sendto(token, target.getsockname())
            except OSError:
                pass  # no route, no carrier: it does not pass
        arrived = {a: False, b: False}
        deadline = time.monotonic() + (patience_ms + self._allowance.more_ms) / 1000
        while not all(arrived.values()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            readable, _, _ = select.select([a, b], [], [], left)
            for end in readable:
                try:
                    arrived[end] |= end.recv(64) == token
                except OSError:
                    continue  # an ICMP error of an earlier token
        return arrived[b], arrived[a]

    def close(self) -> None:
        for end in self._ends:
            end.close()


def _bound(pid: int, address: str) -> socket.socket:
    with network_of(pid):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    end.setblocking(False)
    end.bind((address, 0))
    return end
