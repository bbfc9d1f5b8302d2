"""Invariant 6 over a stream of changes: what the measures make of what the kernels announced."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from experiments.measures.records import BEACON
from experiments.measures.verdict import Outcome
from lab.emulated.meters.beacon_record import STREAM_NETWORK
from lab.emulated.meters.route_rows import comparison
from tests.experiments.conftest import Make
from tests.experiments.synthetic import FES, Knobs


def with_stream(
    asked: int, acked: int, seen: Sequence[tuple[int, int]], odd: str = "fe3"
) -> Callable[[Path], None]:
    """One FE's kernel announced `seen` (1 added or 0 removed, number), all others what was
    acknowledged."""

    def change(folder: Path) -> None:
        trial = json.loads((folder / "trial.json").read_text())
        (crash,) = trial["faults"]
        stream = crash | {"spec": crash["spec"] | {"kind": "stream"}}
        (folder / "trial.json").write_text(json.dumps(trial | {"faults": [stream, crash]}))
        lines = [{"asked": n, "t": n} for n in range(asked)]
        lines += [{"acked": n, "t": n} for n in range(acked)]
        (folder / "stream.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for fe in FES:
            events = seen if fe == odd else [(1, n) for n in range(acked)]
            record = np.zeros(len(events), BEACON)
            record["added"] = [added for added, _ in events]
            record["destination"] = [STREAM_NETWORK + (n << 8) for _, n in events]
            np.save(folder / f"changes-{fe}.npy", record)
            path = folder / f"kernel-{fe}.json"
            kernel = json.loads(path.read_text())
            net = [f"100.64.{n}.0/24 eth1 10.0.0.1" for added, n in events if added]
            held = [*kernel["routes"], *net]
            path.write_text(json.dumps(comparison(fe, None, held, held, "")))

    return change


def judged(make: Make, seen: Sequence[tuple[int, int]], asked: int = 21) -> Outcome:
    change = with_stream(asked, 20, seen)
    return make(Knobs(), mode="hot+sync", change=change)


@pytest.mark.parametrize("count", [20, 21])
def test_what_was_acknowledged_and_perhaps_the_one_under_way(make: Make, count: int) -> None:
    outcome = judged(make, [(1, n) for n in range(count)])
    assert outcome.verdict == "ok", outcome.reasons


@pytest.mark.parametrize(
    "seen",
    [
        [(1, n) for n in range(19)],
        [(1, n) for n in range(22)],
        [(1, n) for n in (*range(10), *range(11, 21))],
        [(1, n) for n in (*range(10), 11, 10, *range(12, 20))],
        [(1, n) for n in (*range(10), 9, *range(10, 20))],
        [*((1, n) for n in range(20)), (0, 7), (1, 7)],
    ],
    ids=["lost", "never asked for", "gap", "reordered", "twice", "taken away meanwhile"],
)
def test_anything_else_is_a_violation(make: Make, seen: list[tuple[int, int]]) -> None:
    outcome = judged(make, seen)
    assert outcome.verdict == "violated"
    assert any("invariant 6: 20 of 21 changes" in reason for reason in outcome.reasons)


def test_a_stream_that_did_not_flow_proves_nothing(make: Make) -> None:
    outcome = make(Knobs(), mode="hot+sync", change=with_stream(1, 0, []))
    assert outcome.verdict == "invalid"
    assert "stream: 0 changes were acknowledged" in outcome.reasons
