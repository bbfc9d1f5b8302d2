"""Tables whose rows can be taken as they come: what bulk updates consist of."""

from __future__ import annotations

from functools import cache

from fe_datapath.edited import constrained
from forces.model import ArrayType, Field, Library, StructType
from forces.values import value


@value
class PlainTable:
    """A top-level table of plain numbers."""

    name: str
    type: StructType
    checked: tuple[Field, ...]
    """Fields with fewer allowed values than their octets can hold."""


@cache
def plain_tables(library: Library) -> dict[tuple[int, int], PlainTable | None]:
    """Of all stores of one library."""
    return {}


def plain_table(library: Library, class_id: int, component_id: int) -> PlainTable | None:
    """None: it is none."""
    cls = library.find(class_id)
    component = cls.components.get(component_id) if cls is not None else None
    if (
        component is None
        or component.access != "read-write"
        or not isinstance(component.type, ArrayType)
        or component.type.maximum is not None
        or component.type.length is not None
        or component.type.keys
        or not isinstance(component.type.row, StructType)
    ):
        return None
    row = component.type.row
    checked = tuple(field for field in row.fields if constrained(field.type))
    return PlainTable(component.name, row, checked)
