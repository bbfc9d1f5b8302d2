"""Unions (RFC 5812 section 4.5.5)."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model.compound import Field, FieldsType
from forces.model.nesting import exactly, unwrap, wrap


class UnionType(FieldsType):
    """`<union>`: overlay types, as in C; no RFC says how they travel.

    Here the contents are the octets that the overlays share: as long as the longest component if
    all have a fixed size (zeros behind a shorter one), else as long as the one that was packed.
    `unpack` gives every component that can be read from them; `pack` wants one, or several that
    agree."""

    __slots__ = ()

    def __init__(self, name: str, fields: Sequence[Field]) -> None:
        super().__init__(name, fields)
        sizes = [field.type.fixed_size for field in self.fields]
        self.fixed_size = None if None in sizes else max(size for size in sizes if size)
        self.format = None  # its value is a dict, not a leaf

    def pack(self, value: Any) -> bytes:
        if not isinstance(value, Mapping) or not value or value.keys() - self._by_name.keys():
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}")
        forms = sorted((self._by_name[n].type.pack(v) for n, v in value.items()), key=len)
        contents = forms[-1]
        if any(contents[: len(form)] != form for form in forms):
            raise UsageError(f"{self.name}: the components given do not agree")
        return contents.ljust(self.fixed_size or 0, b"\0")

    def embed(self, value: Any) -> bytes:
        contents = self.pack(value)
        return contents if self.fixed_size is not None else wrap(contents, self.name)

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        contents, end = unwrap(data, offset, self.name, self.fixed_size)
        return self.unpack(contents), end

    def unpack(self, data: bytes | memoryview) -> dict[str, Any]:
        if self.fixed_size is not None:
            exactly(self.name, data, self.fixed_size)
        value = {}
        for field in self.fields:
            size = field.type.fixed_size
            try:
                value[field.name] = field.type.unpack(data if size is None else data[:size])
            except ProtocolError:
                continue  # these octets are another component's
        if not value:
            reason = f"{self.name}: no component reads these contents"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        return value

    def check(self, value: Any) -> None:
        """One component must be in range; the others are views of the same octets."""
        known = self._known(value)
        errors = []
        for name, item in known.items():
            try:
                self._check_field(self._by_name[name], item)
            except ProtocolError as error:
                errors.append(error)
        if len(errors) == len(known):
            empty = ProtocolError(ResultCode.INVALID_PARAMETERS, f"{self.name}: empty union")
            raise errors[0] if errors else empty

    def default(self) -> dict[str, Any]:
        first = self.fields[0]
        return {first.name: first.type.default()}
