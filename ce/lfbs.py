"""The LFB components that a CE reads and writes: paths, types, and what asks for them.

Layouts come from the shipped LFB classes (`forces.model`): RFC 5812 section 5 (FEObject), RFC 7121
Appendix A (FEPO), RFC 6956 (EtherPHYCop, IPv4NextHop, IPv4UcastLPM). Nothing about a component's
place or size is written here a second time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ce.fe_tables import Op, Table, Write
from forces.messages import LfbSelect, Operation, OperType
from forces.model import library
from forces.paths import F_SELTABRANGE, FullData, PathData, TableRange
from forces.runs import rows_run

INSTANCE = 1
"""The only instance of every class but the port LFBs, whose instances are PHYPortIDs."""
PORT_UP = 1
"""PortStatusValues (RFC 6956): 0 disabled, 1 up, 2 down."""
FE_OPER_ENABLE = 2
"""FEStatusValues (RFC 5812 section 5.1): 0 AdminDisable, 1 OperDisable, 2 OperEnable."""
_INDEX = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Component:
    """One component (or one event) of a class."""

    class_id: int
    ids: tuple[int, ...]
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]

    def select(self, oper: OperType, *paths: PathData, instance: int = INSTANCE) -> LfbSelect:
        return LfbSelect(self.class_id, instance, (Operation(oper, paths),))

    def get(self) -> PathData:
        return PathData(self.ids)

    def set(self, value: Any) -> PathData:
        return PathData(self.ids, content=FullData(self.pack(value)))


@cache
def component(lfb: str, *names: str | int) -> Component:
    """By name, e.g. component("FEPO", "CEID")."""
    definition = library().cls(lfb)
    ids = definition.path(*names)
    kind = definition.resolve(ids).type
    return Component(definition.id, ids, kind.pack, kind.unpack)


@cache
def table(which: Table) -> Component:
    return component(*which.value)


@cache
def row(which: Table) -> Component:
    """The type of one row; its path is that of row 0."""
    return component(*which.value, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a class. Its report is one value here (RFC 5812 section 4.7.6.3)."""

    class_id: int
    ids: tuple[int, ...]
    unpack: Callable[[bytes], Any]

    def subscribe(self, instance: int = INSTANCE) -> LfbSelect:
        """SET-PROP in the short form, as the CEs of the interoperability tests sent it (RFC 6984;
        the 2011 captures): the event's path with its registration property as the contents."""
        path = PathData(self.ids, content=FullData(_INDEX.pack(1)))
        return LfbSelect(self.class_id, instance, (Operation(OperType.SET_PROP, (path,)),))


@cache
def event(lfb: str, name: str) -> Event:
    """By name, e.g. event("FEPO", "PrimaryCEDown")."""
    definition = library().cls(lfb)
    found = definition.event(name)
    report = found.report_type
    assert report is not None, f"{name} reports nothing"

    def unpack(contents: bytes) -> Any:
        return next(iter(report.unpack(contents).values()))

    return Event(definition.id, found.path, unpack)


def write_select(write: Write) -> LfbSelect:
    """The Config body of one write."""
    target = table(write.table)
    if write.op is Op.REPLACE:
        contents = b"".join(
            part for index, row_ in write.rows.items() for part in (_INDEX.pack(index), row_)
        )
        return target.select(OperType.SET, PathData(target.ids, content=FullData(contents)))
    if write.op is Op.SET:
        run = rows_run(target.ids, write.rows)
        if run is not None:
            return LfbSelect(target.class_id, INSTANCE, (Operation(OperType.SET, run),))
        return target.select(
            OperType.SET,
            *(
                PathData((*target.ids, index), content=FullData(contents))
                for index, contents in write.rows.items()
            ),
        )
    return target.select(OperType.DEL, *(PathData((*target.ids, index)) for index in write.rows))


def table_get(which: Table, first: int | None = None, last: int | None = None) -> LfbSelect:
    """GET of a whole table, or of a range of rows (RFC 7391 section 3.1.1)."""
    target = table(which)
    if first is None or last is None:
        return target.select(OperType.GET, target.get())
    return target.select(
        OperType.GET, PathData(target.ids, TableRange(first, last), flags=F_SELTABRANGE)
    )
