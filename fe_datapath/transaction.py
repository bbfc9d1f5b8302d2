"""The undo log of one Config: single changes of components and rows, and how to take them back.

Also what lets queries see committed values only while the kernel is still being programmed.
"""

from __future__ import annotations

from typing import Any

from fe_datapath.lfbs.instance import MISSING, Instance
from fe_datapath.lfbs.plan import Plan

Place = tuple[Instance, str]
Change = tuple[Any, Any, int]
"""Value before, value now, number of the edit that did it."""


class Transaction:
    """Changes in the order made. `edit` is the number of the edit under way."""

    def __init__(self) -> None:
        self.edit = 0
        self._log: list[tuple[Instance, str, int | None, Any, Any]] = []
        self._touched: dict[Place, dict[int | None, tuple[Any, int]]] = {}
        """Value before the Config, and the last edit that touched it."""

    def __len__(self) -> int:
        return len(self._log)

    def put(self, instance: Instance, name: str, index: int | None, new: Any) -> None:
        """Raises ProtocolError, and then nothing has changed."""
        old = instance.read(name) if index is None else instance.values[name].get(index, MISSING)
        if old == new:
            return
        instance.admit(name, index, old, new)
        instance.put(name, index, old, new)
        self._log.append((instance, name, index, old, new))
        place = self._touched.get((instance, name))
        if place is None:
            place = self._touched[instance, name] = {}
        before = place.get(index)
        place[index] = (old if before is None else before[0], self.edit)

    def mark(self) -> int:
        """A place in the log to undo back to."""
        return len(self._log)

    def undo(self, mark: int = 0) -> None:
        """Take back what was done since `mark`, the last first."""
        while len(self._log) > mark:
            instance, name, index, old, new = self._log.pop()
            instance.put(name, index, new, old)

    def since(self, mark: int) -> dict[Instance, dict[str, dict[int | None, Change]]]:
        """The single changes after `mark`."""
        found: dict[Instance, dict[str, dict[int | None, Change]]] = {}
        for instance, name, index, old, new in self._log[mark:]:
            rows = found.setdefault(instance, {}).setdefault(name, {})
            rows[index] = (old, new, self.edit)
        return found

    def touched(self, instance: Instance) -> set[str]:
        """Names of this instance's components that were edited."""
        return {name for other, name in self._touched if other is instance}

    def before(self, instance: Instance, name: str) -> Any:
        """The component's value as it was before this Config."""
        value = instance.read(name)
        place = self._touched.get((instance, name))
        if place is None:
            return value
        if None in place:
            return place[None][0]
        value = dict(value)
        for index, (old, _) in place.items():
            if old is MISSING:
                value.pop(index, None)
            else:
                value[index] = old
        return value

    def changes(self) -> dict[Instance, dict[str, dict[int | None, Change]]]:
        """What differs from before, by instance."""
        found: dict[Instance, dict[str, dict[int | None, Change]]] = {}
        for (instance, name), place in self._touched.items():
            whole = None in place
            now = instance.read(name) if whole else instance.values[name]
            rows: dict[int | None, Change] = {}
            for index, (old, edit) in place.items():
                new = now if whole else now.get(index, MISSING)
                if old != new:
                    rows[index] = (old, new, edit)
            if rows:
                found.setdefault(instance, {})[name] = rows
        return found

    def plan(self) -> Plan:
        """What the datapath must do so that it follows."""
        plan = Plan()
        for instance, changes in self.changes().items():
            instance.plan(changes, plan)
        return plan

    def take_back(self, edits: set[int] | None = None) -> Plan:
        """Undo everything, or the places that these edits touched last, and plan the same for
        the datapath."""
        inverse: dict[Instance, dict[str, dict[int | None, Change]]] = {}
        for instance, changes in self.changes().items():
            for name, rows in changes.items():
                back = {
                    index: (new, old, edit)
                    for index, (old, new, edit) in rows.items()
                    if edits is None or edit in edits
                }
                if back:
                    inverse.setdefault(instance, {})[name] = back
                    _restore(instance, name, back)
        plan = Plan()
        for instance, changes_back in inverse.items():
            instance.plan(changes_back, plan)
        return plan


def _restore(instance: Instance, name: str, back: dict[int | None, Change]) -> None:
    """Rows go out before rows come in: two of them may have exchanged what must be unique."""
    for index, (now, old, _) in back.items():
        if index is None:
            instance.put(name, None, now, old)
        elif now is not MISSING:
            instance.put(name, index, now, MISSING)
    for index, (_, old, _) in back.items():
        if index is not None and old is not MISSING:
            instance.put(name, index, MISSING, old)
