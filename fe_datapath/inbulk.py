"""Configs of many rows: the runs (`forces.runs`) of a message, carried out many rows at once
where a table can (`Instance.set_many`), with one result code for each row all the same.
"""

from __future__ import annotations

from fe_datapath.store import Store
from fe_datapath.transaction import Transaction
from forces.messages import LfbSelect, OperType
from forces.runs import PathRun
from forces.tlv import TlvType


def carried_out(
    store: Store, transaction: Transaction, edit: int, lfb: LfbSelect, kind: OperType, run: PathRun
) -> bool:
    """The first row is edit number `edit`. False, and nothing has changed: the rows have to go one
    by one, which may be because something is wrong with one of them."""
    instance = store.instances.get((lfb.class_id, lfb.instance_id))
    if instance is None or len(run.table) != 1:
        return False
    component = instance.cls.components.get(run.table[0])
    if component is None:
        return False
    name = component.name
    match kind, run.content_kind:
        case OperType.SET, TlvType.FULLDATA:
            return transaction.put_many(
                instance, name, lambda free: instance.set_many(name, run, edit, free)
            )
        case OperType.DEL, None:
            rows = run.indexes()
            return transaction.put_many(
                instance, name, lambda free: instance.delete_many(name, rows, edit, False, free)
            )
    return False
