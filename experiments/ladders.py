"""The ladder of one trial: who wrote down what, and when, a lifeline for each process.

Any trial has one, also a trial that is invalid, violated or without a failover. Made of the
journals; an arrow joins what one side did and the other one saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from experiments.measures.records import Event, Trial
from experiments.measures.verdict import Outcome

MAX_RUNGS = 400
"""A flapping link writes thousands of lines; nobody reads more than this."""

BEFORE_MS = 1.0
"""What is shown ahead of the first fault."""

LAB = "lab"

FE_EVENTS = frozenset(
    {
        "start",
        "detect",
        "connect_failed",
        "tml_up",
        "tml_lost",
        "associated",
        "master",
        "restart",
        "swept",
        "forwarding",
        "cefti",
        "fenced",
    }
)
CE_EVENTS = frozenset(
    {
        "start",
        "tml_up",
        "tml_lost",
        "associated",
        "takeover",
        "discovered",
        "ready",
        "fe_lost",
        "switch",
        "beacon",
    }
)
LAB_EVENTS = frozenset(
    {
        "fault",
        "fault_failed",
        "verified",
        "heal",
        "healed",
        "settled",
    }
)

CAUSES: Mapping[tuple[str, str], str] = {
    # (what the peer did, what is seen of it): who does the first one
    ("tml_up", "tml_up"): "fe",
    ("associated", "associated"): "ce",
    ("master", "takeover"): "fe",
    ("switch", "detect"): "ce",
}
ARROW_WITHIN_NS = 50_000_000
"""What lies further apart has another cause."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of the ladder."""

    at_ms: float
    """After the first fault; after the trial's start where there is none."""
    node: str
    event: str
    label: str
    source: str | None = None
    """Whose doing this is the consequence of: where the arrow comes from."""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Ladder:
    title: str
    fe: str
    lanes: tuple[str, ...]
    """The lab, the CEs, the FE."""
    rungs: tuple[Rung, ...]
    left_out: int
    """Rungs beyond MAX_RUNGS."""
    dead: Mapping[str, tuple[tuple[float, float], ...]]
    """Node -> when it had no living process (ms)."""

    def is_dead(self, node: str, at_ms: float) -> bool:
        return any(start < at_ms < end for start, end in self.dead.get(node, ()))


def build(trial: Trial, outcome: Outcome, fe: str | None = None) -> Ladder:
    """Of this FE, or of the one that was last. ValueError for an FE that the trial does not
    have."""
    about = trial.description
    chosen = fe or (outcome.ne.fe if outcome.ne else _most_eventful(trial))
    if chosen not in about.fes:
        raise ValueError(f"the trial has no FE {chosen!r} (FEs: {', '.join(about.fes)})")
    zero = trial.t_fault_ns if trial.t_fault_ns is not None else about.start_ns
    shown = (e for e in trial.events if _is_shown(e, trial, chosen, zero))
    events = sorted(shown, key=_instant)
    rungs = _merged([_rung(e, events, about.fes, zero) for e in events])
    return Ladder(
        _title(trial, outcome, chosen),
        chosen,
        (LAB, *about.ces, chosen),
        tuple(rungs[:MAX_RUNGS]),
        max(0, len(rungs) - MAX_RUNGS),
        _deaths(trial, zero),
    )


def _most_eventful(trial: Trial) -> str:
    """Where nothing failed over: the FE that has most to say."""
    told = {fe: sum(1 for e in trial.events if e.node == fe) for fe in trial.description.fes}
    return max(told, key=lambda fe: told[fe])


def _is_shown(event: Event, trial: Trial, fe: str, zero: int) -> bool:
    if not zero - BEFORE_MS * 1e6 <= event.t <= trial.description.end_ns:
        return False
    if event.node == LAB:
        return event.event in LAB_EVENTS
    if event.node == fe:
        return event.event in FE_EVENTS
    about = event.fields.get("fe", event.fields.get("peer", fe))
    concerns = about == fe or about in trial.description.ces
    return event.node in trial.description.ces and event.event in CE_EVENTS and concerns


def _rung(event: Event, events: Sequence[Event], fes: Sequence[str], zero: int) -> Rung:
    cause = _cause(event, events, fes)
    return Rung(
        (_instant(event) - zero) / 1e6,
        event.node,
        event.event,
        label(event.event, event.fields),
        cause.node if cause else None,
    )


def _instant(event: Event) -> int:
    """A fault is written down after it struck."""
    struck = event.fields.get("before_ns") if event.event == "fault" else None
    return event.t if struck is None else int(struck)


def _cause(event: Event, events: Sequence[Event], fes: Sequence[str]) -> Event | None:
    """The latest event of the other side that this one follows from."""
    side = "fe" if event.node in fes else "ce"
    for (did, seen), who in CAUSES.items():
        if event.event != seen or who == side or event.node == LAB:
            continue
        if seen == "detect" and event.fields.get("source") != "planned":
            continue
        before = [
            e
            for e in events
            if e.event == did
            and (e.node in fes) == (who == "fe")
            and e.node != LAB
            and 0 <= event.t - e.t <= ARROW_WITHIN_NS
            and _concern_each_other(e, event)
        ]
        if before:
            return max(before, key=lambda e: e.t)
    return None


def _concern_each_other(one: Event, other: Event) -> bool:
    def named(event: Event) -> set[Any]:
        return {event.fields.get(key) for key in ("peer", "fe", "ce", "to")} - {None}

    return all(
        about.node in named(by) or not named(by) for by, about in ((one, other), (other, one))
    )


def _merged(rungs: Sequence[Rung]) -> list[Rung]:
    """The same thing again and again is one rung that says how often."""
    merged: list[Rung] = []
    for rung in rungs:
        last = merged[-1] if merged else None
        if last and (last.node, last.label) == (rung.node, rung.label) and not rung.source:
            merged[-1] = replace(last, times=last.times + 1)
        else:
            merged.append(rung)
    return merged


def label(event: str, fields: Mapping[str, Any]) -> str:
    """An event in a few words."""
    match event:
        case "detect":
            return f"detect: {fields.get('ce')} lost ({fields.get('source')})"
        case "master":
            return f"master: {fields.get('ce') or 'none'}"
        case "takeover":
            return f"takeover of {fields.get('fe')}"
        case "forwarding":
            return f"forwarding {'on' if fields.get('on') else 'off'}"
        case "cefti":
            return f"CEFTI {fields.get('what')}"
        case "ready":
            return f"ready for {fields.get('fe')} ({fields.get('kind')})"
        case "discovered":
            return f"discovered, {fields.get('rows')} rows"
        case "tml_up":
            return f"transport to {fields.get('peer')} up"
        case "tml_lost":
            return f"transport to {fields.get('peer')} lost"
        case "connect_failed":
            return f"no connection to {fields.get('peer')}"
        case "associated":
            return f"associated with {fields.get('peer')}"
        case "fe_lost":
            return f"{fields.get('fe')} lost"
        case "switch":
            return f"switch {fields.get('fe')} to {fields.get('to')}"
        case "beacon":
            return f"beacon {fields.get('what')}"
        case "fault":
            return f"✗ {fields.get('kind')} {fields.get('target')}"
        case "fault_failed" | "verified" | "heal" | "healed":
            return f"{event.replace('_', ' ')}: {fields.get('kind')} {fields.get('target')}"
        case "settled":
            return f"not settled: {'; '.join(missing)}" if (missing := fields.get("missing")) else (
                "settled"
            )  # fmt: skip
    return event


def _deaths(trial: Trial, zero: int) -> dict[str, tuple[tuple[float, float], ...]]:
    """From a crash until the node's next start."""
    spans: dict[str, tuple[tuple[float, float], ...]] = {}
    for node in (*trial.description.ces, *trial.description.fes):
        crashes = sorted(
            f.before_ns
            for f in trial.description.faults
            if f.spec.kind == "crash" and f.target == node
        )
        found = []
        for crash, following in pairwise([*crashes, trial.description.end_ns]):
            again = next(
                (e.t for e in trial.of("start", node) if crash < e.t <= following), following
            )
            found.append(((crash - zero) / 1e6, (again - zero) / 1e6))
        if found:
            spans[node] = tuple(found)
    return spans


def _title(trial: Trial, outcome: Outcome, fe: str) -> str:
    about = trial.description
    own = next((f for f in outcome.failovers if f.fe == fe), None)
    parts = [f"trial {about.trial}, {about.cell}, {fe}: {outcome.verdict}"]
    if own is not None:
        times = (own.dtime1_ms, own.dtime2_ms, own.dtime3_ms)
        shown = (f"dtime{i} {t:.1f}" for i, t in enumerate(times, 1) if t is not None)
        parts.append(", ".join(shown) + " ms")
    if outcome.probes:
        parts.append(f"{outcome.data_lost} of {outcome.data_sent} packets lost")
    return "; ".join(parts)


def as_text(ladder: Ladder) -> Iterator[str]:
    """For a terminal: a column for each lifeline, time running down."""
    width = {
        lane: max(
            [len(lane) + 2]
            + [len(_words(r)) + 5 for r in ladder.rungs if r.node == lane]
        )
        for lane in ladder.lanes
    }  # fmt: skip
    yield ladder.title
    yield "       ms  " + "".join(lane.ljust(width[lane]) for lane in ladder.lanes).rstrip()
    for rung in ladder.rungs:
        yield f"{rung.at_ms:9.2f}  {_line(ladder, rung, width)}".rstrip()
    if ladder.left_out:
        yield f"... and {ladder.left_out} more"


def _words(rung: Rung) -> str:
    return rung.label + (f" ×{rung.times}" if rung.times > 1 else "")


def _line(ladder: Ladder, rung: Rung, width: Mapping[str, int]) -> str:
    own = ladder.lanes.index(rung.node)
    other = ladder.lanes.index(rung.source) if rung.source in ladder.lanes else own
    line = ""
    for place, lane in enumerate(ladder.lanes):
        post = "┊" if ladder.is_dead(lane, rung.at_ms) else " " if lane == LAB else "│"
        if place == own:
            cell = f"● {_words(rung)} "
            if other > own:
                cell = cell.ljust(width[lane], "─").replace(" ─", " ◀", 1)
            elif other < own:
                cell = f"▶ {_words(rung)} "
        elif place == other:
            cell = ("├" if other < own else "┤").ljust(width[lane], "─" if other < own else " ")
        elif min(own, other) < place < max(own, other):
            cell = "┼".ljust(width[lane], "─")
        else:
            cell = post
        line += cell.ljust(width[lane])
    return line


def as_json(ladder: Ladder) -> dict[str, Any]:
    return {
        "title": ladder.title,
        "fe": ladder.fe,
        "lanes": list(ladder.lanes),
        "left_out": ladder.left_out,
        "rungs": [
            {
                "at_ms": round(r.at_ms, 4),
                "node": r.node,
                "event": r.event,
                "label": r.label,
                "from": r.source,
                "times": r.times,
            }
            for r in ladder.rungs
        ],
    }
