"""The master's own numbering of what it sends to one FE (docs/ce-ce-sync.md).

An FE counts the Configs that it carries out, and HP keeps their order; so the generation of each
Config is known when it is sent, once one Position of the FE has tied the two countings together.
"""

from __future__ import annotations

from collections import deque

from ce.replica import Position
from forces.messages import Message
from forces.wire import encoded_length

LOG_ROWS = 4096
LOG_OCTETS = 4 << 20


class ChangeLog:
    def __init__(self, own_id: int) -> None:
        self.incarnation = 0
        self.term = 0
        self.head: int | None = None
        """Generation of the last Config that was sent; None: not known yet."""
        self.count = 0
        """Configs sent since this CE became the master."""
        self._own_id = own_id
        self._sent: deque[int] = deque()
        """Correlators of the Configs since the last calibration's."""
        self._messages: deque[tuple[Message, int]] = deque()
        self._octets = 0

    def add(self, message: Message) -> int | None:
        """A Config goes to the FE; its generation, if it is known."""
        self.count += 1
        size = encoded_length(message)
        self._sent.append(message.header.correlator)
        self._messages.append((message, size))
        self._octets += size
        while len(self._messages) > LOG_ROWS or self._octets > LOG_OCTETS:
            self._octets -= self._messages.popleft()[1]
        if self.head is not None:
            self.head += 1
        return self.head

    def calibrate(self, position: Position) -> bool:
        """What the FE says of itself. False: it is not what we had counted."""
        done = position.correlator if position.ce == self._own_id else 0
        while self._sent and self._sent[0] <= done:
            self._sent.popleft()
        head = position.generation + len(self._sent)
        same = self.head in (None, head) and self.incarnation in (0, position.incarnation)
        self.head, self.incarnation, self.term = head, position.incarnation, position.term
        return same

    def since(self, generation: int) -> list[tuple[int, Message]] | None:
        """What was sent after this generation; None: that is not here any more."""
        if self.head is None or generation > self.head:
            return None
        count = self.head - generation
        if count > len(self._messages):
            return None
        wanted = list(self._messages)[len(self._messages) - count :]
        return [(generation + n, message) for n, (message, _) in enumerate(wanted, 1)]

    @property
    def last(self) -> tuple[int, Message] | None:
        """The last one with its generation."""
        if self.head is None or not self._messages:
            return None
        return self.head, self._messages[-1][0]

    def forget_messages(self) -> None:
        """They do not say what the FE holds."""
        self._messages.clear()
        self._octets = 0

    def forget(self) -> None:
        """Not the master (any more)."""
        self.head = None
        self.incarnation = self.count = 0
        self._sent.clear()
        self._messages.clear()
        self._octets = 0
