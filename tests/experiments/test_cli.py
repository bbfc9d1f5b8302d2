"""The verbs: what they print, and one clear line with exit 2 for whatever a user gets wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments import laboratory
from experiments.cli import app
from experiments.expectations import METRICS
from experiments.verbs.scale import MODES
from lab.backend import LabError
from tests.experiments.synthetic import SyntheticLab, by_mode


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs go to a fresh folder, trials to the synthetic laboratory."""
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("experiments.campaign.signal.signal", lambda *_: None)
    # The page itself is test_report's matter, and slow to draw.
    monkeypatch.setattr(
        "experiments.report.page.write_report",
        lambda finished: (finished.folder / "report.html").write_text("page"),
    )
    monkeypatch.setattr(laboratory, "inside", lambda entry: entry())
    monkeypatch.setattr(laboratory, "open_lab", lambda *_: SyntheticLab(by_mode()))
    return tmp_path / "runs"


def ceha(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def one_line(result: Result, code: int = 2) -> str:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_run_shows_a_table_and_report_finds_the_run(runs: Path) -> None:
    done = ceha("run", "quickstart", "--trials", "2")
    assert done.exit_code == 0, done.output
    for word in ("none", "cold", "cold-policy0", "hot", "2 ok", "dtime3", "report.html"):
        assert word in done.stdout
    again = ceha("report", "latest", "--json")
    assert again.exit_code == 0
    shown = json.loads(again.stdout)
    assert [cell["cell"] for cell in shown["cells"]] == ["none", "cold", "cold-policy0", "hot"]
    assert all(e["held"] for e in shown["expectations"])


def test_only_and_seed(runs: Path) -> None:
    done = ceha("run", "quickstart", "--trials", "1", "--only", "hot", "--seed", "9", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [cell["cell"] for cell in shown["cells"]] == ["hot"]
    asked = {e["expression"]: e["held"] for e in shown["expectations"]}
    assert asked['dtime2_ms.median < cells["cold"].dtime2_ms.median / 5'] is None
    manifest = json.loads((runs / "latest" / "manifest.json").read_text())
    assert manifest["seed"] == 9


def test_dry_run_runs_nothing(runs: Path) -> None:
    done = ceha("run", "quickstart", "--dry-run")
    assert done.exit_code == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("44 trials in 4 cells, seed 1, about 2 min ")
    one = ceha("run", "double-fault", "--dry-run", "--trials", "1", "--only", "hot").stdout
    assert one.splitlines()[-1] == "2 trials in 1 cell, seed 6, about 7 s"
    assert not runs.exists()
    plan = json.loads(ceha("run", "quickstart", "--dry-run", "--json").stdout)
    assert len(plan["trials"]) == 44


def test_resume_of_a_complete_run_ends_at_once(runs: Path) -> None:
    assert ceha("run", "quickstart", "--trials", "1", "--only", "hot").exit_code == 0
    assert ceha("run", "--resume", "latest").exit_code == 0


def test_replay_repeats_one_trial_with_its_seed(runs: Path) -> None:
    assert (
        ceha("run", "quickstart", "--trials", "2", "--only", "hot", "--only", "cold").exit_code == 0
    )
    old = json.loads((runs / "latest" / "plan.json").read_text())
    trial = old["trials"][3]
    name = (runs / "latest").resolve().name
    done = ceha("run", "--replay", f"latest/{trial['number']}")
    assert done.exit_code == 0, done.output
    assert f"trial 4 of {name} ({trial['cell']}, seed {trial['seed']}) again" in done.stderr
    new = json.loads((runs / "latest" / "plan.json").read_text())
    assert [t["seed"] for t in new["trials"]] == [trial["seed"]]
    (cell,) = new["cells"]
    assert cell["settings"] == next(
        c["settings"] for c in old["cells"] if c["name"] == trial["cell"]
    )
    manifest = json.loads((runs / "latest" / "manifest.json").read_text())
    assert manifest["replay_of"] == f"{name}/4"


def test_until_goes_on_as_the_command_line_asks(runs: Path) -> None:
    done = ceha(
        "run", "quickstart", "--trials", "1", "--only", "hot", "--until", "dtime2_ms=1%",
        "--max-trials", "7", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [c["ok"] for c in json.loads(done.stdout)["cells"]] == [7]
    shown = ceha("run", "quickstart", "--dry-run", "--until", "dtime2_ms=10").stdout
    assert "median of dtime2_ms is narrower than 10 % of it, at most 50 trials" in shown


def test_the_estimate_grows_with_the_tables(runs: Path) -> None:
    def seconds(*arguments: str) -> int:
        shown = json.loads(ceha("run", "sweep-routes", "--dry-run", "--json", *arguments).stdout)
        return int(shown["estimate_s"])

    only = ["--trials", "10", "--only"]
    small, large = seconds(*only, "hot-routes0-crash"), seconds(*only, "hot-routes10000-crash")
    assert 11 * 2 < small < large


def test_ladder_of_any_trial(runs: Path, tmp_path: Path) -> None:
    assert ceha("run", "quickstart", "--trials", "1", "--only", "hot").exit_code == 0
    done = ceha("ladder", "latest/2", "--picture", str(tmp_path / "l.svg"))
    assert done.exit_code == 0, done.output
    for words in ("✗ crash ce1", "detect: ce1 lost (tml)", "master: ce2", "takeover of fe4 ◀"):
        assert words in done.stdout
    assert (tmp_path / "l.svg").read_text().startswith("<?xml")
    shown = json.loads(ceha("ladder", "latest/2", "--fe", "fe1", "--json").stdout)
    assert shown["lanes"] == ["lab", "ce1", "ce2", "fe1"]
    took = next(r for r in shown["rungs"] if r["event"] == "takeover")
    assert (took["node"], took["from"]) == ("ce2", "fe1")


def test_compare_of_a_run_with_itself_and_with_another(runs: Path) -> None:
    for _ in range(2):
        assert ceha("run", "quickstart", "--trials", "6", "--only", "hot").exit_code == 0
    first, second = sorted(p.name for p in runs.iterdir() if p.name != "latest")
    same = json.loads(ceha("compare", first, first, "--json").stdout)
    assert same["rows"]
    for row in same["rows"]:
        assert (row["difference"], row["hodges_lehmann"], row["cliffs_delta"]) == (0, 0, 0)
        assert row["differs"] is False
    done = ceha("compare", first, second)
    assert done.exit_code == 0, done.output
    assert "dtime2_ms" in done.stdout
    assert (runs / second / "figures" / f"compare-{first}.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ladder", "7"], "'7' is not RUN/TRIAL, e.g. latest/7"),
        (["run", "--replay", "latest"], "'latest' is not RUN/TRIAL, e.g. latest/7"),
        (["run", "quickstart", "--replay", "latest/1"],
         "--replay cannot be combined with a scenario"),
        (["run", "--replay", "latest/999", "--dry-run"],
         "--replay cannot be combined with --dry-run"),
        (["run", "--replay", "latest/1", "--resume", "latest"],
         "--replay cannot be combined with --resume"),
        (["run", "--resume", "latest", "--max-trials", "9"],
         "--resume cannot be combined with --max-trials"),
        (["run", "quickstart", "--until", "dtime2=5"],
         "--until: 'dtime2' is not a figure: did you mean 'dtime2_ms'?"),
        (["run", "quickstart", "--until", "dtime2_ms"],
         "--until: 'dtime2_ms' is not FIGURE=PERCENT, e.g. dtime2_ms=10"),
        (["run", "quickstart", "--max-trials", "9"],
         "--max-trials is the cap of --until, and there is none"),
    ],
)  # fmt: skip
def test_golden_wrong_choices(runs: Path, arguments: list[str], line: str) -> None:
    assert one_line(ceha(*arguments)) == f"ceha: {line}"


def test_golden_trial_and_fe_that_are_not_there(runs: Path) -> None:
    assert ceha("run", "quickstart", "--trials", "1", "--only", "hot").exit_code == 0
    name = (runs / "latest").resolve().name
    assert one_line(ceha("ladder", "latest/9")) == f"ceha: {name} has no trial 9 (1 to 2)"
    assert one_line(ceha("ladder", "latest/2", "--fe", "fe9")) == (
        "ceha: the trial has no FE 'fe9' (FEs: fe1, fe2, fe3, fe4)"
    )


def test_scenarios_lists_the_questions() -> None:
    assert "quickstart: What does the crash" in ceha("scenarios").stdout
    listed = json.loads(ceha("scenarios", "--json").stdout)
    assert {"quickstart", "failures"} <= {s["name"] for s in listed}


def test_golden_unknown_scenario() -> None:
    assert one_line(ceha("run", "quikstart")) == (
        "ceha: there is no scenario 'quikstart' and no file of that name:"
        " did you mean 'quickstart'?"
    )


def test_golden_no_scenario() -> None:
    assert one_line(ceha("run")) == "ceha: which scenario? (see `ceha scenarios`)"


def test_golden_unknown_cell() -> None:
    assert one_line(ceha("run", "quickstart", "--only", "warm")) == (
        "ceha: quickstart has no cell 'warm' (there are: none, cold, cold-policy0, hot)"
    )


def test_golden_unknown_run(runs: Path) -> None:
    line = f"ceha: there is no run 'nothing' in {runs}"
    assert one_line(ceha("report", "nothing")) == line
    assert one_line(ceha("run", "--resume", "nothing")) == line


def test_golden_typing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("question: What is wrong here?\ntopology: diamond\nwarmups: 1\n")
    assert one_line(ceha("run", "./my.yaml")) == (
        "ceha: my.yaml:3: warmups: is not a known key: did you mean 'warmup'?"
    )


def test_golden_fault_on_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(
        "question: What is wrong here?\ntopology: diamond\n"
        "faults:\n  cut:\n    - {kind: link-cut, target: fe1-fe9}\n"
        "cells:\n  - {name: hot, mode: hot, fault: cut}\n"
    )
    assert one_line(ceha("run", "./my.yaml")) == (
        "ceha: my.yaml:5: faults.cut[0].target: topology diamond has no node or link 'fe1-fe9'"
    )


def test_golden_runs_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CEHA_RUNS", str(tmp_path / "file" / "runs"))
    assert one_line(ceha("run", "quickstart")) == (
        f"ceha: cannot write to {tmp_path}/file/runs: Not a directory"
    )


def test_golden_machine_that_cannot(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> int:
        raise LabError("the lab needs root: use sudo")

    monkeypatch.setattr(laboratory, "inside", refuse)
    result = ceha("run", "quickstart")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "ceha: the lab needs root: use sudo"


def test_golden_resume_with_another_choice() -> None:
    assert one_line(ceha("run", "quickstart", "--resume", "latest")) == (
        "ceha: --resume cannot be combined with a scenario"
    )


def test_golden_plan_that_is_none(runs: Path) -> None:
    (runs / "x").mkdir(parents=True)
    (runs / "x" / "plan.json").write_text("{}")
    assert one_line(ceha("report", "x")) == (f"ceha: {runs}/x/plan.json: not a plan of version 1")


@pytest.mark.parametrize(
    "verb", [[], ["run"], ["report"], ["scenarios"], ["ladder"], ["compare"], ["results"]]
)
def test_help_is_documentation(verb: list[str]) -> None:
    shown = ceha(*verb, "--help")
    assert shown.exit_code == 0
    assert "Exit codes: 0" in " ".join(shown.stdout.split())


def test_help_is_not_cut_and_names_what_can_be_chosen() -> None:
    commands = ceha("--help").stdout.partition("Commands:")[2]
    assert len([line for line in commands.splitlines() if line.startswith("  ")]) > 15
    assert "..." not in commands
    listed = commands.partition("Exit codes")[0].splitlines()
    summaries = [line[2:].split(maxsplit=1)[1] for line in listed if line.strip()]
    assert [text for text in summaries if len(text) >= 55] == []
    until = ceha("run", "--help").stdout
    assert [name for name in METRICS if name not in until] == []
    assert "|".join(MODES) in ceha("scale", "--help").stdout
    for verb, usage in (("results", "[RUN]..."), ("test", "[ARGUMENT]..."), ("report", "[RUN]")):
        assert ceha(verb, "--help").stdout.startswith(f"Usage: ceha {verb} [OPTIONS] {usage}\n")


def test_help_imports_no_numbers_and_no_pictures() -> None:
    code = (
        "import sys; import experiments.cli;"
        "print([m for m in ('numpy', 'scipy', 'matplotlib', 'pydantic', 'mininet', 'pyroute2')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_results_is_a_page_with_the_best_run_of_each_scenario(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text(
        "surprised: ['{quickstart/hot.dtime1_ms.n} trials.', '{failures/x.dtime1_ms.n} of no']\n"
        "scenarios: {quickstart: 'It took {hot.dtime1_ms.max} ms.'}\n"
    )
    monkeypatch.setattr("experiments.verbs.results.NOTES", notes)
    page = tmp_path / "out" / "results.md"
    line = f"ceha: there is no run with a result in {runs}"
    assert one_line(ceha("results", "--output", str(page))) == line
    for arguments in (["--trials", "3"], ["--trials", "1"], ["--trials", "9", "--only", "hot"]):
        assert ceha("run", "quickstart", *arguments).exit_code in (0, 1)
    three = sorted(p for p in runs.iterdir() if not p.is_symlink())[0]
    (three / "figures").mkdir(exist_ok=True)
    (three / "figures" / "dtimes.png").write_bytes(b"a picture")
    done = ceha("results", "--output", str(page))
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.count("\n## quickstart\n") == 1
    for words in (
        "| `hot` | 3 |", "- 3 trials.", "It took ", "a look, not a result",
        "![quickstart](figures/results/quickstart.png)", "`failures`: not run for this page",
    ):  # fmt: skip
        assert words in text, words
    picture = page.parent / "figures" / "results" / "quickstart.png"
    assert picture.read_bytes() == b"a picture"

    page.write_text(text + "\n## failures\n\nOf another day.\n")
    for _ in range(2):
        assert ceha("results", "--output", str(page)).exit_code == 0
    text = page.read_text()
    assert text.count("\n## quickstart\n") == 1, "made anew"
    assert "## failures\n\n*From an earlier run" in text
    assert (text.count("Of another day."), text.count("*From an earlier")) == (1, 1)
    assert "`failures`: not run" not in text
    assert " of no\n" not in text
    notes.write_text("scenarios: {quickstart: 'It took {hott.dtime1_ms.max} ms.'}\n")
    line = "ceha: results-notes.yaml: there is no figure {hott.dtime1_ms.max} (quickstart)"
    assert one_line(ceha("results", "--output", str(page))) == line
    assert page.read_text() == text, "nothing is lost"
