"""From plan to folder: order, extra trials, resume, interruption, a full disk, exit codes."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import folders, laboratory, runner
from experiments.campaign import Campaign, Finished, new_manifest, rebuild
from experiments.measures.records import Limits
from experiments.plan import Cell, Plan, Until, as_json, drawn, from_json, make_plan, with_extra
from experiments.results import COLUMNS
from lab.backend import CellSettings, FaultFailed, FaultSpec
from tests.experiments.synthetic import FES, Knobs, SyntheticLab, by_mode
from topologies.model import Node, Topology

CRASH = (FaultSpec("crash", "master"),)


def cell(name: str, trials: int = 3, expect: tuple[str, ...] = (), **settings: Any) -> Cell:
    chosen = CellSettings(**({"mode": name} | settings))
    return Cell(name, chosen, "crash", CRASH, trials, 100, 200, False, expect)


def plan(*cells: Cell, seed: int = 5, warmup: int = 1) -> Plan:
    return make_plan("made", "diamond", cells or (cell("cold"), cell("hot")), seed, warmup)


TOPOLOGY = Topology(
    "diamond",
    "",
    (
        Node("ce1", "ce", 0x40000001, None),
        Node("ce2", "ce", 0x40000002, None),
        *(Node(name, "fe", n, None) for n, name in enumerate(FES, 1)),
    ),
    (),
    (),
    "10.255.0.0/24",
    "",
)

Run = Callable[..., tuple[int, Path]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(plan, lab) is a whole campaign; returns exit code and folder."""
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("experiments.campaign.signal.signal", lambda *_: None)

    def go(made: Plan, lab: SyntheticLab, folder: Path | None = None) -> tuple[int, Path]:
        monkeypatch.setattr(laboratory, "open_lab", lambda *_: lab)
        if folder is None:
            folder = folders.create(made.scenario)
            manifest = new_manifest(made, "What does it cost?", Limits(), ["dtimes"], "")
            folders.write_json(folder / "manifest.json", manifest)
            runner.start(folder, made)
        else:
            made = runner.load_plan(folder)
            manifest = folders.read_json(folder / "manifest.json")
        return Campaign(folder, made, TOPOLOGY, Limits(), manifest).run(), folder

    return go


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert plan(seed=5) == plan(seed=5)
    assert [t.cell for t in plan(cell("cold", 20), cell("hot", 20), seed=5).trials] != [
        t.cell for t in plan(cell("cold", 20), cell("hot", 20), seed=6).trials
    ]
    assert [t.seed for t in plan(seed=5).trials] != [t.seed for t in plan(seed=6).trials]


def test_warm_ups_come_first_and_every_round_has_every_cell() -> None:
    made = plan(cell("cold", 4), cell("hot", 4), cell("none", 2), warmup=2)
    order = [(t.cell, t.warmup) for t in made.trials]
    assert all(warm for _, warm in order[:6])
    assert not any(warm for _, warm in order[6:])
    assert Counter(name for name, _ in order[:6]) == {"cold": 2, "hot": 2, "none": 2}
    assert {name for name, _ in order[6:9]} == {"cold", "hot", "none"}
    assert Counter(name for name, _ in order[6:]) == {"cold": 4, "hot": 4, "none": 2}
    assert [t.number for t in made.trials] == list(range(1, 17))


def test_a_plan_survives_json() -> None:
    made = replace(with_extra(plan(), ["hot"]), until=Until("dtime1_ms", 5, 20))
    assert from_json(json.loads(json.dumps(as_json(made)))) == made


@pytest.mark.parametrize("raw", [{}, {"version": 99}, {"version": 1, "cells": [{}]}])
def test_what_is_not_a_plan_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a plan"):
        from_json(raw)


def test_a_whole_run_leaves_what_design_10_promises(run: Run) -> None:
    code, folder = run(plan(), SyntheticLab(by_mode()))
    assert code == 0
    for name in (
        "manifest.json", "plan.json", "results.csv", "results.json", "report.html",
        "figures/dtimes.png", "figures/dtimes.svg", "trials/1/verdict.json",
    ):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert (folder.parent / "latest").resolve() == folder
    table = rows(folder)
    assert tuple(table[0]) == COLUMNS
    assert Counter(r["cell"] for r in table) == {"cold": 3, "hot": 3}
    assert {r["verdict"] for r in table} == {"ok"}
    assert all(float(r["dtime2_ms"]) < 1 for r in table if r["mode"] == "hot")
    assert (table[0]["fes"], table[0]["ces"], table[0]["tml"]) == ("4", "2", "memory")
    results = json.loads((folder / "results.json").read_text())
    assert set(results["trials"][0]["per_fe"]) == set(FES)
    assert len(results["warmups"]) == 2
    assert json.loads((folder / "manifest.json").read_text())["state"] == "done"


def test_trials_that_are_not_ok_get_a_successor(run: Run) -> None:
    lab = SyntheticLab()
    lab.knobs = lambda *_: Knobs(overflow=4 if lab.trials in (3, 4) else 0)
    code, folder = run(plan(), lab)
    assert code == 0
    verdicts = Counter((r["cell"], r["verdict"]) for r in rows(folder))
    assert verdicts["cold", "ok"] == verdicts["hot", "ok"] == 3
    assert sum(n for (_, verdict), n in verdicts.items() if verdict == "invalid") == 2
    assert len(runner.load_plan(folder).trials) == 10


def test_adaptive_stop_goes_on_where_the_median_is_unsure_and_only_there(run: Run) -> None:
    lab = SyntheticLab()
    scattered = iter([10, 90, 20, 80, 30, 70, 40, 60] + [50] * 40)

    def knobs(settings: CellSettings, _faults: object) -> Knobs:
        return Knobs(dtime1_ms=next(scattered)) if settings.mode == "cold" else Knobs()

    lab.knobs = knobs
    made = replace(plan(warmup=0), until=Until("dtime1_ms", 20, 40))
    code, folder = run(made, lab)
    assert code == 0
    ok = Counter(r["cell"] for r in rows(folder))
    assert ok["hot"] == 3
    assert 8 < ok["cold"] < 40
    assert runner.load_plan(folder).until == made.until


def test_adaptive_stop_ends_at_its_cap_and_at_once_where_nothing_scatters(run: Run) -> None:
    values = iter([10, 130, 20, 120, 30, 110, 40, 100, 50] * 2)
    lab = SyntheticLab()
    lab.knobs = lambda *_: Knobs(dtime1_ms=next(values))
    code, folder = run(replace(plan(cell("cold")), until=Until("dtime1_ms", 1, 9)), lab)
    assert code == 0
    assert len(rows(folder)) == 9
    code, folder = run(replace(plan(cell("cold")), until=Until("false_alarms", 1, 9)), lab)
    assert len(rows(folder)) == 3


def test_jitter_is_drawn_from_the_trials_seed_and_one_moment_stays_one() -> None:
    faults = (
        FaultSpec("crash", "master", 10, jitter_ms=50),
        FaultSpec("link-cut", "fe1-fe2", 10, jitter_ms=50),
        FaultSpec("hang", "ce2", 300),
    )
    once, again, other = drawn(faults, 7), drawn(faults, 7), drawn(faults, 8)
    assert once == again
    assert once[0].at_ms == once[1].at_ms != other[0].at_ms
    assert all(10 <= made[0].at_ms <= 60 for made in (once, other))
    assert [f.at_ms for f in (once[2], other[2])] == [300, 300]
    assert all(f.jitter_ms == 0 for f in once)


def test_too_many_invalid_trials_end_with_3_at_the_cap(run: Run) -> None:
    code, folder = run(plan(cell("cold", 4), warmup=0), SyntheticLab(Knobs(overflow=1)))
    assert code == 3
    assert len(rows(folder)) == runner.cap(4) == 6


def test_a_violated_invariant_ends_with_1(run: Run) -> None:
    lab = SyntheticLab()
    lab.knobs = lambda *_: Knobs(stray_routes=2 if lab.trials == 3 else 0)
    code, _ = run(plan(cell("cold", 2)), lab)
    assert code == 1


def test_a_failed_expectation_ends_with_1(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(plan(cell("cold", 2, ("dtime2_ms.max < 1",))), SyntheticLab())
    assert code == 1
    assert "cold: expected dtime2_ms.max < 1 (dtime2_ms.max = 6)" in capsys.readouterr().out


def test_an_interrupted_run_keeps_what_was_measured_and_resumes(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Path) -> None:
        if lab.trials == 5:
            raise KeyboardInterrupt

    lab = SyntheticLab(Knobs(strike=interrupt))
    code, folder = run(plan(), lab)
    assert code == 130
    assert lab.closed
    err = capsys.readouterr().err
    assert f"4 of 8 trials are kept, `ceha run --resume {folder.name}` goes on" in err
    assert len(rows(folder)) == 2
    before = (folder / "trials/2/probe-a-fwd.rx.npy").stat().st_mtime_ns

    again = SyntheticLab()
    code, _ = run(plan(), again, folder)
    assert code == 0
    assert again.trials == 4
    assert Counter(r["cell"] for r in rows(folder)) == {"cold": 3, "hot": 3}
    assert (folder / "trials/2/probe-a-fwd.rx.npy").stat().st_mtime_ns == before


def test_a_full_disk_is_one_line_and_exit_2_and_what_exists_stays(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(_: Path) -> None:
        if lab.trials == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    lab = SyntheticLab(Knobs(strike=fill))
    code, folder = run(plan(), lab)
    assert code == 2
    err = capsys.readouterr().err.splitlines()
    messages = [line for line in err if line.startswith("ceha: ")]
    assert len(messages) == 1
    assert messages[0].startswith(f"ceha: no space left in {folder}: 3 of 8 trials are kept")
    assert (folder / "trials/3/verdict.json").is_file()


def test_too_little_space_is_noticed_before_a_trial(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = type("usage", (), {"free": 1 << 20})
    monkeypatch.setattr("experiments.folders.shutil.disk_usage", lambda _: usage)
    code, _ = run(plan(), SyntheticLab())
    assert code == 2
    assert "(1 MiB free)" in capsys.readouterr().err


def test_a_lab_that_fails_again_and_again_is_given_up(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = SyntheticLab(Knobs(fails="fe2 has no master after 10 s"))
    code, _ = run(plan(cell("cold", 10)), lab)
    assert code == 3
    assert lab.trials == runner.MAX_FAILURES_IN_A_ROW
    assert "5 trials in a row failed: lab: fe2 has no master after 10 s" in capsys.readouterr().err


def test_a_fault_that_did_not_happen_is_an_invalid_trial(run: Run) -> None:
    def refuse(_: Path) -> None:
        if lab.trials == 2:
            raise FaultFailed("ce1 is still alive")

    lab = SyntheticLab(Knobs(strike=refuse))
    code, folder = run(plan(cell("cold", 2), warmup=0), lab)
    assert code == 0
    assert Counter(r["verdict"] for r in rows(folder)) == {"ok": 2, "invalid": 1}
    results = json.loads((folder / "results.json").read_text())
    assert results["cells"][0]["reasons"] == ["fault: ce1 is still alive"]


def test_report_rebuilds_everything_from_the_raw_records(run: Run) -> None:
    lab = SyntheticLab()
    lab.knobs = lambda *_: Knobs(fails="no luck") if lab.trials == 2 else Knobs(overflow=0)
    _, folder = run(plan(), lab)
    first = {name: (folder / name).read_text() for name in ("results.csv", "results.json")}
    for name in (*first, "report.html"):
        (folder / name).unlink()
    finished = rebuild(folder)
    assert isinstance(finished, Finished)
    assert {name: (folder / name).read_text() for name in first} == first
    assert (folder / "report.html").is_file()


def test_latest_moves_on_and_two_runs_in_one_second_do_not_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path))
    first, second = folders.create("quickstart", 1e9), folders.create("quickstart", 1e9)
    assert second.name == first.name + "-2"
    assert (tmp_path / "latest").resolve() == second
    study = folders.create("scale-simulated", latest=False)
    assert (tmp_path / "latest").resolve() == second
    with pytest.raises(folders.RunError, match=r"is not a run \(it has no plan.json\)"):
        folders.find(study.name)
    with pytest.raises(folders.RunError, match=r"^/etc is not a run \(it has no plan.json\)"):
        folders.find("/etc")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: root")
def test_what_sudo_made_belongs_to_who_called_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def owners(path: Path) -> tuple[int, int]:
        return path.lstat().st_uid, path.lstat().st_gid

    other = tmp_path / "other"
    other.write_text("not of the run")
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path / "deep" / "runs"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    first = folders.create("quickstart")
    folders.give_to_caller(first)
    assert owners(first) == owners(first.parent) == (0, 0)
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path / "new" / "runs"))
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "5678")
    folder = folders.create("quickstart")
    assert owners(folder) == (0, 0), "given at the end"
    assert owners(tmp_path / "new") == owners(folder.parent) == (1234, 5678)
    (folder / "trials" / "1").mkdir()
    (folder / "trials" / "1" / "trial.json").write_text("{}")
    (folder / "link").symlink_to(other)
    folders.give_to_caller(folder)
    made = [folder, *folder.rglob("*")]
    assert len(made) == 5
    assert {owners(path) for path in made} == {(1234, 5678)}
    assert owners(other) == owners(tmp_path) == (0, 0)


def test_golden_run_that_is_another_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path))
    refused = PermissionError(errno.EACCES, "Permission denied")
    assert str(folders.explain(refused, tmp_path)) == (
        f"cannot write to {tmp_path}: Permission denied; set CEHA_RUNS to a folder of yours"
    )
    assert str(folders.explain(refused, tmp_path / "x")) == (
        f"cannot write to {tmp_path}/x: Permission denied;"
        " copy the run to a folder of yours and set CEHA_RUNS to that"
    )
    assert "CEHA_RUNS" not in str(folders.explain(refused, Path("/elsewhere/page.md")))
