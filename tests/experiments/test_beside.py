"""The figure that puts contenders side by side: its groups, its columns, what does not apply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.measures.verdict import Outcome
from experiments.plan import make_plan
from experiments.report import beside, style
from experiments.results import cell_results, metric_values
from experiments.scenario import load_scenario
from tests.experiments.conftest import Make
from tests.experiments.synthetic import Knobs
from topologies.document import DocumentError


def test_takeover_is_what_is_left_of_the_failover_after_detection(make: Make) -> None:
    values = metric_values(make(Knobs(dtime1_ms=20, dtime2_ms=6, dtime3_ms=3)))
    takeover = beside.COLUMNS["takeover (ms)"](values)
    assert takeover == pytest.approx(9, abs=0.5)
    assert beside.COLUMNS["detection (ms)"](values) == pytest.approx(20, abs=0.5)
    assert beside.COLUMNS["takeover (ms)"](dict.fromkeys(values)) is None


def test_every_contender_has_its_line_and_what_was_not_run_has_none(
    make: Make, tmp_path: Path
) -> None:
    cells = [c for c in load_scenario("versus").cells if c.name in ("cold-crash", "hot-link-cut")]
    outcomes: list[Outcome] = []
    for number, cell in enumerate(cells * 3, 1):
        crash = cell.fault == "crash"
        made = make(
            Knobs(dtime1_ms=17), fault="crash" if crash else "link-cut", must_lose=not crash
        )
        about = replace(made.description, cell=cell.name, trial=number)
        outcomes.append(replace(made, description=about, verdict="ok"))
    results = cell_results(make_plan("versus", "diamond", cells, 1, 0, 3), outcomes)
    groups = {
        "crash": ["cold-crash", "openflow-crash"], "hang": ["hot-hang"], "cut": ["hot-link-cut"],
    }  # fmt: skip
    with style.looks():
        figure = beside.draw(groups, results, outcomes)
        assert figure is not None
        assert [axes.get_title(loc="left") for axes in figure.axes[::4]] == ["crash", "cut"]
        drawn = [axes.axison for axes in figure.axes]
        assert drawn == [True] * 4 + [False] * 3 + [True], "nobody was lost when a link was cut"
        first, other = ([t.get_text() for t in figure.axes[n].get_yticklabels()] for n in (0, 7))
        assert (first, other) == (["cold-crash"], ["hot-link-cut"])
        words = [[text.get_text() for text in axes.texts] for axes in figure.axes]
        assert words[0][0].startswith("17")
        assert words[3] == ["0"], "a crash loses nothing"
        style.save(figure, tmp_path / "figures" / "beside")
        (alone,) = beside.draw({"cut": ["hot-link-cut"]}, results, outcomes).axes  # type: ignore[union-attr]
        assert alone.get_xlabel() == "packets lost", "of what applies to none there is no column"
    assert beside.draw({"hang": ["hot-hang"]}, results, outcomes) is None


def test_versus_shows_every_cell_once() -> None:
    scenario = load_scenario("versus")
    shown = [name for names in scenario.content.beside.values() for name in names]
    assert sorted(shown) == sorted(cell.name for cell in scenario.cells)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hang: [cold-hang,", "hang: [cold-bang,", "beside.hang[0]: is not a cell: did you mean"),
        ("figures: [beside, ", "figures: [", "figures: the figure beside and the key beside need"),
    ],
)
def test_golden_wrong_groups(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = Path("experiments/scenarios/versus.yaml").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    with pytest.raises(DocumentError) as caught:
        load_scenario(str(tmp_path / "mine.yaml"))
    assert message in str(caught.value)
