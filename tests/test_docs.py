"""README.md and docs/: every page is reached from the README, every link leads somewhere, and every
command that they show is one that `ceha` takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
import yaml

from experiments import scenario
from experiments.cli import app
from experiments.expectations import METRICS
from experiments.report import results_page
from lab.emulated.faults.kinds import KINDS
from topologies import loader

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
SCENARIOS = scenario.available()
LINK = re.compile(r"\]\(([^)#\s]+)")
COMMAND = re.compile(r"(?:sudo )?(?:\./)?ceha (?=[a-z])")
ASIDE = re.compile(r"\s+#.*|\s{3,}.*")
"""What a line says about its command: behind a `#`, or columns away."""


def links(page: Path) -> list[Path]:
    found = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    return [(page.parent / link).resolve() for link in found]


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of each line of its own, and of what is in the text between backquotes."""
    for page in PAGES:
        text = page.read_text()
        lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        inline = re.findall(r"`([^`\n]+)`", text)
        for words in (*(ASIDE.sub("", line) for line in lines), *inline):
            if COMMAND.match(words):
                yield str(page.relative_to(ROOT)), words


def test_every_link_leads_somewhere_and_every_page_is_reached_from_the_readme() -> None:
    reached, left = set[Path](), [README]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            for target in links(page):
                assert target.exists(), f"{page.relative_to(ROOT)} links to {target}"
                left += [target] if target.suffix == ".md" else []
    assert reached == set(PAGES)


def test_the_pages_show_commands() -> None:
    showing = {page for page, _ in commands()}
    assert {"README.md", "docs/simulator.md", "docs/ce-ce-sync.md"} <= showing


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_that_is_shown_is_one_that_ceha_takes(page: str, command: str) -> None:
    if command.count("'") % 2:
        command += "'"  # it goes on in the next line
    _, *words = shlex.split(command.replace("./", "").removeprefix("sudo "))
    verb = typer.main.get_command(app).commands.get(words[0])  # type: ignore[attr-defined]
    assert verb is not None, f"{page}: no such verb"
    context = verb.make_context(words[0], words[1:])
    given = context.params
    if given.get("scenario") and words[0] in ("run", "simulate"):
        assert given["scenario"] in SCENARIOS
    if words[0] == "up":
        assert given["topology"] in loader.available()
    if words[0] == "fault":
        assert given["kind"] is None or given["kind"] in KINDS


def test_the_readme_names_every_scenario() -> None:
    catalogue = README.read_text().partition("## The catalogue")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z0-9*-]+)`", catalogue)
    for shipped in SCENARIOS:
        assert any(fnmatch(shipped, name) for name in named), shipped
    for name in named:
        assert any(fnmatch(shipped, name) for shipped in SCENARIOS), name


def test_what_is_said_of_results_names_scenarios_cells_and_figures_that_there_are() -> None:
    notes = yaml.safe_load((ROOT / "docs" / "results-notes.yaml").read_text())
    told = dict.fromkeys(map(str, notes["surprised"]), "") | {
        text: name for name, text in notes["scenarios"].items()
    }
    assert set(notes["scenarios"]) <= set(SCENARIOS)
    places = [(name or own, *rest) for text, own in told.items()
              for name, *rest in results_page.PLACE.findall(text)]  # fmt: skip
    assert places
    for name, cell, metric, _which in places:
        cells = {each.name for each in scenario.load_scenario(name).cells}
        assert (cell in cells, metric in METRICS) == (True, True), (name, cell, metric)
