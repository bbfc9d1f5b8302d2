"""The undo log of one Config: single changes of components and rows, and how to take them back.

Also what lets queries see committed values only while the kernel is still being programmed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from operator import attrgetter
from typing import Any

from fe_datapath.lfbs.instance import MISSING, Free, Instance
from fe_datapath.lfbs.many import Many
from fe_datapath.lfbs.packed import PackedRows
from fe_datapath.lfbs.plan import Plan

_PLANNED = attrgetter("planned")
Place = tuple[Instance, str]
Change = tuple[Any, Any, int]
"""Value before, value now, number of the edit that did it."""
ChangesByInstance = dict[Instance, dict[str, dict[int | None, Change]]]


class OneByOne(Exception):
    """A row is touched again that many were changed with: the Config has to be carried out row by
    row from its beginning."""


class Transaction:
    """Changes in the order made. `edit` is the number of the edit under way."""

    def __init__(self) -> None:
        self.edit = 0
        self._log: list[
            Many | tuple[Instance, str, int | None, Any, Any, tuple[Any, int] | None]
        ] = []
        """Instance, component, row, value before and after, and what `_touched` had there."""
        self._touched: dict[Place, dict[int | None, tuple[Any, int]]] = {}
        """Value before the Config, and the last edit that touched it."""
        self._changes: ChangesByInstance | None = None
        """What `changes` has found, until the next change."""
        self._many: dict[Place, set[int]] = {}
        """Rows that were changed many at a time: each once, and not in `_touched`."""

    def __len__(self) -> int:
        return len(self._log)

    def put(self, instance: Instance, name: str, index: int | None, new: Any) -> None:
        """Raises ProtocolError, and then nothing has changed."""
        if self._many and index in self._many.get((instance, name), ()):
            raise OneByOne
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

    def put_many(self, instance: Instance, name: str, make: Callable[[Free], Many | None]) -> bool:
        """Change many rows at once; False, and nothing has changed: they have to go one by one."""
        place = instance, name
        rows = self._many.get(place, set())
        touched = self._touched.get(place, {}).keys()

        def free(indexes: list[int]) -> bool:
            # An empty one would be asked for each index all the same.
            return not (rows and not rows.isdisjoint(indexes)) and not (
                touched and not touched.isdisjoint(indexes)
            )

        made = make(free)
        if made is None:
            return False
        self._log.append(made)
        rows.update(made.indexes)
        self._many[place] = rows
        return True

    def mark(self) -> int:
        """A place in the log to undo back to."""
        return len(self._log)

    def undo(self, mark: int = 0) -> None:
        """Take back what was done since `mark`, the last first."""
        while len(self._log) > mark:
            self._changes = None
            entry = self._log.pop()
            if isinstance(entry, Many):
                entry.undo()
                self._many[entry.table, entry.table.table].difference_update(entry.indexes)
                continue
            instance, name, index, old, new, before = entry
            instance.put(name, index, new, old)
            place = self._touched[instance, name]
            if before is None:
                del place[index]
            else:
                place[index] = before

    def backwards(self) -> Iterator[tuple[Instance, str, int | None, Any]]:
        """Every single change, the last first, with the value before it."""
        for entry in reversed(self._log):
            if isinstance(entry, Many):
                for index, old, _, _ in reversed(list(entry.singles())):
                    yield entry.table, entry.table.table, index, old
            else:
                yield entry[0], entry[1], entry[2], entry[3]

    def since(self, mark: int) -> ChangesByInstance:
        """The single changes after `mark`; not those of many rows, with which nothing is wrong."""
        found: ChangesByInstance = {}
        for entry in self._log[mark:]:
            if isinstance(entry, Many):
                continue
            instance, name, index, old, new, _ = entry
            rows = found.setdefault(instance, {}).setdefault(name, {})
            rows[index] = (old, new, self.edit)
        return found

    def touched(self, instance: Instance) -> set[str]:
        """Names of this instance's components that were edited."""
        places = (*self._touched, *self._many)
        return {name for other, name in places if other is instance}

    def before(self, instance: Instance, name: str) -> Any:
        """The component's value as it was before this Config."""
        value = instance.read(name)
        place = self._touched.get((instance, name))
        many = self._many.get((instance, name))
        if place is None and not many:
            return value
        place = place or {}
        if None in place:
            return place[None][0]
        value = value.copy()
        if type(value) is PackedRows:
            self._restore(value, instance)
        for index, (old, _) in place.items():
            if old is MISSING:
                value.pop(index, None)
            else:
                value[index] = old
        return value

    def _restore(self, rows: PackedRows, *of: Instance) -> None:
        for entry in self._log:
            if isinstance(entry, Many) and entry.table in of:
                for index, old in zip(entry.indexes, entry.old, strict=True):
                    if old is None:
                        rows.octets.pop(index, None)
                    else:
                        rows.octets[index] = old

    def changes(self, many: bool = False) -> ChangesByInstance:
        """What differs from before, by instance. Not to be changed: it is kept. `many`: also the
        rows that were changed many at a time."""
        if self._changes is not None and not many:
            return self._changes
        found: ChangesByInstance = {}
        for entry in self._log if many else ():
            if isinstance(entry, Many):
                rows = found.setdefault(entry.table, {}).setdefault(entry.table.table, {})
                for index, old, new, edit in entry.singles():
                    if old != new:
                        rows[index] = (old, new, edit)
        for (instance, name), place in self._touched.items():
            whole = None in place
            now = instance.read(name) if whole else instance.values[name]
            differing: dict[int | None, Change] = {}
            for row, (old, edit) in place.items():
                new = now if whole else now.get(row, MISSING)
                if old != new:
                    differing[row] = (old, new, edit)
            if differing:
                found.setdefault(instance, {}).setdefault(name, {}).update(differing)
        if not many:
            self._changes = found
        return found

    def plan(self) -> Plan:
        """What the datapath must do so that it follows."""
        plan = plan_for(self.changes())
        for entry in self._log:
            if isinstance(entry, Many):
                entry.plan(plan)
        return plan


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
    actual = now.changes(many=True)
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
