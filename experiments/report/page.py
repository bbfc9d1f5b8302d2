"""`report.html`: one file that opens anywhere, and the figures beside it as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from experiments import folders, ladders
from experiments.expectations import Checked
from experiments.measures.path import STEP_NAMES, STEPS
from experiments.measures.records import read_trial
from experiments.report import beside, dtimes, ladder, lifelines, loss, outages, path, style, sweep
from experiments.results import CellResult, measured
from experiments.runner import trial_folder
from experiments.statistics import Summary, chance_upper_bound
from experiments.table import packets, verdicts
from topologies.model import Impairment

if TYPE_CHECKING:
    from experiments.campaign import Finished

ALL_FIGURES = ("dtimes", "loss", "outages", "ladder")
TITLES = {
    "dtimes": "What a failover is made of",
    "loss": "What the data plane noticed",
    "outages": "Every trial",
    "sweep": "What the setting changes",
    "beside": "Side by side",
    "path": "Where each millisecond went",
    "ladder": "One failover, message by message",
}
EXPLANATIONS = {
    "dtimes": dtimes.EXPLANATION,
    "loss": loss.EXPLANATION,
    "outages": outages.EXPLANATION,
    "ladder": ladder.EXPLANATION,
    "sweep": sweep.EXPLANATION,
    "beside": beside.EXPLANATION,
    "path": path.EXPLANATION,
}


def asked(finished: Finished) -> tuple[str, ...]:
    """The figures that the scenario asked for."""
    return tuple(finished.manifest.get("figures") or ALL_FIGURES)


def write_report(finished: Finished) -> Path:
    """Draw the figures that the scenario asked for, and the page around them."""
    pictures = []
    with style.looks():
        for name in asked(finished):
            figure = _figure(name, finished)
            if figure is not None:
                uri = style.save(figure, finished.folder / "figures" / name)
                pictures.append(
                    {"title": TITLES[name], "text": EXPLANATIONS[name], "uri": uri, "name": name}
                )
        pictures += _broken(finished)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    target = finished.folder / "report.html"
    page = environment.get_template("report.html.j2")
    folders.write_text(target, page.render(_values(finished, pictures)))
    return target


def _broken(finished: Finished) -> list[dict[str, str]]:
    """The ladder of the first trial that broke an invariant: what its reader looks for first."""
    outcome = next((o for o in measured(finished.outcomes) if o.verdict == "violated"), None)
    if outcome is None:
        return []
    number = outcome.description.trial
    trial = read_trial(trial_folder(finished.folder, number))
    figure = lifelines.draw(ladders.build(trial, outcome))
    uri = style.save(figure, finished.folder / "figures" / "violated")
    text = (
        f"{'; '.join(outcome.reasons)}. In a terminal: ceha ladder {finished.folder.name}/{number}."
    )
    return [
        {"title": "A trial that broke an invariant", "text": text, "uri": uri, "name": "violated"}
    ]


def _figure(name: str, finished: Finished) -> Figure | None:
    match name:
        case "dtimes":
            return dtimes.draw(finished.cells)
        case "loss":
            return loss.draw(finished.folder, finished.cells, finished.outcomes)
        case "outages":
            return outages.draw(finished.cells, finished.outcomes)
        case "sweep":
            axes = finished.manifest.get("sweep")
            return sweep.draw(axes, finished.cells, finished.outcomes) if axes else None
        case "path":
            return path.draw(finished.cells, finished.outcomes)
        case "beside":
            groups = finished.manifest.get("beside") or {}
            return beside.draw(groups, finished.cells, finished.outcomes, finished.plan.seed)
        case "ladder":
            return ladder.draw(finished.folder, finished.cells, finished.outcomes)
    raise ValueError(f"no figure {name!r}")


def _values(finished: Finished, pictures: list[dict[str, str]]) -> dict[str, Any]:
    manifest = finished.manifest
    return {
        "scenario": finished.plan.scenario,
        "question": manifest.get("question", ""),
        "run": finished.folder.name,
        "simulated": manifest.get("laboratory") == "simulated",
        "topology": finished.plan.topology,
        "seed": finished.plan.seed,
        "state": manifest.get("state", ""),
        "started": manifest.get("started", ""),
        "pictures": pictures,
        "steps": list(STEP_NAMES.values()) if "path" in asked(finished) else [],
        "step_heads": [STEP_NAMES[step].partition(":")[0] for step in STEPS],
        "step_rows": path.rows(finished.cells, finished.outcomes),
        "rows": [_row(cell) for cell in finished.cells],
        "reasons": [(c.cell.name, reason) for c in finished.cells for reason in c.reasons],
        "expectations": _together(finished.expectations),
        "measuring": _measuring(finished),
        "environment": list(_flat(dict(manifest.get("environment") or {}))),
        "versions": sorted(dict(manifest.get("versions") or {}).items()),
        "colours": [(style.DTIME_NAMES[n], colour) for n, colour in style.DTIMES.items()],
    }


def _together(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """A line for each expectation, in its first cell's place; cells in which it did not hold, and
    those that it names by themselves, have lines of their own."""
    lines: dict[tuple[str, bool | None], list[Checked]] = {}
    for each in checked:
        lines.setdefault((each.expression, each.held), []).append(each)
    shown = []
    for (expression, held), members in lines.items():
        groups = [[m] for m in members] if held is False else [members]
        for group in groups:
            alone = len(group) == 1
            shown.append(
                {
                    "cell": group[0].cell if alone else f"{len(group)} cells",
                    "expression": expression,
                    "held": held,
                    "values": group[0].values if alone else ", ".join(m.cell for m in group),
                }
            )
    return shown


def _row(result: CellResult) -> dict[str, Any]:
    bad = result.counts["violated"] or result.counts["invalid"] or result.counts["disagree"]
    return {
        "cell": result.cell.name,
        "n": result.counts["ok"],
        "verdicts": verdicts(result),
        "bad": bool(bad),
        "times": [_interval(result.metrics[name]) for name in style.DTIMES],
        "outage": _interval(result.metrics["control_outage_ms"]),
        "data_outage": _interval(result.metrics["data_outage_ms"]),
        "packets": packets(result),
        "bound": _bound(result),
        "detected_by": ", ".join(f"{k} {v}" for k, v in result.detected_by.items()) or "–",
    }


def _interval(summary: Summary) -> tuple[str, ...]:
    """The median, and the lines that stand under it."""
    if summary.median is None or summary.max is None:
        return ("–",)
    digits = 1 if summary.max >= 1 else 2
    tail = (
        f"p99 {summary.p99:.{digits}f}"
        if summary.p99 is not None
        else f"max of {summary.n}: {summary.max:.{digits}f}"
    )
    median = f"{summary.median:.{digits}f}"
    if summary.interval is None:
        return median, tail
    low, high = summary.interval
    return median, f"[{low:.{digits}f}, {high:.{digits}f}]", tail


def _bound(result: CellResult) -> str:
    chance = chance_upper_bound(result.counts["ok"])
    if result.loss_bound is None or chance is None:
        return ""
    return f"ratio < {result.loss_bound:.1e}, in < {chance:.0%} of failovers"


def _measuring(finished: Finished) -> list[tuple[str, str]]:
    """What every figure must name: intervals, bounds, transport."""
    limits = dict(finished.manifest.get("limits") or {})

    def used(name: str, unit: str = "") -> str:
        values = dict.fromkeys(getattr(c.cell.settings, name) for c in finished.cells)
        return ", ".join(f"{value}{unit}" for value in values)

    intervals = dict.fromkeys(1000 / c.cell.settings.probe_pps for c in finished.cells)
    transports = sorted({o.tml for o in finished.outcomes if o.tml})
    return [
        ("probe interval", ", ".join(f"{i:g} ms per flow and direction" for i in intervals)),
        ("beacon interval", used("beacon_ms", " ms")),
        ("agreement", f"one beacon interval + {limits.get('jitter_ms', '?')} ms of jitter"),
        (
            "resolution of dtimes",
            "an event is stamped when the process writes it down: a time that begins and ends in"
            " one handling (dtime2 of hot standby) is that process's own computing time",
        ),
        ("sender pause bound", f"{limits.get('sender_pause_ms', '?')} ms"),
        ("transport", ", ".join(transports) or "unknown"),
        ("security", "no transport security (no IPsec, no TLS): what it would cost is not in here"),
        ("detection", f"{used('detect')}; CEHDI {used('cehdi_ms', ' ms')}"),
        (
            "heartbeats",
            f"CE {used('ce_heartbeat_ms', ' ms')}, FE {used('fe_heartbeat_ms', ' ms')}",
        ),
        ("routes per FE", used("routes")),
        ("profile", used("profile")),
        ("impaired links", _impaired(finished)),
        *[(f"cell {cell}", f"not run: {why}") for cell, why in _left_out(finished).items()],
        ("state persistence", "none: processes start empty"),
    ]


def _left_out(finished: Finished) -> dict[str, str]:
    return dict(finished.manifest.get("left_out") or {})


def _impaired(finished: Finished) -> str:
    """Set by set, as the scenario names them, and who did it."""
    sets = {c.cell.settings.impair: c.cell.settings.impairments for c in finished.cells}
    told = [
        f"{name}: {', '.join(map(_words, impairments))}"
        for name, impairments in sets.items()
        if impairments
    ]
    environment = dict(finished.manifest.get("environment") or {})
    by = dict(environment.get("impairments") or {}).get("done_by", "")
    if not by:
        return "none"
    return f"by {by}. {'; '.join(told) or 'those of the topology'}"


def _words(each: Impairment) -> str:
    parts = [f"{each.delay_ms:g} ms"] if each.delay_ms else []
    parts += [f"± {each.jitter_ms:g} ms"] if each.jitter_ms else []
    parts += [f"{each.loss_percent:g} % lost"] if each.loss_percent else []
    parts += [f"{each.rate_mbit:g} Mbit/s"] if each.rate_mbit else []
    where = f"{each.link} towards {each.towards}" if each.towards else f"{each.link} both ways"
    return f"{where} {' '.join(parts)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as lines; a list as words."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            lines += _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            lines.append((name, ", ".join(map(str, value)) or "nothing"))
        elif isinstance(value, bool):
            lines.append((name, "yes" if value else "no"))
        elif isinstance(value, float):
            lines.append((name, f"{value:.4g}"))
        else:
            lines.append((name, str(value)))
    return lines
