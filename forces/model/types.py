"""What every data type of the model can do, and the atomic ones (RFC 5812 section 4.5).

A type turns a value into the contents of a FULLDATA-TLV and back (RFC 5810 sections 7.1.1 and
7.1.8, Appendices C and D). Where a type stands inside another, fixed-size data is concatenated
without heads or padding, and variable-size data (string, octetstring, array) gets a FULLDATA-TLV
of its own, padded to 32 bits. A struct has no head of its own even when a field of it varies:
use case 12 of RFC 5810 Appendix D shows a row as `index, someid, TLV(name)`.
"""

from __future__ import annotations

import math
import reprlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model.nesting import check_length, exactly, unwrap, wrap

MAX_DEPTH = 16
"""Types nest no deeper. The RFCs' own classes stay below 6; decoding recurses by the type, never
by the data, so this also bounds the decoder's recursion."""


class DataType(ABC):
    """A data type. Immutable once built; compare with `is`, or by what `describe` says."""

    __slots__ = ("depth", "fixed_size", "format", "name")

    name: str
    """As in the library document; "" for one that was defined in place."""
    fixed_size: int | None
    """Octets of every value; None where they differ."""
    format: str | None
    """`struct` codes of the leaves in order (no byte order); None if it does not compile."""
    depth: int
    """1 for an atomic type, one more for each type around it."""

    @abstractmethod
    def pack(self, value: Any) -> bytes:
        """Contents of a FULLDATA-TLV. Raises UsageError for what cannot be encoded; ranges and
        maximum lengths are `check`'s matter."""

    @abstractmethod
    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        """Value that starts at `offset` inside another type's contents, and where it ends."""

    @abstractmethod
    def unpack(self, data: bytes | memoryview) -> Any:
        """The value of exactly these contents. Raises ProtocolError, and nothing else."""

    @abstractmethod
    def check(self, value: Any) -> None:
        """Raise ProtocolError if this value is not one of the type: wrong Python type, out of
        range, too long, a component missing or unknown."""

    @abstractmethod
    def default(self) -> Any:
        """A value that `check` accepts: the declared default, else 0, "" or empty."""

    def embed(self, value: Any) -> bytes:
        """As `pack`, for use inside another type's contents."""
        return self.pack(value)


@dataclass(frozen=True, slots=True)
class Base:
    """A built-in number type (RFC 5812 section 4.5)."""

    format: str
    minimum: float
    maximum: float
    integer: bool = True


BASES = {
    "char": Base("b", -(1 << 7), (1 << 7) - 1),
    "uchar": Base("B", 0, (1 << 8) - 1),
    "int16": Base("h", -(1 << 15), (1 << 15) - 1),
    "uint16": Base("H", 0, (1 << 16) - 1),
    "int32": Base("i", -(1 << 31), (1 << 31) - 1),
    "uint32": Base("I", 0, (1 << 32) - 1),
    "int64": Base("q", -(1 << 63), (1 << 63) - 1),
    "uint64": Base("Q", 0, (1 << 64) - 1),
    "boolean": Base("B", 0, 1),  # not "?": an octet of 2 must be seen, not taken for true
    "float32": Base("f", -math.inf, math.inf, integer=False),
    "float64": Base("d", -math.inf, math.inf, integer=False),
}


@dataclass(frozen=True, slots=True)
class SpecialValue:
    """A value with a name (RFC 5812 section 4.5.2). It restricts nothing by itself."""

    value: int | float
    name: str
    synopsis: str = ""


class AtomicType(DataType):
    """A number or a boolean, with allowed ranges and named values."""

    __slots__ = ("_codec", "base", "boolean", "declared_default", "ranges", "special")

    def __init__(
        self,
        name: str,
        base: str,
        ranges: Sequence[tuple[int, int]] = (),
        special: Sequence[SpecialValue] = (),
        default: int | float | bool | None = None,
    ) -> None:
        self.name = name
        self.base = base
        self.ranges = tuple(ranges)
        """Allowed values, both ends included; none: all that the base can hold."""
        self.special = {entry.name: entry for entry in special}
        self.boolean = base == "boolean"
        self.format = BASES[base].format
        self._codec = struct.Struct("!" + self.format)
        self.fixed_size = self._codec.size
        self.depth = 1
        self.declared_default = default

    def pack(self, value: Any) -> bytes:
        try:
            return self._codec.pack(value)
        except (struct.error, TypeError, OverflowError):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}") from None

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        end = offset + self._codec.size
        if end > len(data):
            reason = f"{self.name}: contents end too early"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        value = self._codec.unpack_from(data, offset)[0]
        return (self.to_boolean(value) if self.boolean else value), end

    def unpack(self, data: bytes | memoryview) -> Any:
        exactly(self.name, data, self._codec.size)
        return self.extract(memoryview(data), 0)[0]

    def to_boolean(self, octet: int) -> bool:
        """RFC 5812 section 4.5: 0 = false, 1 = true, and nothing else."""
        if octet > 1:
            raise ProtocolError(ResultCode.VALUE_OUT_OF_RANGE, f"{self.name}: boolean {octet}")
        return octet == 1

    def check(self, value: Any) -> None:
        base = BASES[self.base]
        if not isinstance(value, int if base.integer else (int, float)):
            reason = f"{self.name}: {reprlib.repr(value)} is no {self.base}"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        allowed = base.minimum <= value <= base.maximum or math.isnan(value)
        if allowed and self.ranges:
            allowed = any(low <= value <= high for low, high in self.ranges) or any(
                entry.value == value for entry in self.special.values()
            )
        if allowed and not base.integer:
            try:
                self._codec.pack(value)
            except OverflowError:
                allowed = False
        if not allowed:
            reason = f"{self.name}: {value} is out of range"
            raise ProtocolError(ResultCode.VALUE_OUT_OF_RANGE, reason)

    def default(self) -> Any:
        if self.declared_default is not None:
            return self.declared_default
        zero: int | float = 0 if BASES[self.base].integer else 0.0
        if self.ranges and not any(low <= 0 <= high for low, high in self.ranges):
            zero = self.ranges[0][0]
        return bool(zero) if self.boolean else zero

    def named(self, value: Any) -> str | None:
        """The special value's name, if this is one."""
        return next((entry.name for entry in self.special.values() if entry.value == value), None)


class StringType(DataType):
    """`string` and `string[N]`: UTF-8, N in octets.

    RFC 5812 section 4.5 forbids an FE to touch what it was given, so octets that are no UTF-8
    survive in the `str` as surrogate escapes."""

    __slots__ = ("declared_default", "maximum")

    def __init__(self, name: str, maximum: int | None = None, default: str | None = None) -> None:
        self.name = name
        self.maximum = maximum
        """Octets; None: no limit of its own."""
        self.fixed_size = None
        self.format = None
        self.depth = 1
        self.declared_default = default

    def pack(self, value: Any) -> bytes:
        try:
            return str.encode(value, "utf-8", "surrogateescape")
        except (TypeError, UnicodeEncodeError):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}") from None

    def embed(self, value: Any) -> bytes:
        return wrap(self.pack(value), self.name)

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        contents, end = unwrap(data, offset, self.name)
        return self.unpack(contents), end

    def unpack(self, data: bytes | memoryview) -> str:
        return str(data, "utf-8", "surrogateescape")

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            reason = f"{self.name}: {reprlib.repr(value)} is no string"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        try:
            size = len(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            reason = f"{self.name}: not encodable as UTF-8"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason) from None
        check_length(self.name, size, self.maximum)

    def default(self) -> str:
        return "" if self.declared_default is None else self.declared_default


class OctetsType(DataType):
    """`byte[N]` (always N octets) and `octetstring[N]` (at most N)."""

    __slots__ = ("declared_default", "maximum")

    def __init__(
        self,
        name: str,
        maximum: int | None = None,
        fixed: bool = False,
        default: bytes | None = None,
    ) -> None:
        self.name = name
        self.maximum = maximum
        self.fixed_size = maximum if fixed else None
        self.format = f"{maximum}s" if fixed else None
        self.depth = 1
        self.declared_default = default

    def pack(self, value: Any) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}")
        if self.fixed_size is not None and len(value) != self.fixed_size:
            raise UsageError(f"{self.name}: {len(value)} octets, {self.fixed_size} needed")
        return bytes(value)

    def embed(self, value: Any) -> bytes:
        contents = self.pack(value)
        return contents if self.fixed_size is not None else wrap(contents, self.name)

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        contents, end = unwrap(data, offset, self.name, self.fixed_size)
        return bytes(contents), end

    def unpack(self, data: bytes | memoryview) -> bytes:
        if self.fixed_size is not None:
            exactly(self.name, data, self.fixed_size)
        return bytes(data)

    def check(self, value: Any) -> None:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            reason = f"{self.name}: {reprlib.repr(value)} is no octets"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        if self.fixed_size is not None:
            exactly(self.name, bytes(value), self.fixed_size)
        check_length(self.name, len(value), self.maximum)

    def default(self) -> bytes:
        return (
            bytes(self.fixed_size or 0) if self.declared_default is None else self.declared_default
        )
