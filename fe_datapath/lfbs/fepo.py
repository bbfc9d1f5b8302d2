"""FEPO, the FE Protocol Object: heartbeats, HA, and what became of each CE.

RFC 7121 Appendix A; RFC 7391 Appendix A adds EResultAdmin, of which only "not supported" is
offered here. CEID, LastCEID, BackupCEs and the policies are `forces.mastership`'s, mirrored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from fe_datapath.config import FeConfig
from fe_datapath.lfbs.instance import MISSING, Instance, refuse
from forces.association import Statistics
from forces.errors import ResultCode
from forces.mastership import HaMode, Mastership
from forces.model import Library

VERSION = "1.2"
STATISTICS = (
    "RecvPackets",
    "RecvErrPackets",
    "RecvBytes",
    "RecvErrBytes",
    "TxmitPackets",
    "TxmitErrPackets",
    "TxmitBytes",
    "TxmitErrBytes",
)
"""StatisticsType's components in the order of `forces.association.Statistics`."""
_FIGURES = attrgetter(*(field.name for field in fields(Statistics)))
EXTENDED_RESULT_NOT_SUPPORTED, EXTENDED_RESULT_SUPPORTED = 1, 2
LARGEST = {
    "CEHBPolicy": 1,
    "FEHBPolicy": 1,
    "CEFailoverPolicy": 1,
    "FERestartPolicy": 0,
    "HAMode": max(HaMode),
    "EResultAdmin": EXTENDED_RESULT_SUPPORTED,
}
INTERVALS = {"CEHDI", "FEHI", "CEFTI"}
MULTICAST_LIMIT = 64
GRACEFUL_RESTART, HIGH_AVAILABILITY = 0, 1


class Fepo(Instance):
    def __init__(
        self,
        library: Library,
        config: FeConfig,
        mastership: Mastership,
        statistics: Mapping[int, Statistics],
    ) -> None:
        super().__init__(library.cls("FEPO"), 1)
        self._mastership = mastership
        self._statistics = statistics
        self.values.update(
            CurrentRunningVersion=1,
            FEID=config.id,
            CEHBPolicy=0,
            CEHDI=config.cehdi_ms,
            FEHBPolicy=1,
            FEHI=config.fe_heartbeat_ms,
            CEFTI=config.cefti_ms,
            SupportableVersions={0: 1},
            HACapabilities={0: GRACEFUL_RESTART, 1: HIGH_AVAILABILITY},
            EResultCapab={0: EXTENDED_RESULT_NOT_SUPPORTED, 1: EXTENDED_RESULT_SUPPORTED},
        )
        self.mirror()

    @property
    def extended(self) -> bool:
        """Results are EXTENDEDRESULTs (RFC 7391 section 3.2.3.1)."""
        return bool(self.values["EResultAdmin"] == EXTENDED_RESULT_SUPPORTED)

    def mirror(self, pending: Collection[str] = ()) -> None:
        """Show what mastership has come to, except where a Config under way wants another
        value: it is asked for when the Config has ended."""
        machine = self._mastership
        present = {
            "CEID": machine.ceid,
            "LastCEID": machine.last_ceid,
            "BackupCEs": dict(enumerate(machine.backups)),
            "CEFailoverPolicy": machine.policy,
            "HAMode": int(machine.mode),
        }
        for name in pending:
            present.pop(name, None)
        self.values.update(present)

    def read(self, name: str) -> Any:
        if name == "AllCEs":
            return {
                index: {
                    "CEID": ce,
                    "Statistics": dict(zip(STATISTICS, self.figures(ce), strict=True)),
                    "CEStatus": int(self._mastership.status[ce]),
                }
                for index, ce in enumerate(self._mastership.all_ces)
            }
        return super().read(name)

    def figures(self, ce: int) -> tuple[int, ...]:
        figures: tuple[int, ...] = _FIGURES(self._statistics[ce])
        return figures

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name in LARGEST and new > LARGEST[name]:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"{name} {new} is reserved")
        if name in INTERVALS and new == 0:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"{name} is at least 1 ms")
        known = self._mastership.status
        if name == "CEID" and new not in known:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"CE 0x{new:08x} is not in AllCEs")
        if name == "LastCEID" and new and new not in known:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"CE 0x{new:08x} is not in AllCEs")
        if name == "BackupCEs" and new is not MISSING:
            if new not in known or new == self.values["CEID"]:
                raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "BackupCEs are CEs of AllCEs")
            if new in self.values["BackupCEs"].values():
                raise refuse(ResultCode.EXISTS, "BackupCEs has this CE")
        if name == "MulticastFEIDs" and new is not MISSING:
            if not 0xC0000000 <= new <= 0xFFFFFFEF:
                raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "not a multicast ID")
            if len(self.values[name]) >= MULTICAST_LIMIT:
                raise refuse(ResultCode.MEMORY_ERROR, f"at most {MULTICAST_LIMIT} IDs")
