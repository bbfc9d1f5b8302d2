"""Many PATH-DATAs, or many ILVs, that are alike: one path, and rows of one size. That is what bulk
updates and dumps consist of (RFC 5810 section 7.1, RFC 7391 section 3.1.1).

A run keeps its octets. As a sequence it is what a decoder would have made of them one by one; who
wants the rows takes all of them at once. The same octets mean the same, run or not.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from forces.errors import UsageError
from forces.tlv import ILV_HEAD, TLV_HEAD, TlvType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forces.paths import PathData

MIN_RUN = 256
"""Fewer are not worth numpy's import, nor a second way through the tables."""
MAX_IDS = 64
"""IDs of one path: no LFB class of any RFC is deeper than six, and reading must end somewhere."""
PATH_FIXED = 8
"""TLV head, flags and count of a PATH-DATA-TLV."""

_HEAD = struct.Struct("!HHHH")
_TLV = struct.Struct("!HH")
_ILV = struct.Struct("!II")
_WORD = struct.Struct("!I")

T = TypeVar("T")


class _Run(Sequence[T], Generic[T]):
    """Equal to any other sequence of the same items."""

    __slots__ = ("octets", "stride")

    def __init__(self, octets: bytes, stride: int) -> None:
        self.octets = octets
        """On the wire."""
        self.stride = stride
        """Octets of each item."""

    def __len__(self) -> int:
        return len(self.octets) // self.stride

    @abstractmethod
    def item(self, number: int) -> T: ...

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...
    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        if isinstance(at, slice):
            return tuple(self.item(number) for number in range(*at.indices(len(self))))
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(at)
        return self.item(number)

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return bool(self.octets == other.octets)
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"


class PathRun(_Run["PathData"]):
    """PATH-DATA-TLVs of rows of one table: without contents, or all with a FULLDATA (or RESULT) of
    one length."""

    __slots__ = ("depth",)

    def __init__(self, octets: bytes, stride: int, depth: int) -> None:
        super().__init__(octets, stride)
        self.depth = depth
        """IDs of each path, the row's index being the last."""

    @property
    def table(self) -> tuple[int, ...]:
        """The path that all have in common."""
        return struct.unpack_from(f"!{self.depth - 1}I", self.octets, PATH_FIXED)

    @property
    def _index_at(self) -> int:
        return PATH_FIXED + 4 * (self.depth - 1)

    @property
    def content_at(self) -> int:
        """Offset of a row's contents; `stride` if there are none."""
        return min(self._index_at + 4 + TLV_HEAD, self.stride)

    @property
    def content_kind(self) -> int | None:
        if self.content_at == self.stride:
            return None
        kind: int = _TLV.unpack_from(self.octets, self.content_at - TLV_HEAD)[0]
        return kind

    def indexes(self) -> list[int]:
        rest = self.stride - self._index_at - 4
        layout = f"!{self._index_at}xI{rest}x"
        return list(chain.from_iterable(struct.iter_unpack(layout, self.octets)))

    def rows(self) -> Iterator[tuple[int, bytes]]:
        """Index and contents of each."""
        size = self.stride - self.content_at
        layout = f"!{self._index_at}xI{self.content_at - self._index_at - 4}x{size}s"
        return struct.iter_unpack(layout, self.octets)

    @property
    def all_well(self) -> bool:
        """Each has a RESULT-TLV that says success."""
        if self.content_kind != TlvType.RESULT:
            return False
        return not any(self.octets[self.content_at :: self.stride])

    def columns(self, row: Any) -> NDArray[np.void]:
        """Fields `index` and `row` (of this numpy type) of each, over the octets themselves."""
        import numpy as np

        size = np.dtype(row).itemsize
        if size != self.stride - self.content_at:
            raise UsageError(f"rows of {self.stride - self.content_at} octets, not {size}")
        layout = np.dtype(
            {
                "names": ["index", "row"],
                "formats": [">u4", row],
                "offsets": [self._index_at, self.content_at],
                "itemsize": self.stride,
            }
        )
        return np.frombuffer(self.octets, layout)

    def item(self, number: int) -> PathData:
        from forces.pathwire import decode_path

        at = number * self.stride
        return decode_path(self.octets, at + TLV_HEAD, at + self.stride)

    def results(self, code: int) -> PathRun:
        """The same paths, each with a RESULT-TLV."""
        import numpy as np

        head = self.octets[TLV_HEAD : self._index_at]
        stride = self._index_at + 4 + 2 * TLV_HEAD
        head = _TLV.pack(TlvType.PATH_DATA, stride) + head
        tail = _TLV.pack(TlvType.RESULT, 2 * TLV_HEAD) + _WORD.pack(code << 24)
        at = self._index_at // 4
        columns = np.frombuffer(self.octets, np.uint32).reshape(-1, self.stride // 4)
        rows = np.empty((len(self), stride // 4), np.uint32)
        rows[:] = np.frombuffer(head + bytes(4) + tail, np.uint32)
        rows[:, at] = columns[:, at]
        return PathRun(rows.tobytes(), stride, self.depth)


def rows_run(table: tuple[int, ...], rows: Mapping[int, bytes]) -> PathRun | None:
    """Paths to these rows of a table, each with its contents; None if they are no run."""
    sizes = set(map(len, rows.values()))
    if len(rows) < MIN_RUN or len(sizes) != 1:
        return None
    size = sizes.pop()
    if size % 4:
        return None
    depth = len(table) + 1
    stride = PATH_FIXED + 4 * depth + TLV_HEAD + size
    head = _HEAD.pack(TlvType.PATH_DATA, stride, 0, depth) + struct.pack(f"!{depth - 1}I", *table)
    tail = _TLV.pack(TlvType.FULLDATA, TLV_HEAD + size)
    pack = _WORD.pack
    octets = b"".join([head + pack(index) + tail + row for index, row in rows.items()])
    return PathRun(octets, stride, depth)


def path_run(data: bytes, start: int, end: int) -> PathRun | None:
    """The PATH-DATA-TLVs in data[start:end], if they are a run."""
    if end - start < MIN_RUN * PATH_FIXED:
        return None
    kind, stride, flags, depth = _HEAD.unpack_from(data, start)
    index_at = PATH_FIXED + 4 * (depth - 1)
    if (
        kind != TlvType.PATH_DATA
        or flags
        or not 2 <= depth <= MAX_IDS
        or stride % 4
        or stride < index_at + 4
        or (end - start) % stride
        or end - start < MIN_RUN * stride
    ):
        return None
    constant = list(range(0, index_at, 4))
    content = stride - index_at - 4
    if content:
        if content <= TLV_HEAD:
            return None
        kind, length = _TLV.unpack_from(data, start + index_at + 4)
        if kind not in (TlvType.FULLDATA, TlvType.RESULT) or length != content:
            return None
        if kind == TlvType.RESULT and length != 2 * TLV_HEAD:
            return None
        constant.append(index_at + 4)
    octets = data[start:end]
    return PathRun(octets, stride, depth) if _alike(octets, stride, constant) else None


class IlvRun(_Run[tuple[int, bytes]]):
    """ILVs with values of one length, a multiple of 4."""

    __slots__ = ()

    def item(self, number: int) -> tuple[int, bytes]:
        at = number * self.stride
        return _WORD.unpack_from(self.octets, at)[0], self.octets[at + ILV_HEAD : at + self.stride]

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        each: Callable[[bytes], Iterator[tuple[int, bytes]]]
        each = struct.Struct(f"!I4x{self.stride - ILV_HEAD}s").iter_unpack
        return each(self.octets)


def ilv_run(data: bytes, start: int, end: int) -> IlvRun | None:
    """The ILVs in data[start:end], if they are a run."""
    if end - start < MIN_RUN * ILV_HEAD:
        return None
    stride = _ILV.unpack_from(data, start)[1]
    if stride <= ILV_HEAD or stride % 4 or (end - start) % stride:
        return None
    octets = data[start:end]
    return IlvRun(octets, stride) if _alike(octets, stride, [4]) else None


def _alike(octets: bytes, stride: int, places: Sequence[int]) -> bool:
    """Whether the words at these places of all items are the same. All are multiples of 4."""
    import numpy as np

    words = np.frombuffer(octets, np.uint32).reshape(-1, stride // 4)
    return all(bool((words[:, at // 4] == words[0, at // 4]).all()) for at in places)
