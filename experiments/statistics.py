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
