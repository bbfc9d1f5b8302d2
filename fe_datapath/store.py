"""The FE's LFB instances. Queries (`query`) and Configs (`edits`) find them here."""

from __future__ import annotations

from collections.abc import Iterable

from fe_datapath.lfbs.instance import Instance
from fe_datapath.plaintable import plain_tables
from forces.errors import ProtocolError, ResultCode
from forces.model import Library


class Store:
    def __init__(self, library: Library, instances: Iterable[Instance]) -> None:
        self.library = library
        self.instances = {(instance.cls.id, instance.id): instance for instance in instances}
        self.plain_tables = plain_tables(library)
        """(class, component) -> found out by `Edits` once; None: it is none."""

    def find(self, class_id: int, instance_id: int) -> Instance:
        """Raises ProtocolError: LFB_UNKNOWN for a class, LFB_INSTANCE_ID_NOT_FOUND."""
        found = self.instances.get((class_id, instance_id))
        if found is None:
            known = any(class_id == known for known, _ in self.instances)
            code = ResultCode.LFB_INSTANCE_ID_NOT_FOUND if known else ResultCode.LFB_UNKNOWN
            raise ProtocolError(code, f"no instance {instance_id} of LFB class {class_id}")
        return found
