"""Properties of components and events (RFC 5812 section 4.8): GET-PROP, and SET-PROP of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fe_datapath.lfbs.instance import EventState, Instance
from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model import ArrayType, FieldsType, Library, Target
from forces.paths import Content, FullData, SparseData

Registration = tuple[Instance, int, EventState]
"""Of an undo log: instance, event, what it was before."""

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


def set_event_properties(
    library: Library,
    instance: Instance,
    ids: tuple[int, ...],
    content: Content | None,
    log: list[Registration],
) -> None:
    """Subscriptions and filters. The path is an event's (then the contents are the
    registration, or the properties as SPARSEDATA), or goes on with a property's ID."""
    properties = library.event_property_type
    prop = REGISTRATION
    if len(ids) == 3:
        prop = ids[2]
        ids = ids[:2]
    events = [instance.cls.resolve_event(ids)[0].id] if len(ids) > 1 else []
    if len(ids) == 1 and ids[0] == instance.cls.event_base:
        events = [event.id for event in instance.cls.events.values()]
    if not events:
        raise ProtocolError(ResultCode.NOT_SUPPORTED, "only events have writable properties")
    items: Sequence[tuple[int, bytes]]
    match content:
        case FullData(value):
            items = ((prop, value),)
        case SparseData(given):
            items = given
        case _:
            raise ProtocolError(ResultCode.INVALID_TLV, "SET-PROP without data")
    wanted = []
    for number, octets in items:
        field = properties.by_id(number)
        if field is None:
            raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, f"property {number}")
        if number != REGISTRATION and field.name not in instance.event_filters:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, f"property {field.name}")
        wanted.append((number, field.name, field.type.unpack(octets)))
    for number, name, setting in wanted:
        for event in events:
            before = instance.event_state(event)
            log.append((instance, event, before))
            on, filters = before
            if number == REGISTRATION:
                on = bool(setting)
            else:
                filters = {other: x for other, x in filters.items() if other != name}
                filters |= {name: setting} if setting else {}
            instance.set_event_state(event, (on, filters))
