"""A component's new value from its old one and what a SET carries (RFC 5810 section 7.6.1).

Values are never changed in place. Raises ProtocolError for contents that the type does not have.
"""

from __future__ import annotations

from typing import Any

from fe_datapath.lfbs.instance import MISSING
from forces.errors import ProtocolError, ResultCode
from forces.model import ArrayType, AtomicType, DataType, FieldsType, StructType
from forces.paths import FullData, SparseData


def constrained(kind: DataType) -> bool:
    """Whether contents that `unpack` takes can still be refused by `check`."""
    if isinstance(kind, FieldsType):
        return any(constrained(field.type) for field in kind.fields)
    if isinstance(kind, ArrayType):
        limited = kind.maximum is not None or kind.length is not None or bool(kind.keys)
        return limited or constrained(kind.row)
    if isinstance(kind, AtomicType):
        return bool(kind.ranges)
    return kind.fixed_size is None and getattr(kind, "maximum", None) is not None


def edited(kind: DataType, old: Any, steps: tuple[int, ...], content: FullData | SparseData) -> Any:
    """`old` with new contents at the place that `steps` lead to; `old` itself stays as it is."""
    if steps:
        return _belowedited(kind, old, steps, content)
    if isinstance(content, FullData):
        new = kind.unpack(content.value)
    elif isinstance(kind, StructType):
        partial = kind.unpack_sparse(content.items)
        new = partial if old is MISSING else {**old, **partial}
        if old is MISSING and any(
            not field.optional and field.name not in partial for field in kind.fields
        ):
            raise ProtocolError(ResultCode.INVALID_ARRAY_CREATION, "components are missing")
        kind.check(new)
        return new
    elif isinstance(kind, ArrayType):
        new = {**({} if old is MISSING else old), **kind.unpack_sparse(content.items)}
    else:
        raise ProtocolError(ResultCode.INVALID_TLV, f"SPARSEDATA for {kind.name}")
    if constrained(kind):
        kind.check(new)
    return new


def _belowedited(
    kind: DataType, old: Any, steps: tuple[int, ...], content: FullData | SparseData
) -> Any:
    if old is MISSING:
        raise ProtocolError(ResultCode.NOT_FOUND, "the row to change is not there")
    step = steps[0]
    if isinstance(kind, ArrayType):
        kind.check_index(step)
        return {**old, step: edited(kind.row, old.get(step, MISSING), steps[1:], content)}
    assert isinstance(kind, FieldsType)
    field = kind.by_id(step)
    assert field is not None
    inner = old.get(field.name, MISSING)
    if inner is MISSING:
        inner = field.type.default()
    return {**old, field.name: edited(field.type, inner, steps[1:], content)}
