"""Which occurrences of an event are told (RFC 5812 4.8.5, RFC 7408 2.4)."""

from __future__ import annotations

from typing import Any

import pytest

from forces.model import EventCondition, EventFilter

MS = 1_000_000


def told(condition: EventCondition, properties: dict[str, int], start: Any, *values: Any) -> str:
    """'!' for each value that is told about, '.' for the others; all at one instant."""
    one = EventFilter(condition, properties, start)
    return "".join("!" if one.update(value, 0) else "." for value in values)


def test_rfc5812_4_7_6_2_created_deleted_and_changed() -> None:
    row = {"a": 1}
    assert told(EventCondition.CREATED, {}, None, row, row, None, row) == "!..!"
    assert told(EventCondition.DELETED, {}, row, row, None, None, row, None) == ".!..!"
    assert told(EventCondition.CHANGED, {}, 1, 1, 2, 2, 1) == ".!.!"
    assert told(EventCondition.CHANGED, {}, True, True, False) == ".!"


def test_rfc5812_4_7_6_2_a_level_is_told_when_it_is_crossed_not_while_it_is_exceeded() -> None:
    assert told(EventCondition.GREATER_THAN, {"threshold": 10}, 5, 10, 11, 12, 10, 11) == ".!..!"
    assert told(EventCondition.LESS_THAN, {"threshold": 10}, 15, 10, 9, 8, 10, 9) == ".!..!"
    assert told(EventCondition.GREATER_THAN, {"threshold": 10}, 20, 21, 10, 11) == "..!"


def test_rfc5812_4_8_5_2_hysteresis_of_each_condition() -> None:
    five = {"threshold": 10, "eventHysteresis": 5}
    assert told(EventCondition.GREATER_THAN, five, 0, 11, 6, 11, 5, 10, 11) == "!....!"
    assert told(EventCondition.LESS_THAN, five, 20, 9, 14, 9, 15, 10, 9) == "!....!"
    assert told(EventCondition.CHANGED, {"eventHysteresis": 5}, 10, 12, 14, 15, 19, 10) == "..!.!"


def test_rfc7408_2_4_becoming_equal_is_told_once_and_leaving_once_with_hysteresis() -> None:
    master = {"threshold": 3}
    assert told(EventCondition.BECOMES_EQUAL_TO, master, 0, 2, 3, 3, 2, 3) == ".!..!"
    assert (
        told(EventCondition.BECOMES_EQUAL_TO, master | {"eventHysteresis": 1}, 0, 3, 3, 2, 1, 3)
        == "!.!.!"
    )


def test_rfc5812_4_8_5_3_a_count_of_1_tells_every_other_occurrence() -> None:
    assert told(EventCondition.CHANGED, {"eventCount": 1}, 0, 1, 2, 3, 4, 5) == "!.!.!"
    assert told(EventCondition.CHANGED, {"eventCount": 0}, 0, 1, 2, 3) == "!!!"


def test_rfc5812_4_8_5_4_an_interval_must_be_exceeded() -> None:
    one = EventFilter(EventCondition.CHANGED, {"eventInterval": 500}, 0)
    assert one.update(1, 0)
    assert not one.update(2, 500 * MS)
    assert one.update(3, 500 * MS + 1)
    assert not one.update(4, 600 * MS)


def test_rfc5812_4_8_5_1_the_example_of_a_count_of_5_and_an_interval_of_500_ms() -> None:
    properties = {"eventCount": 5, "eventInterval": 500}
    burst = EventFilter(EventCondition.CHANGED, properties, 0)
    assert [burst.update(n, n * MS) for n in range(1, 8)] == [True, *[False] * 5, True]
    slow = EventFilter(EventCondition.CHANGED, properties, 0)
    assert slow.update(1, 0)
    assert not slow.update(2, 100 * MS)
    assert slow.update(3, 501 * MS)
    # passing the interval has reset the count as well
    assert [slow.update(n, 502 * MS) for n in range(4, 10)] == [*[False] * 5, True]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (EventCondition.CREATED, "!.!."),
        (EventCondition.DELETED, ".!.."),
        (EventCondition.CHANGED, "!.!!"),
        (EventCondition.GREATER_THAN, "..!."),
        (EventCondition.LESS_THAN, "...."),
        (EventCondition.BECOMES_EQUAL_TO, "!.!!"),
    ],
)
def test_a_target_may_come_and_go(condition: EventCondition, expected: str) -> None:
    properties = {"threshold": 1, "eventHysteresis": 1}
    assert told(condition, properties, None, 1, None, 2, 1) == expected


def test_a_level_of_what_is_no_number_is_never_crossed() -> None:
    assert told(EventCondition.GREATER_THAN, {}, {"a": 1}, {"a": 2}, "x", 1) == "..!"
