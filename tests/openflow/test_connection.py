"""What a controller sends to a switch, and what it knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.openflow.connection import Connection
from lab.openflow.flows import Rows

ALL = {"10.0.1.0/24": (1, "a"), "10.0.2.0/24": (2, "b")}
DETOUR = {"10.0.1.0/24": (2, "b"), "10.0.2.0/24": (2, "b")}


class Writer:
    """Changes as text; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def changes(self, old: Rows, new: Rows) -> Iterator[bytes]:
        self.asked += 1
        yield from (f"+{prefix} ".encode() for prefix in new if old.get(prefix) != new[prefix])
        yield from (f"-{prefix} ".encode() for prefix in old if prefix not in new)

    def barrier(self) -> bytes:
        return b"barrier"


class Datapath:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, octets: bytes) -> None:
        self.sent.append(octets)


def connection() -> tuple[Connection, list[bytes], Writer]:
    datapath, writer = Datapath(), Writer()
    made: Any = Connection(1, "fe1", datapath, writer, ALL)  # type: ignore[arg-type]
    return made, datapath.sent, writer


def test_barriers_are_answered_in_the_order_of_sending() -> None:
    switch, sent, _ = connection()
    assert switch.answered() is None
    switch.send(b"first ", "ready")
    switch.send(b"second ", "rerouted")
    assert sent == [b"first barrier", b"second barrier"]
    assert [switch.answered() for _ in range(3)] == ["ready", "rerouted", None]


def test_everything_sets_every_row_and_removes_those_that_may_be_there() -> None:
    switch, _, writer = connection()
    less = {"10.0.1.0/24": (1, "a")}
    assert switch.everything(less) == b"+10.0.1.0/24 -10.0.2.0/24 "
    assert switch.everything(less) == b"+10.0.1.0/24 -10.0.2.0/24 "
    assert writer.asked == 1, "built once for each table"
    assert switch.rows is less


def test_a_detour_is_the_difference_and_nothing_is_sent_for_none() -> None:
    switch, sent, _ = connection()
    switch.everything(ALL)
    switch.reroute(DETOUR)
    switch.reroute(dict(DETOUR))
    assert sent == [b"+10.0.1.0/24 barrier"]
    assert switch.answered() == "rerouted"
