"""A run's results: a row for each trial, a summary for each cell (DESIGN section 12)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.expectations import METRICS, SETTINGS, CellFigures, Checked, evaluate
from experiments.measures.failover import Failover
from experiments.measures.path import STEPS
from experiments.measures.verdict import Outcome
from experiments.plan import Cell, Plan
from experiments.statistics import Summary, loss_upper_bound, summarise

COLUMNS = (
    "scenario",
    "cell",
    "trial",
    "seed",
    "system",
    "mode",
    "policy",
    "fault",
    "routes",
    "fes",
    "ces",
    "tml",
    "verdict",
    "dtime1_ms",
    "dtime2_ms",
    "dtime3_ms",
    "control_outage_ms",
    "first_change_ms",
    "data_sent",
    "data_lost",
    "data_outage_ms",
    "disruptions",
    "detected_by",
    "false_alarms",
    "beats_missed",
)


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a cell's trials come to. Summaries are of `ok` trials only, warm-ups left out."""

    cell: Cell
    counts: Mapping[str, int]
    """Verdict -> trials, every verdict present."""
    metrics: Mapping[str, Summary]
    sent: int
    lost: int
    """Of all `ok` trials together."""
    loss_bound: float | None
    """Rule of three, if nothing was lost."""
    detected_by: Mapping[str, int]
    reasons: tuple[str, ...]
    """Why trials were not `ok`, each different text once."""
    worst_left_out_ms: float | None = None
    """The longest control outage among trials that `disagree`: they are no part of the summaries,
    and a long outage must not vanish with them."""

    @property
    def trials(self) -> int:
        return sum(self.counts.values())

    @property
    def agreement(self) -> float:
        """Share of trials whose instruments agree, among those that could be compared."""
        return _agreement([self])


def _agreement(results: Sequence[CellResult]) -> float:
    ok = sum(result.counts["ok"] for result in results)
    judged = ok + sum(result.counts["disagree"] for result in results)
    return ok / judged if judged else 0.0


def metric_values(outcome: Outcome) -> dict[str, float | None]:
    """The figures of one trial that cells are summarised by: the keys are `METRICS`."""
    ne = outcome.ne
    return {
        "dtime1_ms": ne.dtime1_ms if ne else None,
        "dtime2_ms": ne.dtime2_ms if ne else None,
        "dtime3_ms": ne.dtime3_ms if ne else None,
        "failover_ms": ne.total_ms if ne else None,
        "control_outage_ms": outcome.control_outage_ms,
        "first_change_ms": outcome.first_change_ms,
        "data_sent": float(outcome.data_sent),
        "data_lost": float(outcome.data_lost),
        "data_outage_ms": outcome.data_outage_ms,
        "disruptions": float(outcome.disruptions),
        "false_alarms": float(outcome.false_alarms),
        "beats_missed": None if outcome.beats_missed is None else float(outcome.beats_missed),
    }


def measured(outcomes: Iterable[Outcome], cell: str | None = None) -> list[Outcome]:
    """Without warm-ups, in order of trials."""
    chosen = [
        o for o in outcomes if not o.description.warmup and cell in (None, o.description.cell)
    ]
    return sorted(chosen, key=lambda o: o.description.trial)


def cell_results(plan: Plan, outcomes: Sequence[Outcome]) -> tuple[CellResult, ...]:
    """In the order of the scenario."""
    return tuple(_cell_result(plan, cell, measured(outcomes, cell.name)) for cell in plan.cells)


def _cell_result(plan: Plan, cell: Cell, outcomes: Sequence[Outcome]) -> CellResult:
    counts = dict.fromkeys(("ok", "disagree", "invalid", "violated"), 0)
    for outcome in outcomes:
        counts[outcome.verdict] += 1
    good = [o for o in outcomes if o.verdict == "ok"]
    values = [metric_values(o) for o in good]
    sent, lost = sum(o.data_sent for o in good), sum(o.data_lost for o in good)
    sources: dict[str, int] = {}
    for outcome in good:
        if outcome.detected_by:
            sources[outcome.detected_by] = sources.get(outcome.detected_by, 0) + 1
    return CellResult(
        cell,
        counts,
        {name: summarise((v[name] for v in values), plan.seed) for name in METRICS},
        sent,
        lost,
        loss_upper_bound(sent, lost),
        sources,
        tuple(dict.fromkeys(reason for o in outcomes for reason in o.reasons)),
        max(
            (o.control_outage_ms or 0.0 for o in outcomes if o.verdict == "disagree"), default=None
        ),
    )


def check_expectations(results: Sequence[CellResult]) -> tuple[Checked, ...]:
    """Every expectation in every cell that has a trial."""
    figures = {
        r.cell.name: CellFigures(
            r.cell.name,
            {name: getattr(r.cell.settings, name) for name in SETTINGS}
            | {"cell": r.cell.name, "fault": r.cell.fault, "trials": r.trials}
            | dict(r.counts)
            | {"agreement": r.agreement, "run_agreement": _agreement(results)},
            r.metrics,
        )
        for r in results
        if r.trials
    }
    return tuple(
        evaluate(text, r.cell.name, figures)
        for r in results
        if r.cell.name in figures
        for text in r.cell.expect
    )


def row(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """One line of `results.csv`."""
    about = outcome.description
    figures = metric_values(outcome)
    return {
        "scenario": plan.scenario,
        "cell": about.cell,
        "trial": about.trial,
        "seed": about.seed,
        "system": about.settings.system,
        "mode": about.settings.mode,
        "policy": about.settings.policy,
        "fault": about.fault,
        "routes": about.settings.routes,
        "fes": len(about.fes),
        "ces": len(about.ces),
        "tml": outcome.tml,
        "verdict": outcome.verdict,
        "data_sent": outcome.data_sent,
        "data_lost": outcome.data_lost,
        "disruptions": outcome.disruptions,
        "detected_by": outcome.detected_by,
        "false_alarms": outcome.false_alarms,
        "beats_missed": outcome.beats_missed,
    } | {name: _rounded(figures[name]) for name in COLUMNS if name.endswith("_ms")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def as_csv(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(plan, outcome) for outcome in measured(outcomes))
    return out.getvalue()


def as_json(
    plan: Plan, outcomes: Sequence[Outcome], results: Sequence[CellResult]
) -> dict[str, Any]:
    """The rows with per-FE and per-flow detail, warm-ups apart, and the cells' summaries."""
    return {
        "scenario": plan.scenario,
        "seed": plan.seed,
        "trials": [_detail(plan, outcome) for outcome in measured(outcomes)],
        "warmups": [
            _detail(plan, outcome)
            for outcome in sorted(outcomes, key=lambda o: o.description.trial)
            if outcome.description.warmup
        ],
        "cells": [cell_json(result) for result in results],
        "expectations": [asdict(checked) for checked in check_expectations(results)],
    }


def cell_json(result: CellResult) -> dict[str, Any]:
    return {
        "cell": result.cell.name,
        "system": result.cell.settings.system,
        "mode": result.cell.settings.mode,
        "policy": result.cell.settings.policy,
        "fault": result.cell.fault,
        "trials": result.trials,
        **result.counts,
        "agreement": result.agreement,
        "data_sent": result.sent,
        "data_lost": result.lost,
        "loss_upper_bound": result.loss_bound,
        "detected_by": dict(result.detected_by),
        "reasons": list(result.reasons),
        "worst_left_out_ms": _rounded(result.worst_left_out_ms),
        "metrics": {name: asdict(summary) for name, summary in result.metrics.items()},
    }


def _detail(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    gaps = outcome.gaps or {}
    return row(plan, outcome) | {
        "reasons": list(outcome.reasons),
        "per_fe": {
            failover.fe: _fe_detail(failover)
            | {"control_outage_ms": gaps[failover.fe].outage_ms if failover.fe in gaps else None}
            | _steps(outcome, failover.fe)
            for failover in outcome.failovers
        },
        "per_flow": [asdict(figures) for figures in outcome.probes],
    }


def _steps(outcome: Outcome, fe: str) -> dict[str, Any]:
    path = outcome.paths.get(fe)
    return {"steps_ms": dict(zip(STEPS, path.steps_ms, strict=True))} if path else {}


def _fe_detail(failover: Failover) -> dict[str, Any]:
    return asdict(failover) | {
        "dtime1_ms": failover.dtime1_ms,
        "dtime2_ms": failover.dtime2_ms,
        "dtime3_ms": failover.dtime3_ms,
    }
