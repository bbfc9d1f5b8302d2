"""Clock conversion and probe descriptions: no root needed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from lab.emulated import clock
from lab.emulated.clock import ClockOffset, ClockRecord
from lab.emulated.meters import probe_records
from lab.emulated.meters.probe_records import ProbeFlow

pytestmark = pytest.mark.realtime


def test_a_realtime_stamp_converts_to_the_monotonic_moment_it_was_taken() -> None:
    start = clock.measure_offset()
    before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
    record = ClockRecord(start, clock.measure_offset())
    converted = record.to_monotonic(real)
    assert before - 50_000 <= converted <= after + 50_000


def test_drift_between_start_and_end_is_interpolated() -> None:
    record = ClockRecord(ClockOffset(0, 1_000_000, 1), ClockOffset(1_000_000, 1_000_100, 1))
    assert record.drift_ns == 100
    stamps = np.array([1_000_000, 1_500_050, 2_000_100])
    assert np.abs(record.to_monotonic(stamps) - np.array([0, 500_000, 1_000_000])).max() <= 1


def test_sleep_until_never_returns_early() -> None:
    deadline = time.monotonic_ns() + 3_000_000
    clock.sleep_until(deadline)
    assert time.monotonic_ns() >= deadline


@pytest.mark.parametrize(("pps", "run_s"), [(0, 1), (10**9, 1), (1000, 0), (1000, 10**6)])
def test_a_probe_run_has_limits(pps: int, run_s: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        probe_records.capacity(pps, run_s)


def test_halves_join_and_a_missing_half_is_named(tmp_path: Path) -> None:
    whole = ProbeFlow("up", "fwd", "192.0.2.1", "192.0.2.2", 9000)
    half = ProbeFlow("up", "rev", "192.0.2.2", "192.0.2.1", 9000)
    for flow in (whole, half):
        probe_records.write_half(flow, tmp_path, "tx", {"pps": 1000})
    probe_records.write_half(whole, tmp_path, "rx", {"overflow": 0})
    assert probe_records.join_halves((whole, half), tmp_path) == ["up-rev.rx"]
    assert json.loads((tmp_path / "probe-up-fwd.json").read_text())["overflow"] == 0
    assert json.loads((tmp_path / "probe-up-rev.json").read_text())["missing"] == ["rx"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "probe-up-fwd.json",
        "probe-up-rev.json",
    }
