"""An LFB class: components, capabilities, events, and the paths to them (RFC 5812 section 4.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, cast

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model.array import MAX_INDEX, ArrayType
from forces.model.compound import FieldsType, StructType
from forces.model.types import DataType

Access = Literal["read-only", "read-write", "write-only", "read-reset", "trigger-only"]
ACCESS_MODES: tuple[Access, ...] = (
    "read-only",
    "read-write",
    "write-only",
    "read-reset",
    "trigger-only",
)
LFB_PROPERTIES_ID = 0
"""A path that starts with it leads to the LFB's properties (RFC 7408 section 2.5)."""


@dataclass(frozen=True, slots=True)
class Component:
    """A top-level component or a capability of a class."""

    id: int
    name: str
    type: DataType
    access: Access = "read-write"
    optional: bool = False
    default: Any = None
    """The declared default value; None: none declared."""
    capability: bool = False
    """Declared under <capabilities>: always read-only."""
    alias: bool = False
    """The value lives in another component, which the properties name (section 4.5.6)."""
    synopsis: str = ""

    def initial(self) -> Any:
        """The declared default, else the type's."""
        return self.type.default() if self.default is None else self.default


class EventCondition(StrEnum):
    """Section 4.7.6.2; the last one: RFC 7408 section 2.4."""

    CREATED = "eventCreated"
    DELETED = "eventDeleted"
    CHANGED = "eventChanged"
    GREATER_THAN = "eventGreaterThan"
    LESS_THAN = "eventLessThan"
    BECOMES_EQUAL_TO = "eventBecomesEqualTo"

    @property
    def needs_threshold(self) -> bool:
        return self in (self.GREATER_THAN, self.LESS_THAN, self.BECOMES_EQUAL_TO)


EventPath = tuple[int | str, ...]
"""Component IDs; a `str` stands for any subscript, and names it for the reports."""


@dataclass(frozen=True, slots=True)
class EventDef:
    """An event of a class (section 4.7.6)."""

    id: int
    name: str
    path: tuple[int, int]
    """(baseID, eventID): how a subscription or a report names it; subscripts follow."""
    condition: EventCondition
    target: EventPath
    reports: tuple[EventPath, ...]
    report_type: StructType | None
    """The reported values as a struct: components 1, 2, ... by dotted name (section 4.7.6.3).
    None: nothing is reported."""
    synopsis: str = ""

    @property
    def subscripts(self) -> tuple[str, ...]:
        """Names of the target's subscripts, in the order of the event path."""
        return tuple(part for part in self.target if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output port of a class (sections 4.7.2 and 4.7.3)."""

    name: str
    group: bool
    frames: tuple[str, ...]
    metadata: tuple[str, ...]
    synopsis: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to."""

    component: Component
    """The top-level component on the way."""
    type: DataType
    access: Access
    ids: tuple[int, ...]
    row: bool
    """An array's row: it can be created and deleted."""
    optional: bool = False
    alias: bool = False
    array: ArrayType | None = None
    """The array that a row belongs to."""


@dataclass(frozen=True)
class LfbClass:
    """One version of an LFB class (RFC 5812 section 4.7)."""

    id: int
    name: str
    version: str
    components: Mapping[int, Component]
    """Capabilities too."""
    events: Mapping[int, EventDef]
    event_base: int
    """First element of every event path; 0: the class has no events."""
    lfb_properties: Component
    """Component 0, in no class's list."""
    derived_from: LfbClass | None = None
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    synopsis: str = ""
    _names: dict[str, Component | EventDef] = field(init=False, repr=False, compare=False)
    _tops: dict[int, Target] = field(init=False, repr=False, compare=False)
    """What a path of one ID leads to: most paths are such."""
    _initial: dict[str, Any] = field(init=False, repr=False, compare=False)
    _composed: tuple[Component, ...] = field(init=False, repr=False, compare=False)
    """Components whose values are tables or structs: each instance has its own."""

    def __post_init__(self) -> None:
        names: dict[str, Component | EventDef] = {e.name: e for e in self.events.values()}
        names.update((c.name, c) for c in self.components.values())
        object.__setattr__(self, "_names", names)
        tops = {
            c.id: Target(c, c.type, c.access, (c.id,), False, c.optional, c.alias)
            for c in self.components.values()
        }
        object.__setattr__(self, "_tops", tops)
        initial = {c.name: c.initial() for c in self.components.values()}
        object.__setattr__(self, "_initial", initial)
        composed = (c for c in self.components.values() if type(initial[c.name]) is dict)
        object.__setattr__(self, "_composed", tuple(composed))

    def initial(self) -> dict[str, Any]:
        """A new instance's values."""
        values = self._initial.copy()
        for component in self._composed:
            values[component.name] = component.initial()
        return values

    def component(self, id_or_name: int | str) -> Component:
        """Raises UsageError if there is none."""
        found = (
            self.components.get(id_or_name)
            if isinstance(id_or_name, int)
            else self._names.get(id_or_name)
        )
        if not isinstance(found, Component):
            raise UsageError(f"{self.name} has no component {id_or_name}")
        return found

    def event(self, id_or_name: int | str) -> EventDef:
        """Raises UsageError if there is none."""
        for event in self.events.values():
            if id_or_name in (event.id, event.name):
                return event
        raise UsageError(f"{self.name} has no event {id_or_name}")

    def path(self, *steps: int | str) -> tuple[int, ...]:
        """Steps by name or by number as numbers; a first step may name an event. Raises
        UsageError for a name that the place has not."""
        if not steps:
            return ()
        first = steps[0]
        start = self._names.get(first) if isinstance(first, str) else self.components.get(first)
        if isinstance(start, EventDef):
            return start.path + self._numbers(steps[1:])
        if start is None:
            if isinstance(first, str):
                raise UsageError(f"{self.name} has no component {first}")
            return (first, *self._numbers(steps[1:]))
        ids, place = [start.id], start.type
        for step in steps[1:]:
            inner: DataType | None = None
            if isinstance(place, FieldsType):
                entry = place.by_name(step) if isinstance(step, str) else place.by_id(step)
                if entry is not None:
                    step, inner = entry.id, entry.type
            elif isinstance(place, ArrayType) and isinstance(step, int):
                inner = place.row
            if inner is None or isinstance(step, str):
                raise UsageError(f"{self.name}.{'.'.join(map(str, steps))}: no {step} there")
            ids.append(step)
            place = inner
        return tuple(ids)

    def _numbers(self, steps: Sequence[int | str]) -> tuple[int, ...]:
        if not all(isinstance(step, int) for step in steps):
            raise UsageError(f"{self.name}: {steps}: numbers expected")
        return cast(tuple[int, ...], tuple(steps))

    def resolve(self, ids: Sequence[int]) -> Target:
        """What the path means by the class's definition; whether a row or an optional component
        exists is the store's matter. Raises ProtocolError: COMPONENT_DOES_NOT_EXIST for an ID
        that the class or a struct has not, INVALID_PATH for a path that goes on below an atomic
        value, names an event, or is empty, INVALID_ARRAY_CREATION for an impossible subscript."""
        if len(ids) == 1:
            top = self._tops.get(ids[0])
            if top is not None:
                return top
        if not ids:
            raise ProtocolError(ResultCode.INVALID_PATH, f"{self.name}: the whole LFB")
        component = self.components.get(ids[0])
        if component is None:
            if ids[0] == LFB_PROPERTIES_ID:
                component = self.lfb_properties
            elif ids[0] == self.event_base and self.events:
                raise ProtocolError(ResultCode.INVALID_PATH, f"{self.name}: names an event")
            else:
                reason = f"{self.name} has no component {ids[0]}"
                raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, reason)
        place, access, alias = component.type, component.access, component.alias
        optional, array = component.optional, None
        for step in ids[1:]:
            optional = alias = False
            array = None
            if isinstance(place, ArrayType):
                place.check_index(step)
                array, place = place, place.row
            elif isinstance(place, FieldsType):
                entry = place.by_id(step)
                if entry is None:
                    reason = f"{self.name}: {place.name or 'struct'} has no component {step}"
                    raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, reason)
                if entry.access is not None and not component.capability:
                    access = cast(Access, entry.access)
                place, optional, alias = entry.type, entry.optional, entry.alias
            else:
                reason = f"{self.name}: nothing is below {place.name} ({step})"
                raise ProtocolError(ResultCode.INVALID_PATH, reason)
        return Target(
            component, place, access, tuple(ids), array is not None, optional, alias, array
        )

    def resolve_event(self, ids: Sequence[int]) -> tuple[EventDef, tuple[int, ...]]:
        """The event of an event path, and the subscripts that the path gives (possibly fewer
        than the event has: section 4.7.6.4). Raises ProtocolError."""
        event = self.events.get(ids[1]) if len(ids) > 1 and ids[0] == self.event_base else None
        if event is None:
            reason = f"{self.name} has no event {'.'.join(map(str, ids))}"
            raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, reason)
        subscripts = tuple(ids[2:])
        if len(subscripts) > len(event.subscripts) or any(s > MAX_INDEX for s in subscripts):
            reason = f"{self.name}: event {event.name} has no subscripts {subscripts}"
            raise ProtocolError(ResultCode.INVALID_PATH, reason)
        return event, subscripts
