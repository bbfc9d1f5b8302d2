"""Config messages on the store: SET, DEL and SET-PROP (RFC 5810 section 7.6).

Every PATH-DATA that carries contents (or that names what to delete) is one edit, numbered in
message order. Edits are carried out on the tables at once (`singly`, `inbulk`, `properties`), with
an undo log; the answer is built afterwards in the shape of the request, from one result code per
edit.

In an answer, UNSPECIFIED_ERROR at an edit means that nothing was wrong with it: it was taken
back, or not tried, because another one failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fe_datapath.edited import edited
from fe_datapath.inbulk import carried_out
from fe_datapath.lfbs.instance import MISSING, Instance
from fe_datapath.plaintable import PlainTable, plain_table
from fe_datapath.properties import Registration, set_event_properties
from fe_datapath.responses import NOT_DONE, RESPONSE_TO
from fe_datapath.selection import key_row, walk, wrong_selector
from fe_datapath.singly import delete, put_row, set_contents, writable
from fe_datapath.store import Store
from fe_datapath.transaction import OneByOne, Transaction
from forces.errors import ProtocolError, ResultCode
from forces.header import ExecMode
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.model import Target
from forces.paths import ExtendedResult, FullData, KeyInfo, PathData, Result, SparseData, TableRange
from forces.runs import PathRun

MAX_EDITS = 65_536
"""Of one Config. A message of 262,140 octets has room for fewer PATH-DATAs than this."""


class Edits:
    """One Config message, carried out on the tables; for a transaction's (`fe_datapath.twophase`)
    after the messages that came before it."""

    def __init__(
        self,
        store: Store,
        message: Message,
        refused: Mapping[int, ResultCode] | None = None,
        earlier: Sequence[Message] = (),
        commit: bool = False,
    ) -> None:
        """`refused`: edits that the datapath is known to refuse, and the codes to answer.
        `commit`: the message is the COMMIT of the earlier ones."""
        self.store = store
        self._refused = refused or {}
        self.message = message
        self.mode = message.header.flags.mode
        self.atomic = self.mode in (ExecMode.ALL_OR_NONE, ExecMode.RESERVED)
        """Reserved mode 0 is taken as all-or-none, the one that can do the least harm."""
        self.transaction = Transaction()
        self.codes: list[ResultCode] = []
        self.reasons: dict[int, str] = {}
        """Number of a failed edit -> what was wrong, for EXTENDEDRESULTs."""
        self.first = 0
        """Number of this message's first edit."""
        self._registrations: list[Registration] = []
        self.keyed: dict[int, tuple[int, ...]] = {}
        """id() of a PATH-DATA with a key -> its path with the row that the key has selected."""
        self._commit = commit
        self._stopped = False
        self._in_bulk = not self._refused
        self._rows = store.plain_tables
        try:
            self._carry_out_all(earlier)
        except OneByOne:
            self._begin_again()
            self._carry_out_all(earlier)
        if self.atomic:
            if self.failed:
                self.take_back_all()
            else:
                self._complete()

    def _carry_out_all(self, earlier: Sequence[Message]) -> None:
        for one in earlier:
            self._carry_out(one)
        self.first = len(self.codes)
        self._carry_out(self.message)

    def _begin_again(self) -> None:
        self.withdraw()
        self.transaction = Transaction()
        self.codes.clear()
        self.reasons.clear()
        self.keyed.clear()
        self._stopped = self._in_bulk = False

    def _carry_out(self, message: Message) -> None:
        for lfb in message.lfbs:
            for operation in lfb.operations:
                if type(operation.paths) is PathRun and self._run(lfb, operation):
                    continue
                if not operation.paths and operation.type in RESPONSE_TO:
                    self._try(self._without_path, operation.type)
                for path in operation.paths:
                    self._path(lfb, operation.type, path, ())

    def _run(self, lfb: LfbSelect, operation: Operation) -> bool:
        """Many rows at once; False: nothing was done."""
        run, edit = operation.paths, len(self.codes)
        if not self._in_bulk or self._stopped or edit + len(run) > MAX_EDITS:
            return False
        assert isinstance(run, PathRun)
        if not carried_out(self.store, self.transaction, edit, lfb, operation.type, run):
            return False
        self.codes += [ResultCode.SUCCESS] * len(run)
        return True

    def _without_path(self, kind: OperType) -> None:
        if not self._commit:
            raise ProtocolError(ResultCode.INVALID_FLAGS, f"{kind.name} outside of a transaction")

    @property
    def failed(self) -> bool:
        return self.codes.count(ResultCode.SUCCESS) != len(self.codes)

    def withdraw(self) -> None:
        """Nothing has happened, but the codes say what would have."""
        self.transaction.undo()
        for instance, event, before in reversed(self._registrations):
            instance.set_event_state(event, before)
        self._registrations.clear()

    def reverse(self, other: Edits) -> None:
        """What the other has done, backwards. Raises ProtocolError where the tables have gone on
        in a way that does not let it be taken back."""
        for instance, name, index, old in other.transaction.backwards():
            self.transaction.put(instance, name, index, old)
        for instance, event, before in reversed(other._registrations):
            self._registrations.append((instance, event, instance.event_state(event)))
            instance.set_event_state(event, before)

    def take_back_all(self) -> None:
        """Nothing has happened: edits that did not fail themselves say so."""
        self.withdraw()
        self.codes = [NOT_DONE if code is ResultCode.SUCCESS else code for code in self.codes]

    def _complete(self) -> None:
        for instance, changes in self.transaction.changes().items():
            wrong = instance.complete(changes)
            if wrong is not None:
                self.codes[wrong[0]] = wrong[1].code
                self.reasons[wrong[0]] = wrong[1].reason
                self.take_back_all()
                return

    def _path(
        self, lfb: LfbSelect, kind: OperType, path: PathData, prefix: tuple[int, ...]
    ) -> None:
        ids = prefix + path.ids if prefix else path.ids
        if path.selector is not None and not self._stopped:
            wrong = wrong_selector(path)
            if wrong is not None or (
                kind is not OperType.DEL and type(path.selector) is TableRange
            ):
                self._fail_all(path, ResultCode.INVALID_TFLAGS, wrong or "a range in a SET")
                return
        if isinstance(path.selector, KeyInfo) and not self._stopped:
            try:
                instance = self.store.find(lfb.class_id, lfb.instance_id)
                target = instance.cls.resolve(ids)
                rows = _below(instance, target)
                ids = (*ids, key_row(target, rows, path.selector))
                self.keyed[id(path)] = (*path.ids, ids[-1])
            except ProtocolError as error:
                self._fail_all(path, error.code, error.reason)
                return
        if path.children:
            if kind is OperType.SET and self._create_by_fields(lfb, path, ids):
                return
            for child in path.children:
                self._path(lfb, kind, child, ids)
            return
        row = self._fast_row(lfb, kind, path, ids)
        if row is not None and isinstance(path.content, FullData):
            self._try(self._set_row, lfb, row, ids[1], path.content.value)
        else:
            self._try(self._edit, lfb, kind, path, ids)

    def _try(self, edit: Callable[..., None], *arguments: Any) -> None:
        """Carry one edit out; it takes effect wholly or not at all."""
        if self._stopped or len(self.codes) >= MAX_EDITS:
            self.codes.append(NOT_DONE)
            return
        transaction = self.transaction
        transaction.edit = len(self.codes)
        mark = transaction.mark()
        try:
            if transaction.edit in self._refused:
                raise ProtocolError(self._refused[transaction.edit], "the datapath refuses it")
            edit(*arguments)
            if not self.atomic:
                for instance, changes in transaction.since(mark).items():
                    wrong = instance.complete(changes)
                    if wrong is not None:
                        raise wrong[1]
            self.codes.append(ResultCode.SUCCESS)
        except ProtocolError as error:
            transaction.undo(mark)
            self.reasons[len(self.codes)] = error.reason
            self.codes.append(error.code)
            self._stopped = self.mode is not ExecMode.CONTINUE_ON_FAILURE

    def _fail_all(self, path: PathData, code: ResultCode, reason: str) -> None:
        def fail() -> None:
            raise ProtocolError(code, reason)

        if path.children:
            for child in path.children:
                self._fail_all(child, code, reason)
        else:
            self._try(fail)

    def _fast_row(
        self, lfb: LfbSelect, kind: OperType, path: PathData, ids: tuple[int, ...]
    ) -> PlainTable | None:
        """A whole row of a top-level table of plain numbers: what bulk updates consist of."""
        if kind is not OperType.SET or len(ids) != 2 or type(path.content) is not FullData:
            return None
        place = (lfb.class_id, ids[0])
        try:
            return self._rows[place]
        except KeyError:
            self._rows[place] = plain_table(self.store.library, *place)
            return self._rows[place]

    def _set_row(self, lfb: LfbSelect, rows: PlainTable, index: int, octets: bytes) -> None:
        instance = self.store.find(lfb.class_id, lfb.instance_id)
        if rows.name in instance.fixed:
            raise ProtocolError(ResultCode.READ_ONLY, f"{rows.name} cannot be changed here")
        row = rows.type.unpack(octets)
        for field in rows.checked:
            field.type.check(row[field.name])
        self.transaction.put(instance, rows.name, index, row)

    def _edit(self, lfb: LfbSelect, kind: OperType, path: PathData, ids: tuple[int, ...]) -> None:
        instance = self.store.find(lfb.class_id, lfb.instance_id)
        match kind:
            case OperType.SET:
                if not isinstance(path.content, FullData | SparseData):
                    raise ProtocolError(ResultCode.INVALID_TLV, "SET without data")
                set_contents(self.transaction, instance, ids, path.content)
            case OperType.DEL:
                if isinstance(path.content, Result | ExtendedResult):
                    raise ProtocolError(ResultCode.INVALID_TLV, "a result in a DEL")
                delete(self.transaction, instance, ids, path.selector, self._in_bulk)
            case OperType.SET_PROP:
                library = self.store.library
                set_event_properties(library, instance, ids, path.content, self._registrations)
            case _:
                raise ProtocolError(ResultCode.NOT_SUPPORTED, f"{kind.name} in a Config")

    def _create_by_fields(self, lfb: LfbSelect, path: PathData, ids: tuple[int, ...]) -> bool:
        """A row that does not exist, given field by field under its path (RFC 6984 section 5.1:
        every legal form must be taken): one edit for all of its paths."""
        cls = self.store.library.find(lfb.class_id)
        if cls is None or len(ids) != 2 or self._stopped:
            return False
        try:
            instance = self.store.find(lfb.class_id, lfb.instance_id)
            target = instance.cls.resolve(ids)
        except ProtocolError:
            return False
        name = target.component.name
        items = tuple(
            (child.ids[0], child.content.value)
            for child in path.children
            if len(child.ids) == 1 and isinstance(child.content, FullData)
        )
        if not target.row or len(items) != len(path.children) or ids[1] in instance.read(name):
            return False

        def create() -> None:
            writable(instance, ids)
            row = edited(target.type, MISSING, (), SparseData(items))
            put_row(self.transaction, instance, target, ids[1], row)

        self._try(create)
        self.codes.extend([self.codes[-1]] * (len(path.children) - 1))
        return True


def _below(instance: Instance, target: Target) -> Any:
    return walk(instance.read(target.component.name), target.component.type, target.ids[1:])
