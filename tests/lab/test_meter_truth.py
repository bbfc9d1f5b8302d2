"""The data probe told the truth, and when it cannot, it says so (DESIGN section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.sandboxed import in_sandbox

pytestmark = pytest.mark.lab

INSIDE = "tests.lab.meter_inside"
BOUND_MS = 20.0
"""Of a sender's pause: beyond it a trial is invalid, and so is a case here."""
TRIES = 3
SHARE = 0.95

Case = dict[str, float]


def agrees(case: Case, figure: str) -> bool:
    """Within one probe interval, and as much as the sender's own records say that it was late."""
    return abs(case[figure] - case["truth_ms"]) <= case["interval_ms"] + case["pause_ms"]


@pytest.mark.parametrize(("pps", "count"), [(10_000, 40), (1_000, 40)])
def test_known_outages_of_a_third_of_a_millisecond_to_a_second_are_measured(
    pps: int, count: int
) -> None:
    cases: list[Case] = []
    for seed in range(TRIES):
        found: list[Case] = in_sandbox(f"{INSIDE}:known_outages", pps=pps, count=count, seed=seed)
        cases += [case for case in found if case["pause_ms"] <= BOUND_MS]
        if len(cases) >= count:
            break
    assert len(cases) >= count // 2, "the machine stood still most of the time"
    assert max(case["truth_ms"] for case in cases) > 100
    assert min(case["truth_ms"] for case in cases) < 1
    for figure in ("loss_ms", "gap_ms"):
        right = sum(agrees(case, figure) for case in cases)
        wrong = [case for case in cases if not agrees(case, figure)]
        assert right >= SHARE * len(cases), wrong[:5]
    # The tolerance must not be what makes them agree: half of them agree without the lateness.
    strict = sum(abs(c["loss_ms"] - c["truth_ms"]) <= c["interval_ms"] + 0.1 for c in cases)
    assert strict > len(cases) / 2


def judged(how: str, until: str) -> dict[str, Any]:
    """The verdict of a trial with a meter that is broken in this way. A machine that stood still
    makes trials invalid as well: tried again until the reason is the one that is waited for."""
    for _ in range(TRIES):
        outcome: dict[str, Any] = in_sandbox(f"{INSIDE}:sabotaged", how=how)
        if any(until in reason for reason in outcome["reasons"]) or not until:
            break
    return outcome


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("blind", "a fwd: the meter saw none of"),
        ("traffic never returns", "a fwd: traffic did not come back"),
        ("sniffer ends early", "traffic did not come back"),
        ("sniffer is killed", "rx.npy"),
        ("sender pauses", "the sender paused"),
    ],
)
def test_a_meter_that_is_broken_makes_the_trial_invalid(how: str, reason: str) -> None:
    outcome = judged(how, reason)
    assert outcome["verdict"] == "invalid", outcome
    assert any(reason in each for each in outcome["reasons"]), outcome


def test_a_whole_meter_does_not() -> None:
    for _ in range(TRIES):
        outcome = judged("nothing", "")
        if outcome["verdict"] == "ok":
            return
        assert all("paused" in r or "lost" in r for r in outcome["reasons"]), outcome
