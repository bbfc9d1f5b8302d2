"""The message ladder of one failover, from the journals: who knew what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.measures.failover import Failover
from experiments.measures.records import Trial, read_trial
from experiments.measures.verdict import Outcome
from experiments.report import style
from experiments.report.loss import representative
from experiments.results import CellResult
from experiments.runner import trial_folder

EXPLANATION = (
    "One failover of the FE that was last, time running down. The lifelines are the FE, the CE "
    "that went away and the one that took over; the stripe at the left is dtime1, dtime2, dtime3. "
    "Labels are the processes' own journal entries; arrows join what one side did and the other "
    "saw."
)

MAX_PANELS = 3
MAX_LABELS = 14
"""Per lifeline: a flapping peer must not make the figure unreadable."""
LABEL_STEP = 0.042
"""Least distance between two labels, of the panel's height."""

FE_EVENTS = ("detect", "connect_failed", "tml_up", "associated", "master", "forwarding", "cefti")
CE_EVENTS = ("start", "tml_up", "associated", "takeover", "discovered", "ready")


@dataclass(frozen=True, slots=True)
class _Mark:
    at_ms: float
    label: str
    event: str


def draw(folder: Path, cells: Sequence[CellResult], outcomes: Sequence[Outcome]) -> Figure | None:
    """One panel for each mode: its first cell with a failover."""
    chosen: list[tuple[CellResult, Outcome]] = []
    for cell in cells:
        outcome = representative(outcomes, cell.cell.name)
        seen = [c.cell.settings.mode for c, _ in chosen]
        if outcome is not None and outcome.ne is not None and cell.cell.settings.mode not in seen:
            chosen.append((cell, outcome))
    # With more than fit, the standby modes tell more than the baseline.
    chosen = [c for c in chosen if c[0].cell.settings.mode != "none"][:MAX_PANELS] or chosen
    if not chosen:
        return None
    figure = style.sheet(6.0)
    panels = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axes, (cell, outcome) in zip(panels, chosen, strict=True):
        trial = read_trial(trial_folder(folder, outcome.description.trial))
        assert outcome.ne is not None
        _panel(axes, cell.cell.name, outcome.ne, trial)
    return figure


def _marks(trial: Trial, node: str, ne: Failover, kinds: Sequence[str]) -> list[_Mark]:
    """The first of each kind and text, from the fault until ready."""
    end = (ne.t_ready_ns or trial.description.end_ns) + 500_000
    marks: dict[str, _Mark] = {}
    for event in trial.events:
        if event.node != node or event.event not in kinds:
            continue
        if not ne.t_fault_ns <= event.t <= end:
            continue
        if event.fields.get("fe", ne.fe) != ne.fe:
            continue
        peer = event.fields.get("peer")
        if peer not in (None, ne.fe, ne.new_master):
            continue
        if event.fields.get("what") == "cancel":  # follows from the new master beside it
            continue
        label = _label(event.event, event.fields)
        marks.setdefault(label, _Mark((event.t - ne.t_fault_ns) / 1e6, label, event.event))
    return list(marks.values())[:MAX_LABELS]


def _label(event: str, fields: object) -> str:
    assert hasattr(fields, "get")
    match event:
        case "detect":
            return f"detect ({fields.get('source')})"
        case "master":
            return f"master: {fields.get('ce')}"
        case "forwarding":
            return f"forwarding {'on' if fields.get('on') else 'off'}"
        case "cefti":
            return f"CEFTI {fields.get('what')}"
        case "ready":
            return f"ready ({fields.get('kind')})"
        case "discovered":
            return f"discovered, {fields.get('rows')} rows" if fields.get("rows") else "discovered"
        case "tml_up":
            return "transport up"
        case "connect_failed":
            return f"no connection to {fields.get('peer')}"
    return event


def _panel(axes: Axes, name: str, ne: Failover, trial: Trial) -> None:
    new = ne.new_master or ""
    lines = {ne.fe: 0.0, new: 1.0} | ({} if ne.old_master == new else {ne.old_master: 0.5})
    marks = {
        ne.fe: _marks(trial, ne.fe, ne, FE_EVENTS),
        new: _marks(trial, new, ne, CE_EVENTS),
    }
    total = ne.total_ms or 1.0
    top, bottom = -0.07 * total, 1.07 * total
    for node, x in lines.items():
        gone = node == ne.old_master and node != new
        axes.plot([x, x], [top, 0 if gone else bottom], color=style.FAINT, linewidth=1.4, zorder=1)
        axes.annotate(
            node, (x, top), xytext=(0, 6), textcoords="offset points",
            ha="center", weight="bold", annotation_clip=False,
        )  # fmt: skip
    struck = lines.get(ne.old_master, 1.0)
    axes.plot(struck, 0, "X", color=style.LOSS, markersize=10, zorder=4)
    axes.annotate(
        trial.description.fault, (struck, 0), xytext=(0, -15), textcoords="offset points",
        ha="center", color=style.LOSS, fontsize=9,
    )  # fmt: skip
    _stripe(axes, ne)
    for node, side in ((ne.fe, -1), (new, 1)):
        _labels(axes, marks[node], lines[node], side, top, bottom)
    for start, end, both in _arrows(marks[ne.fe], marks[new]):
        axes.annotate(
            "", xy=(end[0], end[1]), xytext=(start[0], start[1]),
            arrowprops={
                "arrowstyle": "<->" if both else "->", "color": style.FAINT, "linewidth": 0.9,
                "shrinkA": 4, "shrinkB": 4,
            },
        )  # fmt: skip
    axes.set_ylim(bottom, top - 0.02 * total)
    axes.set_xlim(-1.05, 1.75)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel("ms after the fault")
    axes.set_title(f"{name}: {total:.1f} ms", pad=22)


def _stripe(axes: Axes, ne: Failover) -> None:
    at = 0.0
    for name, colour in style.DTIMES.items():
        length = getattr(ne, name) or 0.0
        axes.fill_betweenx([at, at + length], -1.05, -0.97, color=colour, linewidth=0)
        at += length


def _labels(
    axes: Axes, marks: Sequence[_Mark], x: float, side: int, top: float, bottom: float
) -> None:
    """Beside the lifeline; pushed down where they would overlap, with a line to their instant."""
    step = (bottom - top) * LABEL_STEP
    places: list[float] = []
    for mark in marks:
        places.append(max(mark.at_ms, places[-1] + step if places else mark.at_ms))
    over = places[-1] - (bottom - step) if places else 0.0
    if over > 0:  # move the tail up again, as far as there is room
        limit = bottom - step
        for index in range(len(places) - 1, -1, -1):
            places[index] = min(places[index], limit)
            limit = places[index] - step
    for mark, place in zip(marks, places, strict=True):
        colour = _colour(mark.event)
        axes.plot(x, mark.at_ms, "o", color=colour, markersize=5, zorder=3)
        axes.plot([x, x + side * 0.07], [mark.at_ms, place], color=colour, linewidth=0.8, alpha=0.7)
        axes.text(
            x + side * 0.09, place, f"{mark.label}  {mark.at_ms:.1f}" if side > 0
            else f"{mark.at_ms:.1f}  {mark.label}",
            ha="left" if side > 0 else "right", va="center", fontsize=8.3, color=colour,
        )  # fmt: skip


def _colour(event: str) -> str:
    """The instant that ends a time has that time's colour."""
    ends = {"detect": "dtime1_ms", "master": "dtime2_ms", "ready": "dtime3_ms"}
    return style.DTIME_WORDS[ends[event]] if event in ends else style.INK


def _arrows(
    fe: Sequence[_Mark], ce: Sequence[_Mark]
) -> Iterator[tuple[tuple[float, float], tuple[float, float], bool]]:
    """What one side did and the other saw: (from, to, both ways)."""

    def first(marks: Sequence[_Mark], event: str) -> float | None:
        return next((m.at_ms for m in marks if m.event == event), None)

    up, accepted, associated = first(fe, "tml_up"), first(ce, "associated"), first(fe, "associated")
    if up is not None and accepted is not None and accepted >= up:
        yield (0, up), (1, accepted), False
    if accepted is not None and associated is not None and associated >= accepted:
        yield (1, accepted), (0, associated), False
    master, takeover = first(fe, "master"), first(ce, "takeover")
    if master is not None and takeover is not None:
        if takeover >= master:
            yield (0, master), (1, takeover), False
        else:
            yield (1, takeover), (0, master), False
    for event in ("discovered", "ready"):
        at = first(ce, event)
        if at is not None:
            yield (0, at), (1, at), True
