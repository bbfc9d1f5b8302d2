"""Ext-CEReplica in messages (docs/ce-ce-sync.md): changes for a replica, what became of them, and
the event by which it says from where it wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ce.lfbs import component
from forces.errors import ProtocolError, ResultCode
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.model import library
from forces.paths import FullData, PathData, Result

LFB = "Ext-CEReplica"

Apply = Callable[[int, int, int, int, bytes], ResultCode]
"""FE, incarnation, term, generation, message -> what became of it."""

Learn = Callable[[int, Mapping[str, Any]], ResultCode]
"""Row and value of Destinations -> what became of it."""


def change_of(fe: int, incarnation: int, term: int, generation: int, octets: bytes) -> LfbSelect:
    """SET of a message that the FE gets too; without octets it says where the FE is."""
    change = component(LFB, "Changes", fe)
    value = {
        "Incarnation": incarnation,
        "Term": term,
        "Generation": generation,
        "Config": octets,
    }
    return change.select(OperType.SET, change.set(value))


def carry_out(message: Message, apply: Apply, learn: Learn) -> tuple[LfbSelect, ...]:
    """Each change by itself, in order; the answer has the shape of the request."""
    answers = []
    for select in message.lfbs:
        operations = []
        for operation in select.operations:
            paths = tuple(
                PathData(path.ids, content=Result(_change(select, operation, path, apply, learn)))
                for path in operation.paths
            )
            kind = {OperType.DEL: OperType.DEL_RESPONSE}.get(operation.type, OperType.SET_RESPONSE)
            operations.append(Operation(kind, paths))
        answers.append(LfbSelect(select.class_id, select.instance_id, tuple(operations)))
    return tuple(answers)


def _change(
    select: LfbSelect, operation: Operation, path: PathData, apply: Apply, learn: Learn
) -> ResultCode:
    changes, destinations = component(LFB, "Changes"), component(LFB, "Destinations")
    if select.class_id != changes.class_id:
        return ResultCode.LFB_UNKNOWN
    if operation.type is not OperType.SET:
        return ResultCode.NOT_SUPPORTED
    known = path.ids[:1] in (changes.ids, destinations.ids)
    if not known or len(path.ids) != 2 or path.children or path.selector:
        return ResultCode.INVALID_PATH
    if not isinstance(path.content, FullData):
        return ResultCode.INVALID_TLV
    try:
        if path.ids[:1] == destinations.ids:
            row = component(LFB, "Destinations", 0).unpack(path.content.value)
            return learn(path.ids[1], row)
        value = component(LFB, "Changes", 0).unpack(path.content.value)
    except ProtocolError as error:
        return error.code
    return apply(
        path.ids[1], value["Incarnation"], value["Term"], value["Generation"], value["Config"]
    )


def not_read(message: Message) -> tuple[LfbSelect, ...]:
    """The answer to a Query. There is nothing to read: what a replica has, its CE's local API
    shows."""
    code = Result(ResultCode.NOT_SUPPORTED)
    return tuple(
        LfbSelect(
            select.class_id,
            select.instance_id,
            tuple(
                Operation(
                    OperType.GET_RESPONSE,
                    tuple(PathData(path.ids, content=code) for path in operation.paths),
                )
                for operation in select.operations
            ),
        )
        for select in message.lfbs
    )


def wants(fe: int, incarnation: int, generation: int) -> LfbSelect:
    """Event ReplicaWants: this CE's replica has everything up to this generation."""
    event = library().cls(LFB).event("ReplicaWants")
    assert event.report_type is not None
    wanted = {"FEID": fe, "Incarnation": incarnation, "Generation": generation}
    content = FullData(event.report_type.pack({"Wanted": wanted}))
    return component(LFB, "Changes").select(OperType.REPORT, PathData(event.path, content=content))


def wanted_of(message: Message) -> tuple[int, int, int] | None:
    """FE, incarnation and generation of a ReplicaWants; None: it is none."""
    event = library().cls(LFB).event("ReplicaWants")
    assert event.report_type is not None
    for select in message.lfbs:
        for operation in select.operations:
            for path in operation.paths:
                if path.ids == event.path and isinstance(path.content, FullData):
                    try:
                        value = event.report_type.unpack(path.content.value)["Wanted"]
                    except ProtocolError:
                        return None
                    return value["FEID"], value["Incarnation"], value["Generation"]
    return None
