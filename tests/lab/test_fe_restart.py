"""Real FEs and CEs on the diamond: FE processes that are killed and started again, and forwarding
that ends with CEFTI when no CE is left (invariants 4, 8 and 10 of DESIGN section 8)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.backend import CellSettings, FaultSpec
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology

pytestmark = pytest.mark.lab

FES = ("fe1", "fe2", "fe3", "fe4")
FLOWS = ("a-fwd", "a-rev", "b-fwd", "b-rev")
CEHDI_MS = 1000
"""Nobody is to be given up because the machine is busy: that is not what is tested here."""
CEFTI_MS = 500
EARLY_MS = 60
"""The switch takes effect a little before it is written down."""
SLACK_MS = 300
"""After CEFTI's end: a timer's lateness on a busy machine, and the switch itself."""


@pytest.fixture
def in_the_lab(tmp_path: Path) -> Callable[[Callable[[EmulatedLab, Path], None]], None]:
    skip_unless_possible()

    def run(check: Callable[[EmulatedLab, Path], None]) -> None:
        def entry() -> int:
            lab = EmulatedLab(load_topology("diamond"), tmp_path)
            try:
                check(lab, tmp_path)
            finally:
                lab.close()
            return 0

        assert sandbox.run(entry) == 0

    return run


def journal(folder: Path, node: str, event: str) -> list[dict[str, Any]]:
    lines = (folder / f"{node}.journal.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def trial(
    lab: EmulatedLab, folder: Path, settings: CellSettings, observe_ms: float, *faults: FaultSpec
) -> dict[str, Any]:
    folder.mkdir()
    lab.prepare(settings, folder)
    lab.trial(faults, calibrate_ms=200, observe_ms=observe_ms)
    about: dict[str, Any] = json.loads((folder / "trial.json").read_text())
    assert about["unexpected_exits"] == []
    assert about["not_settled"] == []
    for fe in FES:
        kernel = json.loads((folder / f"kernel-{fe}.json").read_text())
        assert len(kernel["routes"]) > 50
        assert kernel["agree"], kernel
    return about


def lost_ns(folder: Path, flow: str) -> np.ndarray:
    """When the packets were sent that did not arrive."""
    tx, rx = (np.load(folder / f"probe-{flow}.{end}.npy") for end in ("tx", "rx"))
    sent: np.ndarray = tx["sent_ns"][~np.isin(tx["seq"], rx["seq"])]
    return sent


def kill(fe: str, at_ms: float, **arguments: str) -> FaultSpec:
    return FaultSpec("crash", fe, at_ms, heal_after_ms=100, arguments=arguments)


@pytest.mark.parametrize("mode", ["cold", "hot"])
def test_invariant_10_a_killed_fe_loses_no_packet_and_leaves_no_stray_route(
    in_the_lab: Any, mode: Any
) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        settings = CellSettings(mode=mode, probe_pps=2500, cehdi_ms=CEHDI_MS)
        kills = [kill(fe, 300 * number) for number, fe in enumerate(FES)]
        trial(lab, folder / "kept", settings, 1400, *kills)
        for flow in FLOWS:
            assert len(lost_ns(folder / "kept", flow)) == 0, flow
        for fe in FES:
            assert len(journal(folder / "kept", fe, "start")) == 2
            (found,) = journal(folder / "kept", fe, "restart")
            assert found["routes"] > 50
            (swept,) = journal(folder / "kept", fe, "swept")
            assert swept["cause"] == "enabled", "the master said that its state was complete"
            switched = [e["on"] for e in journal(folder / "kept", fe, "forwarding")]
            assert switched == [False, True], "only the first start, in an empty kernel"

        trial(lab, folder / "clean", settings, 800, kill("fe1", 0, state="clean"))
        assert all(len(lost_ns(folder / "clean", flow)) > 5 for flow in FLOWS), "the meter can see"
        assert journal(folder / "clean", "fe1", "restart") == []

    in_the_lab(check)


def test_invariant_4_without_a_ce_forwarding_ends_with_cefti_and_not_before(
    in_the_lab: Any,
) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        settings = CellSettings(mode="hot", cefti_ms=CEFTI_MS, cehdi_ms=CEHDI_MS)
        both = [FaultSpec("crash", ce, 0, heal_after_ms=2500) for ce in ("ce1", "ce2")]
        about = trial(lab, folder / "t", settings, 3200, *both)
        t_fault = min(fault["before_ns"] for fault in about["faults"])
        offs, ons = [], []
        for fe in FES:
            (expired,) = [e for e in journal(folder / "t", fe, "cefti") if e["what"] == "expired"]
            start = [e for e in journal(folder / "t", fe, "cefti") if e["what"] == "start"][-1]
            assert start["t"] > t_fault
            assert 0 <= (expired["t"] - start["t"]) / 1e6 - CEFTI_MS <= SLACK_MS
            switched = [e for e in journal(folder / "t", fe, "forwarding") if e["t"] > t_fault]
            assert [e["on"] for e in switched] == [False, True]
            offs.append(switched[0]["t"])
            ons.append(switched[1]["t"])
        assert min(offs) > t_fault + CEFTI_MS * 1e6
        for flow in FLOWS:
            sent = lost_ns(folder / "t", flow)
            assert sent.min() > min(offs) - EARLY_MS * 1e6, "stopped before its time"
            assert sent.max() < max(ons) + SLACK_MS * 1e6
            tx = np.load(folder / "t" / f"probe-{flow}.tx.npy")["sent_ns"]
            stopped = tx[(tx > max(offs)) & (tx < min(ons))]
            assert len(stopped) > 50
            assert np.isin(stopped, sent).all(), "nothing passes while no FE forwards"

    in_the_lab(check)
