"""The hunt: random fault schedules against the cores, every invariant checked after every event.

One schedule: boot the NE, wait until it is whole, strike, heal everything, and ask that it is
whole again within `SETTLE_MS`. A schedule that fails is shrunk.
"""

from __future__ import annotations

import functools
import gc
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from time import process_time

from ce.controller import Controller
from ce.fe_tables import Table
from ce.lfbs import table
from fe_datapath.element import ForwardingElement
from forces.header import Header, MessageType
from forces.messages import Message, OperType, flags_for
from forces.paths import PathData
from lab.backend import LabError
from lab.simulated.element import NetworkElement
from lab.simulated.invariants import Invariants, Violation
from lab.simulated.schedules import Schedule, Strike, draw, shrink, written
from lab.simulated.world import EPOCH_NS, World
from topologies.loader import load_topology
from topologies.model import Topology

TOPOLOGY = "pair"
BOOT_MS = 3000
SETTLE_MS = 4000
STEP_MS = 25
HONEST_SHARE = 0.01
CHUNK = 500
"""Seeds that a process of several takes at once."""
COLLECT_EVERY = 20
"""Schedules; each leaves what its restarted processes were in cycles."""
ROGUE_ROW = 0xFFFFFFF0
ROGUE_CORRELATOR = 1 << 60
"""Not one that an exchange of ours will ever come to."""
STREAM_MS = 10
"""Between two new routes of a stream."""
SLOWER_MS = 30.0
"""What `slow` adds to each message of a node."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and the smallest schedule that still shows it."""

    schedule: Schedule
    text: str
    at_ms: float

    @property
    def replay(self) -> str:
        faults = written(self.schedule.strikes)
        return f'ceha hunt --seeds {self.schedule.seed}..{self.schedule.seed} --faults "{faults}"'


@dataclass(frozen=True, slots=True)
class Result:
    schedules: int
    events: int
    seconds: float
    failures: tuple[Failure, ...]

    @property
    def rate(self) -> float:
        return self.schedules / self.seconds if self.seconds else 0.0


class _Run:
    def __init__(self, schedule: Schedule, topology: Topology) -> None:
        self.schedule = schedule
        self.world = World(f"{schedule.seed}/world")
        self.ne = NetworkElement(
            topology, schedule.settings, self.world, schedule.manners, HONEST_SHARE
        )
        self.invariants = Invariants(self.ne, schedule.spares_data_path)
        for process in self.ne.processes.values():
            process.watchers.append(self.invariants)

    def go(self) -> None:
        """Raises Violation, or whatever a core raised."""
        self.ne.start()
        self._until_whole(BOOT_MS, "after the start")
        begin_ns = self.world.now
        for strike in self.schedule.strikes:
            self.world.at(begin_ns + strike.at_ms * 1_000_000, self._strike, strike)
        end_ms = max((s.at_ms + s.for_ms for s in self.schedule.strikes), default=0)
        self.world.run_until(begin_ns + end_ms * 1_000_000)
        self._until_whole(SETTLE_MS, "after all faults healed")
        self.invariants.bounded()

    def dismantle(self) -> None:
        """An NE is full of references both ways. Cut, most of it goes at once, and the collector
        has little left to look for."""
        for process in self.ne.processes.values():
            if process.starts:
                _take_apart(process.core)
            if process.datapath is not None:
                vars(process.datapath).clear()
            vars(process).clear()
        for side in self.ne.network.sides.values():
            side.far = None
        for part in (self.ne.network, self.ne, self.world, self.invariants):
            vars(part).clear()

    def _until_whole(self, budget_ms: int, when: str) -> None:
        """8, and with it 2: whole within the budget, and still so a little later."""
        deadline = self.world.now + budget_ms * 1_000_000
        while True:
            self.world.run_ms(STEP_MS)
            missing = self.invariants.quiet()
            if not missing:
                return
            if self.world.now >= deadline:
                self.invariants.fail(8, f"{budget_ms} ms {when}: {'; '.join(missing)}")

    def _strike(self, strike: Strike) -> None:
        ne, target = self.ne, strike.target
        heal: Callable[[], None] | None = None
        match strike.kind:
            case "crash" | "fe-crash":
                if target in ne.processes and ne.processes[target].alive:
                    ne.crash(target)
                    heal = lambda: self._restart(target)  # noqa: E731
            case "hang":
                if target in ne.processes:
                    ne.processes[target].freeze()
                    heal = ne.processes[target].thaw
            case "partition" | "one-way" | "fr-cut":
                one, other = target.replace(">", "-").split("-")
                if one in ne.processes and other in ne.processes:
                    both = "-" in target
                    self._partition(one, other, both, True)
                    heal = lambda: self._partition(one, other, both, False)  # noqa: E731
            case "isolate":
                if target in ne.processes:
                    ne.isolate(target, True)
                    heal = lambda: ne.isolate(target, False)  # noqa: E731
            case "blackout":
                for ce in ne.ces:
                    ne.isolate(ce.name, True)
                heal = self._lights_on
            case "slow":
                if target in ne.processes:
                    identifier = ne.processes[target].id
                    ne.network.slow[identifier] = SLOWER_MS
                    heal = lambda: ne.network.slow.clear()  # noqa: E731
            case "planned-switch":
                self._switch(target)
            case "link-cut":
                ne.cut_link(target)
                heal = lambda: ne.mend_link(target)  # noqa: E731
            case "churn":
                self._churn(target)
            case "rogue":
                self._rogue(target)
            case "stream":
                for number in range(strike.for_ms // STREAM_MS):
                    prefix = f"31.{strike.at_ms & 255}.{number}.0/24"
                    self.world.after_ms(number * STREAM_MS, self._churn, prefix)
        if heal is not None:
            self.world.after_ms(strike.for_ms, heal)

    def _restart(self, name: str) -> None:
        process = self.ne.processes[name]
        if not process.alive:
            _take_apart(process.core)
        self.ne.restart(name)

    def _lights_on(self) -> None:
        for ce in self.ne.ces:
            self.ne.isolate(ce.name, False)

    def _partition(self, one: str, other: str, both: bool, on: bool) -> None:
        self.ne.partition(one, other, on)
        if both:
            self.ne.partition(other, one, on)

    def _masters(self) -> list[str]:
        masters = {self.ne.master_of(fe.name) for fe in self.ne.fes}
        return sorted(m for m in masters if m is not None)

    def _switch(self, to: str) -> None:
        for master in self._masters():
            if master != to and to in self.ne.processes:
                self.ne.processes[master].command("switch", {"to": to}, lambda answer: None)

    def _rogue(self, ce: str) -> None:
        """A Config to every FE that has another master; it would not even change anything."""
        if ce not in self.ne.processes:
            return  # mode none knows one CE
        sender = self.ne.processes[ce].id
        target = table(Table.PREFIXES)
        lfbs = (target.select(OperType.DEL, PathData((*target.ids, ROGUE_ROW))),)
        for fe in self.ne.fes:
            if self.ne.master_of(fe.name) != ce:
                kind = MessageType.CONFIG
                header = Header(kind, sender, fe.id, ROGUE_CORRELATOR, flags_for(kind))
                self.ne.network.send(sender, fe.id, Message(header, lfbs))

    def _churn(self, prefix: str) -> None:
        for master in self._masters():
            arguments = {"prefix": prefix, "fe": self.ne.fes[0].name, "port": 1}
            self.ne.processes[master].command("routes", arguments, lambda answer: None)


def _take_apart(core: object) -> None:
    """A core that nobody asks anything any more."""
    parts: Iterable[object] = ()
    if isinstance(core, Controller):
        parts = core.sessions.values()
    elif isinstance(core, ForwardingElement):
        parts = core.store.instances.values()
    for part in (*parts, core):
        vars(part).clear()


def run_one(schedule: Schedule, topology: Topology) -> tuple[Failure | None, int]:
    """What failed, and how many events were handled."""
    run = _Run(schedule, topology)
    text: str | None = None
    try:
        run.go()
    except Violation as violation:
        text = str(violation)
    except (Exception, AssertionError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({where.filename.split('/')[-1]}:{where.lineno})"
    finally:
        events, now = run.invariants.events, run.world.now
        run.dismantle()
    if text is None:
        return None, events
    return Failure(schedule, text, (now - EPOCH_NS) / 1e6), events


def hunt(
    seeds: Iterable[int],
    strikes: tuple[Strike, ...] | None = None,
    stop_after: int = 1,
    shrinking: bool = True,
    on_failure: Callable[[Failure], None] = lambda failure: None,
    on_schedule: Callable[[int], None] = lambda done: None,
) -> Result:
    """`strikes`: instead of the seed's own (a replay; it is not shrunk again)."""
    topology = load_topology(TOPOLOGY)
    failures: list[Failure] = []
    schedules = events = 0
    begun = process_time()
    gc.disable()  # one NE after the other is thrown away whole: collect them now and then
    gc.freeze()  # and look at nothing else then
    try:
        for seed in seeds:
            schedule = draw(seed, topology)
            if strikes is not None:
                schedule = Schedule(seed, schedule.settings, schedule.manners, strikes)
            failure, handled = run_one(schedule, topology)
            schedules, events = schedules + 1, events + handled
            if schedules % COLLECT_EVERY == 0:
                gc.collect()
                gc.freeze()  # what is remembered from one schedule to the next
            on_schedule(schedules)
            if failure is None:
                continue
            if strikes is None and shrinking:
                failure = _shrunk(failure, topology)
            failures.append(failure)
            on_failure(failure)
            if len(failures) >= stop_after:
                break
    finally:
        gc.unfreeze()
        gc.enable()
    return Result(schedules, events, process_time() - begun, tuple(failures))


def hunt_in_parallel(
    seeds: range,
    jobs: int,
    strikes: tuple[Strike, ...] | None = None,
    stop_after: int = 1,
    on_failure: Callable[[Failure], None] = lambda failure: None,
) -> Result:
    """`hunt` in so many processes, each with a share of the seeds at a time. The seconds are those
    of all cores together, so the rate is one core's."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    one = functools.partial(hunt, strikes=strikes, stop_after=stop_after)
    found: list[Failure] = []
    schedules, events, seconds = 0, 0, 0.0
    with ProcessPoolExecutor(min(jobs, len(chunks))) as pool:
        for result in pool.map(one, chunks):
            schedules, events = schedules + result.schedules, events + result.events
            seconds += result.seconds
            for failure in result.failures[: stop_after - len(found)]:
                found.append(failure)
                on_failure(failure)
            if len(found) >= stop_after:
                pool.shutdown(cancel_futures=True)
                break
    return Result(schedules, events, seconds, tuple(found))


def _shrunk(failure: Failure, topology: Topology) -> Failure:
    """The smallest schedule that breaks the same invariant, or fails in the same place."""
    kind = failure.text.split(":")[0]

    def fails(schedule: Schedule) -> bool:
        found = run_one(schedule, topology)[0]
        return found is not None and found.text.split(":")[0] == kind

    smallest = shrink(failure.schedule, fails)
    found = run_one(smallest, topology)[0]
    if found is None:
        raise LabError("a schedule failed, and did not when it was run again: chance leaks in")
    return found
