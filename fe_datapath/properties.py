"""Properties of components and events (RFC 5812 section 4.8): GET-PROP."""

from __future__ import annotations

from typing import Any

from fe_datapath.lfbs.instance import Instance
from forces.errors import UsageError
from forces.model import ArrayType, FieldsType, Library, Target

REGISTRATION = 2
"""Property of an event: the subscription (section 4.8.5)."""
ARRAY_PROPERTIES = ("entryCount", "highestUsedSubscript", "firstUnusedSubscript")
_ACCESSIBILITY = {
    "read-only": 1,
    "write-only": 2,
    "read-write": 3,
    "read-reset": 1,
    "trigger-only": 2,
}
"""Section 4.8.1: 1 read, 2 write, 3 both."""


def component_properties(library: Library, instance: Instance, target: Target, value: Any) -> bytes:
    """`value`: what is there now."""
    kind = library.property_type(target)
    values = dict(kind.default())
    fixed = target.component.name in instance.fixed
    values["accessibility"] = _ACCESSIBILITY["read-only" if fixed else target.access]
    if isinstance(target.type, ArrayType):
        values.update(zip(ARRAY_PROPERTIES, _array_figures(value), strict=True))
    for name, figure in (("stringLength", value), ("octetstringLength", value)):
        if kind.by_name(name) is not None:
            values[name] = len(target.type.pack(figure))
    return kind.pack(values)


def _array_figures(rows: dict[int, Any]) -> tuple[int, int, int]:
    free = 0
    while free in rows:
        free += 1
    return len(rows), max(rows, default=0), free


def event_property(library: Library, instance: Instance, ids: tuple[int, ...]) -> bytes:
    """The properties of an event, or one of them if the path goes on with its ID."""
    kind = library.event_property_type
    field = None
    if len(ids) == 3:
        field = kind.by_id(ids[2])
        ids = ids[:2]
    event, _ = instance.cls.resolve_event(ids)
    values = dict(kind.default())
    values["accessibility"] = 3
    values[registration(kind)] = int(event.id in instance.registered)
    values.update(instance.filters.get(event.id, {}))
    return field.type.pack(values[field.name]) if field is not None else kind.pack(values)


def registration(kind: FieldsType) -> str:
    """Name of the property with ID 2."""
    field = kind.by_id(REGISTRATION)
    if field is None:
        raise UsageError("the event properties have no registration")
    return field.name
