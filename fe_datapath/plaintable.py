"""Tables whose rows can be taken as they come: what bulk updates consist of."""

from __future__ import annotations

from functools import cache

from forces.model import Field, Library, StructType
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
