"""FEObject (RFC 5812 section 5): what the FE is, and whether it forwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Any

from fe_datapath.config import FeConfig
from fe_datapath.datapath import SetForwarding
from fe_datapath.lfbs.instance import Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from fe_datapath.lfbs.topology import Present, links
from forces.errors import ResultCode
from forces.model import Library


@lru_cache(maxsize=64)
def _described(
    present: tuple[Present, ...], exceptions: frozenset[str]
) -> dict[str, list[dict[str, Any]]]:
    """Component -> rows. Of FEs with as many ports they are the same."""
    counts = Counter(one.name for one in present)
    classes = {one.name: one for one in present}
    return {
        "LFBSelectors": [
            {"LFBClassID": one.class_id, "LFBInstanceID": one.instance_id} for one in present
        ],
        "SupportedLFBs": [
            {
                "LFBName": one.name,
                "LFBClassID": one.class_id,
                "LFBVersion": one.version,
                "LFBOccurrenceLimit": counts[one.name],
            }
            for one in classes.values()
        ],
        "LFBTopology": list(links(present, exceptions)),
    }


class FeState(IntEnum):
    """FEStateValues."""

    AdminDisable = 0
    OperDisable = 1
    OperEnable = 2


class FeObject(Instance):
    fixed = frozenset({"LFBTopology", "LFBSelectors", "FEID", "FENeighbors"})

    def __init__(self, library: Library, config: FeConfig) -> None:
        super().__init__(library.cls("FEObject"), 1)
        self.by_grace = False
        """Not enabled, and yet packets pass: by what an earlier process left (`restart`)."""
        self.values.update(
            FEName=config.name,
            FEID=config.id,
            FEVendor="ceha",
            FEModel="Linux",
            FEState=int(FeState.OperDisable),
            ModifiableLFBTopology=False,
            FENeighbors={
                index: {"NeighborID": port.neighbor_fe, "InterfaceToNeighbor": port.interface}
                for index, port in enumerate(p for p in config.ports if p.neighbor_fe is not None)
            },
        )

    @property
    def state(self) -> FeState:
        return FeState(self.values["FEState"])

    @state.setter
    def state(self, value: FeState) -> None:
        self.values["FEState"] = int(value)

    @property
    def forwarding(self) -> bool:
        return self.state is FeState.OperEnable

    def describe(self, instances: Iterable[Instance], exceptions: Collection[str]) -> None:
        """LFBSelectors, SupportedLFBs and LFBTopology from the instances that there are.
        `exceptions`: the classes that send some of theirs to the CE."""
        present = tuple(Present(i.cls.name, i.cls.id, i.cls.version, i.id) for i in instances)
        for name, rows in _described(present, frozenset(exceptions)).items():
            self.values[name] = dict(enumerate(rows))

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "FEState" and new not in (FeState.AdminDisable, FeState.OperEnable):
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "a CE sets AdminDisable or OperEnable")

    def plan(self, changes: Changes, plan: Plan) -> None:
        for old, new, edit in changes.get("FEState", {}).values():
            was_on = old == FeState.OperEnable or self.by_grace
            if was_on != (new == FeState.OperEnable):
                plan.add(SetForwarding(new == FeState.OperEnable), edit)
