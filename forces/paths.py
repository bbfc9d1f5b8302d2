"""Path data: which component of an LFB an operation means, and what it carries there.

RFC 5810 section 7.1 (PATH-DATA, KEYINFO, FULLDATA, SPARSEDATA, RESULT), RFC 7391 (TABLERANGE,
EXTENDEDRESULT). Contents stay opaque octets here: the model (`forces.model`) gives them a type.
"""

from __future__ import annotations

from collections.abc import Sequence

from forces.errors import ResultCode
from forces.values import value

F_SELKEY = 0x0001
"""Path flag: a KEYINFO follows. tcpdump and RFC 7391 read it here."""
F_SELKEY_DRAWN = 0x8000
"""The same, where Figure 18 of RFC 5810 draws it."""
F_SELTABRANGE = 0x0002
"""Path flag: a TABLERANGE follows (RFC 7391 section 3.1.1)."""
TABLE_END = 0xFFFFFFFF
"""`TableRange.end` that means the table's last row."""


@value
class FullData:
    """FULLDATA-TLV: every component of what the path names."""

    value: bytes


@value
class SparseData:
    """SPARSEDATA-TLV: some components (or some rows), each as an ILV."""

    items: Sequence[tuple[int, bytes]]
    """(component ID or row index, contents): a tuple, or a run (`forces.runs`)."""


@value
class Result:
    """RESULT-TLV: how one operation on one path ended."""

    code: int
    """8 bits; a `ResultCode` where it is a known one."""
    value: FullData | None = None
    reserved: int = 0
    """24 bits, ignored on receipt, kept for re-encoding."""

    @property
    def ok(self) -> bool:
        return self.code == ResultCode.SUCCESS


@value
class ExtendedResult:
    """EXTENDEDRESULT-TLV (RFC 7391 section 3.2)."""

    code: int
    """32 bits."""
    cause: str = ""
    """UTF-8 on the wire; 32 octets at most are recommended (RFC 7391 section 3.2.3)."""

    @property
    def ok(self) -> bool:
        return self.code == ResultCode.SUCCESS


@value
class KeyInfo:
    """KEYINFO-TLV: selects the rows whose content key has this value."""

    key_id: int
    value: FullData


@value
class TableRange:
    """TABLERANGE-TLV: rows start..end, both included; GET and DEL only."""

    start: int = 0
    end: int = TABLE_END


Content = FullData | SparseData | Result | ExtendedResult


@value
class PathData:
    """PATH-DATA-TLV. `ids` empty means the whole LFB. Either `content` or `children`, or neither;
    a response may hold several contents only through `children`."""

    ids: tuple[int, ...] = ()
    selector: KeyInfo | TableRange | None = None
    content: Content | None = None
    children: tuple[PathData, ...] = ()
    flags: int = 0
    """As on the wire. The encoder adds the selector's bit when it is not there."""
