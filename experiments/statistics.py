"""Statistics of a cell (DESIGN section 3; RFC 8456 section 4.7: at least ten trials).

Only `ok` trials come in here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

P99_FROM = 500
"""Below this many values the 99th percentile is a guess; "max of n" is said instead."""

BOOTSTRAP_RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one figure over a cell's trials. Everything but `n` is None when there are none."""

    n: int
    min: float | None = None
    median: float | None = None
    p95: float | None = None
    p99: float | None = None
    """None below `P99_FROM` values."""
    max: float | None = None
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of the median; None below three values."""

    @property
    def tail(self) -> str:
        """The tail in words, for tables."""
        if self.n == 0:
            return ""
        if self.p99 is not None:
            return f"p99 {self.p99:.2f}"
        return f"max of {self.n}: {self.max:.2f}"


def summarise(values: Iterable[float | None], seed: int = 0) -> Summary:
    """None values (does not apply) are left out."""
    array = np.asarray([v for v in values if v is not None], dtype=float)
    n = len(array)
    if n == 0:
        return Summary(0)
    return Summary(
        n,
        float(array.min()),
        float(np.median(array)),
        float(np.percentile(array, 95)),
        float(np.percentile(array, 99)) if n >= P99_FROM else None,
        float(array.max()),
        median_interval(array, seed),
    )


def median_interval(values: np.ndarray, seed: int) -> tuple[float, float] | None:
    """Percentile bootstrap; seeded, so that a rebuilt report says the same."""
    if len(values) < 3:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    from scipy.stats import bootstrap

    result = bootstrap(
        (values,),
        np.median,
        n_resamples=BOOTSTRAP_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def loss_upper_bound(sent: int, lost: int) -> float | None:
    """Rule of three: with 0 lost of `sent`, the loss ratio is below this with 95 % confidence."""
    return 3 / sent if lost == 0 and sent > 0 else None


def chance_upper_bound(trials: int) -> float | None:
    """What never happened in so many trials happens in less than this share of all, with 95 %
    confidence (exact). Losses come in bursts: of a failover's loss this says more than the rule of
    three does, which takes packets to be lost one by one."""
    return 1 - (1 - CONFIDENCE) ** (1 / trials) if trials else None


@dataclass(frozen=True, slots=True)
class Shift:
    """How one figure of one cell differs between two runs: the second less the first."""

    n: tuple[int, int]
    medians: tuple[float, float]
    difference: float
    """Of the medians."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval of that difference; None below three values on a side."""
    hodges_lehmann: float
    """Median of all pairwise differences: by how much the whole distribution moved."""
    cliffs_delta: float
    """Share of pairs in which the second run is larger, less the share in which it is smaller:
    -1 to 1, 0 where neither tends to be."""
    delta_interval: tuple[float, float] | None

    @property
    def differs(self) -> bool | None:
        """Whether the interval leaves 0 out; None where there is none."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]

    @property
    def size(self) -> str:
        """Cliff's delta in words, with the usual bounds (Romano et al. 2006)."""
        delta = abs(self.cliffs_delta)
        bounds = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
        return next((word for bound, word in bounds if delta < bound), "large")


def compare(first: Iterable[float | None], second: Iterable[float | None], seed: int) -> Shift:
    """ValueError where a side has no value. Both sides are resampled on their own: the runs'
    trials are not pairs."""
    a, b = (np.asarray([v for v in side if v is not None], dtype=float) for side in (first, second))
    if not len(a) or not len(b):
        raise ValueError("nothing to compare")
    interval = delta_interval = None
    if min(len(a), len(b)) >= 3:
        rng = np.random.default_rng(seed)
        resampled_a = rng.choice(a, (BOOTSTRAP_RESAMPLES, len(a)))
        resampled_b = rng.choice(b, (BOOTSTRAP_RESAMPLES, len(b)))
        interval = _middle(np.median(resampled_b, axis=1) - np.median(resampled_a, axis=1))
        pairs = zip(resampled_a, resampled_b, strict=True)
        delta_interval = _middle(np.array([cliffs_delta(x, y) for x, y in pairs]))
    medians = float(np.median(a)), float(np.median(b))
    return Shift(
        (len(a), len(b)),
        medians,
        medians[1] - medians[0],
        interval,
        float(np.median(np.subtract.outer(b, a))),
        cliffs_delta(a, b),
        delta_interval,
    )


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """In n log n, by the ranks of the one in the other."""
    ordered = np.sort(a)
    smaller = np.searchsorted(ordered, b, side="left").sum()
    larger = (len(a) - np.searchsorted(ordered, b, side="right")).sum()
    return float(smaller - larger) / (len(a) * len(b))


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The confidence interval of a bootstrap distribution."""
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
