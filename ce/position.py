"""Ext-FEStateSync as a CE reads it: queries and what their answers say (docs/ce-ce-sync.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ce.answers import answers, failure
from ce.lfbs import component
from ce.replica import Position
from forces.errors import ProtocolError, ResultCode
from forces.messages import LfbSelect, Message, OperType
from forces.paths import F_SELTABRANGE, FullData, PathData, SparseData, TableRange
from forces.wire import decode

LFB = "Ext-FEStateSync"
INDEX_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the FE's journal."""

    generation: int
    term: int
    exact: bool
    message: Message


@dataclass(slots=True)
class State:
    """What one answer said; `position` None: the FE has no such LFB."""

    position: Position | None = None
    entries: list[Entry] = field(default_factory=list)
    """Ascending."""
    too_long: bool = False
    """The entries that were asked for do not fit one answer."""


def position_get() -> LfbSelect:
    position = component(LFB, "Position")
    return position.select(OperType.GET, position.get())


def state_get(first: int, last: int) -> LfbSelect:
    """The position, and the journal from one generation to another."""
    position, journal = component(LFB, "Position"), component(LFB, "Journal")
    rows = TableRange(first & INDEX_BITS, last & INDEX_BITS)
    return position.select(
        OperType.GET, position.get(), PathData(journal.ids, rows, flags=F_SELTABRANGE)
    )


def liveness_get() -> LfbSelect:
    liveness = component(LFB, "MasterLiveness")
    return liveness.select(OperType.GET, liveness.get())


def read_state(message: Message) -> State:
    """ProtocolError for contents that are not the LFB's."""
    position, journal = component(LFB, "Position"), component(LFB, "Journal")
    row = component(LFB, "Journal", 0)
    state = State()
    for class_id, _, ids, content in answers(message):
        if class_id != position.class_id:
            continue
        if ids == position.ids and isinstance(content, FullData):
            value = position.unpack(content.value)
            state.position = Position(
                value["Incarnation"],
                value["Term"],
                value["Generation"],
                value["CEID"],
                value["Correlator"],
                value["Pending"],
                value["Inexact"],
            )
        elif ids[:1] == journal.ids and isinstance(content, SparseData):
            state.entries += [_entry(row.unpack(contents)) for _, contents in content.items]
        elif ids[:1] == journal.ids and failure(content) == ResultCode.CONTENTS_TOO_LONG:
            state.too_long = True
    state.entries.sort(key=lambda entry: entry.generation)
    return state


def _entry(value: dict[str, object]) -> Entry:
    octets = value["Config"]
    if not isinstance(octets, bytes):
        raise ProtocolError(ResultCode.LENGTH_MISMATCH, "a journal row without a message")
    return Entry(
        int(str(value["Generation"])), int(str(value["Term"])), bool(value["Exact"]), decode(octets)
    )
