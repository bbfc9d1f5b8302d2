"""An LFB instance: the values of its components, and what a family may add to that.

The store reads and edits instances through these few methods and knows no class. Rows and structs
are never changed in place: an edit puts a new one, so that an undo log need only keep the old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from fe_datapath.lfbs.plan import Plan
from forces.errors import ProtocolError, ResultCode
from forces.model import EventCondition, EventDef, EventFilter, LfbClass
from forces.runs import PathRun

if TYPE_CHECKING:
    from fe_datapath.lfbs.many import Many


class Missing(Enum):
    """The value of a row that is not there."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

Changes = Mapping[str, Mapping[int | None, tuple[Any, Any, int]]]
"""Component name -> row index (None: a component that is no table) -> (value before, value now,
number of the edit that did it)."""


EventProperties = Mapping[str, int]
"""eventHysteresis, eventCount and eventInterval (ms) by name, where they are not 0."""
EventState = tuple[bool, EventProperties]

Free = Callable[[list[int]], bool]
"""Whether the Config under way has touched none of these rows yet."""


class Instance:
    """Holds its values itself. A family overrides what comes from elsewhere."""

    event_filters: frozenset[str] = frozenset()
    """Properties by which a CE can thin out this instance's events (RFC 5812 section 4.8.5.1)."""
    fixed: frozenset[str] = frozenset()
    """Components that the class lets a CE write, but this FE does not."""
    unsupported: frozenset[str] = frozenset()
    """Optional components that this FE does not have."""
    planned = 0
    """Order in which instances plan: of two that ask for the same change, the first one's edit is
    named if it fails."""

    def __init__(self, cls: LfbClass, instance_id: int) -> None:
        self.cls = cls
        self.id = instance_id
        self.values: dict[str, Any] = cls.initial()
        self.registered: set[int] = set()
        """Event IDs that a CE has subscribed to (RFC 5812 section 4.8.5)."""
        self.filters: dict[int, EventProperties] = {}
        """Event ID -> what a CE has set beside the subscription."""
        self._filtering: dict[int, EventFilter] = {}

    def read(self, name: str) -> Any:
        """The component's present value. Raises ProtocolError for what every class has by
        definition and no instance keeps: the LFB's properties (RFC 7408 section 2.5)."""
        try:
            return self.values[name]
        except KeyError:
            raise ProtocolError(ResultCode.NOT_SUPPORTED, f"no {name} here") from None

    def has_due(self, event: EventDef, before: Any, value: Any, now: int) -> bool:
        """Whether the CEs are told that the event's target went from one value to the other."""
        if event.id not in self.registered:
            return False
        properties = self.filters.get(event.id)
        if not properties and event.condition is EventCondition.CHANGED:
            return bool(before != value)
        if event.id not in self._filtering:
            self._filtering[event.id] = EventFilter(event.condition, properties or {}, before)
        return self._filtering[event.id].update(value, now)

    def event_state(self, event: int) -> EventState:
        """The subscription, and the filters."""
        return event in self.registered, self.filters.get(event, {})

    def set_event_state(self, event: int, state: EventState) -> None:
        """Counts and intervals begin anew."""
        on, filters = state
        (self.registered.add if on else self.registered.discard)(event)
        self.filters.pop(event, None)
        self._filtering.pop(event, None)
        if filters:
            self.filters[event] = filters

    def forget_events(self) -> None:
        for kept in (self.registered, self.filters, self._filtering):
            kept.clear()

    def was_read(self, name: str) -> None:
        """A CE has read a read-reset component."""

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        """Raise ProtocolError if this one change must not be. The types are checked already."""

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        """Make the change, also to take one back. `old` is what is there now."""
        if index is None:
            self.values[name] = new
        elif new is MISSING:
            self.values[name].pop(index, None)
        else:
            self.values[name][index] = new

    def set_many(self, name: str, run: PathRun, edit: int, free: Free) -> Many | None:
        """Set the rows of a run at once, the first one being edit number `edit`. None, and nothing
        has changed: it cannot be done so, or something is wrong with one of them."""
        return None

    def delete_many(
        self, name: str, indexes: list[int], edit: int, one_edit: bool, free: Free
    ) -> Many | None:
        """Likewise. `one_edit`: all of them are one edit."""
        return None

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        """Look at changes together (all of an all-or-none Config, else those of one edit): the
        first edit that leaves the FE in a state that must not be, and why."""
        return None

    def plan(self, changes: Changes, plan: Plan) -> None:
        """Add to the plan what the datapath has to do for these changes."""


ChangesByInstance = Mapping[Instance, Changes]


def refuse(code: ResultCode, reason: str) -> ProtocolError:
    """For `raise refuse(...)` in `admit`."""
    return ProtocolError(code, reason)
