"""Arrays, also called tables (RFC 5812 section 4.5.3), and their bulk codec.

An array's value is a `dict` of row index to row; the contents of a whole array are
`(index, row)*` (RFC 5810 section 7.1.1). Tables of fixed-size rows have a second form for bulk
work: a numpy array of `dtype`, which is the wire image itself.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model.bulk import check_column, numpy_type
from forces.model.compound import SPARSE, StructType
from forces.model.nesting import all_used, check_length, unwrap, wrap
from forces.model.types import DataType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Table = NDArray[np.void]

MAX_INDEX = 0xFFFFFFFF
MAX_FIXED_LENGTH = 1 << 16
"""Rows of a fixed-size array: it exists whole from the start, so its length costs memory."""

_INDEX = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class ContentKey:
    """Fields whose values together name one row (RFC 5812 section 4.5.3.1)."""

    id: int
    fields: tuple[tuple[str | int, ...], ...]
    """Each field's way down the row, by name or by inner index; () is the row itself ("*")."""
    type: DataType
    """Of a key's value: the field's own type, or for several a struct by dotted name."""


class ArrayType(DataType):
    """`<array>`."""

    __slots__ = ("_codec", "_dtype", "_view", "keys", "length", "maximum", "row")

    def __init__(
        self,
        name: str,
        row: DataType,
        maximum: int | None = None,
        length: int | None = None,
        keys: Sequence[ContentKey] = (),
    ) -> None:
        self.name = name
        self.row = row
        self.maximum = maximum if length is None else length
        """Most rows; None: no semantic limit."""
        self.length = length
        """Rows of a fixed-size array, with the indices 0 to length - 1; None: variable-size."""
        self.keys: Mapping[int, ContentKey] = {key.id: key for key in keys}
        self.fixed_size = None
        if length is not None and row.fixed_size is not None:
            self.fixed_size = length * (_INDEX.size + row.fixed_size)
        self.format = None
        self.depth = 1 + row.depth
        self._codec = None if row.format is None else struct.Struct("!I" + row.format)
        self._dtype: np.dtype[np.void] | None = None
        self._view: Callable[..., Table] | None = None

    def pack(self, value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}")
        row, codec = self.row, self._codec
        try:
            if codec is not None and isinstance(row, StructType):
                leaves, pack = row.leaves, codec.pack
                return b"".join([pack(index, *leaves(item)) for index, item in value.items()])
            return b"".join(_INDEX.pack(index) + row.embed(item) for index, item in value.items())
        except (struct.error, TypeError, OverflowError):
            for index, item in value.items():
                row.pack(item)
                if not isinstance(index, int) or not 0 <= index <= MAX_INDEX:
                    raise UsageError(f"{self.name}: no row index: {reprlib.repr(index)}") from None
            raise UsageError(f"{self.name}: cannot encode {reprlib.repr(value)}") from None

    def embed(self, value: Any) -> bytes:
        contents = self.pack(value)
        if self.fixed_size is None:
            return wrap(contents, self.name)
        if len(contents) != self.fixed_size:
            raise UsageError(f"{self.name}: {len(value)} rows, {self.length} needed")
        return contents

    def extract(self, data: memoryview, offset: int) -> tuple[Any, int]:
        contents, end = unwrap(data, offset, self.name, self.fixed_size)
        return self.unpack(contents), end

    def unpack(self, data: bytes | memoryview) -> dict[int, Any]:
        rows: dict[int, Any] = {}
        row, codec, count = self.row, self._codec, 0
        if codec is not None and isinstance(row, StructType):
            count = self._rows(data)
            build = row.build
            rows = {leaves[0]: build(leaves[1:]) for leaves in codec.iter_unpack(data)}
        else:
            view, offset = memoryview(data), 0
            while offset < len(view):
                if len(view) - offset < _INDEX.size:
                    all_used(self.name, view, offset)
                index = _INDEX.unpack_from(view, offset)[0]
                rows[index], offset = row.extract(view, offset + _INDEX.size)
                count += 1
        if len(rows) != count:
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, f"{self.name}: a row index twice")
        return rows

    def _rows(self, data: bytes | memoryview) -> int:
        """Number of rows in the contents of an array of fixed-size rows."""
        size = _INDEX.size + (self.row.fixed_size or 0)
        if len(data) % size:
            reason = f"{self.name}: {len(data)} octets are no rows of {size}"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        return len(data) // size

    def check(self, value: Any) -> None:
        if not isinstance(value, Mapping):
            reason = f"{self.name}: {reprlib.repr(value)} is no array"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        if self.maximum is not None and len(value) > self.maximum:
            reason = f"{self.name}: {len(value)} rows, at most {self.maximum}"
            raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, reason)
        if self.length is not None and len(value) != self.length:
            reason = f"{self.name}: {len(value)} rows, {self.length} needed"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason)
        if self.row.fixed_size is not None:
            size = len(value) * (_INDEX.size + self.row.fixed_size)
            check_length(self.name, size, None)
        for index, item in value.items():
            self.check_index(index)
            try:
                self.row.check(item)
            except ProtocolError as error:
                raise ProtocolError(error.code, f"{index}: {error.reason}") from None
        for key in self.keys.values():
            self._check_unique(key, value)

    def check_index(self, index: Any) -> None:
        """Raise ProtocolError if a row cannot have this subscript (RFC 5810 Table 4)."""
        top = MAX_INDEX if self.length is None else self.length - 1
        if not isinstance(index, int) or not 0 <= index <= top:
            reason = f"{self.name}: subscript {reprlib.repr(index)}"
            raise ProtocolError(ResultCode.INVALID_ARRAY_CREATION, reason)

    def _check_unique(self, key: ContentKey, rows: Mapping[int, Any]) -> None:
        """RFC 5812 section 4.5.3: each declared key MUST be unique within the array."""
        seen: dict[bytes, int] = {}
        for index, item in rows.items():
            found = seen.setdefault(key.type.pack(self.key_of(key.id, item)), index)
            if found != index:
                reason = f"{self.name}: rows {found} and {index} have the same key {key.id}"
                raise ProtocolError(ResultCode.EXISTS, reason)

    def key_of(self, key_id: int, row: Any) -> Any:
        """A row's value of this content key, as `keys[key_id].type` encodes it. Raises
        ProtocolError if there is no such key, or the row lacks a component of it."""
        key = self.keys.get(key_id)
        if key is None:
            reason = f"{self.name}: no content key {key_id}"
            raise ProtocolError(ResultCode.INVALID_PATH, reason)
        try:
            values = [_walk(row, way) for way in key.fields]
        except (KeyError, TypeError):
            reason = f"{self.name}: the row has no key {key_id}"
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, reason) from None
        if len(values) == 1:
            return values[0]
        return {
            ".".join(map(str, way)): value for way, value in zip(key.fields, values, strict=True)
        }

    def default(self) -> dict[int, Any]:
        return {index: self.row.default() for index in range(self.length or 0)}

    def pack_sparse(self, rows: Mapping[int, Any]) -> SPARSE:
        """Contents of a SPARSEDATA-TLV whose ILVs are rows (RFC 7391 section 3.1.1)."""
        return tuple((index, self.row.pack(row)) for index, row in rows.items())

    def unpack_sparse(self, items: Sequence[tuple[int, bytes]]) -> dict[int, Any]:
        """Rows that came as ILVs, by their index. Raises ProtocolError for one that came twice."""
        rows = {index: self.row.unpack(contents) for index, contents in items}
        if len(rows) != len(items):
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, f"{self.name}: a row index twice")
        return rows

    @property
    def dtype(self) -> np.dtype[np.void] | None:
        """numpy type of one `(index, row)`; None if rows vary in size."""
        if self._dtype is None:
            import numpy as np  # bulk tables only: a CE or FE without them starts faster

            row = numpy_type(self.row)
            if row is not None:
                self._dtype = np.dtype([("index", ">u4"), ("row", row)])
                self._view = np.frombuffer
        return self._dtype

    def pack_bulk(self, table: Table) -> bytes:
        """As `pack`, for a numpy array of `dtype`."""
        if table.dtype != self.dtype:
            raise UsageError(f"{self.name}: not an array of this table's dtype")
        return table.tobytes()

    def unpack_bulk(self, data: bytes | memoryview) -> Table:
        """As `unpack`: a read-only array of `dtype` over `data` itself, nothing is copied.
        Like every codec here it looks at sizes; `check_bulk` looks at values."""
        view = self._view
        if view is None:
            if self.dtype is None:
                raise UsageError(f"{self.name}: rows vary in size, there is no bulk form")
            view = self._view
            assert view is not None
        try:
            return view(data, self._dtype)
        except ValueError:
            self._rows(data)
            return view(bytearray(0), self._dtype, 0)  # numpy refuses an empty buffer

    def check_bulk(self, table: Table) -> None:
        """As `check`, a column at a time: ranges, booleans, and every index once."""
        import numpy as np

        if self.maximum is not None and len(table) > self.maximum:
            reason = f"{self.name}: {len(table)} rows, at most {self.maximum}"
            raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, reason)
        index = table["index"].astype("u4")
        # rows mostly come in order: then no index can be there twice, and nothing is sorted
        if not (index[1:] > index[:-1]).all() and len(np.unique(index)) != len(table):
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, f"{self.name}: a row index twice")
        check_column(self.row, table["row"])


def _walk(value: Any, way: Sequence[str | int]) -> Any:
    for step in way:
        value = value[step]
    return value
