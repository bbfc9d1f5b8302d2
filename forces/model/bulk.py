"""Types as numpy knows them: columns of tables whose rows have a fixed size."""

from __future__ import annotations

from typing import Any

from forces.errors import ProtocolError, ResultCode
from forces.model.compound import StructType
from forces.model.types import AtomicType, DataType, OctetsType
from forces.model.union import UnionType


def numpy_type(kind: DataType) -> Any:
    """What `np.dtype` takes for this type; None if it has no fixed layout."""
    if isinstance(kind, AtomicType):
        return "?" if kind.boolean else f">{_NUMPY[kind.format or '']}"
    if isinstance(kind, OctetsType) and kind.fixed_size is not None:
        return ("u1", (kind.fixed_size,))
    if isinstance(kind, UnionType) and kind.fixed_size is not None:
        return ("u1", (kind.fixed_size,))
    if isinstance(kind, StructType) and kind.fixed_size is not None:
        columns = [(field.name, numpy_type(field.type)) for field in kind.fields]
        return None if any(column is None for _, column in columns) else columns
    return None


_NUMPY = {
    "b": "i1",
    "B": "u1",
    "h": "i2",
    "H": "u2",
    "i": "i4",
    "I": "u4",
    "q": "i8",
    "Q": "u8",
    "f": "f4",
    "d": "f8",
}


def check_column(kind: DataType, column: Any) -> None:
    """As `DataType.check`, for many values at once."""
    if isinstance(kind, StructType):
        for field in kind.fields:
            check_column(field.type, column[field.name])
    elif isinstance(kind, AtomicType):
        if kind.boolean:
            allowed = column.view("u1") <= 1
        elif kind.ranges:
            allowed = column != column
            for low, high in kind.ranges:
                allowed |= (column >= low) & (column <= high)
            for entry in kind.special.values():
                allowed |= column == entry.value
        else:
            return
        if not allowed.all():
            value = column[~allowed][0]
            reason = f"{kind.name}: {value} is out of range"
            raise ProtocolError(ResultCode.VALUE_OUT_OF_RANGE, reason)
