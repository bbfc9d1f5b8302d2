"""Structs, and what they share with unions (RFC 5812 section 4.5.4).

A struct's value is a `dict` by component name. A struct of fixed-size leaves compiles to one
`struct.Struct`. RFC 5810 section 7.1.8 wants every component in a FULLDATA-TLV, also the optional
ones; an optional component that the value lacks goes out as its default there, and is left out
of `pack_sparse`.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model.nesting import all_used, exactly
from forces.model.types import AtomicType, DataType, OctetsType

SPARSE = tuple[tuple[int, bytes], ...]
"""Contents of a SPARSEDATA-TLV: (component ID or row index, contents)."""


@dataclass(frozen=True, slots=True)
class Field:
    """A component of a struct or a union."""

    id: int
    name: str
    type: DataType
    optional: bool = False
    access: str | None = None
    """RFC 7408 section 2.3: overrides what the struct's own component allows."""
    alias: bool = False
    """RFC 5812 section 4.5.6: the value lives in another component."""
    synopsis: str = ""


class FieldsType(DataType):
    """What structs and unions share: components by ID and by name."""

    __slots__ = ("_by_id", "_by_name", "derived_from", "fields")

    def __init__(
        self, name: str, fields: Sequence[Field], derived_from: DataType | None = None
    ) -> None:
        self.name = name
        self.fields = tuple(fields)
        self.derived_from = derived_from
        """The struct that this one augments (RFC 5812 section 4.5.7)."""
        self._by_id = {field.id: field for field in fields}
        self._by_name = {field.name: field for field in fields}
        self.depth = 1 + max(field.type.depth for field in fields)

    def by_id(self, component_id: int) -> Field | None:
        """None: there is no such component."""
        return self._by_id.get(component_id)

    def by_name(self, name: str) -> Field | None:
        """None: there is no such component."""
        return self._by_name.get(name)

    def _known(self, value: Any) -> Mapping[str, Any]:
        """`value` as a mapping of components that all exist, or ProtocolError."""
        if not isinstance(value, Mapping):
            reason = f"{self.name}: {reprlib.repr(value)} is no struct"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        unknown = value.keys() - self._by_name.keys()
        if unknown:
            reason = f"{self.name}: no component {reprlib.repr(min(unknown, key=str))}"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        return value

    def _check_field(self, field: Field, value: Any) -> None:
        try:
            field.type.check(value)
        except ProtocolError as error:
            raise ProtocolError(error.code, f"{field.name}: {error.reason}") from None


def _builder(kind: DataType) -> Callable[[Iterator[Any]], Any] | None:
    if isinstance(kind, StructType):
        return kind._build
    if isinstance(kind, AtomicType) and kind.boolean:
        return lambda leaves: kind.to_boolean(next(leaves))
    return None


class StructType(FieldsType):
    """`<struct>`."""

    __slots__ = ("_booleans", "_builders", "_codec", "_flat", "_getter", "_names", "_octets")

    def __init__(
        self, name: str, fields: Sequence[Field], derived_from: DataType | None = None
    ) -> None:
        super().__init__(name, fields, derived_from)
        sizes = [field.type.fixed_size for field in self.fields]
        self.fixed_size = None if None in sizes else sum(size for size in sizes if size)
        formats = [field.type.format for field in self.fields]
        self.format = None if None in formats else "".join(code for code in formats if code)
        self._codec = None if self.format is None else struct.Struct("!" + self.format)
        self._names = tuple(field.name for field in self.fields)
        self._getter = itemgetter(*self._names)
        self._flat = self._codec is not None and not any(
            isinstance(field.type, StructType) for field in self.fields
        )
        """Every leaf is a component of this struct itself."""
        self._builders = tuple((field.name, _builder(field.type)) for field in self.fields)
        """By component what makes its value of the next leaves; None: the next leaf is it."""
        self._booleans = tuple(
            index
            for index, field in enumerate(self.fields)
            if isinstance(field.type, AtomicType) and field.type.boolean
        )
        self._octets = tuple(
            (index, field.type.fixed_size or 0)
            for index, field in enumerate(self.fields)
            if isinstance(field.type, OctetsType) and field.type.fixed_size is not None
        )

    def leaves(self, value: Any) -> tuple[Any, ...]:
        """A value's leaves in wire order, for a struct that compiles. Raises UsageError."""
        if value.__class__ is not dict and not isinstance(value, Mapping):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}")
        if len(value) != len(self._names):
            value = self._completed(value)
        try:
            got = self._getter(value)
        except KeyError:
            got = self._getter(self._completed(value))
        values: tuple[Any, ...] = got if len(self._names) > 1 else (got,)
        for index, size in self._octets:
            # struct would cut or fill silently
            if values[index].__class__ is not bytes or len(values[index]) != size:
                octets = self.fields[index].type.pack(values[index])
                values = (*values[:index], octets, *values[index + 1 :])
        if self._flat:
            return values
        flat: list[Any] = []
        for field, item in zip(self.fields, values, strict=True):
            if isinstance(field.type, StructType):
                flat.extend(field.type.leaves(item))
            else:
                flat.append(item)
        return tuple(flat)

    def build(self, leaves: Sequence[Any]) -> dict[str, Any]:
        """The value of these leaves; the inverse of `leaves`. Raises ProtocolError."""
        if not self._flat:
            return self._build(iter(leaves))
        value = dict(zip(self._names, leaves, strict=True))
        for index in self._booleans:
            octet = leaves[index]
            if octet > 1:
                reason = f"{self._names[index]}: boolean {octet}"
                raise ProtocolError(ResultCode.VALUE_OUT_OF_RANGE, reason)
            value[self._names[index]] = octet == 1
        return value

    def _build(self, leaves: Iterator[Any]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, build in self._builders:
            value[name] = next(leaves) if build is None else build(leaves)
        return value

    def _completed(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the defaults of absent optional components."""
        unknown = value.keys() - self._by_name.keys()
        if unknown:
            raise UsageError(f"{self.name}: no component {reprlib.repr(min(unknown, key=str))}")
        full = {}
        for field in self.fields:
            if field.name in value:
                full[field.name] = value[field.name]
            elif field.optional:
                full[field.name] = field.type.default()
            else:
                raise UsageError(f"{self.name}: component {field.name} is missing")
        return full

    def pack(self, value: Any) -> bytes:
        if self._codec is not None:
            try:
                return self._codec.pack(*self.leaves(value))
            except (struct.error, TypeError, OverflowError):
                for field in self.fields:  # the first that fails says which and why
                    field.type.pack(self._completed(value)[field.name])
                raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}") from None
        if not isinstance(value, Mapping):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}")
        full = self._completed(value)
        return b"".join(field.type.embed(full[field.name]) for field in self.fields)

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        if self._codec is not None:
            end = offset + self._codec.size
            if end > len(data):
                reason = f"{self.name}: contents end too early"
                raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
            return self.build(self._codec.unpack_from(data, offset)), end
        value = {}
        for field in self.fields:
            value[field.name], offset = field.type.extract(data, offset)
        return value, offset

    def unpack(self, data: bytes | memoryview) -> dict[str, Any]:
        if self._codec is not None:
            exactly(self.name, data, self._codec.size)
            return self.build(self._codec.unpack(data))
        view = memoryview(data)
        value, end = self.extract(view, 0)
        all_used(self.name, view, end)
        return dict(value)

    def check(self, value: Any) -> None:
        known = self._known(value)
        for field in self.fields:
            if field.name in known:
                self._check_field(field, known[field.name])
            elif not field.optional:
                reason = f"{self.name}: component {field.name} is missing"
                raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)

    def default(self) -> dict[str, Any]:
        return {field.name: field.type.default() for field in self.fields}

    def pack_sparse(self, value: Mapping[str, Any]) -> SPARSE:
        """Contents of a SPARSEDATA-TLV: any subset of the components (RFC 5810 section 7.1.8)."""
        items = []
        for name, item in value.items():
            field = self._by_name.get(name)
            if field is None:
                raise UsageError(f"{self.name}: no component {reprlib.repr(name)}")
            items.append((field.id, field.type.pack(item)))
        return tuple(items)

    def unpack_sparse(self, items: Sequence[tuple[int, bytes]]) -> dict[str, Any]:
        """The subset of components that a SPARSEDATA-TLV carries; the order does not matter."""
        value: dict[str, Any] = {}
        for component_id, contents in items:
            field = self._by_id.get(component_id)
            if field is None:
                reason = f"{self.name}: no component {component_id}"
                raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, reason)
            if field.name in value:
                reason = f"{self.name}: component {field.name} twice"
                raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
            value[field.name] = field.type.unpack(contents)
        return value
