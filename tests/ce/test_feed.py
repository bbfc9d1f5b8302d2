"""Filling a replica (ce/feed.py): how much of an FE's journal is asked for at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ce import feed as feed_module
from ce.exchange import Answer, Outcome
from ce.fe_tables import FeTables
from ce.feed import ENTRIES, Feed
from ce.position import Entry, State
from ce.replica import FeReplica, Position
from ce.session import FeSession
from forces.header import Header, MessageType
from forces.messages import LfbSelect, Message, flags_for
from forces.paths import TableRange

CHANGE = Message(Header(MessageType.CONFIG, 1, 2, 1, flags_for(MessageType.CONFIG)), ())


class Fe:
    """Answers what it is told to, and remembers how many changes were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._on_answer: Callable[[Answer, int], None] | None = None

    def query(self, lfbs: tuple[LfbSelect, ...], now: int, on_answer: Any) -> None:
        paths = lfbs[0].operations[0].paths
        (rows,) = [path.selector for path in paths if isinstance(path.selector, TableRange)]
        self.asked.append(rows.end - rows.start)
        self._on_answer = on_answer

    def answer(self) -> None:
        assert self._on_answer is not None
        self._on_answer(Answer(Outcome.ANSWERED, CHANGE), 0)


def test_small_changes_after_a_long_one_are_read_many_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica that went on one by one would never catch up with an FE that gets a beat every few
    ms: that was found with 100,000 routes."""
    fe = Fe()
    session = cast(FeSession, SimpleNamespace(exchange=fe, tables=FeTables()))
    replica = FeReplica(1, session.tables)
    replica.is_at(incarnation=7, generation=100)
    feed = Feed(session, replica, lambda now: None)
    head = 1000

    def state(entries: int) -> State:
        own = replica.generation  # what the replica has last is asked for too
        found = [Entry(n, 1, True, CHANGE) for n in range(own, own + entries + 1)]
        return State(Position(7, 1, head, 1, 0, 0, 0), found, too_long=not entries)

    answers = iter([0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 64])
    monkeypatch.setattr(feed_module, "read_state", lambda message: state(next(answers)))
    feed.start(0)
    for _ in range(11):
        fe.answer()
    assert fe.asked == [ENTRIES, 16, 4, 1, 2, 4, 8, 16, 32, ENTRIES, ENTRIES, ENTRIES]
    assert replica.generation == 100 + 1 + 2 + 4 + 8 + 16 + 32 + 64 + 64
