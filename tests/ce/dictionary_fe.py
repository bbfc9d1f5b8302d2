"""An FE that is nothing but dictionaries: contents by path. Deliberately dumb, and written from
the RFCs only, so that it does not share a misunderstanding with the CE (or with our real FE).

Every single row operation is reported to `on_step`, so that a test can look at the tables at each
moment, not only at the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from forces.errors import ResultCode
from forces.header import Ack, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.model import library
from forces.paths import FullData, PathData, Result, SparseData, TableRange

FEPO, FE_OBJECT, PHY, LPM, HOPS = 2, 1, 3, 10, 12
CEID, LAST_CEID, ALL_CES = (8,), (13,), (15,)
FE_STATE = (7,)
OPER_STATUS = (3,)
PORT_EVENT = (60, 1)


Reported = tuple[tuple[int, ...], bytes]


def u32(value: int) -> bytes:
    return struct.pack("!I", value)


@dataclass
class DictionaryFe:
    id: int
    name: str
    ports: tuple[int, ...]
    ces: tuple[int, ...]
    prefixes: dict[int, bytes] = field(default_factory=dict)
    hops: dict[int, bytes] = field(default_factory=dict)
    on_step: Callable[[int, int | None, bytes], None] = lambda class_id, row, before: None
    """(class, row, contents before); row None: the whole table."""
    refuse: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """(class, row) -> result codes, one for each time the row is written."""
    refuse_replace: bool = False
    contents_limit: int = 65_000
    """Octets of one QueryResponse's table; more is answered with CONTENTS_TOO_LONG."""
    mute: bool = False
    """Answers no Config any more."""
    received: list[Message] = field(default_factory=list)
    fenced: int = 0
    row_writes: int = 0

    def __post_init__(self) -> None:
        self.values: dict[tuple[int, int, tuple[int, ...]], bytes] = {
            (FEPO, 1, CEID): u32(self.ces[0]),
            (FEPO, 1, LAST_CEID): u32(0),
            (FEPO, 1, (14,)): b"\x02",
            (FE_OBJECT, 1, FE_STATE): b"\x01",
        }
        for port in self.ports:
            self.values[PHY, port, OPER_STATUS] = b"\x01"
        self.subscribed: set[int] = set()
        self.associated: set[int] = set()

    @property
    def master(self) -> int:
        return struct.unpack("!I", self.values[FEPO, 1, CEID])[0]

    def make_master(self, ce: int, last: int) -> None:
        self.values[FEPO, 1, CEID] = u32(ce)
        self.values[FEPO, 1, LAST_CEID] = u32(last)

    def table(self, class_id: int) -> dict[int, bytes]:
        return {LPM: self.prefixes, HOPS: self.hops}[class_id]

    def setup(self, ce: int) -> Message:
        kind = MessageType.ASSOCIATION_SETUP
        return Message(Header(kind, self.id, ce, 1, flags_for(kind)))

    def report(
        self, ce: int, class_id: int, instance: int, *events: tuple[tuple, bytes]
    ) -> Message:
        paths = tuple(PathData(ids, content=FullData(value)) for ids, value in events)
        select = LfbSelect(class_id, instance, (Operation(OperType.REPORT, paths),))
        kind = MessageType.EVENT_NOTIFICATION
        return Message(Header(kind, self.id, ce, 0, flags_for(kind)), (select,))

    def ha_events(self, ce: int, last: int, master: int) -> Message:
        return self.report(ce, FEPO, 1, ((61, 1), u32(last)), ((61, 2), u32(master)))

    def port_event(self, ce: int, port: int, up: bool) -> Message:
        self.values[PHY, port, OPER_STATUS] = b"\x01" if up else b"\x02"
        status = self.values[PHY, port, OPER_STATUS]
        return self.report(ce, PHY, port, (PORT_EVENT, status))

    def handle(self, message: Message) -> list[Message]:
        """Answers to one message of the CE that its header names."""
        self.received.append(message)
        if message.type is MessageType.QUERY:
            return [self._query(message)]
        if message.type is MessageType.CONFIG:
            return self._config(message)
        return []

    def _query(self, message: Message) -> Message:
        selects = []
        for select in message.lfbs:
            paths = tuple(
                self._get(select.class_id, select.instance_id, path)
                for operation in select.operations
                for path in operation.paths
            )
            operation = Operation(OperType.GET_RESPONSE, paths)
            selects.append(LfbSelect(select.class_id, select.instance_id, (operation,)))
        kind = MessageType.QUERY_RESPONSE
        return Message(message.header.reply(kind, flags_for(kind)), tuple(selects))

    def _get(self, class_id: int, instance: int, path: PathData) -> PathData:
        content: FullData | SparseData | Result
        if class_id in (LPM, HOPS) and path.ids == (1,):
            rows = self.table(class_id)
            if isinstance(path.selector, TableRange):
                first, last = path.selector.start, path.selector.end
                items = tuple((n, rows[n]) for n in sorted(rows) if first <= n <= last)
                size = sum(8 + len(row) for _, row in items)
                content = SparseData(items) if items else Result(ResultCode.EMPTY)
            else:
                data = b"".join(u32(n) + row for n, row in rows.items())
                size, content = len(data), FullData(data)
            if size > self.contents_limit:
                content = Result(ResultCode.CONTENTS_TOO_LONG)
        elif class_id == FEPO and path.ids == ALL_CES:
            content = FullData(self._all_ces())
        else:
            value = self.values.get((class_id, instance, path.ids))
            missing = Result(ResultCode.COMPONENT_DOES_NOT_EXIST)
            content = missing if value is None else FullData(value)
        return PathData(path.ids, content=content)

    def _all_ces(self) -> bytes:
        kind = library().cls("FEPO").component("AllCEs").type
        counters = {name: 0 for name in _statistics()}
        status = {ce: 2 if ce in self.associated else 0 for ce in self.ces}
        status[self.master] = 3
        return kind.pack(
            {
                n: {"CEID": ce, "Statistics": counters, "CEStatus": status[ce]}
                for n, ce in enumerate(self.ces)
            }
        )

    def _config(self, message: Message) -> list[Message]:
        if message.header.source != self.master:
            self.fenced += 1  # RFC 7121 section 3.2: dropped, and counted
            return []
        if self.mute:
            return []
        selects = []
        good = True
        ack = message.header.flags.ack
        for select in message.lfbs:
            operations = []
            for operation in select.operations:
                results = []
                for path in operation.paths:
                    code = self._apply(select.class_id, select.instance_id, operation.type, path)
                    good = good and code == 0
                    if code or ack is Ack.ALWAYS_ACK:
                        results.append(PathData(path.ids, content=Result(code)))
                answer = OperType(
                    {
                        OperType.SET: OperType.SET_RESPONSE,
                        OperType.SET_PROP: OperType.SET_PROP_RESPONSE,
                        OperType.DEL: OperType.DEL_RESPONSE,
                    }[operation.type]
                )
                if results:
                    operations.append(Operation(answer, tuple(results)))
            if operations:
                selects.append(LfbSelect(select.class_id, select.instance_id, tuple(operations)))
        wanted = {
            Ack.NO_ACK: False,
            Ack.SUCCESS_ACK: good,
            Ack.FAILURE_ACK: not good,
            Ack.ALWAYS_ACK: True,
        }[ack]
        kind = MessageType.CONFIG_RESPONSE
        header = message.header.reply(kind, flags_for(kind))
        return [Message(header, tuple(selects))] if wanted else []

    def _apply(self, class_id: int, instance: int, oper: OperType, path: PathData) -> int:
        if oper is OperType.SET_PROP:
            self.subscribed.add(instance)
            return 0
        if class_id not in (LPM, HOPS):
            assert isinstance(path.content, FullData)
            self.values[class_id, instance, path.ids] = path.content.value
            return 0
        rows = self.table(class_id)
        if path.ids == (1,):
            assert oper is OperType.SET
            assert isinstance(path.content, FullData)
            if self.refuse_replace:
                return ResultCode.NOT_SUPPORTED
            size = 16 if class_id == LPM else 24
            data = path.content.value
            new = {
                struct.unpack_from("!I", data, at)[0]: data[at + 4 : at + size]
                for at in range(0, len(data), size)
            }
            rows.clear()
            rows.update(new)
            self.row_writes += len(new)
            self.on_step(class_id, None, b"")
            return 0
        row = path.ids[1]
        codes = self.refuse.get((class_id, row))
        if codes:
            return codes.pop(0)
        before = rows.get(row, b"")
        if oper is OperType.DEL:
            if row not in rows:
                return ResultCode.NOT_FOUND
            del rows[row]
        else:
            assert isinstance(path.content, FullData)
            rows[row] = path.content.value
        self.row_writes += 1
        self.on_step(class_id, row, before)
        return 0


def _statistics() -> list[str]:
    kind = library().cls("FEPO").component("AllCEs").type.row.by_name("Statistics").type
    return [entry.name for entry in kind.fields]
