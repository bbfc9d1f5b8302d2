"""What a transport holds of one peer: its links, one for each channel, and where they are in their
common life (`forces.io.grouping` leads it).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum

from forces.channels import Channel
from forces.events import LossCause


class Link(ABC):
    """One channel to one peer, as a back end has it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.group: Group | None = None

    @abstractmethod
    def send(self, data: bytes) -> bool:
        """False: no room. Raises OSError when the link is dead."""

    @abstractmethod
    def close(self, abort: bool) -> None:
        """Silent and final; may be called more than once."""


class Stage(Enum):
    """Where a group is in its life."""

    DIALING = "dialing"
    ACCEPTING = "accepting"
    UP = "up"
    ENDING = "ending"
    """A channel ended; it is reported at the end of this turn of the loop."""
    CLOSED = "closed"


@dataclass(slots=True, eq=False)
class Group:
    """The channels to one peer."""

    peer: int
    stage: Stage
    links: dict[Channel, Link] = field(default_factory=dict)
    was: Stage = Stage.CLOSED
    """The stage before ENDING."""
    cause: LossCause = LossCause.LOCAL
    detail: str = ""
    held: list[tuple[Channel, int, bytes]] = field(default_factory=list)
    """What came before all three channels were there."""
    held_octets: int = 0
    timer: asyncio.TimerHandle | None = None
    blocked: bool = False
    """A `send` answered False and `writable` is due."""
