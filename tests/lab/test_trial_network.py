"""Whole trials on the real diamond network; puppets (tests/lab/puppets.py) play FEs and CEs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.backend import CellSettings, FaultFailed, FaultSpec, LabError, TrialRecords
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology

pytestmark = pytest.mark.lab

COLD = CellSettings(mode="cold")
FES = ("fe1", "fe2", "fe3", "fe4")
FLOWS = ("a-fwd", "a-rev", "b-fwd", "b-rev")
MAX_OVERHEAD_S = 6.0
"""1.2 s is the aim on a quiet machine (docs); a test must hold on a busy one."""


@pytest.fixture
def in_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[EmulatedLab, Path], None]], None]:
    """Run a check with a booted lab in a sandbox; a traceback is on stderr where it fails."""
    skip_unless_possible()
    puppets = {"fe": "tests.lab.puppets:run_fe", "ce": "tests.lab.puppets:run_ce"}
    monkeypatch.setattr("lab.emulated.nodes.TARGETS", puppets)

    def run(check: Callable[[EmulatedLab, Path], None], pcap: bool = False) -> None:
        def entry() -> int:
            lab = EmulatedLab(load_topology("diamond"), tmp_path, pcap)
            try:
                check(lab, tmp_path)
            finally:
                lab.close()
            return 0

        assert sandbox.run(entry) == 0

    return run


def one_trial(
    lab: EmulatedLab, folder: Path, *faults: FaultSpec, settings: CellSettings = COLD
) -> tuple[TrialRecords, dict[str, Any]]:
    folder.mkdir()
    lab.prepare(settings, folder)
    records = lab.trial(faults, calibrate_ms=150, observe_ms=250)
    return records, json.loads((folder / "trial.json").read_text())


def journal(folder: Path, node: str, event: str) -> list[dict[str, Any]]:
    lines = (folder / f"{node}.journal.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def owners(folder: Path, fe: str) -> np.ndarray:
    """Which CE made each addition that the kernel announced."""
    beacon = np.load(folder / f"beacon-{fe}.npy")
    return (beacon["destination"][beacon["added"] == 1] >> 15) & 3


def check_records(folder: Path, records: TrialRecords, trial: dict[str, Any]) -> None:
    """What every trial leaves behind, whatever was done in it."""
    assert trial["missing_records"] == []
    assert trial["unexpected_exits"] == []
    assert trial["not_settled"] == []
    assert trial["overhead_s"] < MAX_OVERHEAD_S
    assert records.start_ns < records.end_ns
    for flow in FLOWS:
        tx, rx = (np.load(folder / f"probe-{flow}.{end}.npy") for end in ("tx", "rx"))
        about = json.loads((folder / f"probe-{flow}.json").read_text())
        assert len(tx) > 100, "at least a quarter of the time that was asked for"
        assert np.isin(rx["seq"], tx["seq"]).all()
        assert (rx["kernel_ns"] - rx["sent_ns"]).min() > -1_000_000
        assert about["overflow"] == 0
        assert about["pps"] == 1000
        assert about["sender_late_ns"]["max"] >= 0
    for fe in FES:
        assert len(owners(folder, fe)) > 10
        kernel = json.loads((folder / f"kernel-{fe}.json").read_text())
        assert kernel["routes"]
        assert kernel["agree"], kernel
    assert abs(json.loads((folder / "clock.json").read_text())["drift_ns"]) < 1_000_000
    (calibrated,) = journal(folder, "lab", "calibrated")
    begin, end = journal(folder, "lab", "trial")
    assert begin["t"] < calibrated["t"] < end["t"]


ON_ITS_WAY_NS = 1_000_000
"""A packet takes some tens of microseconds; its journal line is written after the call."""


def check_silence(folder: Path, flow: str) -> None:
    """Lost is what was sent while the link was silent, and nothing else. The calls that make it
    silent, and pass again, take some ms: what is sent meanwhile may be lost or not."""
    (struck,) = journal(folder, "lab", "fault")
    healing, healed = journal(folder, "lab", "heal")[0], journal(folder, "lab", "healed")[0]
    tx, rx = (np.load(folder / f"probe-{flow}.{end}.npy") for end in ("tx", "rx"))
    gone = tx["sent_ns"][~np.isin(tx["seq"], rx["seq"])]
    silent = (tx["sent_ns"] > struck["after_ns"]) & (tx["sent_ns"] < healing["t"])
    assert silent.any(), "the probe sent while the link was silent"
    assert np.isin(tx["sent_ns"][silent], gone).all(), "what was sent in the silence is lost"
    assert gone.min() > struck["before_ns"] - ON_ITS_WAY_NS, "nothing is lost before the fault"
    assert gone.max() < healed["t"], "nothing is lost once packets pass again"


def lost(folder: Path, flows: Iterable[str] = FLOWS) -> int:
    def count(flow: str, end: str) -> int:
        return len(np.load(folder / f"probe-{flow}.{end}.npy"))

    return sum(count(flow, "tx") - count(flow, "rx") for flow in flows)


def test_trials_of_every_fault_leave_complete_records(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        records, trial = one_trial(lab, folder / "calm")
        check_records(folder / "calm", records, trial)
        assert lost(folder / "calm") == 0
        assert set(owners(folder / "calm", "fe1")) == {1}, "ce1 is the master all the time"
        assert records.faults == ()

        for kind in ("crash", "planned-switch"):
            records, trial = one_trial(lab, folder / kind, FaultSpec(kind, "master"))
            check_records(folder / kind, records, trial)
            (fault,) = records.faults
            assert fault.verified, trial["fault_reasons"]
            assert fault.target == "ce1"
            assert records.start_ns + 140e6 < fault.before_ns <= fault.after_ns < records.end_ns
            assert lost(folder / kind) == 0, "the data path does not depend on CEs"
            for fe in FES:
                (detect,) = journal(folder / kind, fe, "detect")
                assert fault.before_ns < detect["t"] < fault.before_ns + 200e6
                who = owners(folder / kind, fe)
                assert (who[0], who[-1]) == (1, 2), "the kernel changed hands"
            lines = (folder / kind / "lab.journal.jsonl").read_text().splitlines()
            told = [json.loads(line)["event"] for line in lines]
            assert told.index("fault") < told.index("verified") < told.index("heal")
            assert told.index("heal") < told.index("healed") < len(told) - 1
        assert len(journal(folder / "crash", "ce1", "start")) == 2, "healed: started again"

        cut = folder / "cut"
        records, trial = one_trial(lab, cut, FaultSpec("link-silent", "fe1-fe2", at_ms=50))
        check_records(cut, records, trial)
        assert records.faults[0].verified
        check_silence(cut, "a-fwd")
        rx = np.load(cut / "probe-a-fwd.rx.npy")
        tx = np.load(cut / "probe-a-fwd.tx.npy")
        assert rx["seq"][-1] == tx["seq"][-1], "traffic came back before the probes ended"

    in_the_lab(check)


def test_a_fault_heals_in_the_middle_when_the_schedule_says_so(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        spec = FaultSpec("link-silent", "fe1-fe2", at_ms=20, heal_after_ms=100)
        records, _ = one_trial(lab, folder / "t", spec)
        assert records.faults[0].verified
        check_silence(folder / "t", "a-fwd")

    in_the_lab(check)


def test_a_process_that_dies_by_itself_is_on_record_with_its_last_words(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        (folder / "t").mkdir()
        lab.prepare(COLD, folder / "t")
        victim = lab.element.process("fe3")
        killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
        killer.start()
        lab.trial((), calibrate_ms=150, observe_ms=250)
        trial = json.loads((folder / "t" / "trial.json").read_text())
        (accident,) = trial["unexpected_exits"]
        assert (accident["node"], accident["exit_code"]) == ("fe3", -signal.SIGKILL)
        assert trial["missing_records"] == []

    in_the_lab(check)


def test_what_cannot_be_done_is_refused_before_anything_is_struck(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        with pytest.raises(LabError, match=r"prepare\(\) comes before trial\(\)"):
            lab.trial((), 100, 100)
        for number, (faults, calibrate, words) in enumerate(
            [
                ((FaultSpec("explode", "ce1"),), 100, "no fault kind 'explode'"),
                ((FaultSpec("crash", "nobody"),), 100, "no node 'nobody'"),
                ((), 1e9, "is not possible"),
            ]
        ):
            place = folder / str(number)
            place.mkdir()
            lab.prepare(COLD, place)
            with pytest.raises(LabError, match=words):
                lab.trial(faults, calibrate, 100)
        with pytest.raises(LabError, match="outside"):
            lab.prepare(CellSettings(mode="cold", routes=10**9), folder)

    in_the_lab(check)


def test_a_process_that_does_not_start_is_an_error_with_its_own_words(
    in_the_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = {"fe": "tests.lab.puppets:run_nothing", "ce": "tests.lab.puppets:run_ce"}
    monkeypatch.setattr("lab.emulated.nodes.TARGETS", targets)

    def check(lab: EmulatedLab, folder: Path) -> None:
        with pytest.raises(LabError, match=r"fe\d ended with exit code 1: .*run_nothing"):
            lab.prepare(COLD, folder)

    in_the_lab(check)


def test_the_control_network_is_captured_if_asked(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        one_trial(lab, folder / "t", FaultSpec("crash", "master"))
        for node in ("ce1", "ce2", *FES):
            capture = folder / "t" / f"{node}.pcap"
            read = ["tcpdump", "-n", "-r", str(capture), "tcp port 7000"]
            shown = subprocess.run(read, check=True, capture_output=True, text=True).stdout
            assert shown.strip(), node

    in_the_lab(check, pcap=True)


def test_the_environment_tells_the_jitter_of_the_run(in_the_lab: Any) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        for number in range(3):
            one_trial(lab, folder / str(number))
        jitter = lab.environment()["jitter"]
        assert jitter["elements"]["samples"] >= 100
        assert jitter["elements"]["max_us"] >= jitter["elements"]["p50_us"] > 0
        assert jitter["probes"]["samples"] >= 100

    in_the_lab(check)


def test_what_did_not_heal_in_one_trial_is_healed_before_the_next(
    in_the_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(lab: EmulatedLab, folder: Path) -> None:
        with monkeypatch.context() as broken:
            broken.setattr("lab.emulated.faults.schedule.HEAL_BUDGET_S", 0.2)
            broken.setattr("lab.emulated.faults.link.LinkSilence.heal", lambda _self: None)
            with pytest.raises(FaultFailed, match=r"not healed .*link-silent of fe1-fe2"):
                one_trial(lab, folder / "1", FaultSpec("link-silent", "fe1-fe2"))
        trial = json.loads((folder / "1" / "trial.json").read_text())
        assert "link-silent of fe1-fe2" in trial["not_healed"]
        assert trial["missing_records"] == []
        records, trial = one_trial(lab, folder / "2")
        check_records(folder / "2", records, trial)
        assert lost(folder / "2") == 0

    in_the_lab(check)
