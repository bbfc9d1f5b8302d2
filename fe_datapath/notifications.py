"""EventNotifications of an FE (RFC 5810 section 7.8, RFC 5812 section 4.7.6)."""

from __future__ import annotations

from typing import Any

from fe_datapath.lfbs.instance import Instance
from forces.header import Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import FullData, PathData


def notification(own_id: int, ce: int, instance: Instance, event_name: str) -> Message:
    """The event with the present values of what it reports."""
    event = instance.cls.event(event_name)
    content = None
    if event.report_type is not None:
        values: dict[str, Any] = {
            field.name: instance.read(field.name) for field in event.report_type.fields
        }
        content = FullData(event.report_type.pack(values))
    report = Operation(OperType.REPORT, (PathData(event.path, content=content),))
    kind = MessageType.EVENT_NOTIFICATION
    header = Header(kind, own_id, ce, 0, flags_for(kind))
    return Message(header, (LfbSelect(instance.cls.id, instance.id, (report,)),))
