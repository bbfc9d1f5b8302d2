"""A CE thins out the events of a port by SET-PROP (RFC 5812 section 4.8.5)."""

from __future__ import annotations

import pytest

from forces.errors import ResultCode as C
from forces.events import LinkChanged
from forces.header import ExecMode
from forces.messages import LfbSelect, OperType
from forces.paths import FullData, PathData, SparseData
from tests.fe_datapath.rig import CE1, CE2, LFBS, MS, Rig, codes, rig, select, set_value
from tests.fe_datapath.test_rfc7121 import events

THRESHOLD, COUNT = 3, 5
STATUS, SPEED = 1, 2
"""Events of EtherPHYCop."""


def properties(event: int = STATUS, **values: int) -> LfbSelect:
    numbers = {"registration": 2, "threshold": 3, "hysteresis": 4, "count": 5, "interval": 6}
    items = tuple((numbers[name], value.to_bytes(4)) for name, value in values.items())
    return select(
        "EtherPHYCop", OperType.SET_PROP, PathData((60, event), content=SparseData(items))
    )


def subscribed(event: int = STATUS, **filters: int) -> Rig:
    made = rig(ha_mode=1)
    made.associate(CE1)
    assert codes(made.config(properties(event, registration=1, **filters))) == [C.SUCCESS]
    return made


def told(made: Rig, gaps_ms: list[int]) -> list[bool]:
    """Of each flap, whether the CE was told."""
    answers, up = [], False
    for gap in gaps_ms:
        made.now += gap * MS
        start = len(made.log)
        made.link(1, up)
        up = not up
        answers.append(bool(events(made, start)))
    return answers


def test_rfc5812_4_8_5_3_a_count_of_1_halves_the_events_of_a_flapping_port() -> None:
    made = subscribed(count=1)
    assert told(made, [1] * 6) == [True, False, True, False, True, False]
    made.config(properties(count=0))
    assert told(made, [1] * 3) == [True, True, True]


def test_rfc5812_4_8_5_4_an_interval_keeps_a_flapping_port_quiet_for_so_long() -> None:
    made = subscribed(interval=20)
    assert told(made, [1, 1, 10, 9, 1, 1, 21]) == [True, False, False, False, True, False, True]


def test_rfc5812_4_8_5_2_a_change_of_speed_below_the_hysteresis_is_not_told() -> None:
    made = subscribed(SPEED, hysteresis=2)
    start, speeds = len(made.log), (100, 1000, 10_000, 1000)
    for speed in speeds:
        made.feed(LinkChanged(1, True, made.now, {"admin_up": True, "speed_mbit": speed}))
    # of OperLinkSpeed's 2 (100 Mbit/s), 3, 4 and 3: it was 4 (10 Gbit/s) before
    assert [value for _, _, value in events(made, start)] == [2, 4]


def test_rfc5812_4_8_5_the_properties_are_read_as_they_were_set() -> None:
    made = subscribed(count=3, interval=500, hysteresis=1)
    content = made.query(select("EtherPHYCop", OperType.GET_PROP, PathData((60, 1))))
    found = content.lfbs[0].operations[0].paths[0].content
    assert isinstance(found, FullData)
    assert LFBS.event_property_type.unpack(found.value) == {
        "accessibility": 3,
        "registration": 1,
        "threshold": 0,
        "eventHysteresis": 1,
        "eventCount": 3,
        "eventInterval": 500,
    }


def test_a_failed_edit_of_several_properties_leaves_all_of_them_as_they_were() -> None:
    """Found here: those before the wrong one were set, and the answer said failure."""
    made = subscribed(count=1)
    request = properties(registration=0, count=9, threshold=1)
    failed = made.config(request, mode=ExecMode.CONTINUE_ON_FAILURE)
    assert codes(failed) == [C.NOT_SUPPORTED]
    assert told(made, [1] * 3) == [True, False, True]


def test_a_failed_all_or_none_config_leaves_the_filters_as_they_were() -> None:
    made = subscribed(count=1)
    failed = made.config(properties(count=9), set_value("FEPO", "CEHDI", value=0))
    assert C.VALUE_OUT_OF_RANGE in codes(failed)
    assert told(made, [1] * 3) == [True, False, True]


@pytest.mark.parametrize(
    ("name", "path"),
    [("FEPO", (61, 1)), ("EtherPHYCop", (60, 1))],
    ids=["an event that is always told", "threshold of a change"],
)
def test_rfc5812_4_8_5_1_a_filter_that_would_do_nothing_is_refused(
    name: str, path: tuple[int, ...]
) -> None:
    made = rig()
    made.associate(CE1)
    number = COUNT if name == "FEPO" else THRESHOLD
    request = select(name, OperType.SET_PROP, PathData((*path, number), content=FullData(bytes(4))))
    assert codes(made.config(request)) == [C.NOT_SUPPORTED]


def test_rfc7121_2_1_1_with_policy_0_the_filters_go_with_the_rest_of_the_state() -> None:
    made = rig(ha_mode=1, failover_policy=0)
    made.associate(CE1)
    made.config(properties(registration=1, count=1))
    made.lose(CE1)
    made.associate(CE2)
    made.config(properties(registration=1), ce=CE2)
    assert told(made, [1] * 3) == [True, True, True]
