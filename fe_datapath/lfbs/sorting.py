"""EtherClassifier (RFC 6956 section 5.1.3), BasicMetadataDispatch (5.5.1) and GenericScheduler
(5.5.2): what a Linux router does between a port and its IP layer.

It does so by itself and in one way. The first two show which way that is, and cannot be changed;
the scheduler shows the queueing discipline that the port has. Logical ports are those of section
5.1.3.2: a number for each physical port's untagged frames, from a number space of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fe_datapath.datapath import Readings
from fe_datapath.lfbs.ether import EtherMacIn, EtherMacOut, Port
from fe_datapath.lfbs.instance import Instance
from forces.model import Library

LOGICAL_PORTS_FROM = 1 << 16
ETHERTYPES = (0x0800, 0x86DD)
"""In the order of ClassifyOut's ports."""
PHY_PORT_ID = 1
"""Metadata ID (RFC 6956 section 4.4)."""


class EtherClassifier(Instance):
    fixed = frozenset({"EtherDispatchTable", "VlanInputTable"})
    unsupported = frozenset({"EtherClassifyStats"})

    def __init__(self, library: Library, ports: Iterable[int]) -> None:
        super().__init__(library.cls("EtherClassifier"), 1)
        ports = tuple(ports)
        self.values["VlanInputTable"] = {
            port: {
                "IncomingPortID": port,
                "VlanID": 0,
                "Reserved": 0,
                "LogicalPortID": LOGICAL_PORTS_FROM + port,
            }
            for port in ports
        }
        self.values["EtherDispatchTable"] = dict(
            enumerate(
                {
                    "LogicalPortID": LOGICAL_PORTS_FROM + port,
                    "EtherType": kind,
                    "Reserved": 0,
                    "LFBOutputSelectIndex": output,
                }
                for port in ports
                for output, kind in enumerate(ETHERTYPES)
            )
        )


class BasicMetadataDispatch(Instance):
    """Packets with a header go to the port that EtherEncap chose."""

    fixed = frozenset({"MetadataID", "MetadataDispatchTable"})

    def __init__(self, library: Library, ports: Iterable[int]) -> None:
        super().__init__(library.cls("BasicMetadataDispatch"), 1)
        self.values["MetadataID"] = PHY_PORT_ID
        self.values["MetadataDispatchTable"] = {
            output: {"MetadataValue": port, "OutputIndex": output}
            for output, port in enumerate(ports)
        }


class GenericScheduler(Instance):
    """Of one port, whose number it has. Round robin among the queues is the one discipline of
    RFC 6956: what the kernel does with one queue, or with the classes of an htb alike."""

    def __init__(self, library: Library, port: int, readings: Readings | None) -> None:
        super().__init__(library.cls("GenericScheduler"), port)
        self._readings = readings

    def read(self, name: str) -> Any:
        if name not in ("QueueStats", "QueueLenLimit"):
            return super().read(name)
        queues = () if self._readings is None else self._readings.queues(self.id)
        if name == "QueueLenLimit":
            return min((queue.limit for queue in queues), default=0)
        return {
            number: {
                "QueueID": number,
                "QueueDepthInPackets": queue.packets,
                "QueueDepthInBytes": queue.octets,
            }
            for number, queue in enumerate(queues)
        }


def link_layer(
    library: Library, ports: Mapping[int, Port], readings: Readings | None
) -> list[Instance]:
    """All instances of the link layer but the EtherPHYCops."""
    return [
        *(EtherMacIn(library, port) for port in ports.values()),
        *(EtherMacOut(library, port) for port in ports.values()),
        EtherClassifier(library, ports),
        BasicMetadataDispatch(library, ports),
        *(GenericScheduler(library, port, readings) for port in ports),
    ]
