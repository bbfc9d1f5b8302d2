"""The limit on redirected packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forces.token_bucket import NS_PER_S, TokenBucket


@given(
    st.integers(1, 5000),
    st.integers(1, 500),
    st.lists(st.integers(0, 50_000_000), min_size=1, max_size=300),
)
def test_never_more_than_burst_and_rate_allow_in_any_stretch(
    rate: int, burst: int, pauses: list[int]
) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 0, []
    for pause in pauses:
        now += pause
        ready = bucket.wait_ns(now) == 0
        assert bucket.take(now) == ready
        if ready:
            taken.append(now)
    for first in range(0, len(taken), 17):
        for last in range(first, len(taken), 13):
            allowed = burst + (taken[last] - taken[first]) * rate / NS_PER_S
            assert last - first + 1 <= allowed + 1


@given(st.integers(1, 100_000), st.integers(1, 1000))
def test_after_the_wait_there_is_a_token_and_not_before(rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    for _ in range(burst):
        assert bucket.take(7)
    wait = bucket.wait_ns(7)
    assert wait > 0
    assert not bucket.take(7 + wait - 1)
    assert bucket.take(7 + wait)


def test_a_bucket_that_lets_nothing_by_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="lets nothing by"):
        TokenBucket(0, 1)
