"""The statistics of DESIGN section 3."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.statistics import loss_upper_bound, summarise


def test_summary_of_known_values() -> None:
    s = summarise([4.0, None, 1.0, 2.0, 3.0])
    assert (s.n, s.min, s.median, s.max) == (4, 1.0, 2.5, 4.0)
    assert s.p95 == pytest.approx(3.85)


def test_p99_is_said_from_500_values_only() -> None:
    assert summarise(np.arange(499.0)).p99 is None
    assert summarise(np.arange(499.0)).tail == "max of 499: 498.00"
    assert summarise(np.arange(500.0)).p99 == pytest.approx(494.01)


def test_nothing_measured() -> None:
    s = summarise([None, None])
    assert (s.n, s.median, s.interval, s.tail) == (0, None, None, "")


def test_the_median_interval_is_seeded_and_holds_the_true_median_about_95_of_100_times() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        interval = summarise(rng.normal(10, 2, 30)).interval
        assert interval is not None
        held += interval[0] <= 10 <= interval[1]
    assert held >= 51
    values = rng.normal(10, 2, 12)
    assert summarise(values, 3).interval == summarise(values, 3).interval


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert summarise([2.0] * 10).interval == (2.0, 2.0)
    assert summarise([2.0, 3.0]).interval is None


def test_rule_of_three() -> None:
    assert loss_upper_bound(3000, 0) == pytest.approx(0.001)
    assert loss_upper_bound(3000, 1) is None
    assert loss_upper_bound(0, 0) is None
