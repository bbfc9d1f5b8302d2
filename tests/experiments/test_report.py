"""The page: one file that needs nothing else, with the figures in it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments import laboratory
from experiments.cli import app
from experiments.expectations import Checked
from experiments.report import page
from tests.experiments.synthetic import Knobs, SyntheticLab, by_mode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CEHA_RUNS", str(root))
        patch.setattr("experiments.campaign.signal.signal", lambda *_: None)
        patch.setattr(laboratory, "inside", lambda entry: entry())
        patch.setattr(laboratory, "open_lab", lambda *_: SyntheticLab(by_mode(2)))
        done = CliRunner().invoke(app, ["run", "quickstart", "--trials", "3"])
    assert done.exit_code == 0, done.output
    return (root / "latest").resolve()


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [v or "" for k, v in attrs if k in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += " " + " ".join(data.split())


def test_the_page_needs_no_other_file(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert len(page.sources) == 4
    for source in page.sources:
        head, _, body = source.partition(",")
        assert head == "data:image/svg+xml;base64"
        root = ElementTree.fromstring(base64.b64decode(body))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 50, "an empty picture"
    assert not re.search(r"url\(|@import|<script|<link", text)


def test_figures_lie_beside_it_as_png_and_svg(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "figures").iterdir())
    stems = ("dtimes", "ladder", "loss", "outages")
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("png", "svg"))
    for stem in stems:
        assert (folder / f"figures/{stem}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words",
    [
        "What does the crash of the master CE cost",
        "1 ms per flow and direction",
        "beacon interval 5 ms",
        "no transport security",
        "dtime2 of hot standby) is that process's own computing time",
        "transport memory",
        "kernel synthetic",
        "max of 3:",
        "ratio <",
        "rule of three",
        "policy == 0 or data_lost.max == 0",
    ],
)
def test_the_page_says(folder: Path, words: str) -> None:
    assert words in Page((folder / "report.html").read_text()).text


def test_every_expectation_is_there_with_its_figures(folder: Path) -> None:
    text = Page((folder / "report.html").read_text()).text
    assert "built-in method" not in text
    assert "none, cold, cold-policy0, hot" in text, "where an expectation of all cells holds"


def test_the_same_records_give_the_same_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.campaign import rebuild

    before = (folder / "figures/dtimes.svg").read_bytes()
    rebuild(folder)
    assert (folder / "figures/dtimes.svg").read_bytes() == before


def test_a_violated_trial_is_shown_as_a_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    monkeypatch.setenv("CEHA_RUNS", str(tmp_path))
    monkeypatch.setattr("experiments.campaign.signal.signal", lambda *_: None)
    monkeypatch.setattr(laboratory, "inside", lambda entry: entry())
    lab = SyntheticLab(Knobs(stray_routes=2, dtime2_ms=0.4))
    monkeypatch.setattr(laboratory, "open_lab", lambda *_: lab)
    done = CliRunner().invoke(app, ["run", "quickstart", "--trials", "1", "--only", "hot"])
    assert done.exit_code == 1, done.output
    folder = (tmp_path / "latest").resolve()
    page = Page((folder / "report.html").read_text())
    assert "A trial that broke an invariant" in page.text
    assert f"ceha ladder {folder.name}/2" in page.text
    assert (folder / "figures" / "violated.svg").stat().st_size > 5000


def test_an_expectation_has_one_line_for_all_cells_and_one_for_each_that_broke_it() -> None:
    checked = [
        Checked("a", "data_lost.max == 0", True, "data_lost.max = 0"),
        Checked("b", "data_lost.max == 0", True, "data_lost.max = 0"),
        Checked("c", "data_lost.max == 0", False, "data_lost.max = 3"),
        Checked("d", "data_lost.max == 0", False, "data_lost.max = 4"),
        Checked("a", "violated == 0", True, "violated = 0"),
    ]
    lines = [(line["cell"], line["held"], line["values"]) for line in page._together(checked)]
    assert lines == [
        ("2 cells", True, "a, b"),
        ("c", False, "data_lost.max = 3"),
        ("d", False, "data_lost.max = 4"),
        ("a", True, "violated = 0"),
    ]
