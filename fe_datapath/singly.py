"""SET and DEL of one path: changes of an instance's components, in a transaction (RFC 5810 section
7.6.1). `inbulk` is the same for many rows at once.

Each raises ProtocolError; what it has changed until then, the transaction takes back.
"""

from __future__ import annotations

from typing import Any

from fe_datapath.edited import constrained, edited
from fe_datapath.lfbs.instance import MISSING, Instance
from fe_datapath.selection import in_range
from fe_datapath.transaction import Transaction
from forces.errors import ProtocolError, ResultCode
from forces.model import ArrayType, Target
from forces.paths import FullData, KeyInfo, SparseData, TableRange
from forces.runs import MIN_RUN


def writable(instance: Instance, ids: tuple[int, ...]) -> Target:
    target = instance.cls.resolve(ids)
    if target.component.name in instance.unsupported:
        raise ProtocolError(ResultCode.NOT_SUPPORTED, f"no {target.component.name} here")
    if target.access not in ("read-write", "write-only") or target.component.capability:
        raise ProtocolError(ResultCode.READ_ONLY, f"{target.component.name} is read-only")
    if target.component.name in instance.fixed:
        reason = f"{target.component.name} cannot be changed here"
        raise ProtocolError(ResultCode.READ_ONLY, reason)
    return target


def set_contents(
    transaction: Transaction,
    instance: Instance,
    ids: tuple[int, ...],
    content: FullData | SparseData,
) -> None:
    if not ids:
        if not isinstance(content, SparseData):
            raise ProtocolError(ResultCode.NOT_SUPPORTED, "a whole LFB needs SPARSEDATA")
        for component_id, octets in content.items:
            set_contents(transaction, instance, (component_id,), FullData(octets))
        return
    target = writable(instance, ids)
    kind, name = target.component.type, target.component.name
    if not isinstance(kind, ArrayType):
        new = edited(kind, instance.read(name), ids[1:], content)
        transaction.put(instance, name, None, new)
    elif len(ids) > 1:
        old = instance.read(name).get(ids[1], MISSING)
        row = edited(kind.row, old, ids[2:], content)
        put_row(transaction, instance, target, ids[1], row)
    elif isinstance(content, FullData):
        rows = kind.unpack(content.value)
        if constrained(kind):
            kind.check(rows)
        _replace(transaction, instance, target, rows)
    else:
        for index, octets in content.items:
            row = edited(kind.row, MISSING, (), FullData(octets))
            put_row(transaction, instance, target, index, row)


def put_row(
    transaction: Transaction, instance: Instance, target: Target, index: int, row: Any
) -> None:
    table, name = target.component.type, target.component.name
    assert isinstance(table, ArrayType)
    table.check_index(index)
    rows = instance.read(name)
    if table.maximum is not None and index not in rows and len(rows) >= table.maximum:
        raise ProtocolError(ResultCode.INVALID_ARRAY_CREATION, f"{name} is full")
    if table.keys:
        table.check({**rows, index: row})
    transaction.put(instance, name, index, row)


def _replace(
    transaction: Transaction, instance: Instance, target: Target, rows: dict[int, Any]
) -> None:
    """A whole table (RFC 5810 use case 3): rows that stay the same are not touched, and rows
    go out before rows come in, for two of them may have exchanged what must be unique."""
    name = target.component.name
    present = instance.values[name]
    gone = [index for index, row in present.items() if rows.get(index, MISSING) != row]
    fresh = [(index, row) for index, row in rows.items() if present.get(index) != row]
    put = transaction.put
    for index in gone:
        put(instance, name, index, MISSING)
    for index, row in fresh:
        put(instance, name, index, row)


def delete(
    transaction: Transaction,
    instance: Instance,
    ids: tuple[int, ...],
    selector: KeyInfo | TableRange | None,
    in_bulk: bool,
) -> None:
    """`in_bulk`: many rows may go at once."""
    target = writable(instance, ids)
    name, kind = target.component.name, target.component.type
    if isinstance(selector, TableRange) and not isinstance(target.type, ArrayType):
        raise ProtocolError(ResultCode.INVALID_TFLAGS, "a range selects rows of tables")
    if not isinstance(kind, ArrayType) or len(ids) > 2:
        raise ProtocolError(ResultCode.INVALID_PATH, "only rows of tables can be deleted")
    rows = instance.read(name)
    if len(ids) == 2:
        doomed = [ids[1]]
        if ids[1] not in rows:
            raise ProtocolError(ResultCode.NOT_FOUND, f"{name} has no row {ids[1]}")
    elif isinstance(selector, TableRange):
        doomed = in_range(rows, selector)
        if not doomed:
            raise ProtocolError(ResultCode.EMPTY, "no row in the range")
    else:
        doomed = list(rows)
    if len(doomed) >= MIN_RUN and in_bulk:
        edit = transaction.edit
        if transaction.put_many(
            instance, name, lambda free: instance.delete_many(name, doomed, edit, True, free)
        ):
            return
    for index in doomed:
        transaction.put(instance, name, index, MISSING)
