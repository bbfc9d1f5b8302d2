"""The figure of lost packets: what span it shows, where its bands lie, what its legend names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments.measures.verdict import Outcome
from experiments.report import loss
from lab.backend import AppliedFault, FaultSpec
from tests.experiments.conftest import Make
from tests.experiments.synthetic import Knobs

KNOBS = Knobs(dtime1_ms=20, dtime2_ms=6, dtime3_ms=3)


def struck(outcome: Outcome, *at_ms: float) -> Outcome:
    """With faults at these moments after the first one, in a trial that is observed for 2 s."""
    first_ns = outcome.description.faults[0].before_ns
    faults = tuple(
        AppliedFault(FaultSpec("crash", "ce1"), "ce1", round(first_ns + at * 1e6), 0, True)
        for at in at_ms
    )
    return replace(outcome, description=replace(outcome.description, faults=faults, observe_ms=2e3))


def test_the_span_holds_all_faults_and_some_time_after_the_last(make: Make) -> None:
    outcome = make(KNOBS)
    assert loss._end_ms(struck(outcome, 0)) == pytest.approx(96)
    assert loss._end_ms(struck(outcome, 0, 500)) == pytest.approx(625)
    assert loss._end_ms(struck(outcome, 0, 1750)) == 2000, "what was observed"


def test_the_span_reckons_from_the_fault_that_took_the_master_away(make: Make) -> None:
    outcome = make(KNOBS)
    assert outcome.ne is not None
    first_ns = outcome.description.faults[0].before_ns
    later = struck(replace(outcome, ne=_moved(outcome.ne, 300)), 0, 300)
    assert [f.before_ns - first_ns for f in later.description.faults] == [0, 300_000_000]
    assert loss._end_ms(later) == pytest.approx((300 + 29) * 1.6, abs=2)


def test_the_legend_names_what_is_drawn(make: Make) -> None:
    def names(*outcomes: Outcome) -> list[Any]:
        return [handle.get_label() for handle in loss._legend(outcomes)]

    failover, quiet = make(KNOBS), make(Knobs(), fault=None)
    always = ["packets sent", "of these lost"]
    assert names(quiet) == always
    assert names(failover, quiet) == ["dtime1", "dtime2", "dtime3", "fault", *always]
    assert names(replace(failover, ne=None)) == ["fault", *always]


def _moved(ne: Any, by_ms: int) -> Any:
    by_ns = by_ms * 1_000_000
    moments = ("t_fault_ns", "t_detect_ns", "t_master_ns", "t_ready_ns")
    return replace(ne, **{name: getattr(ne, name) + by_ns for name in moments})
