"""Scenario files: the shipped ones, and what a typing error in one says (golden)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from experiments import laboratory
from experiments.plan import as_json, from_json, make_plan
from experiments.scenario import FaultKind, ScenarioNotFound, _Settings, available, load_scenario
from experiments.verbs.run import estimate_s, possible, topology_of
from lab.backend import CellSettings, LabError
from topologies.document import DocumentError
from topologies.model import Impairment

GOOD = """\
question: What does a crash cost in this test?
topology: diamond
trials: 3
settings: {routes: 10}
faults:
  crash:
    - {kind: crash, target: master}
  cut:
    - {kind: link-cut, target: fe1-fe2, at_ms: 5}
must_lose: [cut]
cells:
  - {name: cold, mode: cold, fault: crash}
  - {name: hot, mode: hot, fault: cut, observe_ms: 400}
expect:
  - data_lost.max == 0
"""

KINDS = ", ".join(map(repr, get_args(FaultKind)[:-1])) + f" or {get_args(FaultKind)[-1]!r}"

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    def put(text: str) -> str:
        (tmp_path / "mine.yaml").write_text(text)
        return "./mine.yaml"

    monkeypatch.chdir(tmp_path)
    return put


def test_shipped_scenarios_are_well_formed_and_know_their_topology() -> None:
    assert {"quickstart", "failures"} <= set(available())
    for name in available():
        scenario = load_scenario(name)
        assert topology_of(scenario).name == scenario.content.topology
        assert all(cell.trials >= 10 for cell in scenario.cells), name


def test_quickstart_is_what_the_readme_says() -> None:
    scenario = load_scenario("quickstart")
    kinds = {(c.settings.mode, c.settings.policy) for c in scenario.cells}
    assert kinds == {("none", 1), ("cold", 1), ("cold", 0), ("hot", 1)}
    assert {f.kind for c in scenario.cells for f in c.faults} == {"crash"}


def test_failures_is_cold_and_hot_against_every_fault() -> None:
    scenario = load_scenario("failures")
    kinds = {"crash", "hang", "isolate-carrier", "isolate-silent", "planned-switch", "link-cut"}
    assert {(c.settings.mode, c.fault) for c in scenario.cells} == {
        (mode, kind) for mode in ("cold", "hot") for kind in kinds
    }
    assert {c.fault for c in scenario.cells if c.must_lose} == {"link-cut"}


def test_a_file_by_path(write: Write) -> None:
    scenario = load_scenario(write(GOOD))
    cold, hot = scenario.cells
    assert scenario.name == "mine"
    assert (cold.settings.routes, cold.trials, cold.must_lose) == (10, 3, False)
    assert (hot.observe_ms, hot.faults[0].at_ms, hot.must_lose) == (400, 5, True)


def test_every_setting_of_a_cell_can_be_written() -> None:
    written = {f.name for f in fields(CellSettings)} - {"impairments"}
    assert set(_Settings.model_fields) == written, "impairments are written as named sets"


IMPAIRED = GOOD + "impairments:\n  far:\n    - {link: ces, delay_ms: 5}\n"


def test_a_cell_chooses_a_set_of_impairments_and_a_plan_keeps_it(write: Write) -> None:
    text = IMPAIRED.replace("mode: hot,", "mode: hot, impair: far,")
    cold, hot = load_scenario(write(text)).cells
    assert (cold.settings.impair, cold.settings.impairments) == ("none", ())
    assert hot.settings.impairments == (Impairment("ces", delay_ms=5),)
    plan = make_plan("mine", "diamond", (cold, hot), 1, 1)
    assert from_json(json.loads(json.dumps(as_json(plan)))) == plan


def test_golden_impairments_of_a_scenario(write: Write) -> None:
    with pytest.raises(DocumentError) as unknown:
        load_scenario(write(IMPAIRED.replace("mode: hot,", "mode: hot, impair: near,")))
    assert str(unknown.value) == (
        "mine.yaml:13: cells[1].impair: 'near' is not a set of impairments of this file"
        " (there are: far)"
    )
    scenario = load_scenario(write(IMPAIRED.replace("link: ces", "link: ce7")))
    with pytest.raises(DocumentError) as nowhere:
        topology_of(scenario)
    assert str(nowhere.value) == (
        "mine.yaml:18: impairments.far[0].link: topology diamond has no data link, CE or FE 'ce7'"
    )


def test_a_product_names_its_cells(write: Write) -> None:
    text = re.sub(r"cells:\n.*\n.*\n", "vary: {mode: [cold, hot], routes: [10, 100]}\n", GOOD)
    names = [c.name for c in load_scenario(write(text)).cells]
    assert names == ["cold-routes10", "cold-routes100", "hot-routes10", "hot-routes100"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("trials: 3", "trails: 3",
         "mine.yaml:3: trails: is not a known key: did you mean 'trials'?"),
        (
            "kind: crash,", "kind: crsh,",
            f"mine.yaml:7: faults.crash[0].kind: 'crsh' is not one of {KINDS}: "
            "did you mean 'crash'?",
        ),
        (
            "mode: cold,", "mode: warm,",
            "mine.yaml:12: cells[0].mode: 'warm' is not one of 'none', 'cold', 'hot' or "
            "'hot+sync'",
        ),
        (
            "fault: cut,", "fault: cat,",
            "mine.yaml:13: cells[1].fault: 'cat' is not a schedule of this file "
            "(there are: crash, cut)",
        ),
        (
            "data_lost.max", "data_lots.max",
            "mine.yaml:15: expect[0]: unknown figure 'data_lots' (known: dtime1_ms, dtime2_ms, "
            "dtime3_ms, failover_ms, control_outage_ms, first_change_ms, data_sent, data_lost, "
            "data_outage_ms, disruptions, false_alarms, beats_missed)",
        ),
        ("name: hot,", "name: cold,", "mine.yaml:13: cells[1].name: a second cell 'cold'"),
        ("mode: hot, ", "", "mine.yaml:13: cells[1]: mode is missing"),
        (
            "observe_ms: 400", "observe_ms: 4",
            "mine.yaml:1: observe_ms: cell hot: the faults end at 5 ms, after the observed time",
        ),
        ("must_lose: [cut]", "must_lose: [cot]",
         "mine.yaml:10: must_lose[0]: 'cot' is not a schedule of this file"),
        ("routes: 10", "routes: -1",
         "mine.yaml:4: settings.routes: input should be greater than or equal to 0 (is -1)"),
        ("topology: diamond\n", "", "mine.yaml:1: topology: is missing"),
    ],
)  # fmt: skip
def test_a_typing_error_is_one_line_with_file_line_and_field(
    write: Write, old: str, new: str, line: str
) -> None:
    assert old in GOOD
    with pytest.raises(DocumentError) as caught:
        load_scenario(write(GOOD.replace(old, new, 1)))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("{mood: [cold]}", "vary.mood: is not what can be varied (known: "),
        ("{mode: []}", "vary.mode: must have at least one value"),
        ("{mode: [cold, tepid]}", "vary.mode[1]: 'tepid': "),
        ("{mode: [cold], guard: [null]}", "vary: a cell 'cold-guardNone' cannot be: "),
        (f"{{mode: [cold], routes: {list(range(201))}}}", "201 cells are more"),
    ],
)
def test_a_wrong_product_is_one_line(write: Write, vary: str, message: str) -> None:
    text = re.sub(r"cells:\n.*\n.*\n", f"vary: {vary}\n", GOOD)
    with pytest.raises(DocumentError) as caught:
        load_scenario(write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_switch_that_is_varied_names_its_cells(write: Write) -> None:
    text = re.sub(r"cells:\n.*\n.*\n", "vary: {mode: [hot], guard: [false, true]}\n", GOOD)
    scenario = load_scenario(write(re.sub(r"(?s)expect:.*", "", text)))
    assert [cell.name for cell in scenario.cells] == ["hot-guard-off", "hot-guard-on"]


def test_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(ScenarioNotFound) as caught:
        load_scenario("quikstart")
    assert str(caught.value) == (
        "there is no scenario 'quikstart' and no file of that name: did you mean 'quickstart'?"
    )


def test_what_the_machine_lacks_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = {"sctp": "this kernel has no SCTP sockets"}
    monkeypatch.setattr("lab.machine.probe_transports", lambda: lacking)
    scenario = load_scenario("sweep-transport")
    plan = make_plan("t", "diamond", scenario.cells, 1, 0)
    reasons = laboratory.cannot(plan, topology_of(scenario), "emulated")
    assert reasons == {
        f"sctp-{fault}": "sctp: this kernel has no SCTP sockets" for fault in ("crash", "hang")
    }
    left = possible(plan, reasons, named=False)
    assert {cell.settings.tml for cell in left.cells} == {"usrsctp", "usrsctp-udp", "tcp"}
    assert {trial.cell for trial in left.trials} == {cell.name for cell in left.cells}
    assert "ceha: left out: sctp-crash: sctp: this kernel" in capsys.readouterr().err
    with pytest.raises(LabError, match="sctp-hang: sctp"):
        possible(plan, reasons, named=True)


def test_the_estimate_counts_the_tables_of_the_fes_that_take_part() -> None:
    cells = {cell.name: cell for cell in load_scenario("sweep-fes").cells}
    few, many = (
        make_plan("s", "star", [cells[f"hot-fes{count}-crash"]], 1, 0) for count in (1, 50)
    )
    assert estimate_s(many, 50) - estimate_s(few, 50) == pytest.approx(10 * 49 * 100 / 20_000)
