"""The undo log of one Config: single changes of components and rows, and how to take them back.

Also what lets queries see committed values only while the kernel is still being programmed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from operator import attrgetter
from typing import Any

from fe_datapath.lfbs.instance import MISSING, Instance
from fe_datapath.lfbs.plan import Plan

_PLANNED = attrgetter("planned")
Place = tuple[Instance, str]
Change = tuple[Any, Any, int]
"""Value before, value now, number of the edit that did it."""
ChangesByInstance = dict[Instance, dict[str, dict[int | None, Change]]]


class Transaction:
    """Changes in the order made. `edit` is the number of the edit under way."""

    def __init__(self) -> None:
        self.edit = 0
        self._log: list[tuple[Instance, str, int | None, Any, Any, tuple[Any, int] | None]] = []
        """Instance, component, row, value before and after, and what `_touched` had there."""
        self._touched: dict[Place, dict[int | None, tuple[Any, int]]] = {}
        """Value before the Config, and the last edit that touched it."""
        self._changes: ChangesByInstance | None = None
        """What `changes` has found, until the next change."""

    def __len__(self) -> int:
        return len(self._log)

    def put(self, instance: Instance, name: str, index: int | None, new: Any) -> None:
        """Raises ProtocolError, and then nothing has changed."""
        old = instance.read(name) if index is None else instance.values[name].get(index, MISSING)
        if old == new:
            return
        instance.admit(name, index, old, new)
        instance.put(name, index, old, new)
        place = self._touched.get((instance, name))
        if place is None:
            place = self._touched[instance, name] = {}
        before = place.get(index)
        self._changes = None
        self._log.append((instance, name, index, old, new, before))
        place[index] = (old if before is None else before[0], self.edit)

    def mark(self) -> int:
        """A place in the log to undo back to."""
        return len(self._log)

    def undo(self, mark: int = 0) -> None:
        """Take back what was done since `mark`, the last first."""
        while len(self._log) > mark:
            self._changes = None
            instance, name, index, old, new, before = self._log.pop()
            instance.put(name, index, new, old)
            place = self._touched[instance, name]
            if before is None:
                del place[index]
            else:
                place[index] = before

    def backwards(self) -> Iterator[tuple[Instance, str, int | None, Any]]:
        """Every single change, the last first, with the value before it."""
        for instance, name, index, old, *_ in reversed(self._log):
            yield instance, name, index, old

    def since(self, mark: int) -> ChangesByInstance:
        """The single changes after `mark`."""
        found: ChangesByInstance = {}
        for instance, name, index, old, new, _ in self._log[mark:]:
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

    def changes(self) -> ChangesByInstance:
        """What differs from before, by instance. Not to be changed: it is kept."""
        if self._changes is not None:
            return self._changes
        found: ChangesByInstance = {}
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
        self._changes = found
        return found

    def plan(self) -> Plan:
        """What the datapath must do so that it follows."""
        return plan_for(self.changes())


def plan_for(changes: Mapping[Instance, Mapping[str, Mapping[int | None, Change]]]) -> Plan:
    """What the datapath must do for these changes of tables, which have been made."""
    plan = Plan()
    for instance in sorted(changes, key=_PLANNED) if len(changes) > 1 else changes:
        instance.plan(changes[instance], plan)
    return plan


def instead(
    attempted: ChangesByInstance, now: Transaction, refused: Collection[int]
) -> ChangesByInstance:
    """The way from the tables as one transaction had them (`attempted`, taken back since) to the
    tables as they are now, after another one from the same beginning. `refused`: edits of the
    first that the datapath did not take, so that an equal value of the second is still to be
    made. Edit -1: putting back what was there before both."""
    actual = now.changes()
    way: ChangesByInstance = {}
    for instance in {**attempted, **actual}:
        tried, made = attempted.get(instance, {}), actual.get(instance, {})
        for name in {**tried, **made}:
            before, after = tried.get(name, {}), made.get(name, {})
            rows: dict[int | None, Change] = {}
            for index in {**before, **after}:
                old = before[index][1] if index in before else after[index][0]
                new, edit = after[index][1:] if index in after else (before[index][0], -1)
                if old == new and index in before and before[index][2] in refused:
                    old = before[index][0]
                if old != new:
                    rows[index] = (old, new, edit)
            if rows:
                way.setdefault(instance, {})[name] = rows
    return way
