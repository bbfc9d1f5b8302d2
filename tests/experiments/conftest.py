"""Trials that a synthetic laboratory made, for tests that know the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.measures.records import Description, Limits
from experiments.measures.verdict import Outcome, judge
from experiments.runner import _write_description
from lab.backend import CellSettings, FaultSpec
from tests.experiments.synthetic import CES, FES, Knobs, SyntheticLab

Make = Callable[..., Outcome]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(Knobs, fault="crash", settings...) runs one trial and judges it."""

    def build(
        knobs: Knobs | None = None,
        fault: str | None = "crash",
        heal_after_ms: float | None = None,
        must_lose: bool = False,
        target: str | None = None,
        change: Callable[[Path], None] | None = None,
        arguments: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Outcome:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        chosen = CellSettings(**({"mode": "cold"} | settings))  # type: ignore[arg-type]
        lab = SyntheticLab(knobs or Knobs())
        target = target or ("fe1-fe2" if fault == "link-cut" else "master")
        faults = (FaultSpec(fault, target, 0.0, heal_after_ms, arguments or {}),) if fault else ()
        lab.prepare(chosen, folder)
        records = lab.trial(faults, 300, 800)
        description = Description(
            "cell", 1, 7, False, fault or "none", chosen, (), 0, 0, 300, 800, must_lose, FES, CES,
            Limits(),
        )  # fmt: skip
        description = replace(
            description, faults=records.faults, start_ns=records.start_ns, end_ns=records.end_ns
        )
        _write_description(folder, description)
        if change:
            change(folder)
        return judge(folder, description)

    return build
