"""The LFB components that a CE reads and writes, as paths and contents.

Layouts come from the shipped LFB classes (`forces.model`): RFC 5812 section 5 (FEObject), RFC 7121
Appendix A (FEPO), RFC 6956 (EtherPHYCop, IPv4NextHop, IPv4UcastLPM). Nothing about a component's
place or size is written here a second time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Any

from ce.alternates import Group
from ce.fe_tables import Op, Rows, Table, Write
from ce.routes import FeRoutes, NextHop, Route, Synthetic, synthetic_network
from forces.errors import ProtocolError, ResultCode
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.model import library
from forces.paths import (
    F_SELTABRANGE,
    Content,
    ExtendedResult,
    FullData,
    PathData,
    Result,
    SparseData,
    TableRange,
)
from forces.runs import PathRun, rows_run

INSTANCE = 1
"""The only instance of every class but the port LFBs, whose instances are PHYPortIDs."""
PORT_UP = 1
"""PortStatusValues (RFC 6956): 0 disabled, 1 up, 2 down."""
FE_OPER_ENABLE = 2
"""FEStatusValues (RFC 5812 section 5.1): 0 AdminDisable, 1 OperDisable, 2 OperEnable."""
NEXT_HOP_MTU = 1500
MAX_PACKED = 65_536
MAX_SYNTHETIC_PACKED = 16
"""Tables; one for every next hop that an FE of ours may send them all to."""
_INDEX = struct.Struct("!I")

EMPTY_RESULTS = frozenset(
    {ResultCode.EMPTY, ResultCode.NOT_FOUND, ResultCode.COMPONENT_DOES_NOT_EXIST}
)
"""What an FE may answer to a GET of a range without rows (RFC 7391 section 3.1.1, and older)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component (or one event) of a class."""

    class_id: int
    ids: tuple[int, ...]
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]

    def select(self, oper: OperType, *paths: PathData, instance: int = INSTANCE) -> LfbSelect:
        return LfbSelect(self.class_id, instance, (Operation(oper, paths),))

    def get(self) -> PathData:
        return PathData(self.ids)

    def set(self, value: Any) -> PathData:
        return PathData(self.ids, content=FullData(self.pack(value)))


@cache
def component(lfb: str, *names: str | int) -> Component:
    """By name, e.g. component("FEPO", "CEID")."""
    definition = library().cls(lfb)
    ids = definition.path(*names)
    kind = definition.resolve(ids).type
    return Component(definition.id, ids, kind.pack, kind.unpack)


@cache
def table(which: Table) -> Component:
    return component(*which.value)


@cache
def row(which: Table) -> Component:
    """The type of one row; its path is that of row 0."""
    return component(*which.value, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a class. Its report is one value here (RFC 5812 section 4.7.6.3)."""

    class_id: int
    ids: tuple[int, ...]
    unpack: Callable[[bytes], Any]

    def subscribe(self, instance: int = INSTANCE) -> LfbSelect:
        """SET-PROP in the short form, as the CEs of the interoperability tests sent it (RFC 6984;
        the 2011 captures): the event's path with its registration property as the contents."""
        path = PathData(self.ids, content=FullData(_INDEX.pack(1)))
        return LfbSelect(self.class_id, instance, (Operation(OperType.SET_PROP, (path,)),))


@cache
def event(lfb: str, name: str) -> Event:
    """By name, e.g. event("FEPO", "PrimaryCEDown")."""
    definition = library().cls(lfb)
    found = definition.event(name)
    report = found.report_type
    assert report is not None, f"{name} reports nothing"

    def unpack(contents: bytes) -> Any:
        return next(iter(report.unpack(contents).values()))

    return Event(definition.id, found.path, unpack)


@lru_cache(maxsize=4096)
def pack_next_hop(hop: NextHop) -> bytes:
    return row(Table.NEXT_HOPS).pack(
        {
            "L3PortID": hop.port,
            "MTU": NEXT_HOP_MTU,
            "NextHopIPAddr": bytes(int(part) for part in hop.gateway.split(".")),
            "MediaEncapInfoIndex": 0,
            "LFBOutputSelectIndex": 0,
        }
    )


def pack_group(group: Group) -> bytes:
    members = {
        0: {"HopSelector": group.primary, "Weight": 1, "Backup": False},
        1: {"HopSelector": group.standby, "Weight": 1, "Backup": True},
    }
    return row(Table.GROUPS).pack({"Members": members})


def pack_route(route: Route) -> bytes:
    group = route.group
    return row(Table.PREFIXES).pack(
        {
            "IPv4Address": route.network.to_bytes(4, "big"),
            "Prefixlen": route.length,
            "ECMPFlag": group is not None,
            "DefaultRouteFlag": route.length == 0,
            "Reserved": 0,
            "HopSelector": route.selector if group is None else group.index,
        }
    )


def hop_selector(contents: bytes) -> int:
    """Of an IPv4PrefixTable row."""
    return int(row(Table.PREFIXES).unpack(contents)["HopSelector"])


def pack_synthetic(synthetic: Synthetic) -> Rows:
    """All of them: they differ in their networks alone."""
    size, count = len(pack_route(synthetic.route(0))), synthetic.count
    octets = bytearray(pack_route(synthetic.route(0)) * count)
    networks = struct.pack(f"!{count}I", *map(synthetic_network, range(count)))
    for place in range(4):  # IPv4Address is a row's first field
        octets[place::size] = networks[place::4]
    rows = chain.from_iterable(struct.iter_unpack(f"{size}s", octets))
    return dict(zip(synthetic.rows, rows, strict=True))


class RowPacker:
    """Packs routing's rows and remembers them: most are the same after a link event."""

    def __init__(self) -> None:
        self._pack_route = lru_cache(MAX_PACKED)(pack_route)
        self._pack_synthetic = lru_cache(MAX_SYNTHETIC_PACKED)(pack_synthetic)

    def pack(self, routes: FeRoutes) -> dict[Table, Rows]:
        synthetic, own = routes.prefixes.synthetic, routes.prefixes.own
        prefixes = {} if synthetic is None else self._pack_synthetic(synthetic).copy()
        prefixes.update((index, self._pack_route(route)) for index, route in own.items())
        next_hops = {index: pack_next_hop(hop) for index, hop in routes.next_hops.items()}
        groups = {index: pack_group(group) for index, group in routes.groups.items()}
        return {Table.NEXT_HOPS: next_hops, Table.GROUPS: groups, Table.PREFIXES: prefixes}


def write_select(write: Write) -> LfbSelect:
    """The Config body of one write."""
    target = table(write.table)
    if write.op is Op.REPLACE:
        contents = b"".join(
            part for index, row_ in write.rows.items() for part in (_INDEX.pack(index), row_)
        )
        return target.select(OperType.SET, PathData(target.ids, content=FullData(contents)))
    if write.op is Op.SET:
        run = rows_run(target.ids, write.rows)
        if run is not None:
            return LfbSelect(target.class_id, INSTANCE, (Operation(OperType.SET, run),))
        return target.select(
            OperType.SET,
            *(
                PathData((*target.ids, index), content=FullData(contents))
                for index, contents in write.rows.items()
            ),
        )
    return target.select(OperType.DEL, *(PathData((*target.ids, index)) for index in write.rows))


def table_get(which: Table, first: int | None = None, last: int | None = None) -> LfbSelect:
    """GET of a whole table, or of a range of rows (RFC 7391 section 3.1.1)."""
    target = table(which)
    if first is None or last is None:
        return target.select(OperType.GET, target.get())
    return target.select(
        OperType.GET, PathData(target.ids, TableRange(first, last), flags=F_SELTABRANGE)
    )


def leaves(
    paths: Iterable[PathData], prefix: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Content | None]]:
    """Every path of an operation, nesting resolved, with what it carries."""
    for path in paths:
        ids = (*prefix, *path.ids)
        if path.children:
            yield from leaves(path.children, ids)
        else:
            yield ids, path.content


def answers(message: Message) -> Iterator[tuple[int, int, tuple[int, ...], Content | None]]:
    """(class, instance, path, content) of everything in a response or a report."""
    for select in message.lfbs:
        for operation in select.operations:
            for ids, content in leaves(operation.paths):
                yield select.class_id, select.instance_id, ids, content
            if operation.result is not None:  # a COMMIT-RESPONSE's
                yield select.class_id, select.instance_id, (), operation.result


def has_result(message: Message) -> bool:
    return any(isinstance(one, (Result, ExtendedResult)) for _, _, _, one in answers(message))


def failure(content: Content | None) -> int | None:
    """The result code, if this says that something failed."""
    if isinstance(content, (Result, ExtendedResult)) and not content.ok:
        return content.code
    return None


def read_rows(which: Table, message: Message) -> tuple[Rows, set[int]]:
    """The table's rows in a QueryResponse, in whatever form the FE chose (RFC 6984 section 5.1):
    the whole table, ILVs by row, a path to each row; and the result codes of what failed.
    ProtocolError for contents that are no rows."""
    target = table(which)
    depth = len(target.ids)
    rows: Rows = {}
    failed: set[int] = set()
    for class_id, _, ids, content in answers(message):
        if class_id != target.class_id or ids[:depth] != target.ids:
            continue
        code = failure(content)
        if code is not None:
            if code not in EMPTY_RESULTS:
                failed.add(code)
        elif isinstance(content, SparseData):
            rows.update(content.items)
        elif isinstance(content, FullData) and len(ids) == depth:
            rows.update(split_rows(which, content.value))
        elif isinstance(content, FullData) and len(ids) == depth + 1:
            rows[ids[depth]] = content.value
    if not all(is_row(which, contents) for contents in rows.values()):
        raise ProtocolError(ResultCode.LENGTH_MISMATCH, f"{target.ids}: a row of another size")
    return rows, failed


def split_rows(which: Table, contents: bytes) -> Rows:
    """The rows in the contents of a whole table. ProtocolError if they are none."""
    size = row_octets(which)
    if size is None:
        pack = row(which).pack
        return {index: pack(one) for index, one in table(which).unpack(contents).items()}
    if len(contents) % (size + _INDEX.size):
        raise ProtocolError(ResultCode.LENGTH_MISMATCH, f"{table(which).ids}: no whole rows")
    return dict(struct.iter_unpack(f"!I{size}s", contents))


def is_row(which: Table, contents: bytes) -> bool:
    size = row_octets(which)
    if size is not None:
        return len(contents) == size
    try:
        row(which).unpack(contents)
    except ProtocolError:
        return False
    return True


@cache
def row_octets(which: Table) -> int | None:
    """None: rows vary in size."""
    match which:
        case Table.NEXT_HOPS:
            return len(pack_next_hop(NextHop(0, "0.0.0.0")))
        case Table.PREFIXES:
            return len(pack_route(Route(0, 0, 0)))
        case Table.GROUPS:
            return None


def failures(message: Message) -> Iterator[tuple[int, int, tuple[int, ...], int]]:
    """(class, instance, path, result code) of everything that failed."""
    for select in message.lfbs:
        for operation in select.operations:
            paths = operation.paths
            if type(paths) is not PathRun or not paths.all_well:
                for ids, content in leaves(paths):
                    code = failure(content)
                    if code is not None:
                        yield select.class_id, select.instance_id, ids, code
            code = failure(operation.result)  # a COMMIT-RESPONSE's
            if code is not None:
                yield select.class_id, select.instance_id, (), code


def failed_rows(write: Write, message: Message) -> dict[int, int]:
    """Row -> result code, from the ConfigResponse to a write. A failure that names no row of the
    write (the whole table, the whole LFB) is every row's."""
    depth = len(table(write.table).ids)
    failed: dict[int, int] = {}
    for _, _, ids, code in failures(message):
        if len(ids) > depth and ids[depth] in write.rows:
            failed[ids[depth]] = code
        else:
            return dict.fromkeys(write.rows, code)
    return failed


def all_failures(message: Message) -> Mapping[tuple[int, int, tuple[int, ...]], int]:
    """(class, instance, path) -> result code."""
    return {(class_id, instance, ids): code for class_id, instance, ids, code in failures(message)}
