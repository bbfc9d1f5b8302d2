"""What all sessions of a CE share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ce.config import CeConfig
from ce.ne_state import NeState
from ce.work import Work
from forces.effects import Effect
from forces.messages import Message

if TYPE_CHECKING:
    from ce.replication import Replication


@dataclass(frozen=True, slots=True)
class Context:
    config: CeConfig
    ne: NeState
    out: list[Effect]
    names: Mapping[int, str]
    """CE and FE IDs -> node names, for the journal."""
    ports_changed: Callable[[int], None]
    """Called with `now` after an FE's ports told something new."""
    beacon_started: Callable[[int], None]
    redirected: Callable[[int, Message], None]
    """Called with the FE and its PacketRedirect."""
    work: Work
    """What is too much for one turn."""
    fr: Replication | None = None
    """None: the CEs do not synchronise."""
