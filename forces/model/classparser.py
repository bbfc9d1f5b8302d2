"""LFB classes, metadata and ports from the elements of a library document (RFC 5812 sections
4.6 and 4.7, RFC 7408 section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forces.model.array import ArrayType
from forces.model.compound import Field, FieldsType, StructType
from forces.model.document import Node
from forces.model.errors import ModelError
from forces.model.lfbclass import (
    ACCESS_MODES,
    Component,
    EventCondition,
    EventDef,
    EventPath,
    LfbClass,
    Port,
)
from forces.model.typeparser import Lookup, augments, declared_type, default_value, is_alias
from forces.model.types import DataType

Report = Callable[[ModelError], None]
"""Takes a fault of a document that one can live with: raises it, or notes it."""


@dataclass(frozen=True, slots=True)
class MetadataDef:
    """A metadatum that accompanies packets (RFC 5812 section 4.6)."""

    id: int
    name: str
    type: DataType
    synopsis: str = ""


def metadata(node: Node, lookup: Lookup) -> MetadataDef:
    id_node = node.need("metadataID")
    number = id_node.number(id_node.text)
    name = node.need_text("name")
    return MetadataDef(number, name, declared_type(node, lookup, name), node.child_text("synopsis"))


def lfb_class(
    node: Node,
    lookup: Lookup,
    parent: LfbClass | None,
    lfb_properties: Component,
    report: Report,
) -> LfbClass:
    """The class that an <LFBClassDef> defines. `report` gets events that cannot be tied to
    components (RFC 7409's Ext-Merger has one); such an event is left out."""
    components = dict(parent.components) if parent else {}
    own: set[int] = set()
    for section, tag in (("components", "component"), ("capabilities", "capability")):
        outer = node.find(section)
        for entry in outer.all(tag) if outer else ():
            component = _component(entry, lookup, tag == "capability")
            if component.id in own or any(
                other.name == component.name and other.id != component.id
                for other in components.values()
            ):
                raise entry.error(f"component {component.id} {component.name} is there already")
            inherited = components.get(component.id)
            if inherited and (
                inherited.name != component.name
                or inherited.capability != component.capability
                or not augments(component.type, inherited.type)
            ):
                raise entry.error(f"does not augment the inherited component {inherited.name}")
            own.add(component.id)
            components[component.id] = component

    base = parent.event_base if parent else 0
    events = dict(parent.events) if parent else {}
    outer = node.find("events")
    if outer is not None:
        if "baseID" in outer.attributes:
            own_base = outer.number(outer.attributes["baseID"], 1)
            if base not in (0, own_base):
                raise outer.error(f"baseID {own_base}, but {base} is inherited")
            base = own_base
        if base == 0:
            raise outer.error("attribute baseID is missing")
        if base in components:
            raise outer.error(f"baseID {base} is component {components[base].name}")
        seen: set[int] = set()
        for entry in outer.all("event"):
            try:
                event = _event(entry, base, components)
            except ModelError as error:
                report(error)
                continue
            if event.id in seen:
                raise entry.error(f"eventID {event.id} twice")
            seen.add(event.id)
            events[event.id] = event

    inputs = {port.name: port for port in parent.inputs} if parent else {}
    outputs = {port.name: port for port in parent.outputs} if parent else {}
    inputs.update((port.name, port) for port in _ports(node, "inputPort"))
    outputs.update((port.name, port) for port in _ports(node, "outputPort"))
    return LfbClass(
        id=node.number(node.attribute("LFBClassID"), 1),
        name=node.need_text("name"),
        version=node.need_text("version"),
        components=components,
        events=events,
        event_base=base,
        lfb_properties=lfb_properties,
        derived_from=parent,
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs.values()),
        synopsis=node.child_text("synopsis"),
    )


def _component(node: Node, lookup: Lookup, capability: bool) -> Component:
    access = node.attributes.get("access", "read-write")
    if access not in ACCESS_MODES:
        raise node.error(f"access {access!r}: one of {', '.join(ACCESS_MODES)} expected")
    kind = declared_type(node, lookup)
    default = node.find("defaultValue")
    return Component(
        id=node.number(node.attribute("componentID"), 1),  # 0: RFC 7408 section 2.5
        name=node.need_text("name"),
        type=kind,
        access="read-only" if capability else access,
        optional=node.find("optional") is not None,
        default=None if default is None or capability else default_value(kind, default),
        capability=capability,
        alias=is_alias(node),
        synopsis=node.child_text("synopsis"),
    )


def _event(node: Node, base: int, components: dict[int, Component]) -> EventDef:
    conditions = [child for child in node.children if child.tag in set(EventCondition)]
    if len(conditions) != 1:
        raise node.error(f"one condition expected, {len(conditions)} found")
    condition = EventCondition(conditions[0].tag)
    target, kind = _event_path(node.need("eventTarget"), components)
    if condition in (EventCondition.CREATED, EventCondition.DELETED) and isinstance(
        kind, ArrayType
    ):
        # RFC 7729's CEAdded targets the table where RFC 5812 section 4.7.6.2 wants a subscript
        target = (*target, f"_{node.need_text('name')}Index_")
    reports: list[EventPath] = []
    fields: list[Field] = []
    outer = node.find("eventReports")
    for entry in outer.all("eventReport") if outer else ():
        way, reported = _event_path(entry, components)
        reports.append(way)
        name = ".".join(part.text for part in entry.children)
        fields.append(Field(len(fields) + 1, name, reported))
    if len({field.name for field in fields}) != len(fields):
        raise node.error("reports the same component twice")
    number = node.number(node.attribute("eventID"))
    return EventDef(
        id=number,
        name=node.need_text("name"),
        path=(base, number),
        condition=condition,
        target=target,
        reports=tuple(reports),
        report_type=StructType("report", fields) if fields else None,
        synopsis=node.child_text("synopsis"),
    )


def _event_path(node: Node, components: dict[int, Component]) -> tuple[EventPath, DataType]:
    """The path of an <eventTarget> or an <eventReport>, and the type at its end."""
    way: list[int | str] = []
    place: DataType | None = None
    for part in node.all("eventField", "eventSubscript"):
        if part.tag == "eventSubscript":
            if not isinstance(place, ArrayType):
                raise part.error("a subscript, but not of an array")
            way.append(int(part.text) if part.text.isdecimal() else part.text)
            place = place.row
            continue
        entry: Component | Field | None
        if place is None:
            entry = next((c for c in components.values() if c.name == part.text), None)
        else:
            entry = place.by_name(part.text) if isinstance(place, FieldsType) else None
        if entry is None:
            raise part.error(f"no component {part.text!r} there")
        way.append(entry.id)
        place = entry.type
    if place is None:
        raise node.error("<eventField> is missing")
    return tuple(way), place


def _ports(node: Node, tag: str) -> list[Port]:
    outer = node.find(f"{tag}s")
    ports = []
    for entry in outer.all(tag) if outer else ():
        detail = entry.find("expectation") or entry.find("product")
        frames = metadata = None
        if detail is not None:
            frames = detail.find("frameExpected") or detail.find("frameProduced")
            metadata = detail.find("metadataExpected") or detail.find("metadataProduced")
        ports.append(
            Port(
                name=entry.need_text("name"),
                group=entry.attributes.get("group", "0") in ("true", "1"),
                frames=_references(frames),
                metadata=_references(metadata),
                synopsis=entry.child_text("synopsis"),
            )
        )
    return ports


def _references(node: Node | None) -> tuple[str, ...]:
    """Names referred to, those in alternatives and sets (<one-of>, <metadataSet>) included."""
    if node is None:
        return ()
    found: list[str] = []
    for child in node.children:
        found += [child.text] if child.tag == "ref" else _references(child)
    return tuple(found)
