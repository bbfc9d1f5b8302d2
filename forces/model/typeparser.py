"""Data types from the elements of a library document (RFC 5812 section 4.5, RFC 7408 section 2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from forces.model.array import MAX_FIXED_LENGTH, ArrayType, ContentKey
from forces.model.compound import Field, FieldsType, StructType
from forces.model.document import Node
from forces.model.nesting import MAX_CONTENTS
from forces.model.types import (
    BASES,
    MAX_DEPTH,
    AtomicType,
    DataType,
    OctetsType,
    SpecialValue,
    StringType,
)
from forces.model.union import UnionType

DECLARATIONS = ("typeRef", "atomic", "array", "struct", "union", "alias")
"""Exactly one of them declares a type, wherever a type is declared."""

_SIZED = re.compile(r"(string|byte|octetstring)\[\s*(\d+)\s*\]")

Lookup = Callable[[str, Node], DataType]
"""A named type of the document or of one that it loads. Raises ModelError."""


def built_in(name: str, node: Node) -> DataType | None:
    """The predefined type of this name (RFC 5812 section 4.5), if it is one."""
    if name in BASES:
        return AtomicType(name, name)
    if name == "string":
        return StringType(name)
    if name == "octetstring":
        return OctetsType(name)
    match = _SIZED.fullmatch(name)
    if match is None:
        return None
    size = node.number(match[2], 1, MAX_CONTENTS)
    name = f"{match[1]}[{size}]"
    if match[1] == "string":
        return StringType(name, size)
    return OctetsType(name, size, fixed=match[1] == "byte")


def declared_type(node: Node, lookup: Lookup, name: str = "") -> DataType:
    """The type that `node` declares by its one child of `DECLARATIONS`."""
    found = list(node.all(*DECLARATIONS))
    if len(found) != 1:
        raise node.error(f"one of {', '.join(DECLARATIONS)} expected, {len(found)} found")
    declaration = found[0]
    if declaration.tag in ("typeRef", "alias"):
        if not declaration.text:
            raise declaration.error("is empty")
        kind = lookup(declaration.text, declaration)
    elif declaration.tag == "atomic":
        kind = _atomic(declaration, lookup, name)
    elif declaration.tag == "array":
        kind = _array(declaration, lookup, name)
    else:
        kind = _fields(declaration, lookup, name)
    if kind.depth > MAX_DEPTH:
        raise declaration.error(f"types nest deeper than {MAX_DEPTH}")
    return kind


def is_alias(node: Node) -> bool:
    return node.find("alias") is not None


def _atomic(node: Node, lookup: Lookup, name: str) -> DataType:
    base_node = node.need("baseType")
    base = lookup(node.need_text("baseType"), base_node)
    restriction, named = node.find("rangeRestriction"), node.find("specialValues")
    if isinstance(base, (StringType, OctetsType)) and restriction is None and named is None:
        return base
    if not isinstance(base, AtomicType):
        raise base_node.error(f"{base_node.text} is no number")
    limits = BASES[base.base]
    ranges = list(base.ranges)
    if restriction is not None:
        ranges = []
        for allowed in restriction.all("allowedRange"):
            low = _number(allowed, allowed.attribute("min"))
            high = _number(allowed, allowed.attribute("max"))
            if not limits.minimum <= low <= high <= limits.maximum:
                raise allowed.error(f"{low}..{high} is no range of {base.base}")
            ranges.append((low, high))
        if not ranges:
            raise restriction.error("<allowedRange> is missing")
    special = list(base.special.values())
    if named is not None:
        special = []
        for entry in named.all("specialValue"):
            value = _literal(base, entry, entry.attribute("value"))
            if any(value == other.value for other in special):
                raise entry.error(f"value {value} twice")
            synopsis = entry.child_text("synopsis")
            special.append(SpecialValue(value, entry.need_text("name"), synopsis))
    return AtomicType(name or base.name, base.base, ranges, special, base.declared_default)


def _number(node: Node, text: str) -> int:
    return node.number(text, -(1 << 63), (1 << 64) - 1)


def _array(node: Node, lookup: Lookup, name: str) -> ArrayType:
    row = declared_type(node, lookup)
    length = maximum = None
    size = node.attributes.get("type", "variable-size")
    if size == "fixed-size":
        length = node.number(node.attribute("length"), 1, MAX_FIXED_LENGTH)
    elif size != "variable-size":
        raise node.error(f"type {size!r} is neither fixed-size nor variable-size")
    # RFC 5812's examples write maxlength, its schema maxLength
    elif "maxLength" in node.attributes or "maxlength" in node.attributes:
        maximum = node.number(node.attribute("maxLength", "maxlength"))
    keys: list[ContentKey] = []
    for entry in node.all("contentKey"):
        key = _content_key(entry, row)
        if any(key.id == other.id for other in keys):
            raise entry.error(f"contentKeyID {key.id} twice")
        keys.append(key)
    return ArrayType(name or f"array of {row.name}", row, maximum, length, keys)


def _content_key(node: Node, row: DataType) -> ContentKey:
    number = node.number(node.attribute("contentKeyID"))
    ways: list[tuple[str | int, ...]] = []
    kinds: list[DataType] = []
    for entry in node.all("contentKeyField"):
        steps = [] if entry.text == "*" else "".join(entry.text.split()).split(".")
        way: list[str | int] = []
        place = row
        for step in steps:
            if isinstance(place, ArrayType) and step.isdecimal():
                way.append(int(step))
                place = place.row
                continue
            field = place.by_name(step) if isinstance(place, FieldsType) else None
            if field is None:
                raise entry.error(f"no component {step!r} there")
            way.append(field.name)
            place = field.type
        ways.append(tuple(way))
        kinds.append(place)
    if not ways:
        raise node.error("<contentKeyField> is missing")
    kind = kinds[0]
    if len(ways) > 1:
        names = [".".join(map(str, way)) for way in ways]
        if len(set(names)) != len(names):
            raise node.error("a field twice")
        parts = zip(names, kinds, strict=True)
        kind = StructType(f"key {number}", [Field(i, n, k) for i, (n, k) in enumerate(parts, 1)])
    return ContentKey(number, tuple(ways), kind)


def _fields(node: Node, lookup: Lookup, name: str) -> FieldsType:
    parent: DataType | None = None
    fields: list[Field] = []
    derived = node.find("derivedFrom")
    if derived is not None:
        parent = lookup(derived.text, derived)
        if node.tag == "union" or not isinstance(parent, StructType):
            raise derived.error(f"only a struct can augment a struct, not {parent.name}")
        fields = list(parent.fields)
    own: set[int] = set()
    for entry in node.all("component"):
        field = _field(entry, lookup)
        if field.id in own:
            raise entry.error(f"componentID {field.id} twice")
        own.add(field.id)
        _place(entry, fields, field)
    if not own:
        raise node.error("<component> is missing")
    if node.tag == "union":
        return UnionType(name or "union", fields)
    return StructType(name or "struct", fields, parent)


def _field(node: Node, lookup: Lookup) -> Field:
    return Field(
        id=node.number(node.attribute("componentID")),
        name=node.need_text("name"),
        type=declared_type(node, lookup),
        optional=node.find("optional") is not None,
        access=node.attributes.get("access"),
        alias=is_alias(node),
        synopsis=node.child_text("synopsis"),
    )


def _place(node: Node, fields: list[Field], field: Field) -> None:
    """Append a component, or put it in place of the inherited one that it replaces (RFC 5812
    section 4.5.7: same ID, same name, and an augmentation of its type)."""
    for index, other in enumerate(fields):
        if field.id == other.id and field.name == other.name:
            if not augments(field.type, other.type):
                raise node.error(f"{field.type.name} is no augmentation of {other.type.name}")
            fields[index] = field
            return
        if field.id == other.id or field.name == other.name:
            raise node.error(f"clashes with component {other.id} {other.name}")
    fields.append(field)


def augments(new: DataType, old: DataType) -> bool:
    """RFC 5812 section 4.5.7; also true for the type itself, and for one spelt the same."""
    if new is old:
        return True
    if isinstance(new, ArrayType) and isinstance(old, ArrayType):
        return augments(new.row, old.row)
    if isinstance(new, StructType) and new.derived_from is not None:
        return augments(new.derived_from, old)
    return not isinstance(new, (FieldsType, ArrayType)) and new.name == old.name


def _literal(kind: AtomicType, node: Node, text: str) -> int | float | bool:
    """A number of this type as XML spells it. Raises ModelError."""
    named = kind.special.get(text)
    if named is not None:
        return bool(named.value) if kind.boolean else named.value
    if kind.boolean:
        if text.lower() not in ("true", "false", "0", "1"):
            raise node.error(f"{text!r} is no boolean")
        return text.lower() in ("true", "1")
    limits = BASES[kind.base]
    if not limits.integer:
        try:
            return float(text)
        except ValueError:
            raise node.error(f"{text!r} is no number") from None
    value = _number(node, text)
    if not limits.minimum <= value <= limits.maximum:
        raise node.error(f"{value} is no {kind.base}")
    return value


def default_value(kind: DataType, node: Node) -> Any:
    """What a <defaultValue> says for this type: a number, a special value's name, text, or
    0x... for octets. None for a compound type, which cannot have one (RFC 7408 section 2.2)."""
    if isinstance(kind, AtomicType):
        value = _literal(kind, node, node.text)
    elif isinstance(kind, StringType):
        return node.text
    elif isinstance(kind, OctetsType):
        try:
            octets = bytes.fromhex(node.text.removeprefix("0x"))
        except ValueError:
            raise node.error(f"{node.text!r} is no hexadecimal octets") from None
        if kind.fixed_size not in (None, len(octets)):
            raise node.error(f"{len(octets)} octets, {kind.fixed_size} needed")
        return octets
    else:
        return None
    if kind.ranges and not any(low <= value <= high for low, high in kind.ranges):
        raise node.error(f"{value} is out of the type's range")
    return value


def variant(kind: DataType, name: str | None = None, default: Any = None) -> DataType:
    """The same leaf type under another name (a renaming typeRef), or with a default of its own
    (RFC 7408 section 2.2). A compound type comes back as it is."""
    name = kind.name if name is None else name
    if isinstance(kind, AtomicType):
        value = kind.declared_default if default is None else default
        special = tuple(kind.special.values())
        return AtomicType(name, kind.base, kind.ranges, special, value)
    if isinstance(kind, StringType):
        text = kind.declared_default if default is None else default
        return StringType(name, kind.maximum, text)
    if isinstance(kind, OctetsType):
        octets = kind.declared_default if default is None else default
        return OctetsType(name, kind.maximum, kind.fixed_size is not None, octets)
    return kind
