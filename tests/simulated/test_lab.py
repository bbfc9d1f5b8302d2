"""The simulated laboratory: faults do what they say, probes count what was lost, seeds repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.backend import AppliedFault, CellSettings, FaultSpec, LabError
from lab.simulated.faults import KINDS
from lab.simulated.lab import SimulatedLab
from topologies.loader import load_topology
from topologies.model import Impairment

SETTINGS = CellSettings(mode="hot", routes=5, beacon_ms=25, probe_pps=1000)


def trial(
    folder: Path,
    *faults: FaultSpec,
    settings: CellSettings = SETTINGS,
    topology: str = "diamond",
    seed: int = 1,
    observe_ms: float = 500,
) -> tuple[AppliedFault, ...]:
    lab = SimulatedLab(load_topology(topology))
    lab.prepare(settings, folder, seed)
    records = lab.trial(faults, 100, observe_ms)
    assert records.folder == folder
    return records.faults


def lost(folder: Path, flow: str, direction: str) -> float:
    """Share of the packets sent."""
    sent = np.load(folder / f"probe-{flow}-{direction}.tx.npy")
    received = np.load(folder / f"probe-{flow}-{direction}.rx.npy")
    assert set(received["seq"]) <= set(sent["seq"])
    return 1 - len(received) / len(sent)


def losses(folder: Path) -> dict[str, float]:
    return {f"{f} {d}": lost(folder, f, d) for f in "ab" for d in ("fwd", "rev")}


def journal(folder: Path, node: str) -> list[Mapping[str, Any]]:
    lines = (folder / f"{node}.journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_without_a_fault_nothing_is_lost_and_everything_beats(tmp_path: Path) -> None:
    assert trial(tmp_path) == ()
    assert losses(tmp_path) == dict.fromkeys(("a fwd", "a rev", "b fwd", "b rev"), 0)
    for fe in ("fe1", "fe2", "fe3", "fe4"):
        beats = np.load(tmp_path / f"beacon-{fe}.npy")
        gaps_ms = np.diff(beats["at_ns"][beats["added"] == 1]) / 1e6
        assert abs(np.median(gaps_ms) - SETTINGS.beacon_ms) < 1
        kernel = json.loads((tmp_path / f"kernel-{fe}.json").read_text())
        assert kernel["agree"]
        assert len(kernel["routes"]) >= SETTINGS.routes


def test_a_seed_decides_every_octet(tmp_path: Path) -> None:
    for run in ("a", "b", "c"):
        crash = FaultSpec("crash", "master", heal_after_ms=200)
        trial(tmp_path / run, crash, seed=2 if run == "c" else 1)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert any(name.startswith("probe-") for name in names)
    a, b, c = ({n: (tmp_path / run / n).read_bytes() for n in names} for run in "abc")
    assert a == b
    assert a["fe1.journal.jsonl"] != c["fe1.journal.jsonl"]


def test_one_way_of_a_link_is_deaf(tmp_path: Path) -> None:
    """Nobody is told, so what is lost is lost until the heal."""
    (fault,) = trial(tmp_path, FaultSpec("link-oneway", "h1-fe1", arguments={"to": "fe1"}))
    assert fault.verified
    share = losses(tmp_path)
    assert share["a rev"] == share["b rev"] == 0
    assert share["a fwd"] == share["b fwd"] > 0.7


def test_a_silent_link_loses_both_ways_and_a_cut_one_is_worked_around(tmp_path: Path) -> None:
    trial(tmp_path / "1", FaultSpec("link-silent", "fe1-fe2"))
    trial(tmp_path / "2", FaultSpec("link-cut", "fe1-fe2"))
    silent, cut = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert max(silent.values()) > 0.7
    assert 0 < max(cut.values()) < 0.05


def test_a_lossy_link_loses_its_share(tmp_path: Path) -> None:
    spec = FaultSpec("link-loss", "h1-fe1", arguments={"percent": 20})
    trial(tmp_path, spec, observe_ms=4000)
    assert all(0.15 < share < 0.25 for share in losses(tmp_path).values())


def test_a_lossy_control_link_loses_heartbeats_and_delays_the_rest(tmp_path: Path) -> None:
    spec = FaultSpec("control-loss", "ce1", arguments={"percent": 60})
    trial(tmp_path, spec, observe_ms=2000)
    detected = [e for e in journal(tmp_path, "fe1") if e["event"] == "detect"]
    assert detected
    assert max(losses(tmp_path).values()) == 0


def test_an_fe_that_starts_in_an_empty_kernel_loses_packets(tmp_path: Path) -> None:
    for state in ("keep", "clean"):
        crash = FaultSpec("crash", "fe1", heal_after_ms=50, arguments={"state": state})
        (fault,) = trial(tmp_path / state, crash)
        assert fault.verified
    assert max(losses(tmp_path / "keep").values()) == 0
    assert min(losses(tmp_path / "clean").values()) > 0


def detected(folder: Path) -> tuple[float, str]:
    """(ms after the fault, cause) of the last FE."""
    struck = next(e["t"] for e in journal(folder, "lab") if e["event"] == "fault")
    found = [e for fe in ("fe1", "fe2", "fe3", "fe4") for e in journal(folder, fe)]
    last = max((e for e in found if e["event"] == "detect"), key=lambda e: e["t"])
    return (last["t"] - struck) / 1e6, last["cause"]


def test_who_tells_of_a_death_depends_on_transport_and_guard(tmp_path: Path) -> None:
    told = {}
    for name, changes in (
        ("usrsctp", {}),
        ("guard", {"guard": True}),
        ("tcp", {"tml": "tcp"}),
    ):
        settings = replace(SETTINGS, **changes)
        trial(tmp_path / name, FaultSpec("crash", "master"), settings=settings)
        told[name] = detected(tmp_path / name)
    assert [told[name][1] for name in ("usrsctp", "guard", "tcp")] == ["icmp", "guard", "abort"]
    assert told["usrsctp"][0] > 2
    assert 0.7 < told["guard"][0] < 1.5
    assert told["tcp"][0] < 0.5


def test_impaired_links_delay_messages_and_probes(tmp_path: Path) -> None:
    impaired = (
        Impairment("ces", delay_ms=20.0, jitter_ms=1.0),
        Impairment("fe1-fe2", delay_ms=2.0, jitter_ms=0.5),
    )
    settings = replace(SETTINGS, impairments=impaired, cehdi_ms=400)
    trial(tmp_path / "1", FaultSpec("planned-switch", "master"), settings=settings)
    trial(tmp_path / "2", FaultSpec("planned-switch", "master"))
    slow, fast = (detected(tmp_path / n)[0] for n in "12")
    assert 19 < slow - fast < 22
    delays = {}
    for way in ("a-fwd", "b-fwd"):
        received = np.load(tmp_path / "1" / f"probe-{way}.rx.npy")
        delays[way] = (received["kernel_ns"] - received["sent_ns"]) / 1e6
    assert sorted(round(float(np.median(d))) for d in delays.values()) == [0, 2]
    assert 0.9 < max(d.max() - d.min() for d in delays.values()) < 1.1


def test_a_slow_control_link_carries_no_more_than_its_rate(tmp_path: Path) -> None:
    """A table of 2,000 routes, about 32 KiB, by a link of 1 Mbit/s each: a quarter of a second."""
    ready = {}
    for name, impaired in (("fast", ()), ("slow", (Impairment("fes", rate_mbit=1.0),))):
        settings = replace(SETTINGS, routes=2000, beacon_ms=0, cehdi_ms=2000, impairments=impaired)
        trial(tmp_path / name, settings=settings)
        line = next(e for e in journal(tmp_path / name, "ce1") if e["event"] == "ready")
        ready[name] = line["t"] / 1e6
    assert 200 < ready["slow"] - ready["fast"] < 400


def test_lossy_control_links_are_slow_and_no_more(tmp_path: Path) -> None:
    settings = replace(SETTINGS, impairments=(Impairment("fes", loss_percent=10),), cehdi_ms=500)
    (fault,) = trial(tmp_path, FaultSpec("crash", "master"), settings=settings, observe_ms=1500)
    assert fault.verified
    assert max(losses(tmp_path).values()) == 0


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("crash", FaultSpec("crash", "ce1", at_ms=10), "ce1 has no process to strike"),
        ("crash", FaultSpec("hang", "ce1", at_ms=10), "ce1 has no process to strike"),
        (
            "isolate-silent",
            FaultSpec("isolate-carrier", "ce1", at_ms=10),
            "nothing passes before the fault",
        ),
        (
            "hang",
            FaultSpec("planned-switch", "ce1", at_ms=1),
            "planned-switch of ce1: no sign of it",
        ),
    ],
)
def test_a_fault_that_does_not_happen_is_not_verified(
    tmp_path: Path, first: str, second: FaultSpec, reason: str
) -> None:
    one, other = trial(tmp_path, FaultSpec(first, "ce1"), second)
    assert one.verified
    assert not other.verified
    notes = json.loads((tmp_path / "trial.json").read_text())
    assert notes["fault_reasons"] == [reason]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (FaultSpec("crush", "ce1"), "crush cannot be simulated"),
        (FaultSpec("crash", "fe9"), "fe9 takes no part in mode hot"),
        (FaultSpec("crash", "ce1", arguments={"hard": 1}), "crash with 'hard' cannot be"),
        (FaultSpec("link-cut", "fe1-fe9"), "diamond has no link 'fe1-fe9'"),
        (FaultSpec("planned-switch", "fe1"), "planned-switch does not strike fe1"),
    ],
)
def test_a_fault_that_cannot_be_is_one_line(tmp_path: Path, spec: FaultSpec, text: str) -> None:
    with pytest.raises(LabError, match=text):
        trial(tmp_path, spec)


def test_kinds_take_what_the_emulated_lab_s_take() -> None:
    emulated = pytest.importorskip("lab.emulated.faults.kinds")
    for name, kind in KINDS.items():
        assert kind.targets == emulated.KINDS[name].targets
        assert kind.arguments <= emulated.KINDS[name].arguments.keys()
