"""A master that dies in the middle of a stream of changes, on real kernels: a few crashes of the
hundred that `ceha run stream` makes. Invariant 6 is judged from what each kernel announced.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import runner
from experiments.measures.records import Limits, read_trial
from experiments.measures.verdict import measure_trial
from experiments.plan import make_plan
from experiments.scenario import load_scenario
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from tests.experiments.silent import Silent
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology

pytestmark = pytest.mark.lab

TRIALS = 1
"""Of each way to replicate."""


def test_each_kernel_gets_what_was_acknowledged_and_perhaps_the_change_under_way(
    tmp_path: Path,
) -> None:
    skip_unless_possible()
    scenario = load_scenario("stream")
    topology = load_topology(scenario.content.topology)
    cells = [replace(cell, trials=TRIALS) for cell in scenario.cells]
    plan = make_plan("stream", topology.name, cells, 7, 0, TRIALS)
    runner.start(tmp_path, plan)
    limits = Limits(jitter_ms=1000, sender_pause_ms=1000)

    def entry() -> int:
        lab = EmulatedLab(topology, tmp_path)
        try:
            runner.run(plan, lab, runner.Setting(tmp_path, topology, limits), Silent(), [])
        finally:
            lab.close()
        return 0

    assert sandbox.run(entry) == 0
    for planned in plan.trials:
        trial = read_trial(runner.trial_folder(tmp_path, planned.number))
        outcome = measure_trial(trial)
        assert outcome.verdict in ("ok", "disagree"), outcome.reasons
        stream = trial.stream
        assert stream is not None
        assert len(stream.acked) > 10
        assert len(stream.asked) - len(stream.acked) <= 1
        for fe, seen in stream.seen.items():
            assert len(seen) in (len(stream.acked), len(stream.asked)), fe
