"""docs/results.md: the newest run of each scenario as one page, with figures, and with what people
have to say about it (docs/results-notes.yaml). Everything measured is written by this file. A
campaign takes hours: the section of a scenario without a run at hand stays as it is, and says so.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.campaign import Finished
from experiments.folders import RunError
from experiments.results import CellResult
from experiments.scenario import load_scenario
from experiments.statistics import Summary
from experiments.table import verdicts

FIGURES = "figures/results"
"""Beside the page."""

PREFERRED = ("beside", "sweep", "path", "dtimes", "loss", "outages")
"""One figure a scenario: the first of these that its run has."""

PLACE = re.compile(r"\{(?:([\w-]+)/)?([\w+.-]+)\.(\w+)\.(median|max|p95|n)\}")
"""A figure in a note: `{scenario/cell.metric.median}`, without the scenario in its own note."""

ENVIRONMENT = ("kernel", "machine", "cores", "cpu", "memory_mib", "python", "transport", "netem")

HEAD = """\
# Results

<!-- Written by `ceha results`; the words between the figures are in results-notes.yaml. -->

What this laboratory measured of itself, on the machine described below. Regenerate with
`sudo ./ceha results --run` (hours with 10 trials a cell; `--trials 3` for a look), or from runs
that exist with `ceha results`. How to read the figures: [measuring.md](measuring.md); what a run
leaves behind, and how to compare two: [runs.md](runs.md).

Times are medians of the `ok` trials in ms, in brackets the 95 % bootstrap interval of the median
(from three trials on), then the largest value. n counts `ok` trials ("4 of 10": fewer than were
planned). RFC 8456 section 4.7 asks for at least ten: a cell with fewer is a look, not a result, and
is marked so. Lost packets are of all flows and both directions, a trial's median and the sum of all
trials; the data outage is that of the flow and direction that suffered most. Trials that are not
`ok` are repeated and listed below the tables, those that disagree with their longest gap.
"""

KEPT = "*From an earlier run; not measured again for this page.*"


def write(
    page: Path, runs: Mapping[str, Finished], absent: Sequence[str], notes: Mapping[str, Any]
) -> None:
    """`runs` by scenario; `absent`: shipped scenarios without a run. OSError if the page cannot be
    read or written."""
    folder = page.parent / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    parts = [HEAD, *_environment(runs)]
    parts += _listed("What surprised us", _told(notes.get("surprised") or (), runs))
    kept = {name: text for name, text in _sections(page).items() if name in absent}
    for name in sorted({*runs, *kept}):
        if name in kept:
            parts.append(kept[name])
            continue
        finished = runs[name]
        picture = _picture(finished)
        if picture is not None:
            shutil.copyfile(picture, folder / f"{name}.png")
        about = filled(str(dict(notes.get("scenarios") or {}).get(name, "")), runs, name)
        shipped = [cell.name for cell in load_scenario(name).cells]
        parts += _scenario(name, finished, shipped, picture is not None, about)
    missing = [f"`{name}`: not run for this page" for name in absent if name not in kept]
    parts += _listed("What is not covered", [*(notes.get("not_covered") or ()), *missing])
    page.write_text("\n".join(parts).rstrip() + "\n")


def _told(lines: Sequence[Any], runs: Mapping[str, Finished]) -> Iterator[str]:
    """Those whose figures are at hand."""
    for line in map(str, lines):
        if all(name in runs for name, *_ in PLACE.findall(line) if name):
            yield filled(line, runs)


def filled(text: str, runs: Mapping[str, Finished], scenario: str = "") -> str:
    """`text` with the figures of the runs in their places. `scenario` is meant where a place names
    none. RunError for a place that there is not."""

    def figure(place: re.Match[str]) -> str:
        name, cell, metric, which = place.groups()
        run = runs.get(name or scenario)
        result = next((c for c in run.cells if c.cell.name == cell), None) if run else None
        summary = result.metrics.get(metric) if result else None
        value = getattr(summary, which, None)
        if value is None:
            raise RunError(f"results-notes.yaml: there is no figure {place[0]} ({scenario})")
        return str(value) if isinstance(value, int) else _number(value)

    return PLACE.sub(figure, text)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _sections(page: Path) -> dict[str, str]:
    """Of the page as it is, by scenario, each marked as kept."""
    if not page.is_file():
        return {}
    found = {}
    for section in page.read_text().split("\n## ")[1:]:
        name, _, text = section.partition("\n")
        mark = "" if KEPT in text else f"\n{KEPT}\n"
        found[name] = f"## {name}\n{mark}{text.rstrip()}\n"
    return found


def _picture(finished: Finished) -> Path | None:
    for name in PREFERRED:
        path = finished.folder / "figures" / f"{name}.png"
        if path.is_file():
            return path
    return None


def _environment(runs: Mapping[str, Finished]) -> Iterator[str]:
    yield "## Where\n"
    found: dict[str, list[str]] = {}
    jitter: dict[tuple[str, str], list[float]] = {}
    for finished in runs.values():
        about = dict(finished.manifest.get("environment") or {})
        for key in ENVIRONMENT:
            value = str(about.get(key, ""))
            if value and value not in found.setdefault(key, []):
                found[key].append(value)
        for who, figures in dict(about.get("jitter") or {}).items():
            for level in ("p50", "p99"):
                if f"{level}_us" in figures:
                    jitter.setdefault((who, level), []).append(float(figures[f"{level}_us"]))
    yield "| | |\n|---|---|"
    for key, values in found.items():
        yield f"| {key.replace('_', ' ')} | {', '.join(values)} |"
    for (who, level), late in jitter.items():
        yield (
            f"| lateness of {who}, {level} | {min(late) / 1000:.2f} to {max(late) / 1000:.2f} ms,"
            " run by run |"
        )
    yield ""


def _listed(title: str, lines: Sequence[Any]) -> Iterator[str]:
    if lines:
        yield f"## {title}\n"
        yield from (f"- {' '.join(str(line).split())}" for line in lines)
        yield ""


def _scenario(
    name: str, finished: Finished, shipped: Sequence[str], pictured: bool, about: str
) -> Iterator[str]:
    yield f"## {name}\n"
    manifest = finished.manifest
    few = min((c.counts["ok"] for c in finished.cells), default=0) < 10
    yield f"*{manifest.get('question', '')}*\n"
    yield (
        f"Topology `{finished.plan.topology}`, seed {finished.plan.seed}, run"
        f" {str(manifest.get('started', ''))[:16]}, ceha"
        f" {dict(manifest.get('versions') or {}).get('ceha') or 'not in a clone'}."
        + (" **Fewer than ten trials in some cells: a look, not a result.**" if few else "")
        + "\n"
    )
    yield (
        "| cell | n | dtime1 | dtime2 | dtime3 | control outage | first change | lost a trial |"
        " lost of sent | data outage |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    yield from map(_row, finished.cells)
    yield ""
    if about:
        yield f"{about.strip()}\n"
    if pictured:
        yield f"![{name}]({FIGURES}/{name}.png)\n"
    lacking = [cell for cell in shipped if cell not in {c.cell.name for c in finished.cells}]
    if lacking:
        yield f"Cells of the scenario that this run does not have: {', '.join(lacking)}.\n"
    asked = [c for c in finished.expectations if c.held is not None]
    failed = [c for c in asked if c.held is False]
    yield f"{len(asked) - len(failed)} of {len(asked)} expectations held."
    for each in failed:
        yield f"- not held in {each.cell}: `{each.expression}` ({each.values})"
    bad = [c for c in finished.cells if c.trials != c.counts["ok"]]
    for cell in bad:
        reasons = "; ".join(cell.reasons[:2])
        yield f"- {cell.cell.name}: {verdicts(cell)}. {reasons}"
    yield ""


def _row(cell: CellResult) -> str:
    ok = cell.counts["ok"]
    times = [cell.metrics[f"dtime{i}_ms"] for i in (1, 2, 3)]
    lost = f"{cell.lost} of {cell.sent}" if cell.sent else ""
    columns = (
        f"`{cell.cell.name}`",
        f"{ok} of {cell.cell.trials}" if ok < cell.cell.trials else str(ok),
        *map(_figure, times),
        _figure(cell.metrics["control_outage_ms"]),
        _figure(cell.metrics["first_change_ms"]),
        _figure(cell.metrics["data_lost"]) if cell.sent else "–",
        lost,
        _figure(cell.metrics["data_outage_ms"]),
    )
    return f"| {' | '.join(columns)} |"


def _figure(summary: Summary) -> str:
    if summary.median is None or summary.max is None:
        return "–"
    if not summary.max:
        return "0"
    digits = 1 if summary.max >= 1 else 2
    shown = f"{summary.median:.{digits}f}"
    if summary.interval is not None and summary.max:
        shown += f" [{summary.interval[0]:.{digits}f}, {summary.interval[1]:.{digits}f}]"
    return shown if summary.max == summary.median else f"{shown} max {summary.max:.{digits}f}"
