"""One FE's or CE's process in virtual time: the simulator's counterpart of `forces.io.driver`.

A core, its timers, its datapath programs, its journal. It can be killed, stopped and continued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from fe_datapath.fake import FakeDatapath
from forces.effects import (
    CancelTimer,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    Journal,
    Program,
    Send,
    SetTimer,
)
from forces.events import (
    BadMessage,
    Command,
    ConnectFailed,
    Event,
    MessageReceived,
    PeerLost,
    PeerUp,
    ProgramDone,
    TimerFired,
)
from lab.simulated.network import Network
from lab.simulated.world import NS_PER_MS, World

PROGRAM_MS = 0.05
"""Of one datapath program."""
PROGRAM_PER_CHANGE_MS = 0.005
BACKLOG_LIMIT = 20_000
"""Events that wait for a stopped process: its sockets' buffers, generously."""
_OF_A_PEER = (PeerUp, PeerLost, ConnectFailed, MessageReceived, BadMessage)


class Core(Protocol):
    def start(self, now: int) -> list[Effect]: ...

    def handle(self, event: Event, now: int) -> list[Effect]: ...


class Watcher(Protocol):
    """Who looks on at everything that happens (`lab.simulated.invariants`, the records)."""

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        """After a core handled an event (None: it started), before its effects take place."""

    def programmed(self, process: Process, program: Program) -> None:
        """A program has been carried out: `process.datapath.applied` are the changes made."""


class Process:
    """Lives through restarts: `core` is another one afterwards."""

    def __init__(
        self,
        world: World,
        network: Network,
        identifier: int,
        name: str,
        make_core: Callable[[], Core],
        peers: frozenset[int],
        listens: bool,
        datapath: FakeDatapath | None = None,
    ) -> None:
        self.world = world
        self.network = network
        self.id = identifier
        self.name = name
        self.listens = listens
        self.alive = False
        self.frozen = False
        self.datapath = datapath
        self.watchers: list[Watcher] = []
        self.core: Core
        self.starts = 0
        self.thawed_ns = 0
        """When it was last continued; 0: never stopped."""
        self.handling_ns = 0
        """What an event costs this process: the next one waits until then. 0: nothing does."""
        self._free_ns = 0
        self._sequence = 0
        self._cut_off: dict[int, int] = {}
        """Peer -> number of the last event before a disconnect: what waits of it means nothing."""
        self._make_core = make_core
        self._peers = peers
        self._timers: dict[Hashable, tuple[int, int]] = {}
        """Key -> (due, number): a replaced timer's number is not found any more."""
        self._number = 0
        self._backlog: deque[Event] = deque()
        self._queue: deque[Event] = deque()
        self._programs: deque[Program] = deque()
        self._busy = False
        self._answers: dict[int, Callable[[Deliver], None]] = {}
        self._tokens = 0
        network.nodes[identifier] = self

    def knows(self, peer: int) -> bool:
        return peer in self._peers

    @property
    def timers(self) -> int:
        return len(self._timers)

    # Life

    def start(self) -> None:
        """A new process; the old one's memory is gone."""
        assert not self.alive, f"{self.name} is running"
        self.alive, self.frozen = True, False
        self.starts += 1
        self.core = self._make_core()
        self._busy = True
        effects = self.core.start(self.world.now)
        self._carry_out(None, effects)
        self._busy = False
        self._run()

    def kill(self) -> None:
        """SIGKILL."""
        self.alive = self.frozen = False
        if self.datapath is not None:
            self.datapath.killed()
        self._timers.clear()
        self._backlog.clear()
        self._queue.clear()
        self._programs.clear()
        self._answers.clear()
        self.network.killed(self.id)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile, and the timers that are overdue, in no certain order (a
        loop reads a bounded batch from each socket before it looks at its timers)."""
        if not self.alive or not self.frozen:
            return
        self.frozen = False
        self.thawed_ns = self.world.now
        due = sorted((when, number, key) for key, (when, number) in self._timers.items())
        late = deque((n, key) for when, n, key in due if when <= self.world.now)
        while (late or self._backlog) and not self.frozen and self.alive:
            if late and (not self._backlog or self.world.rng.random() < 0.2):
                number, key = late.popleft()
                self._fire(key, number)
            else:
                self.inject(self._backlog.popleft())

    # Events

    def inject(self, event: Event) -> None:
        if not self.alive:
            return
        if self.frozen:
            if len(self._backlog) < BACKLOG_LIMIT:
                self._backlog.append(event)
            return
        if self.handling_ns:
            self._free_ns = max(self._free_ns, self.world.now) + self.handling_ns
            self._sequence += 1
            self.world.at(self._free_ns, self._has_turn, event, self.starts, self._sequence)
            return
        self._queue.append(event)
        if not self._busy:
            self._run()

    def _handle(self, event: Event) -> None:
        self._queue.append(event)
        if not self._busy:
            self._run()

    def _has_turn(self, event: Event, life: int, number: int) -> None:
        if not self.alive or life != self.starts:
            return
        if isinstance(event, _OF_A_PEER) and number <= self._cut_off.get(event.peer, 0):
            return
        if self.frozen:
            self._backlog.append(event)
        else:
            self._handle(event)

    def command(
        self, name: str, arguments: Mapping[str, Any], done: Callable[[Deliver], None]
    ) -> None:
        """Ask the core, as its local API does."""
        self._tokens += 1
        self._answers[self._tokens] = done
        self.inject(Command(name, arguments, self._tokens))

    def _run(self) -> None:
        self._busy = True
        queue, world = self._queue, self.world
        while queue:
            event = queue.popleft()
            effects = self.core.handle(event, world.now)
            if effects or self.watchers:
                self._carry_out(event, effects)
        self._busy = False

    def _carry_out(self, event: Event | None, effects: Sequence[Effect]) -> None:
        for watcher in self.watchers:
            watcher.handled(self, event, effects)
        for effect in effects:
            kind = type(effect)
            if kind is Journal:
                continue  # watchers have seen it
            if kind is Send:
                self.network.send(self.id, effect.peer, effect.message)  # type: ignore[union-attr]
            elif kind is SetTimer:
                self._set_timer(effect)  # type: ignore[arg-type]
            else:
                self._carry_out_one(effect)

    def _set_timer(self, effect: SetTimer) -> None:
        self._number += 1
        self._timers[effect.key] = (effect.at_ns, self._number)
        self.world.at(effect.at_ns, self._fire, effect.key, self._number)

    def _carry_out_one(self, effect: Effect) -> None:
        """The rarer ones."""
        match effect:
            case CancelTimer(key):
                self._timers.pop(key, None)
            case Program():
                self._programs.append(effect)
                if len(self._programs) == 1:
                    self._begin_program()
            case Connect(peer):
                self.network.connect(self.id, peer)
            case Disconnect(peer, abort):
                self._disconnect(peer, abort)
            case Deliver(token):
                answer = self._answers.pop(token, None)
                if answer is not None:
                    answer(effect)

    def _disconnect(self, peer: int, abort: bool) -> None:
        """ "No event follows" also holds for those that wait."""
        self.network.disconnect(self.id, peer, abort)
        if self.handling_ns:
            self._cut_off[peer] = self._sequence
        for waiting in (self._queue, self._backlog):
            if waiting:
                kept = [e for e in waiting if not (isinstance(e, _OF_A_PEER) and e.peer == peer)]
                waiting.clear()
                waiting.extend(kept)

    def _fire(self, key: Hashable, number: int) -> None:
        timer = self._timers.get(key)
        if timer is None or timer[1] != number or self.frozen:
            return
        del self._timers[key]
        self.inject(TimerFired(key))

    # The datapath

    def _begin_program(self) -> None:
        program = self._programs[0]
        took_ms = PROGRAM_MS + PROGRAM_PER_CHANGE_MS * len(program.changes)
        took_ms *= self.world.rng.uniform(0.5, 1.5)
        due_ns = self.world.now + round(took_ms * NS_PER_MS)
        self.world.at(due_ns, self._program_done, program, self.starts)

    def _program_done(self, program: Program, life: int) -> None:
        """A kernel finishes what it was given, also if its process is stopped meanwhile."""
        if not self.alive or life != self.starts:
            return
        assert self.datapath is not None, "only FEs program"
        failures = self.datapath.apply_now(program.changes, program.stop_on_failure)
        for watcher in self.watchers:
            watcher.programmed(self, program)
        self.datapath.applied.clear()
        self._programs.popleft()
        if self._programs:
            self._begin_program()
        self.inject(
            ProgramDone(
                program.token,
                {failure.index: failure.reason for failure in failures},
                {failure.index: failure.code for failure in failures},
            )
        )
