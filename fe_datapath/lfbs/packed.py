"""A table's rows kept as the octets that they have on the wire.

A large table then costs a tenth of the memory, is dumped without being encoded, and takes many rows
at once without a look at each. For everybody else it is the mapping of row index to row that every
table is; a row that was taken out is a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, KeysView, Mapping, MutableMapping
from typing import Any

from forces.model import StructType
from forces.tlv import ILV_HEAD

_INDEX = struct.Struct("!I")


class PackedRows(MutableMapping[int, dict[str, Any]]):
    """`type`: of fixed size, so that equal rows have equal octets."""

    def __init__(self, type: StructType, octets: Mapping[int, bytes] | None = None) -> None:
        self.type = type
        self.octets: dict[int, bytes] = dict(octets or {})
        """Row index -> contents."""
        self.top = max(self.octets, default=0)
        """No row has a higher index. Tables mostly grow at their end."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.type.unpack(self.octets[index])

    def __setitem__(self, index: int, row: Mapping[str, Any]) -> None:
        self.octets[index] = self.type.pack(row)
        self.top = max(self.top, index)

    def __delitem__(self, index: int) -> None:
        del self.octets[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.octets)

    def __len__(self) -> int:
        return len(self.octets)

    def __contains__(self, index: object) -> bool:
        return index in self.octets

    def keys(self) -> KeysView[int]:
        return self.octets.keys()

    def get(self, index: int, default: Any = None) -> Any:
        octets = self.octets.get(index)
        return default if octets is None else self.type.unpack(octets)

    def copy(self) -> PackedRows:
        return PackedRows(self.type, self.octets)

    def ilvs(self, start: int, end: int) -> memoryview:
        """The rows start..end as ILVs, ascending (RFC 7391 section 3.1.1)."""
        import numpy as np

        size = self.type.fixed_size or 0
        indexes = np.fromiter(self.octets, np.uint32, len(self.octets))
        rows = np.empty(len(indexes), [("index", ">u4"), ("length", ">u4"), ("row", f"V{size}")])
        rows["index"] = indexes
        rows["length"] = ILV_HEAD + size
        rows["row"] = np.frombuffer(b"".join(self.octets.values()), f"V{size}")
        if not (indexes[1:] > indexes[:-1]).all():
            rows = rows[np.argsort(indexes, kind="stable")]
        first, last = np.searchsorted(rows["index"], [start, end + 1])
        return rows[first:last].view("u1").data

    def contents(self) -> bytes:
        """Of the whole table (RFC 5810 section 7.1.1)."""
        pack = _INDEX.pack
        return b"".join([pack(index) + row for index, row in self.octets.items()])
