"""The longest that a CE is busy with one event while tables are large.

    python -m benchmarks.bench_ce_load [--routes 100000]

Two CEs and four FEs of the simulator (the real cores, fake datapaths): the first master loads the
tables cold, the other CE fills its replicas (hot+sync) or stands by, a link is cut and mended, the
master is killed and followed. What counts is the longest `handle` of a CE in CPU time: so long no
heartbeat goes out. JSON lines as of bench_datapath; the reference is the bound.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.bench_datapath import report
from ce.controller import Controller
from forces.effects import Effect
from forces.events import Event
from forces.io.process import GC_YOUNG
from lab.backend import CellSettings
from lab.simulated.element import NetworkElement
from lab.simulated.network import Manners
from lab.simulated.world import World
from topologies.loader import load_topology

BOUND_S = 0.010
BUDGET_MS = 60_000
STEP_MS = 50


class Longest:
    """CPU seconds of the longest `handle` of any CE, and of what event."""

    def __init__(self) -> None:
        self.s = 0.0
        self.event = ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        handle = Controller.handle

        def timed(core: Controller, event: Event, now: int) -> list[Effect]:
            begun = time.thread_time()
            effects = handle(core, event, now)
            took = time.thread_time() - begun
            if took > self.s:
                self.s, self.event = took, repr(event)[:60]
            return effects

        Controller.handle = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            Controller.handle = handle  # type: ignore[method-assign]


def until(ne: NetworkElement, condition: Callable[[], bool]) -> None:
    for _ in range(BUDGET_MS // STEP_MS):
        ne.world.run_ms(STEP_MS)
        if condition():
            return
    raise SystemExit(f"bench_ce_load: {ne.not_ready()} {ne.lacking_backups()} after {BUDGET_MS} ms")


def measure(mode: str, routes: int) -> bool:
    settings = CellSettings(mode=mode, routes=routes, cehdi_ms=1000)  # type: ignore[arg-type]
    ne = NetworkElement(load_topology("diamond"), settings, World(1), Manners(), 0.0)
    ne.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 100)  # as forces.io.process does

    def steady() -> bool:
        return not ne.not_ready() and not ne.lacking_backups()

    link = "fe1-fe2"
    steps: dict[str, Callable[[], None]] = {
        "load": lambda: None,
        "cut": lambda: ne.cut_link(link),
        "mend": lambda: ne.mend_link(link),
        "takeover": lambda: ne.crash(ne.master_of("fe1") or "ce1"),
    }
    good = True
    for name, step in steps.items():
        longest = Longest()
        with longest.watched():
            step()
            until(ne, (lambda: not ne.not_ready()) if name == "takeover" else steady)
        line = f"ce_load: longest call, {name}, {mode}, {routes} routes an FE"
        good &= report(line, "s", [longest.s], "bound", [BOUND_S], 1.0, smaller_is_better=True)
        print(f"{name}: {longest.event}", file=sys.stderr)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=100_000)
    routes = parser.parse_args().routes
    return 0 if all([measure(mode, routes) for mode in ("hot", "hot+sync")]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
