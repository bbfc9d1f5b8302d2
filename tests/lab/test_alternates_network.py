"""Loop-free alternates on the real network: both CEs die, a link is cut, and packets go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lab.backend import CellSettings, FaultSpec
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology

pytestmark = pytest.mark.lab

SETTINGS = CellSettings(mode="hot", routes=10, alternates=True)
NO_CE = (
    FaultSpec("crash", "ce1"),
    FaultSpec("crash", "ce2"),
    FaultSpec("link-cut", "fe1-fe2", at_ms=50),
)


def test_a_cut_is_repaired_both_ways_while_no_ce_is_alive(tmp_path: Path) -> None:
    skip_unless_possible()

    def entry() -> int:
        lab = EmulatedLab(load_topology("protected"), tmp_path, False)
        try:
            lab.prepare(SETTINGS, tmp_path)
            lab.trial(NO_CE, calibrate_ms=100, observe_ms=500)
        finally:
            lab.close()
        return 0

    assert sandbox.run(entry) == 0
    trial = json.loads((tmp_path / "trial.json").read_text())
    assert trial["unexpected_exits"] == []
    assert trial["not_settled"] == []
    assert all(fault["verified"] for fault in trial["faults"])
    cut_ns = trial["faults"][-1]["after_ns"]
    for way in ("a-fwd", "a-rev"):  # over the link that is cut
        sent = np.load(tmp_path / f"probe-{way}.tx.npy")
        received = np.load(tmp_path / f"probe-{way}.rx.npy")
        during = sent["seq"][(sent["sent_ns"] > cut_ns) & (sent["sent_ns"] < cut_ns + 400_000_000)]
        assert len(during) > 100
        assert np.isin(during, received["seq"]).mean() > 0.75, way
    for fe in ("fe1", "fe2", "fe3", "fe4"):
        kernel = json.loads((tmp_path / f"kernel-{fe}.json").read_text())
        assert kernel["agree"], kernel
        to_hosts = [route for route in kernel["routes"] if route.startswith("10.")]
        assert all(len(route.split()) == 5 for route in to_hosts), "each has an alternate"
