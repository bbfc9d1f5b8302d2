"""FEObject (RFC 5812 section 5): what the FE is, and whether it forwards."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from fe_datapath.config import FeConfig
from fe_datapath.datapath import SetForwarding
from fe_datapath.lfbs.instance import Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from forces.errors import ResultCode
from forces.model import Library

NORMAL_PATH = (
    ("EtherPHYCop", "EtherPHYOut", "EtherMACIn"),
    ("EtherMACIn", "NormalPathOut", "IPv4UcastLPM"),
    ("EtherMACIn", "NormalPathOut", "IPv6UcastLPM"),
    ("IPv4UcastLPM", "NormalOut", "IPv4NextHop"),
    ("IPv6UcastLPM", "NormalOut", "IPv6NextHop"),
    ("IPv4UcastLPM", "ECMPOut", "ECMP 1"),
    ("IPv6UcastLPM", "ECMPOut", "ECMP 2"),
    ("ECMP 1", "SuccessOut", "IPv4NextHop"),
    ("ECMP 2", "SuccessOut", "IPv6NextHop"),
    ("IPv4NextHop", "SuccessOut", "EtherMACOut"),
    ("IPv6NextHop", "SuccessOut", "EtherMACOut"),
    ("EtherMACOut", "EtherPktsOut", "EtherPHYCop"),
    ("EtherMACIn", "NormalPathOut", "RedirectOut"),
    ("RedirectIn", "PktsOut", "EtherMACOut"),
)
"""RFC 6956 Figure 2 with the classes that this FE has: from, output port group, to."""

INPUT_PORT = {
    "EtherMACIn": "EtherPktsIn",
    "IPv4UcastLPM": "PktsIn",
    "IPv6UcastLPM": "PktsIn",
    "IPv4NextHop": "PktsIn",
    "IPv6NextHop": "PktsIn",
    "ECMP": "PktsIn",
    "EtherMACOut": "EtherPktsIn",
    "EtherPHYCop": "EtherPHYIn",
    "RedirectOut": "PktsIn",
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

    def describe(self, instances: Iterable[Instance]) -> None:
        """LFBSelectors, SupportedLFBs and LFBTopology from the instances that there are."""
        present = list(instances)
        selectors = [{"LFBClassID": i.cls.id, "LFBInstanceID": i.id} for i in present]
        classes = {i.cls.name: i.cls for i in present}
        self.values["LFBSelectors"] = dict(enumerate(selectors))
        self.values["SupportedLFBs"] = dict(
            enumerate(
                {
                    "LFBName": cls.name,
                    "LFBClassID": cls.id,
                    "LFBVersion": cls.version,
                    "LFBOccurrenceLimit": sum(i.cls is cls for i in present),
                }
                for cls in classes.values()
            )
        )
        by_class: dict[str, list[Instance]] = {}
        for instance in present:
            name = instance.cls.name
            one_each = name == "ECMP"  # an instance for each family, not for each port
            name = f"{name} {instance.id}" if one_each else name
            by_class.setdefault(name, []).append(instance)
        links = [
            link
            for source, group, sink in NORMAL_PATH
            for link in _links(by_class.get(source, []), group, by_class.get(sink, []))
        ]
        self.values["LFBTopology"] = dict(enumerate(links))

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name in self.fixed:
            raise refuse(ResultCode.READ_ONLY, f"{name} cannot be changed here")
        if name == "FEState" and new not in (FeState.AdminDisable, FeState.OperEnable):
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "a CE sets AdminDisable or OperEnable")

    def plan(self, changes: Changes, plan: Plan) -> None:
        for old, new, edit in changes.get("FEState", {}).values():
            was_on = old == FeState.OperEnable or self.by_grace
            if was_on != (new == FeState.OperEnable):
                plan.add(SetForwarding(new == FeState.OperEnable), edit)


def _links(sources: list[Instance], group: str, sinks: list[Instance]) -> Iterable[dict[str, Any]]:
    """Per-port instances are linked one to one, shared ones with each."""
    pairs = (
        list(zip(sources, sinks, strict=True))
        if len(sources) == len(sinks)
        else [(source, sink) for source in sources for sink in sinks]
    )
    for number, (source, sink) in enumerate(pairs):
        fan_out, fan_in = len(sources) < len(sinks), len(sources) > len(sinks)
        yield {
            "FromLFBID": {"LFBClassID": source.cls.id, "LFBInstanceID": source.id},
            "FromPortGroup": group,
            "FromPortIndex": number if fan_out else 0,
            "ToLFBID": {"LFBClassID": sink.cls.id, "LFBInstanceID": sink.id},
            "ToPortGroup": INPUT_PORT[sink.cls.name],
            "ToPortIndex": number if fan_in else 0,
        }
