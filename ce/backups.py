"""Whether an FE of ours has a backup CE (RFC 7121 section 1.1: "at least one backup CE online").

The FE's AllCEs says who stands by; the master reads it with every role check. A master in hot
standby whose FE has nobody else says so, and again when it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ce.discovery import Picture

HOT_STANDBY = 2


class Backups:
    """Of one FE."""

    def __init__(self, own_id: int, journal: Callable[..., None]) -> None:
        self._own_id = own_id
        self._journal = journal
        self._said = True

    def look(self, picture: Picture, names: Callable[[int], Any]) -> None:
        """After a role check."""
        if picture.ha_mode != HOT_STANDBY or picture.master != self._own_id:
            return
        others = sorted(picture.associated_ces - {self._own_id})
        if bool(others) is self._said:
            return
        self._said = bool(others)
        if others:
            self._journal("backup_online", ces=[names(ce) for ce in others])
        else:
            self._journal("no_backup")
