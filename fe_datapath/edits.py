"""Config messages on the store: SET, DEL and SET-PROP (RFC 5810 section 7.6).

Every PATH-DATA that carries contents (or that names what to delete) is one edit, numbered in
message order. Edits are carried out on the tables at once, with an undo log; the answer is built
afterwards in the shape of the request, from one result code per edit.

In an answer, UNSPECIFIED_ERROR at an edit means that nothing was wrong with it: it was taken
back, or not tried, because another one failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fe_datapath.lfbs.instance import MISSING, Instance
from fe_datapath.store import RESPONSE_TO, Store, in_range, key_row, result, walk
from fe_datapath.transaction import Transaction
from forces.errors import ProtocolError, ResultCode
from forces.header import ExecMode
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.model import ArrayType, AtomicType, DataType, Field, FieldsType, StructType, Target
from forces.paths import FullData, KeyInfo, PathData, SparseData, TableRange

NOT_DONE = ResultCode.UNSPECIFIED_ERROR
MAX_EDITS = 65_536
"""Of one Config. A message of 262,140 octets has room for fewer PATH-DATAs than this."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A top-level table whose rows can be taken as they come."""

    name: str
    type: StructType
    checked: tuple[Field, ...]
    """Fields with fewer allowed values than their octets can hold."""


class Edits:
    """One Config message, carried out on the tables."""

    def __init__(
        self, store: Store, message: Message, refused: Mapping[int, ResultCode] | None = None
    ) -> None:
        """`refused`: edits that the datapath is known to refuse, and the codes to answer."""
        self.store = store
        self._refused = refused or {}
        self.message = message
        self.mode = message.header.flags.mode
        """Reserved mode 0 is taken as all-or-none, the one that can do the least harm."""
        self.transaction = Transaction()
        self.codes: list[ResultCode] = []
        self._registrations: list[tuple[Instance, int, bool]] = []
        """Event registrations: instance, event, what it was before."""
        self._keyed: dict[int, tuple[int, ...]] = {}
        self._stopped = False
        self._rows: dict[tuple[int, int], _Rows | None] = {}
        for lfb in message.lfbs:
            for operation in lfb.operations:
                if not operation.paths and operation.type in RESPONSE_TO:
                    self._try(lambda: _unsupported("transactions"))
                for path in operation.paths:
                    self._path(lfb, operation.type, path, ())
        if self.atomic:
            if self.failed:
                self.take_back_all()
            else:
                self._complete()

    @property
    def atomic(self) -> bool:
        return self.mode in (ExecMode.ALL_OR_NONE, ExecMode.RESERVED)

    @property
    def failed(self) -> bool:
        return any(code is not ResultCode.SUCCESS for code in self.codes)

    def take_back_all(self) -> None:
        """Nothing has happened: edits that did not fail themselves say so."""
        self.transaction.undo()
        for instance, event, before in reversed(self._registrations):
            _register(instance, event, before)
        self._registrations.clear()
        self.codes = [NOT_DONE if code is ResultCode.SUCCESS else code for code in self.codes]

    def _complete(self) -> None:
        for instance, changes in self.transaction.changes().items():
            wrong = instance.complete(changes)
            if wrong is not None:
                self.codes[wrong[0]] = wrong[1].code
                self.take_back_all()
                return

    def _path(
        self, lfb: LfbSelect, kind: OperType, path: PathData, prefix: tuple[int, ...]
    ) -> None:
        ids = prefix + path.ids
        if isinstance(path.selector, KeyInfo) and not self._stopped:
            try:
                instance = self.store.find(lfb.class_id, lfb.instance_id)
                target = instance.cls.resolve(ids)
                rows = _below(instance, target)
                ids = (*ids, key_row(target, rows, path.selector))
                self._keyed[id(path)] = (*path.ids, ids[-1])
            except ProtocolError as error:
                self._fail_all(path, error.code)
                return
        if path.children:
            if kind is OperType.SET and self._create_by_fields(lfb, path, ids):
                return
            for child in path.children:
                self._path(lfb, kind, child, ids)
            return
        row = self._fast_row(lfb, kind, path, ids)
        if row is not None and isinstance(path.content, FullData):
            octets = path.content.value
            self._try(lambda: self._set_row(lfb, row, ids[1], octets))
        else:
            self._try(lambda: self._edit(lfb, kind, path, ids))

    def _try(self, edit: Any) -> None:
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
            edit()
            if not self.atomic:
                for instance, changes in transaction.since(mark).items():
                    wrong = instance.complete(changes)
                    if wrong is not None:
                        raise wrong[1]
            self.codes.append(ResultCode.SUCCESS)
        except ProtocolError as error:
            transaction.undo(mark)
            self.codes.append(error.code)
            self._stopped = self.mode is not ExecMode.CONTINUE_ON_FAILURE

    def _fail_all(self, path: PathData, code: ResultCode) -> None:
        def fail() -> None:
            raise ProtocolError(code, "the selector")

        if path.children:
            for child in path.children:
                self._fail_all(child, code)
        else:
            self._try(fail)

    def _fast_row(
        self, lfb: LfbSelect, kind: OperType, path: PathData, ids: tuple[int, ...]
    ) -> _Rows | None:
        """A whole row of a top-level table of plain numbers: what bulk updates consist of."""
        if kind is not OperType.SET or len(ids) != 2 or type(path.content) is not FullData:
            return None
        place = (lfb.class_id, ids[0])
        if place not in self._rows:
            self._rows[place] = None
            cls = self.store.library.find(lfb.class_id)
            component = cls.components.get(ids[0]) if cls is not None else None
            if (
                component is not None
                and component.access == "read-write"
                and isinstance(component.type, ArrayType)
                and component.type.maximum is None
                and component.type.length is None
                and not component.type.keys
                and isinstance(component.type.row, StructType)
            ):
                row = component.type.row
                checked = tuple(field for field in row.fields if constrained(field.type))
                self._rows[place] = _Rows(component.name, row, checked)
        return self._rows[place]

    def _set_row(self, lfb: LfbSelect, rows: _Rows, index: int, octets: bytes) -> None:
        instance = self.store.find(lfb.class_id, lfb.instance_id)
        row = rows.type.unpack(octets)
        for field in rows.checked:
            field.type.check(row[field.name])
        self.transaction.put(instance, rows.name, index, row)

    def _edit(self, lfb: LfbSelect, kind: OperType, path: PathData, ids: tuple[int, ...]) -> None:
        instance = self.store.find(lfb.class_id, lfb.instance_id)
        match kind:
            case OperType.SET:
                if isinstance(path.selector, TableRange):
                    raise ProtocolError(ResultCode.INVALID_TFLAGS, "SET of a range")
                if not isinstance(path.content, FullData | SparseData):
                    raise ProtocolError(ResultCode.INVALID_TLV, "SET without data")
                self._set(instance, ids, path.content)
            case OperType.DEL:
                self._delete(instance, ids, path.selector)
            case OperType.SET_PROP:
                self._set_property(instance, ids, path)
            case _:
                raise ProtocolError(ResultCode.NOT_SUPPORTED, f"{kind.name} in a Config")

    def _writable(self, instance: Instance, ids: tuple[int, ...]) -> Target:
        target = instance.cls.resolve(ids)
        if target.component.name in instance.unsupported:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, f"no {target.component.name} here")
        if target.access not in ("read-write", "write-only") or target.component.capability:
            raise ProtocolError(ResultCode.READ_ONLY, f"{target.component.name} is read-only")
        return target

    def _set(
        self, instance: Instance, ids: tuple[int, ...], content: FullData | SparseData
    ) -> None:
        if not ids:
            if not isinstance(content, SparseData):
                raise ProtocolError(ResultCode.NOT_SUPPORTED, "a whole LFB needs SPARSEDATA")
            for component_id, octets in content.items:
                self._set(instance, (component_id,), FullData(octets))
            return
        target = self._writable(instance, ids)
        kind, name = target.component.type, target.component.name
        if not isinstance(kind, ArrayType):
            new = _edited(kind, instance.read(name), ids[1:], content)
            self.transaction.put(instance, name, None, new)
        elif len(ids) > 1:
            old = instance.read(name).get(ids[1], MISSING)
            self._put_row(instance, target, ids[1], _edited(kind.row, old, ids[2:], content))
        elif isinstance(content, FullData):
            rows = kind.unpack(content.value)
            if constrained(kind):
                kind.check(rows)
            self._replace(instance, target, rows)
        else:
            for index, octets in content.items:
                row = _edited(kind.row, MISSING, (), FullData(octets))
                self._put_row(instance, target, index, row)

    def _put_row(self, instance: Instance, target: Target, index: int, row: Any) -> None:
        table, name = target.component.type, target.component.name
        assert isinstance(table, ArrayType)
        table.check_index(index)
        rows = instance.read(name)
        if table.maximum is not None and index not in rows and len(rows) >= table.maximum:
            raise ProtocolError(ResultCode.INVALID_ARRAY_CREATION, f"{name} is full")
        if table.keys:
            table.check({**rows, index: row})
        self.transaction.put(instance, name, index, row)

    def _replace(self, instance: Instance, target: Target, rows: dict[int, Any]) -> None:
        """A whole table (RFC 5810 use case 3): rows that stay the same are not touched, and rows
        go out before rows come in, for two of them may have exchanged what must be unique."""
        name = target.component.name
        present = instance.read(name)
        if present is not instance.values[name]:
            instance.values[name] = present = dict(present)
        gone = [index for index, row in present.items() if rows.get(index, MISSING) != row]
        fresh = [(index, row) for index, row in rows.items() if present.get(index) != row]
        put = self.transaction.put
        for index in gone:
            put(instance, name, index, MISSING)
        for index, row in fresh:
            put(instance, name, index, row)

    def _delete(
        self, instance: Instance, ids: tuple[int, ...], selector: KeyInfo | TableRange | None
    ) -> None:
        target = self._writable(instance, ids)
        name, kind = target.component.name, target.component.type
        if not isinstance(kind, ArrayType) or len(ids) > 2:
            raise ProtocolError(ResultCode.INVALID_PATH, "only rows of tables can be deleted")
        rows = instance.read(name)
        if len(ids) == 2:
            doomed = [ids[1]]
            if isinstance(selector, TableRange):
                raise ProtocolError(ResultCode.INVALID_TFLAGS, "a range selects rows of tables")
            if ids[1] not in rows:
                raise ProtocolError(ResultCode.NOT_FOUND, f"{name} has no row {ids[1]}")
        elif isinstance(selector, TableRange):
            doomed = in_range(rows, selector)
            if not doomed:
                raise ProtocolError(ResultCode.EMPTY, "no row in the range")
        else:
            doomed = list(rows)
        for index in doomed:
            self.transaction.put(instance, name, index, MISSING)

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
            self._writable(instance, ids)
            row = _edited(target.type, MISSING, (), SparseData(items))
            self._put_row(instance, target, ids[1], row)

        self._try(create)
        self.codes.extend([self.codes[-1]] * (len(path.children) - 1))
        return True

    def _set_property(self, instance: Instance, ids: tuple[int, ...], path: PathData) -> None:
        """Subscriptions. The path is an event's (then the contents are the registration, or the
        properties as SPARSEDATA), or goes on with a property's ID."""
        properties = self.store.library.event_property_type
        prop = 2
        if len(ids) == 3:
            prop = ids[2]
            ids = ids[:2]
        events = [instance.cls.resolve_event(ids)[0].id] if len(ids) > 1 else []
        if len(ids) == 1 and ids[0] == instance.cls.event_base:
            events = [event.id for event in instance.cls.events.values()]
        if not events:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, "only events have writable properties")
        items: tuple[tuple[int, bytes], ...]
        match path.content:
            case FullData(value):
                items = ((prop, value),)
            case SparseData(given):
                items = given
            case _:
                raise ProtocolError(ResultCode.INVALID_TLV, "SET-PROP without data")
        for number, octets in items:
            field = properties.by_id(number)
            if field is None:
                raise ProtocolError(ResultCode.COMPONENT_DOES_NOT_EXIST, f"property {number}")
            if number != 2:
                raise ProtocolError(ResultCode.NOT_SUPPORTED, f"property {field.name}")
            on = bool(field.type.unpack(octets))
            for event in events:
                self._registrations.append((instance, event, event in instance.registered))
                _register(instance, event, on)

    def response(self, failed_only: bool = False) -> tuple[LfbSelect, ...]:
        """The body of the ConfigResponse; with `failed_only` (FailureACK) without successes."""
        codes = iter(self.codes)
        lfbs = []
        for lfb in self.message.lfbs:
            operations = []
            for operation in lfb.operations:
                kind = RESPONSE_TO.get(operation.type)
                if kind is None:
                    continue
                if operation.paths:
                    answers = [self._answer(path, codes, failed_only) for path in operation.paths]
                    paths = tuple(answer for answer in answers if answer is not None)
                else:
                    operations.append(Operation(kind, result=result(next(codes))))
                    continue
                if paths or not failed_only:
                    operations.append(Operation(kind, paths))
            if operations:
                lfbs.append(LfbSelect(lfb.class_id, lfb.instance_id, tuple(operations)))
        return tuple(lfbs)

    def _answer(
        self, path: PathData, codes: Iterator[ResultCode], failed_only: bool
    ) -> PathData | None:
        ids = self._keyed.get(id(path), path.ids) if self._keyed else path.ids
        if path.children:
            below = [self._answer(child, codes, failed_only) for child in path.children]
            children = tuple(answer for answer in below if answer is not None)
            return PathData(ids, children=children) if children else None
        code = next(codes)
        if failed_only and code is ResultCode.SUCCESS:
            return None
        return PathData(ids, None, result(code))


def _unsupported(what: str) -> None:
    raise ProtocolError(ResultCode.NOT_SUPPORTED, f"no {what}")


def _register(instance: Instance, event: int, on: bool) -> None:
    if on:
        instance.registered.add(event)
    else:
        instance.registered.discard(event)


def _below(instance: Instance, target: Target) -> Any:
    return walk(instance.read(target.component.name), target.component.type, target.ids[1:])


def constrained(kind: DataType) -> bool:
    """Whether contents that `unpack` takes can still be refused by `check`."""
    if isinstance(kind, FieldsType):
        return any(constrained(field.type) for field in kind.fields)
    if isinstance(kind, ArrayType):
        limited = kind.maximum is not None or kind.length is not None or bool(kind.keys)
        return limited or constrained(kind.row)
    if isinstance(kind, AtomicType):
        return bool(kind.ranges)
    return kind.fixed_size is None and getattr(kind, "maximum", None) is not None


def _edited(
    kind: DataType, old: Any, steps: tuple[int, ...], content: FullData | SparseData
) -> Any:
    """`old` with new contents at the place that `steps` lead to; `old` itself stays as it is."""
    if steps:
        return _edited_below(kind, old, steps, content)
    if isinstance(content, FullData):
        new = kind.unpack(content.value)
    elif isinstance(kind, StructType):
        partial = kind.unpack_sparse(content.items)
        new = partial if old is MISSING else {**old, **partial}
        if old is MISSING and any(
            not field.optional and field.name not in partial for field in kind.fields
        ):
            raise ProtocolError(ResultCode.INVALID_ARRAY_CREATION, "components are missing")
        kind.check(new)
        return new
    elif isinstance(kind, ArrayType):
        new = {**({} if old is MISSING else old), **kind.unpack_sparse(content.items)}
    else:
        raise ProtocolError(ResultCode.INVALID_TLV, f"SPARSEDATA for {kind.name}")
    if constrained(kind):
        kind.check(new)
    return new


def _edited_below(
    kind: DataType, old: Any, steps: tuple[int, ...], content: FullData | SparseData
) -> Any:
    if old is MISSING:
        raise ProtocolError(ResultCode.NOT_FOUND, "the row to change is not there")
    step = steps[0]
    if isinstance(kind, ArrayType):
        kind.check_index(step)
        return {**old, step: _edited(kind.row, old.get(step, MISSING), steps[1:], content)}
    assert isinstance(kind, FieldsType)
    field = kind.by_id(step)
    assert field is not None
    inner = old.get(field.name, MISSING)
    if inner is MISSING:
        inner = field.type.default()
    return {**old, field.name: _edited(field.type, inner, steps[1:], content)}
