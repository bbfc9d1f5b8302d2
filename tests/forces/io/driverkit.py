"""A scripted core and a clock by hand, for tests of the driver and the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from forces.channels import Channel
from forces.effects import Effect
from forces.events import Event
from forces.header import Ack, Flags, Header, MessageType
from forces.io.driver import Driver
from forces.io.journal import JournalWriter
from forces.io.tml import TmlConfig, TmlUser
from forces.messages import PRIORITY, LfbSelect, Message, Operation, OperType
from forces.paths import PathData
from tests.forces.io.tmlkit import CE, FE


class ScriptedCore:
    """Keeps the events, answers what the script says."""

    def __init__(self, script: Callable[[Event], list[Effect]] = lambda _: []) -> None:
        self.script = script
        self.events: list[Event] = []
        self.times: list[int] = []
        self.depth = 0

    def handle(self, event: Event, now: int) -> list[Effect]:
        assert self.depth == 0, "the core was re-entered"
        self.depth += 1
        self.events.append(event)
        self.times.append(now)
        effects = self.script(event)
        self.depth -= 1
        return effects

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class FakeTml:
    """A transport that keeps what it is told, and takes messages while `open`."""

    name = "fake"

    def __init__(self) -> None:
        self.config = TmlConfig("127.0.0.1", {CE: "127.0.0.2"}, listen=False)
        self.calls: list[tuple[Any, ...]] = []
        self.sent: list[tuple[int, Channel, bytes]] = []
        self.open = True
        self.user: TmlUser
        self.on_send: Callable[[], None] = lambda: None

    async def start(self, user: TmlUser) -> None:
        self.user = user

    def connect(self, peer: int) -> None:
        self.calls.append(("connect", peer))

    def disconnect(self, peer: int, abort: bool) -> None:
        self.calls.append(("disconnect", peer, abort))

    def send(self, peer: int, channel: Channel, data: bytes) -> bool:
        self.on_send()
        if self.open:
            self.sent.append((peer, channel, data))
        return self.open

    def prefer(self, peer: int | None) -> None:
        self.calls.append(("prefer", peer))

    async def close(self) -> None:
        self.calls.append(("close",))


class Rig:
    """A driver of an FE with everything around it replaced."""

    def __init__(
        self,
        script: Callable[[Event], list[Effect]] = lambda _: [],
        journal: Path | None = None,
        **options: Any,
    ) -> None:
        self.core = ScriptedCore(script)
        self.tml = FakeTml()
        self.exits: list[int] = []
        self.driver = Driver(
            self.core,
            self.tml,
            own_id=FE,
            journal=JournalWriter(journal, "fe1"),
            on_fatal=self.exits.append,
            **options,
        )


def heartbeat(source: int = CE, destination: int = FE, priority: int = 1) -> Message:
    return Message(Header(MessageType.HEARTBEAT, source, destination, 0, Flags(priority=priority)))


def query(correlator: int = 1, source: int = FE, destination: int = CE) -> Message:
    kind = MessageType.QUERY
    flags = Flags(ack=Ack.NO_ACK, priority=PRIORITY[kind])
    operation = Operation(OperType.GET, (PathData((8,)),))
    return Message(
        Header(kind, source, destination, correlator, flags), (LfbSelect(2, 1, (operation,)),)
    )
