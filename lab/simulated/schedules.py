"""Random fault schedules: drawn from a seed, written as text, shrunk when they fail.

A schedule is everything that a run needs. Its faults can be written in one line, so that a shrunk
one can be replayed: `crash ce1 120 300; one-way ce1>fe2 140 80` (kind, target, at ms, for ms).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lab.backend import CellSettings, LabError
from lab.simulated.network import Manners
from topologies.model import Topology

WINDOW_MS = 350
"""Faults begin within it."""
LONGEST_MS = 400
MAX_FAULTS = 5
SYNC_SHARE = 0.5
"""Of the schedules in hot standby: the CEs synchronise."""
SHORTEST_MS = 5
BEACONS_MS = (100, 250)
FR_HEARTBEATS = (8, 4)
"""In a dead interval. What comes seldom costs less, and leaves gaps for faults to fall into."""

DATA_KINDS = frozenset({"link-cut", "fe-crash"})
"""These hurt forwarding by themselves: invariant 3 has nothing to say then."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault of a schedule."""

    kind: str
    target: str
    """A node, a link, `a>b` for one direction, `a-b` for both, or a prefix."""
    at_ms: int
    for_ms: int

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.at_ms} {self.for_ms}"


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    settings: CellSettings
    manners: Manners
    strikes: tuple[Strike, ...]

    @property
    def spares_data_path(self) -> bool:
        return not any(strike.kind in DATA_KINDS for strike in self.strikes)


def written(strikes: Sequence[Strike]) -> str:
    return "; ".join(map(str, strikes))


def parse(text: str) -> tuple[Strike, ...]:
    """The inverse of `written`. LabError with the piece that is wrong."""
    strikes = []
    for piece in filter(None, (part.strip() for part in text.split(";"))):
        words = piece.split()
        if len(words) != 4 or words[0] not in SYNC_KINDS or not (words[2] + words[3]).isdigit():
            known = ", ".join(SYNC_KINDS)
            raise LabError(f"{piece!r} is not KIND TARGET AT_MS FOR_MS (kinds: {known})")
        strikes.append(Strike(words[0], words[1], int(words[2]), int(words[3])))
    return tuple(strikes)


def _node(kind: str) -> Callable[[random.Random, Topology], str]:
    def draw(rng: random.Random, topology: Topology) -> str:
        return rng.choice([node.name for node in topology.nodes if node.kind == kind])

    return draw


def _element(rng: random.Random, topology: Topology) -> str:
    return rng.choice([node.name for node in topology.nodes if node.kind != "host"])


def _pair(mark: str) -> Callable[[random.Random, Topology], str]:
    def draw(rng: random.Random, topology: Topology) -> str:
        ce, fe = _node("ce")(rng, topology), _node("fe")(rng, topology)
        return mark.join((ce, fe) if rng.random() < 0.5 else (fe, ce))

    return draw


def _link(rng: random.Random, topology: Topology) -> str:
    return rng.choice([link.name for link in topology.links])


def _prefix(rng: random.Random, _topology: Topology) -> str:
    return f"30.{rng.randrange(256)}.{rng.randrange(256)}.0/24"


def _two_ces(rng: random.Random, topology: Topology) -> str:
    one, other = rng.sample([node.name for node in topology.nodes if node.kind == "ce"], 2)
    return rng.choice("->").join((one, other))


KINDS: dict[str, tuple[int, Callable[[random.Random, Topology], str]]] = {
    "crash": (5, _node("ce")),
    "hang": (4, _element),
    "fe-crash": (1, _node("fe")),
    "partition": (3, _pair("-")),
    "one-way": (3, _pair(">")),
    "isolate": (2, _node("ce")),
    "blackout": (1, lambda rng, topology: "all"),
    "slow": (2, _element),
    "planned-switch": (4, _node("ce")),
    "link-cut": (2, _link),
    "churn": (3, _prefix),
}
"""Kind -> weight, and how to draw a target. A crash ends with a restart, a hang with a thaw, a
blackout of all CEs with the end of their isolation."""


SYNC_KINDS: dict[str, tuple[int, Callable[[random.Random, Topology], str]]] = {
    **KINDS,
    "churn": (3, _prefix),
    "stream": (5, _element),
    "fr-cut": (4, _two_ces),
    "rogue": (2, _node("ce")),
}
"""Of schedules in which CEs synchronise. A stream is a new route every few ms at the masters; a
cut of Fr touches no FE, and a rogue sends Configs to FEs of which it is not the master."""


def draw(seed: int, topology: Topology) -> Schedule:
    rng = random.Random(f"{seed}/schedule")
    mode = rng.choices(("none", "cold", "hot"), (1, 4, 8))[0]
    synchronised = random.Random(f"{seed}/sync")
    if mode == "hot" and synchronised.random() < SYNC_SHARE:
        mode = "hot+sync"
    cehdi_ms = rng.choice((150, 200, 300))
    settings = CellSettings(
        mode=mode,
        policy=rng.choices((0, 1), (1, 5))[0],  # type: ignore[arg-type]
        routes=rng.choice((0, 2, 10)),
        detect=rng.choices(("both", "heartbeat"), (6, 1))[0],
        ce_heartbeat_ms=cehdi_ms // 3,
        fe_heartbeat_ms=cehdi_ms // 3,
        cehdi_ms=cehdi_ms,
        cefti_ms=rng.choice((80, 250, 10_000)),
        replication=synchronised.choice(("async", "semi")),
        beacon_ms=synchronised.choice(BEACONS_MS),
        fr_heartbeat_ms=cehdi_ms // synchronised.choice(FR_HEARTBEATS),
    )
    manners = Manners(
        delay_ms=rng.choice((0.05, 0.2, 2.0)),
        jitter_ms=rng.choice((0.0, 0.2, 4.0)),
        loss=rng.choice((0.0, 0.0, 0.0, 0.02)),
        kernel_closes=rng.random() < 0.5,
        kernel_acknowledges=rng.random() < 0.5,
        garbage=rng.choice((0.0, 0.0, 0.0, 0.005)),
    )
    kinds = SYNC_KINDS if mode == "hot+sync" else KINDS
    strikes = tuple(_strikes(rng, topology, kinds))
    return Schedule(seed, settings, manners, strikes)


def _strikes(
    rng: random.Random,
    topology: Topology,
    kinds: Mapping[str, tuple[int, Callable[[random.Random, Topology], str]]],
) -> Iterator[Strike]:
    names = list(kinds)
    weights = [kinds[name][0] for name in names]
    for _ in range(rng.randint(1, MAX_FAULTS)):
        kind = rng.choices(names, weights)[0]
        target = kinds[kind][1](rng, topology)
        at_ms = rng.randrange(WINDOW_MS)
        yield Strike(kind, target, at_ms, rng.choice((SHORTEST_MS, 20, 100, 250, LONGEST_MS)))


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """The fewest faults, and then the shortest, that still fail."""
    smaller = True
    while smaller:
        smaller = False
        for index in range(len(schedule.strikes)):
            rest = schedule.strikes[:index] + schedule.strikes[index + 1 :]
            tried = replace(schedule, strikes=rest)
            if fails(tried):
                schedule, smaller = tried, True
                break
    for index, strike in enumerate(schedule.strikes):
        for for_ms in (SHORTEST_MS, 20, 100, 250):
            if for_ms >= strike.for_ms:
                break
            strikes = list(schedule.strikes)
            strikes[index] = replace(strike, for_ms=for_ms)
            tried = replace(schedule, strikes=tuple(strikes))
            if fails(tried):
                schedule = tried
                break
    return schedule
