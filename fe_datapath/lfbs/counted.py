"""What the kernel counts of the IP packets of the whole FE, as RFC 6956 divides it up:
IPv4Validator and IPv6Validator (section 5.2), and the statistics of the LPMs (section 5.3).

Linux counts a TTL that ran out as a header error. It is told apart by the "time exceeded" that
the kernel answers, of which it sends a limited number to one address: what is over the limit
counts as a bad header. The figures are of the FE's whole namespace, the control network included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fe_datapath.datapath import Readings
from fe_datapath.lfbs.instance import Instance
from forces.model import Library

Figures = Mapping[str, int]


class Tally:
    """Figures that a CE can start anew."""

    def __init__(self, raw: Callable[[], Figures]) -> None:
        self._raw = raw
        self._base: dict[str, int] = {}

    def value(self) -> dict[str, int]:
        return {name: raw - self._base.get(name, 0) for name, raw in self._raw().items()}

    def set(self, value: Figures) -> None:
        self._base = {name: raw - value.get(name, 0) for name, raw in self._raw().items()}


class _Counters:
    def __init__(self, readings: Readings | None, version: int) -> None:
        self._readings = readings
        self._version = version

    def now(self) -> Callable[[str], int]:
        counted: Figures = {}
        if self._readings is not None:
            counted = self._readings.counters().get(self._version, {})
        return lambda name: counted.get(name, 0)


def lookups(readings: Readings | None, version: int) -> Tally:
    """IPv4UcastLPMStats, IPv6UcastLPMStats."""
    counters = _Counters(readings, version)

    def raw() -> Figures:
        now = counters.now()
        return {
            "InRcvdPkts": now("InReceives"),
            "FwdPkts": now("OutForwDatagrams"),
            "NoRoutePkts": now("InNoRoutes"),
        }

    return Tally(raw)


class Validator(Instance):
    """The class has its one component read-write: a CE can set the figures."""

    def __init__(self, library: Library, version: int, readings: Readings | None) -> None:
        super().__init__(library.cls(f"IPv{version}Validator"), 1)
        counters = _Counters(readings, version)

        def raw() -> Figures:
            now = counters.now()
            expired, checksum = now("OutTimeExcds"), now("InCsumErrors")
            figures = {
                "badHeaderPkts": max(0, now("InHdrErrors") - checksum - expired),
                "badTotalLengthPkts": now("InTruncatedPkts"),
            }
            if version == 6:
                return figures | {"badHopLimitPkts": expired}
            return figures | {"badTTLPkts": expired, "badChecksumPkts": checksum}

        self._tally = Tally(raw)
        self._statistics = f"IPv{version}ValidatorStats"

    def read(self, name: str) -> Any:
        return self._tally.value() if name == self._statistics else super().read(name)

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        self._tally.set(new)
