"""Queries of the store: GET and GET-PROP (RFC 5810 section 7.7).

Answers have the shape of the question (RFC 6984 section 5.1). A query never sees what a Config
under way has changed and the kernel has not confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fe_datapath.lfbs.instance import Instance
from fe_datapath.lfbs.packed import PackedRows
from fe_datapath.properties import component_properties, event_property
from fe_datapath.responses import RESPONSE_TO, Body, all_done, fitting, is_too_long, outcome
from fe_datapath.selection import in_range, key_row, walk, wrong_selector
from fe_datapath.store import Store
from fe_datapath.transaction import Transaction
from forces.errors import ProtocolError, ResultCode, UsageError
from forces.header import TransPhase
from forces.messages import LfbSelect, Operation, OperType
from forces.model import ArrayType, Target
from forces.paths import FullData, KeyInfo, PathData, SparseData, TableRange
from forces.runs import MIN_RUN, IlvRun
from forces.tlv import ILV_HEAD, MAX_TLV_VALUE, TLV_HEAD, ilvs_length

SELECT_HEAD = 8
"""Class and instance in an LFBselect, whose length has 16 bits (RFC 5810 section 6.2): what one
LFBselect can hold is much less than a message."""
PATH_HEAD = 8
"""TLV head, flags and count of a PATH-DATA."""
RESULT_OCTETS = 8
INDEX_OCTETS = 4
MAX_DUMP = 8 << 20
"""Octets of a table in several QueryResponses: they wait in one queue of the driver's, together."""
MAX_ANSWER = 240_000
"""Octets of contents in one QueryResponse: a message is 262,140 long at most (section 6.1)."""


def answers(
    store: Store, asked: Body, under_way: Transaction | None, extended: bool
) -> list[tuple[Body, TransPhase | None]]:
    """The bodies of the QueryResponses: of one; or, of a table too large for it, of several with
    the phases SOT MOT ... EOT, the last of which has no data (RFC 7391 section 3.3)."""
    body, fits = Query(store, under_way, extended).answer(asked)
    if is_too_long(body):
        parts = Query(store, under_way, False).dump(asked[0])
        if parts:
            between = [(part, TransPhase.MOT) for part in parts[1:]]
            done = all_done(asked[0], extended)
            return [(parts[0], TransPhase.SOT), *between, (done, TransPhase.EOT)]
    return [(body if fits else fitting(body, asked, extended), None)]


class Query:
    """One Query message on its way through the store."""

    def __init__(self, store: Store, under_way: Transaction | None, extended: bool) -> None:
        """`under_way`: what a query must not see. `extended`: failures as EXTENDEDRESULTs."""
        self.store = store
        self.under_way = under_way
        self.extended = extended
        self.room = MAX_ANSWER
        """Octets left in the message."""
        self.select_room = 0
        """Octets left in the LFBselect."""
        self.heads = 0
        """Octets of LFBselects and operations without their paths."""
        self.fits = True
        """No LFBselect so far has become too long."""

    def answer(self, lfbs: Iterable[LfbSelect]) -> tuple[Body, bool]:
        """The body of the QueryResponse, and whether it fits into a message for sure."""
        answers = []
        for lfb in lfbs:
            operations = []
            self.select_room = MAX_TLV_VALUE - SELECT_HEAD
            for operation in lfb.operations:
                self.select_room -= TLV_HEAD
                paths = tuple(self.path(lfb, operation.type, p, ()) for p in operation.paths)
                kind = RESPONSE_TO.get(operation.type)
                if kind is not None:
                    operations.append(Operation(kind, paths))
            answers.append(LfbSelect(lfb.class_id, lfb.instance_id, tuple(operations)))
            self.heads += SELECT_HEAD + TLV_HEAD * (1 + len(operations))
            self.fits &= self.select_room >= 0
        fits = self.fits and self.room >= self.heads and not self.extended
        return tuple(answers), fits

    def path(
        self, lfb: LfbSelect, kind: OperType, path: PathData, prefix: tuple[int, ...]
    ) -> PathData:
        ids = path.ids
        head = PATH_HEAD + 4 * len(ids) + RESULT_OCTETS
        self.room -= head
        self.select_room -= head
        try:
            wrong = wrong_selector(path) if path.selector is not None else None
            if wrong is not None:
                raise ProtocolError(ResultCode.INVALID_TFLAGS, wrong)
            if path.content is not None:
                raise ProtocolError(ResultCode.INVALID_TLV, "contents in a query")
            instance = self.store.find(lfb.class_id, lfb.instance_id)
            if isinstance(path.selector, KeyInfo):
                target = instance.cls.resolve(prefix + ids)
                rows = self.value(instance, target)
                ids = (*ids, key_row(target, rows, path.selector))
            if path.children:
                below = tuple(self.path(lfb, kind, c, prefix + ids) for c in path.children)
                return PathData(ids, children=below)
            return PathData(ids, content=self.content(instance, kind, path, prefix + ids))
        except ProtocolError as error:
            return PathData(ids, content=outcome(error.code, error.reason, self.extended))
        except UsageError as error:
            code = ResultCode.CONTENTS_TOO_LONG
            return PathData(ids, content=outcome(code, str(error), self.extended))

    def content(
        self, instance: Instance, kind: OperType, path: PathData, ids: tuple[int, ...]
    ) -> FullData | SparseData:
        if kind is OperType.GET_PROP:
            if isinstance(path.selector, TableRange):
                raise ProtocolError(ResultCode.INVALID_TFLAGS, "a range in a GET-PROP")
            return self.spend(FullData(self.properties(instance, ids)))
        if kind is not OperType.GET:
            raise ProtocolError(ResultCode.INVALID_MESSAGE_TYPE, f"{kind.name} in a Query")
        if not ids:
            return self.whole(instance)
        target = instance.cls.resolve(ids)
        if target.component.name in instance.unsupported:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, f"no {target.component.name} here")
        if target.access in ("write-only", "trigger-only"):
            raise ProtocolError(ResultCode.INVALID_PARAMETERS, "write-only")
        value = self.value(instance, target)
        if type(value) is PackedRows and path.selector is None:
            self.has_room(len(value) * (INDEX_OCTETS + (value.type.fixed_size or 0)))
            return self.spend(FullData(value.contents()))
        answer: FullData | SparseData
        if isinstance(path.selector, TableRange):
            if not isinstance(target.type, ArrayType):
                raise ProtocolError(ResultCode.INVALID_TFLAGS, "a range selects rows of tables")
            rows = {index: value[index] for index in in_range(value, path.selector)}
            if not rows:
                raise ProtocolError(ResultCode.EMPTY, "no row in the range")
            answer = SparseData(target.type.pack_sparse(rows))
        else:
            answer = FullData(target.type.pack(value))
        self.spend(answer)
        if target.access == "read-reset":
            instance.was_read(target.component.name)
        return answer

    def spend(self, answer: FullData | SparseData) -> FullData | SparseData:
        if isinstance(answer, FullData):
            size = len(answer.value)
        else:
            size = ilvs_length(answer.items)
        size = size + 3 & ~3
        self.has_room(size)
        self.room -= size
        self.select_room -= size
        return answer

    def has_room(self, size: int) -> None:
        if size > min(self.select_room, self.room):
            raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, f"{size} octets: ask for ranges")

    def dump(self, lfb: LfbSelect) -> list[Body]:
        """The bodies of a large table's QueryResponses but the last (RFC 7391 section 3.3); empty:
        this is no GET of one table, or one that is too large even so."""
        if len(lfb.operations) != 1 or len(lfb.operations[0].paths) != 1:
            return []
        operation, path = lfb.operations[0], lfb.operations[0].paths[0]
        if operation.type is not OperType.GET or path.children or type(path.selector) is KeyInfo:
            return []
        if not path.ids:
            return []  # the whole LFB
        instance = self.store.find(lfb.class_id, lfb.instance_id)
        target = instance.cls.resolve(path.ids)
        if not isinstance(target.type, ArrayType):
            return []
        rows = self.value(instance, target)
        wanted = path.selector if isinstance(path.selector, TableRange) else TableRange()
        fits = MAX_TLV_VALUE - SELECT_HEAD - TLV_HEAD - PATH_HEAD - 4 * len(path.ids) - TLV_HEAD
        if isinstance(rows, PackedRows) and len(rows) >= MIN_RUN:
            return [_part(lfb, path, items) for items in _packed_parts(rows, wanted, fits)]
        bodies: list[Body] = []
        part: list[tuple[int, bytes]] = []
        left = fits
        total = 0
        for index, octets in target.type.pack_sparse({n: rows[n] for n in in_range(rows, wanted)}):
            size = ILV_HEAD + (len(octets) + 3 & ~3)
            total += size
            if size > fits or total > MAX_DUMP:
                return []
            if size > left:
                bodies.append(_part(lfb, path, part))
                part, left = [], fits
            part.append((index, octets))
            left -= size
        return [*bodies, _part(lfb, path, part)]

    def whole(self, instance: Instance) -> FullData | SparseData:
        """Use case 18 of RFC 5810 Appendix D. FULLDATA has every component, so an instance that
        lacks optional ones answers with SPARSEDATA."""
        components = instance.cls.components.values()
        if not instance.unsupported:
            parts = (c.type.embed(self.committed(instance, c.name)) for c in components)
            return self.spend(FullData(b"".join(parts)))
        items = tuple(
            (c.id, c.type.pack(self.committed(instance, c.name)))
            for c in components
            if c.name not in instance.unsupported
        )
        return self.spend(SparseData(items))

    def committed(self, instance: Instance, name: str) -> Any:
        if self.under_way is not None:
            return self.under_way.before(instance, name)
        return instance.read(name)

    def value(self, instance: Instance, target: Target) -> Any:
        value = self.committed(instance, target.component.name)
        return walk(value, target.component.type, target.ids[1:])

    def properties(self, instance: Instance, ids: tuple[int, ...]) -> bytes:
        """A path that goes one ID below an event names one property."""
        library = self.store.library
        if ids and ids[0] == instance.cls.event_base and instance.cls.events:
            return event_property(library, instance, ids)
        target = instance.cls.resolve(ids)
        return component_properties(library, instance, target, self.value(instance, target))


def _packed_parts(
    rows: PackedRows, wanted: TableRange, fits: int
) -> list[Sequence[tuple[int, bytes]]]:
    """The rows in the range as ILVs, in parts of so many octets; none: too many."""
    stride = ILV_HEAD + (rows.type.fixed_size or 0)
    ilvs = rows.ilvs(wanted.start, wanted.end)
    if stride % 4 or len(ilvs) > MAX_DUMP:
        return []
    each = fits // stride * stride
    return [IlvRun(bytes(ilvs[at : at + each]), stride) for at in range(0, len(ilvs), each)]


def _part(lfb: LfbSelect, path: PathData, rows: Sequence[tuple[int, bytes]]) -> Body:
    answer = PathData(path.ids, content=SparseData(tuple(rows) if type(rows) is list else rows))
    operation = Operation(OperType.GET_RESPONSE, (answer,))
    return (LfbSelect(lfb.class_id, lfb.instance_id, (operation,)),)
