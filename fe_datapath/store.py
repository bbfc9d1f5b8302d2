"""The FE's LFB instances and queries of them: GET and GET-PROP (RFC 5810 section 7.7).

Answers have the shape of the question (RFC 6984 section 5.1). A query never sees what a Config
under way has changed and the kernel has not confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fe_datapath.lfbs.instance import Instance
from fe_datapath.transaction import Transaction
from forces.errors import ProtocolError, ResultCode, UsageError
from forces.messages import LfbSelect, Operation, OperType
from forces.model import ArrayType, FieldsType, Library, Target
from forces.paths import FullData, KeyInfo, PathData, Result, SparseData, TableRange

MAX_CONTENT = 0xFFFF - 4
"""Octets in one FULLDATA or SPARSEDATA: the TLV's length has 16 bits (RFC 5810 section 6.2)."""
MAX_ANSWER = 240_000
"""Octets of contents in one QueryResponse: a message is 262,140 long at most (section 6.1)."""
ILV_HEAD = 8
ARRAY_PROPERTIES = ("entryCount", "highestUsedSubscript", "firstUnusedSubscript")

RESPONSE_TO = {
    OperType.GET: OperType.GET_RESPONSE,
    OperType.GET_PROP: OperType.GET_PROP_RESPONSE,
    OperType.SET: OperType.SET_RESPONSE,
    OperType.SET_PROP: OperType.SET_PROP_RESPONSE,
    OperType.DEL: OperType.DEL_RESPONSE,
    OperType.COMMIT: OperType.COMMIT_RESPONSE,
}


class Store:
    def __init__(self, library: Library, instances: Iterable[Instance]) -> None:
        self.library = library
        self.instances = {(instance.cls.id, instance.id): instance for instance in instances}

    def find(self, class_id: int, instance_id: int) -> Instance:
        """Raises ProtocolError: LFB_UNKNOWN for a class, LFB_INSTANCE_ID_NOT_FOUND."""
        found = self.instances.get((class_id, instance_id))
        if found is None:
            known = any(class_id == known for known, _ in self.instances)
            code = ResultCode.LFB_INSTANCE_ID_NOT_FOUND if known else ResultCode.LFB_UNKNOWN
            raise ProtocolError(code, f"no instance {instance_id} of LFB class {class_id}")
        return found

    def query(
        self, lfbs: Iterable[LfbSelect], under_way: Transaction | None = None
    ) -> tuple[LfbSelect, ...]:
        """The body of a QueryResponse."""
        return _Query(self, under_way).run(lfbs)


def result(code: ResultCode) -> Result:
    return _RESULTS[code]


_RESULTS = {code: Result(code) for code in ResultCode}


def key_row(target: Target, rows: dict[int, Any], key: KeyInfo) -> int:
    """The row that a content key selects (RFC 5810 section 7.1.1.2). Raises ProtocolError."""
    if not isinstance(target.type, ArrayType):
        raise ProtocolError(ResultCode.INVALID_PATH, "a key selects rows of tables only")
    table = target.type
    if key.key_id not in table.keys:
        raise ProtocolError(ResultCode.INVALID_PATH, f"the table has no key {key.key_id}")
    wanted = table.keys[key.key_id].type.unpack(key.value.value)
    for index, row in rows.items():
        if table.key_of(key.key_id, row) == wanted:
            return index
    raise ProtocolError(ResultCode.NOT_FOUND, f"no row has this key {key.key_id}")


def in_range(rows: dict[int, Any], selected: TableRange) -> list[int]:
    """Indexes of the rows in the range, ascending (RFC 7391 section 3.1)."""
    return sorted(index for index in rows if selected.start <= index <= selected.end)


def walk(value: Any, kind: Any, steps: tuple[int, ...]) -> Any:
    """What lies below a value. The steps fit the type; a row may be missing: NOT_FOUND."""
    for step in steps:
        if isinstance(kind, ArrayType):
            if step not in value:
                raise ProtocolError(ResultCode.NOT_FOUND, f"no row {step}")
            value, kind = value[step], kind.row
        else:
            field = kind.by_id(step)
            if field.name not in value:
                raise ProtocolError(ResultCode.NOT_FOUND, f"{field.name} has no value")
            value, kind = value[field.name], field.type
    return value


class _Query:
    """One Query message on its way through the store."""

    def __init__(self, store: Store, under_way: Transaction | None) -> None:
        self.store = store
        self.under_way = under_way
        self.room = MAX_ANSWER

    def run(self, lfbs: Iterable[LfbSelect]) -> tuple[LfbSelect, ...]:
        answers = []
        for lfb in lfbs:
            operations = []
            for operation in lfb.operations:
                paths = tuple(self.path(lfb, operation.type, p, ()) for p in operation.paths)
                kind = RESPONSE_TO.get(operation.type)
                if kind is not None:
                    operations.append(Operation(kind, paths))
            answers.append(LfbSelect(lfb.class_id, lfb.instance_id, tuple(operations)))
        return tuple(answers)

    def path(
        self, lfb: LfbSelect, kind: OperType, path: PathData, prefix: tuple[int, ...]
    ) -> PathData:
        ids = path.ids
        try:
            instance = self.store.find(lfb.class_id, lfb.instance_id)
            if isinstance(path.selector, KeyInfo):
                target = instance.cls.resolve(prefix + ids)
                rows = self.value(instance, target)
                ids = (*ids, key_row(target, rows, path.selector))
            if path.children:
                if isinstance(path.selector, TableRange):
                    raise ProtocolError(ResultCode.INVALID_TFLAGS, "a range has no paths below")
                below = tuple(self.path(lfb, kind, c, prefix + ids) for c in path.children)
                return PathData(ids, children=below)
            return PathData(ids, content=self.content(instance, kind, path, prefix + ids))
        except ProtocolError as error:
            return PathData(ids, content=result(error.code))
        except UsageError:
            return PathData(ids, content=result(ResultCode.CONTENTS_TOO_LONG))

    def content(
        self, instance: Instance, kind: OperType, path: PathData, ids: tuple[int, ...]
    ) -> FullData | SparseData:
        if kind is OperType.GET_PROP:
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
        if target.access == "read-reset":
            instance.was_read(target.component.name)
        return self.spend(answer)

    def spend(self, answer: FullData | SparseData) -> FullData | SparseData:
        if isinstance(answer, FullData):
            size = len(answer.value)
        else:
            size = sum(ILV_HEAD + (len(octets) + 3 & ~3) for _, octets in answer.items)
        if size > min(MAX_CONTENT, self.room):
            raise ProtocolError(ResultCode.CONTENTS_TOO_LONG, f"{size} octets: ask for ranges")
        self.room -= size
        return answer

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
        """RFC 5812 section 4.8. A path that goes one ID below an event names one property."""
        library = self.store.library
        if ids and ids[0] == instance.cls.event_base and instance.cls.events:
            return event_property(self.store, instance, ids)
        target = instance.cls.resolve(ids)
        kind = library.property_type(target)
        values = dict(kind.default())
        values["accessibility"] = _ACCESSIBILITY[target.access]
        value = self.value(instance, target)
        if isinstance(target.type, ArrayType):
            values.update(zip(ARRAY_PROPERTIES, _array_figures(value), strict=True))
        for name, figure in (("stringLength", value), ("octetstringLength", value)):
            if kind.by_name(name) is not None:
                values[name] = len(target.type.pack(figure))
        return kind.pack(values)


_ACCESSIBILITY = {
    "read-only": 1,
    "write-only": 2,
    "read-write": 3,
    "read-reset": 1,
    "trigger-only": 2,
}
"""RFC 5812 section 4.8.1: 1 read, 2 write, 3 both."""


def _array_figures(rows: dict[int, Any]) -> tuple[int, int, int]:
    free = 0
    while free in rows:
        free += 1
    return len(rows), max(rows, default=0), free


def event_property(store: Store, instance: Instance, ids: tuple[int, ...]) -> bytes:
    """The properties of an event, or one of them if the path goes on with its ID."""
    kind = store.library.event_property_type
    field = None
    if len(ids) == 3:
        field = kind.by_id(ids[2])
        ids = ids[:2]
    event, _ = instance.cls.resolve_event(ids)
    values = dict(kind.default())
    values["accessibility"] = 3
    values[registration(kind)] = int(event.id in instance.registered)
    return field.type.pack(values[field.name]) if field is not None else kind.pack(values)


def registration(kind: FieldsType) -> str:
    """Name of the property with ID 2 (RFC 5812 section 4.8.5)."""
    field = kind.by_id(2)
    if field is None:
        raise UsageError("the event properties have no registration")
    return field.name
