"""Instances of classes that come as an XML file alone (RFC 5812): held, checked, queried, told of,
and bound to nothing in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fe_datapath.lfbs.instance import MISSING, Changes, Instance
from forces.model import EventDef, Library, library


class Unbound(Instance):
    event_filters = frozenset({"threshold", "eventHysteresis", "eventCount", "eventInterval"})

    def begin_anew(self) -> None:
        """As after the FE's start."""
        self.values = {c.name: c.initial() for c in self.cls.components.values()}

    def told(self, changes: Changes, now: int) -> Iterator[str]:
        """Names of the events that a Config has brought about. Only those whose target and reports
        are whole components: one inside a row would have to name the row."""
        for event in self.cls.events.values():
            if not _is_plain(event):
                continue
            changed = changes.get(self.cls.components[int(event.target[0])].name, {})
            if None in changed:
                before, value, _ = changed[None]
                old, new = (None if v is MISSING else v for v in (before, value))
                if self.has_due(event, old, new, now):
                    yield event.name


def _is_plain(event: EventDef) -> bool:
    return all(len(path) == 1 for path in (event.target, *event.reports))


def hosted(paths: Iterable[str]) -> tuple[Library, list[Unbound]]:
    """The shipped library with these documents, and an instance of each class that they add.
    Raises OSError and ModelError."""
    documents = tuple(paths)
    shipped = library()
    if not documents:
        return shipped, []
    extended = shipped.extended(*documents)
    added = [cls for cls in extended.classes if shipped.find(cls.id) is None]
    return extended, [Unbound(cls, 1) for cls in added]
