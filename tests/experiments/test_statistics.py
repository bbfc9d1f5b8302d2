"""The statistics of DESIGN section 3."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics import (
    chance_upper_bound,
    cliffs_delta,
    compare,
    loss_upper_bound,
    summarise,
)


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


def test_what_never_happened_in_n_trials_is_rare_only_as_far_as_they_go() -> None:
    """Clopper and Pearson's upper limit for 0 of n, as tables have it."""
    assert chance_upper_bound(10) == pytest.approx(0.2589, abs=1e-4)
    assert chance_upper_bound(100) == pytest.approx(0.0295, abs=1e-4)
    assert chance_upper_bound(0) is None


def brute_delta(a: list[int], b: list[int]) -> float:
    return sum((y > x) - (y < x) for x in a for y in b) / (len(a) * len(b))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
)
def test_cliffs_delta_is_what_counting_all_pairs_gives(a: list[int], b: list[int]) -> None:
    first, second = np.array(a, float), np.array(b, float)
    assert cliffs_delta(first, second) == pytest.approx(brute_delta(a, b))


def test_a_shift_is_found_and_no_shift_is_not_invented() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(20, 2, 30), rng.normal(26, 2, 30)
    shift = compare(first, second, 1)
    assert shift.differs
    assert shift.size == "large"
    assert shift.interval is not None
    assert shift.interval[0] <= shift.difference <= shift.interval[1]
    assert shift.hodges_lehmann == pytest.approx(6, abs=1.5)
    same = compare(first, first, 1)
    assert not same.differs
    assert (same.difference, same.cliffs_delta, same.size) == (0, 0, "negligible")
    assert compare(first, second, 1) == shift, "seeded: the same runs compare alike"


def test_too_few_values_have_no_interval_and_none_cannot_be_compared() -> None:
    assert compare([1, 2], [3, 4], 1).differs is None
    with pytest.raises(ValueError, match="nothing"):
        compare([None], [1], 1)
