"""The figure of a sweep: its axes, its line, its model, its false alarms per hour."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from experiments import runner
from experiments.measures.records import Limits
from experiments.measures.verdict import Outcome
from experiments.plan import make_plan
from experiments.report import style, sweep
from experiments.results import cell_results
from experiments.scenario import SWEEP_AXES, load_scenario
from experiments.verbs.run import topology_of
from lab.backend import CellSettings
from lab.simulated.lab import SimulatedLab
from tests.experiments.conftest import Make
from tests.experiments.silent import Silent
from tests.experiments.synthetic import Knobs
from topologies.document import DocumentError


def test_control_rtt_is_what_a_packet_and_its_answer_wait() -> None:
    cells = {cell.settings.impair: cell for cell in load_scenario("sweep-rtt").cells}
    assert {name: sweep.x_of(cell, "control_rtt_ms") for name, cell in cells.items()} == {
        "rtt0": 0, "rtt2": 2, "rtt5": 5, "rtt10": 10, "rtt20": 20, "rtt40": 40,
    }  # fmt: skip


def test_the_line_through_points_on_a_line_is_that_line() -> None:
    slope, base = sweep.fit([0, 100, 1000], [2.0, 4.0, 22.0])
    assert (slope, base) == (pytest.approx(0.02), pytest.approx(2.0))


@pytest.mark.parametrize(
    ("slope", "base", "axis", "measure", "words"),
    [
        (-0.0011, 0.25, "control_rtt_ms", "dtime2_ms", "0.25 − 0.0011 ms per ms"),
        (7.1, 3.9, "control_rtt_ms", "dtime2_ms", "3.9 + 7.1 ms per ms"),
        (1, -2.2, "cehdi_ms", "dtime1_ms", "−2.2 + 1 ms per ms"),
        (0.0102, 2.9, "routes", "dtime3_ms", "2.9 + 10 ms per 1000 routes"),
        (2.345, 1234.6, "ces", "data_lost", "1235 + 2.3 per CE"),
    ],
)
def test_golden_a_line_in_words(
    slope: float, base: float, axis: str, measure: str, words: str
) -> None:
    assert sweep.equation(slope, base, axis, measure) == words


def test_a_slope_that_the_trials_do_not_tell_from_none_is_flat() -> None:
    noise = [0.3, -0.2, 0.1, -0.1, 0.2, -0.3]
    xs = [1.0, 2.0, 3.0] * 2
    assert sweep.is_flat([(x, 5.0) for x in xs])
    assert sweep.is_flat([(x, 5 + e) for x, e in zip(xs, noise, strict=True)])
    assert not sweep.is_flat([(x, x + e) for x, e in zip(xs, noise, strict=True)])


@pytest.mark.parametrize("wide", [False, True])
def test_a_line_has_points_all_along_the_axis(wide: bool) -> None:
    line = sweep.along([0, 30, 100, 3000], wide)
    assert (line[0], line[-1]) == (0, 3000)
    assert (len(line[(line > 30) & (line < 60)]) > 40) is wide


def test_every_axis_has_a_label() -> None:
    assert set(sweep.X_LABELS) == set(SWEEP_AXES)


def test_detection_by_silence_is_the_dead_interval_less_half_an_interval_of_messages() -> None:
    settings = CellSettings("hot", cehdi_ms=300, ce_heartbeat_ms=75, beacon_ms=20)
    assert sweep.detection_ms(settings) == 290
    cells = {cell.name: cell for cell in load_scenario("sweep-dead-interval").cells}
    assert sweep.model("cehdi_ms", "dtime1_ms", cells["hang-300"]) == 290
    assert sweep.model("cehdi_ms", "dtime1_ms", cells["quiet-300"]) is None
    assert sweep.model("routes", "dtime3_ms", cells["hang-300"]) is None


def test_cold_standby_pays_seven_round_trips_and_hot_none_of_them() -> None:
    cells = {cell.name: cell for cell in load_scenario("sweep-rtt").cells}
    assert sweep.model("control_rtt_ms", "dtime2_ms", cells["cold-rtt10-crash"]) == 70
    assert sweep.model("control_rtt_ms", "dtime2_ms", cells["hot-rtt10-crash"]) is None
    assert sweep.model("control_rtt_ms", "dtime3_ms", cells["cold-rtt10-crash"]) is None


@pytest.mark.parametrize("mode", ["hot", "hot+sync"])
def test_a_standby_is_ready_one_and_a_half_round_trips_after_it_was_chosen(
    mode: str, tmp_path: Path
) -> None:
    """In virtual time, where nothing else takes any: what the model says is what happens."""
    scenario = load_scenario("sweep-rtt")
    topology = topology_of(scenario)
    cells = [c for c in scenario.cells if c.name in (f"{mode}-rtt10-crash", f"{mode}-rtt40-crash")]
    outcomes: list[Outcome] = []
    setting = runner.Setting(tmp_path, topology, Limits(jitter_ms=30))
    plan = make_plan("s", topology.name, cells, 1, 0, 1)
    runner.run(plan, SimulatedLab(topology), setting, Silent(), outcomes)
    for outcome in outcomes:
        assert outcome.ne is not None
        expected = sweep.model("control_rtt_ms", "dtime3_ms", plan.cell(outcome.description.cell))
        assert expected in (15, 60)
        assert outcome.ne.dtime3_ms == pytest.approx(expected, abs=2)


def test_what_writes_no_large_table_after_the_fault_is_judged_by_the_usual_bounds() -> None:
    scenario = load_scenario("sync")
    topology = topology_of(scenario)
    setting = runner.Setting(Path(), topology, Limits())
    for cell in scenario.cells:
        bounds = runner.limits_of(setting, cell)
        loose = cell.settings.mode != "hot+sync" and cell.settings.routes >= 10_000
        assert (bounds == Limits()) is not loose
        assert bounds.sender_pause_ms == (100 if loose else Limits().sender_pause_ms)


def test_false_alarms_are_counted_per_hour_with_a_bound() -> None:
    def seen(alarms: int) -> Outcome:
        about = SimpleNamespace(calibrate_ms=600_000, observe_ms=1_200_000)
        return cast(Outcome, SimpleNamespace(description=about, false_alarms=alarms))

    rate, above = sweep.per_hour([seen(0), seen(0)])
    assert (rate, above) == (0, pytest.approx(3, abs=0.01))
    rate, above = sweep.per_hour([seen(4), seen(0)])
    # Poisson, one-sided 95 % upper limit of 4 (tables of the chi-squared distribution)
    assert (rate, above) == (4, pytest.approx(9.154, abs=0.001))
    assert sweep.per_hour([]) == (0, 0)


def test_the_figure_shows_every_series(make: Make, tmp_path: Path) -> None:
    scenario = load_scenario("sweep-routes")
    cells = [cell for cell in scenario.cells if cell.settings.routes < 10_000]
    outcomes = []
    for number, cell in enumerate(cells * 2, 1):
        made = make(Knobs(dtime3_ms=2 + cell.settings.routes / 100), mode=cell.settings.mode)
        about: Any = made.description.__class__(
            **{
                name: getattr(made.description, name)
                for name in made.description.__dataclass_fields__
            }
            | {"cell": cell.name, "trial": number}
        )
        outcomes.append(Outcome(about, made.verdict, made.reasons, made.failovers, made.ne))
    results = cell_results(make_plan("s", "diamond", cells, 1, 0, 2), outcomes)
    with style.looks():
        figure = sweep.draw({"x": "routes", "y": ["dtime3_ms"]}, results, outcomes)
        assert figure is not None
        (axes,) = figure.axes
        words = [text.get_text() for text in axes.get_legend().get_texts()]
        assert sorted(words) == [
            "cold, crash: 2 + 10 ms per 1000 routes", "hot, crash: 2 + 10 ms per 1000 routes",
        ]  # fmt: skip
        style.save(figure, tmp_path / "figures" / "sweep")
    assert sweep.draw({"x": "beacon_ms", "y": ["dtime3_ms"]}, results, outcomes) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("x: routes", "x: roads", "sweep.x: is not a setting to sweep (known: control_rtt_ms, "),
        ("[dtime2_ms,", "[dtime9_ms,", "sweep.y[0]: is not a figure: did you mean 'dtime"),
        ("figures: [sweep, ", "figures: [", "figures: the figure sweep and the key sweep need"),
    ],
)
def test_golden_wrong_sweeps(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = Path("experiments/scenarios/sweep-routes.yaml").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    with pytest.raises(DocumentError) as caught:
        load_scenario(str(tmp_path / "mine.yaml"))
    assert message in str(caught.value)
