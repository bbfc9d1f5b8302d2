"""Glue between a core and the world: one event in, its effects carried out, in order.

DESIGN section 5. The driver decides nothing of the protocol: it decodes and checks what comes,
keeps timers, queues what the transport will not take yet, and runs datapath programs one after
the other. The core is never re-entered: what happens while it handles an event waits its turn.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import struct
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from forces.channels import CHANNEL_OF, Channel
from forces.effects import (
    CancelTimer,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    FollowPort,
    InjectPacket,
    Journal,
    Program,
    Send,
    SetTimer,
)
from forces.errors import ForcesError, ProtocolError, UsageError
from forces.events import (
    BadMessage,
    Command,
    ConnectFailed,
    Event,
    LossCause,
    MessageReceived,
    PeerLost,
    PeerUp,
    TimerFired,
)
from forces.io.journal import JournalWriter
from forces.io.outbox import OUTBOX_LIMIT, Outbox
from forces.io.programs import ProgramQueue, ProgramRunner
from forces.io.receiving import read_message
from forces.io.tml import Tml
from forces.wire import encode

log = logging.getLogger(__name__)

EXIT_SOFTWARE = 70
"""EX_SOFTWARE of sysexits.h: a bug of ours. The process ends at once rather than go on wrong."""
COMMAND_TIMEOUT_S = 5.0
_OF_A_PEER = (PeerUp, PeerLost, ConnectFailed, MessageReceived, BadMessage)


PacketDevice = Callable[[InjectPacket | FollowPort], None]
"""Carries out what is to be done with packets; never waits, and never raises."""


class Core(Protocol):
    """A `start(now) -> list[Effect]` is called once the transport is up, if the core has one."""

    def handle(self, event: Event, now: int) -> list[Effect]: ...


class Driver:
    """A `TmlUser` for one core."""

    def __init__(
        self,
        core: Core,
        tml: Tml,
        *,
        own_id: int,
        journal: JournalWriter,
        program: ProgramRunner | None = None,
        packets: PacketDevice | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        strict: bool = True,
        preferred: Callable[[], int | None] = lambda: None,
        outbox_limit: int = OUTBOX_LIMIT,
        on_fatal: Callable[[int], None] = os._exit,
    ) -> None:
        self.core = core
        self.tml = tml
        self.own_id = own_id
        self.journal = journal
        self.counters: Counter[str] = Counter()
        self.failed = False
        self._clock = clock
        self._strict = strict
        self._preferred = preferred
        """Whose messages go first: an FE's master (RFC 6984 section 4.3); asked after events."""
        self._first: int | None = None
        self._outbox_limit = outbox_limit
        self._on_fatal = on_fatal
        self._events: deque[Event] = deque()
        self._busy = False
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._outboxes: dict[int, Outbox] = {}
        self._packets = packets
        self._programs = ProgramQueue(program, self.inject, self._fatal)
        self._tokens = itertools.count(1)
        self._commands: dict[int, asyncio.Future[Deliver]] = {}
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        """Open the transport, then let the core begin. Raises OSError with a clear text."""
        self._loop = asyncio.get_running_loop()
        await self.tml.start(self)
        now = self._clock()
        self.journal.write("start", {"pid": os.getpid(), "tml": self.tml.name}, now)
        begin: Callable[[int], list[Effect]] | None = getattr(self.core, "start", None)
        if begin is not None:
            self._guarded(lambda: self._carry_out_all(begin(now), now))

    async def close(self) -> None:
        """Orderly stop: no more timers and events, the transport says goodbye."""
        self.failed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._programs.close()
        for future in self._commands.values():
            future.cancel()
        await self.tml.close()
        self.journal.write("stop", {"pid": os.getpid()}, self._clock())
        self.journal.close()

    # Events

    def inject(self, event: Event) -> None:
        """Handle an event; at once, or after the one that is being handled."""
        self._events.append(event)
        if not self._busy:
            self._guarded(lambda: None)

    async def command(
        self, name: str, arguments: Mapping[str, Any], timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Deliver:
        """Ask the core. Raises TimeoutError."""
        token = next(self._tokens)
        future = self._commands[token] = asyncio.get_running_loop().create_future()
        try:
            self.inject(Command(name, arguments, token))
            return await asyncio.wait_for(future, timeout_s)
        finally:
            del self._commands[token]

    def peer_up(self, peer: int) -> None:
        self._outboxes.pop(peer, None)
        self.inject(PeerUp(peer))

    def peer_lost(self, peer: int, cause: LossCause, detail: str) -> None:
        self._outboxes.pop(peer, None)
        self.inject(PeerLost(peer, cause, detail))

    def connect_failed(self, peer: int, cause: LossCause, detail: str) -> None:
        self.inject(ConnectFailed(peer, cause, detail))

    def received(self, peer: int, channel: Channel, ppid: int, data: bytes) -> None:
        try:
            message = read_message(data, channel, ppid, peer, self.own_id, self._strict)
        except ProtocolError as error:
            self.counters["bad_messages"] += 1
            self.inject(BadMessage(peer, channel, len(data), error))
        else:
            self.inject(MessageReceived(peer, channel, message, len(data)))

    def writable(self, peer: int) -> None:
        outbox = self._outboxes.get(peer)
        if outbox is not None and outbox.drain(lambda ch, data: self.tml.send(peer, ch, data)):
            self._outboxes.pop(peer, None)

    # One event after the other

    def _guarded(self, action: Callable[[], None]) -> None:
        if self.failed:
            return
        self._busy = True
        try:
            action()
            self._run()
        except Exception:
            self._fatal("handling an event")
        finally:
            self._busy = False

    def _run(self) -> None:
        while self._events and not self.failed:
            event = self._events.popleft()
            now = self._clock()
            self._carry_out_all(self.core.handle(event, now), now)

    def _fatal(self, what: str) -> None:
        text = traceback.format_exc()
        log.critical("internal error while %s\n%s", what, text)
        self.failed = True
        self.journal.write("internal_error", {"what": what, "traceback": text}, self._clock())
        self._on_fatal(EXIT_SOFTWARE)

    # Effects

    def _carry_out_all(self, effects: Sequence[Effect], now: int) -> None:
        for effect in effects:
            self._carry_out(effect, now)
        first = self._preferred()
        if first != self._first:
            self._first = first
            self.tml.prefer(first)

    def _carry_out(self, effect: Effect, now: int) -> None:
        match effect:
            case Send():
                self._send(effect, now)
            case Journal():
                # stamped when its turn comes: what the effects before it cost is in the figures
                self.journal.write(effect.event, effect.fields, self._clock())
            case SetTimer():
                self._set_timer(effect)
            case CancelTimer():
                self._cancel_timer(effect.key)
            case Program():
                self._programs.put(effect)
            case Connect():
                self.tml.connect(effect.peer)
            case Disconnect():
                self._disconnect(effect.peer, effect.abort)
            case Deliver():
                future = self._commands.get(effect.token)
                if future is not None and not future.done():
                    future.set_result(effect)
            case InjectPacket() | FollowPort() if self._packets is not None:
                self._packets(effect)
            case _:
                raise UsageError(f"{effect!r} is no effect, or nothing here carries it out")

    def _disconnect(self, peer: int, abort: bool) -> None:
        self._outboxes.pop(peer, None)
        self.tml.disconnect(peer, abort)
        # "No event follows" also holds for those that wait their turn here.
        kept = [e for e in self._events if not (isinstance(e, _OF_A_PEER) and e.peer == peer)]
        self._events.clear()
        self._events.extend(kept)

    def _send(self, effect: Send, now: int) -> None:
        peer, kind = effect.peer, effect.message.type
        channel = CHANNEL_OF[kind]
        try:
            data = encode(effect.message)
        except (ForcesError, ValueError, OverflowError, struct.error) as error:
            self.counters["unsendable"] += 1
            detail = f"{kind.name} cannot be encoded: {error}"
            log.error("%s", detail)
            self.journal.write("send_failed", {"peer": peer, "detail": detail}, now)
            if channel is Channel.HP:  # it is reliable: the core counts on it
                self._give_up(peer, detail)
            return
        outbox = self._outboxes.get(peer)
        if (outbox is None or not outbox.waits(channel)) and self.tml.send(peer, channel, data):
            return
        if outbox is None:
            outbox = self._outboxes[peer] = Outbox(self._outbox_limit)
        abandoned = outbox.abandoned
        taken = outbox.put(channel, data)
        self.counters["abandoned"] += outbox.abandoned - abandoned
        if not taken:
            detail = f"queue limit of {self._outbox_limit} octets reached on {channel.name}"
            self.journal.write("send_failed", {"peer": peer, "detail": detail}, now)
            self._give_up(peer, f"queue limit: {outbox.octets} octets waiting")

    def _give_up(self, peer: int, detail: str) -> None:
        self._disconnect(peer, abort=True)
        self.inject(PeerLost(peer, LossCause.LOCAL, detail))

    def _set_timer(self, effect: SetTimer) -> None:
        self._cancel_timer(effect.key)
        delay_s = max(0, effect.at_ns - self._clock()) / 1e9
        fire = self._fire if delay_s else self._fire_in_turn
        self._timers[effect.key] = self._loop.call_later(delay_s, fire, effect)

    def _cancel_timer(self, key: Hashable) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _fire_in_turn(self, effect: SetTimer) -> None:
        """More work, of a core that wants what has come served first. A loop that is never idle
        never sleeps, and at SCHED_FIFO kept a core from its equals for 25 ms, FEs among them."""
        os.sched_yield()
        self._fire(effect)

    def _fire(self, effect: SetTimer) -> None:
        if self._clock() < effect.at_ns:  # the loop may wake a hair early; a core never sees it
            self._set_timer(effect)
            return
        del self._timers[effect.key]
        self.inject(TimerFired(effect.key))
