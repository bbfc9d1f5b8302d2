"""When a notification of an event is due: conditions, thresholds and filters.

RFC 5812 sections 4.7.6.2 and 4.8.5, RFC 7408 section 2.4. One `EventFilter` belongs to one event,
one set of subscripts and one set of property values. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forces.model.lfbclass import EventCondition

_MS = 1_000_000


class EventFilter:
    """Sees every value of an event's target and says which ones the CE is told about."""

    def __init__(
        self, condition: EventCondition, properties: Mapping[str, int], value: Any = None
    ) -> None:
        """`properties` as in eventElementProperties, absent ones are 0. `value`: what the target
        has now, None if it does not exist; nothing is due for that."""
        self.condition = condition
        self.threshold = properties.get("threshold", 0)
        self.hysteresis = properties.get("eventHysteresis", 0)
        self.count = properties.get("eventCount", 0)
        self.interval_ns = properties.get("eventInterval", 0) * _MS
        self._value = value
        self._reported = value
        """The value of the last notification."""
        self._armed = True
        """Has been untrue by the hysteresis since the last occurrence."""
        if condition.needs_threshold and _comparable(value):
            self._armed = not self._holds(value)
        self._suppressed = 0
        self._notified_ns: int | None = None

    def update(self, value: Any, now: int) -> bool:
        """The target has this value now (None: it is gone). True: send a notification."""
        before, self._value = self._value, value
        if not self._occurs(before, value) or not self._passes(now):
            return False
        self._reported = value
        self._notified_ns = now
        self._suppressed = 0
        return True

    def _occurs(self, before: Any, value: Any) -> bool:
        """The condition has come about, hysteresis considered."""
        if self.condition is EventCondition.CREATED:
            return before is None and value is not None
        if self.condition is EventCondition.DELETED:
            return before is not None and value is None
        if value is None or (self.condition.needs_threshold and not _comparable(value)):
            return False
        if self.condition is EventCondition.CHANGED:
            if self.hysteresis and _numeric(value) and _numeric(self._reported):
                return bool(abs(value - self._reported) >= self.hysteresis)
            return bool(before != value)
        if self._holds(value):
            occurs, self._armed = self._armed, False
            return occurs
        if self.condition is EventCondition.BECOMES_EQUAL_TO:
            if not self._armed and abs(value - self.threshold) >= self.hysteresis:
                self._armed = True
                # RFC 7408 section 2.4: with a hysteresis, leaving the value is told once too
                return self.hysteresis > 0
        elif self.condition is EventCondition.GREATER_THAN:
            self._armed = self._armed or value <= self.threshold - self.hysteresis
        else:
            self._armed = self._armed or value >= self.threshold + self.hysteresis
        return False

    def _holds(self, value: Any) -> bool:
        if self.condition is EventCondition.GREATER_THAN:
            return bool(value > self.threshold)
        if self.condition is EventCondition.LESS_THAN:
            return bool(value < self.threshold)
        return bool(value == self.threshold)

    def _passes(self, now: int) -> bool:
        """Count and interval filters (section 4.8.5.1): without any, everything passes; with
        some, it is enough to pass one, and passing one resets all."""
        if self._notified_ns is None or not (self.count or self.interval_ns):
            return True
        if self.interval_ns and now - self._notified_ns > self.interval_ns:
            return True
        self._suppressed += 1
        return bool(self.count and self._suppressed > self.count)


def _comparable(value: Any) -> bool:
    """A number, or a boolean as 0 or 1: what a threshold can be compared with."""
    return isinstance(value, (int, float))


def _numeric(value: Any) -> bool:
    return _comparable(value) and not isinstance(value, bool)
