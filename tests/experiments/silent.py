"""Nobody watches the run (`experiments.runner.Progress`)."""

from __future__ import annotations

from experiments.measures.verdict import Outcome
from experiments.plan import PlannedTrial


class Silent:
    def begin(self, planned: PlannedTrial, total: int) -> None: ...

    def end(self, outcome: Outcome) -> None: ...
