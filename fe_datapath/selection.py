"""What a path selects: the steps of its IDs, a key, a range (RFC 5810 section 7.1, RFC 7391
section 3.1).
"""

from __future__ import annotations

from typing import Any

from forces.errors import ProtocolError, ResultCode
from forces.model import ArrayType, Target
from forces.paths import (
    F_SELKEY,
    F_SELKEY_DRAWN,
    F_SELTABRANGE,
    KeyInfo,
    PathData,
    TableRange,
)


def wrong_selector(path: PathData) -> str | None:
    """What RFC 7391 section 3.1 forbids, in words; None: nothing of it."""
    if path.flags & F_SELTABRANGE and path.flags & (F_SELKEY | F_SELKEY_DRAWN):
        return "a key and a range at once"
    if isinstance(path.selector, TableRange) and path.children:
        return "a range has no paths below"
    return None


def key_row(target: Target, rows: dict[int, Any], key: KeyInfo) -> int:
    """The row that a content key selects (RFC 5810 section 7.1.1.2). Raises ProtocolError."""
    if not isinstance(target.type, ArrayType):
        raise ProtocolError(ResultCode.INVALID_PATH, "a key selects rows of tables only")
    table = target.type
    if key.key_id not in table.keys:
        raise ProtocolError(ResultCode.INVALID_PATH, f"the table has no key {key.key_id}")
    wanted = table.keys[key.key_id].type.unpack(key.value.value)
    for index, row in rows.items():
        if table.key_of(key.key_id, row) == wanted:
            return index
    raise ProtocolError(ResultCode.NOT_FOUND, f"no row has this key {key.key_id}")


def in_range(rows: dict[int, Any], selected: TableRange) -> list[int]:
    """Indexes of the rows in the range, ascending (RFC 7391 section 3.1)."""
    return sorted(index for index in rows if selected.start <= index <= selected.end)


def walk(value: Any, kind: Any, steps: tuple[int, ...]) -> Any:
    """What lies below a value. The steps fit the type; a row may be missing: NOT_FOUND."""
    for step in steps:
        if isinstance(kind, ArrayType):
            if step not in value:
                raise ProtocolError(ResultCode.NOT_FOUND, f"no row {step}")
            value, kind = value[step], kind.row
        else:
            field = kind.by_id(step)
            if field.name not in value:
                raise ProtocolError(ResultCode.NOT_FOUND, f"{field.name} has no value")
            value, kind = value[field.name], field.type
    return value
