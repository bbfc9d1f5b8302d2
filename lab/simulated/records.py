"""What a trial in virtual time leaves on disk: the same files as the emulated lab's
(docs/seams.md, "A trial's folder"), so that one set of measures judges both.

The journals are what the cores journal; a beacon's record is what changes in the datapath's table;
a probe's records follow from where packets went in each moment. Only the clock is another one.
"""

from __future__ import annotations

import ipaddress
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fe_datapath.datapath import DelRoute, SetRoute
from forces.effects import Effect, Journal, Program
from forces.events import Event
from forces.io.journal import JournalWriter
from lab.emulated.meters.beacon_record import BEACON_DTYPE
from lab.emulated.meters.probe_records import RX_DTYPE, TX_DTYPE, ProbeFlow
from lab.emulated.meters.route_rows import committed_rows, comparison, route_row
from lab.simulated.dataplane import Fate, Way, is_beacon
from lab.simulated.element import NetworkElement
from lab.simulated.process import Process
from lab.simulated.world import NS_PER_MS, World

HOP_US = 10.0
"""What a link and a kernel take for a packet."""
HOP_JITTER_US = 2.0


def beats(change: object) -> bool:
    """Whether this change is a beacon's."""
    return isinstance(change, SetRoute | DelRoute) and is_beacon(change.prefix)


class Journals:
    """A watcher: writes each process's journal, and knows what the last lines of it say."""

    def __init__(self, world: World, folder: Path, nodes: Sequence[str], tml: str) -> None:
        self.beating: set[tuple[str, str]] = set()
        """(CE, FE): the beacon runs."""
        self._world = world
        self._tml = tml
        self._writers = {
            node: JournalWriter(folder / f"{node}.journal.jsonl", node) for node in nodes
        }

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        writer = self._writers[process.name]
        now = self._world.now
        if event is None:
            writer.write("start", {"pid": process.starts, "tml": self._tml}, now)
            self.beating = {pair for pair in self.beating if pair[0] != process.name}
        for effect in effects:
            if type(effect) is Journal:
                writer.write(effect.event, effect.fields, now)
                if effect.event == "beacon":
                    beating = {(process.name, effect.fields["fe"])}
                    if effect.fields["what"] == "start":
                        self.beating |= beating
                    else:
                        self.beating -= beating

    def programmed(self, process: Process, program: Program) -> None:
        pass

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Beacons:
    """A watcher: every change of a datapath's table in the beacon's range."""

    def __init__(self, world: World, fes: Sequence[str]) -> None:
        self._world = world
        self._seen = {fe: (array("q"), bytearray(), array("I")) for fe in fes}

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        pass

    def programmed(self, process: Process, program: Program) -> None:
        assert process.datapath is not None, "only FEs program"
        at_ns, added, destinations = self._seen[process.name]
        for change in process.datapath.applied:
            if isinstance(change, SetRoute | DelRoute) and is_beacon(change.prefix):
                at_ns.append(self._world.now)
                added.append(isinstance(change, SetRoute))
                destinations.append(int.from_bytes(change.prefix))

    def write(self, folder: Path) -> None:
        for fe, (at_ns, added, destinations) in self._seen.items():
            record = np.empty(len(at_ns), BEACON_DTYPE)
            record["at_ns"], record["destination"] = at_ns, destinations
            record["added"] = np.frombuffer(added, np.uint8)
            np.save(folder / f"beacon-{fe}.npy", record)
            (folder / f"beacon-{fe}.json").write_text(json.dumps({"blind_ns": []}) + "\n")


class Probes:
    """A watcher: what would become of a packet, for every flow and at every moment."""

    def __init__(self, ne: NetworkElement) -> None:
        self._ne = ne
        self._fates: dict[Way, list[tuple[int, Fate]]] = {way: [] for way in ne.data.ways}

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        pass

    def programmed(self, process: Process, program: Program) -> None:
        assert process.datapath is not None, "only FEs program"
        if not all(map(beats, process.datapath.applied)):
            self.look()

    def look(self) -> None:
        """Something that packets depend on may have changed."""
        now = self._ne.world.now
        for way, fates in self._fates.items():
            fate = self._ne.data.fate(way)
            if fates and fates[-1][0] == now:
                fates.pop()
            if not fates or fates[-1][1] != fate:
                fates.append((now, fate))

    def write(self, folder: Path, pps: int, start_ns: int, end_ns: int) -> None:
        """The records of senders that sent from `start_ns` to `end_ns` and never paused."""
        chance = np.random.default_rng(self._ne.world.rng.getrandbits(64))
        due = np.arange(start_ns, end_ns, 1_000_000_000 // pps, dtype=np.int64)
        for way, fates in self._fates.items():
            assert fates[0][0] <= start_ns, "look() comes before the first packet"
            sent = np.empty(len(due), TX_DTYPE)
            sent["seq"], sent["due_ns"], sent["sent_ns"] = np.arange(len(due)), due, due
            changed = np.array([at for at, _ in fates], np.int64)
            which = np.searchsorted(changed, due, side="right") - 1
            hops = np.array([fate.hops for _, fate in fates])[which]
            passed = np.array([fate.passed for _, fate in fates])[which]
            arrives = (hops > 0) & (chance.random(len(due)) < passed)
            travel_us = hops * (HOP_US + HOP_JITTER_US * chance.random(len(due)))
            travel_us += np.array([fate.delay_us for _, fate in fates])[which]
            jitter_us = np.array([fate.jitter_us for _, fate in fates])[which]
            travel_us += jitter_us * chance.uniform(-1, 1, len(due))
            received = np.empty(int(arrives.sum()), RX_DTYPE)
            received["seq"], received["sent_ns"] = sent["seq"][arrives], due[arrives]
            received["kernel_ns"] = due[arrives] + (travel_us[arrives] * 1000).astype(np.int64)
            flow = ProbeFlow(way.flow, "fwd" if way.direction == "fwd" else "rev", "", "", 0)
            np.save(flow.file(folder, "tx.npy"), sent)
            np.save(flow.file(folder, "rx.npy"), received)
            about = {
                "flow": way.flow,
                "direction": way.direction,
                "pps": pps,
                "overflow": 0,
                "sender_late_ns": 0,
            }
            flow.file(folder, "json").write_text(json.dumps(about, indent=1) + "\n")


class Tables:
    """What each FE's datapath holds, beside what its master believes it holds (invariant 2)."""

    PATIENCE_MS = 1000
    PAUSE_MS = 20

    def __init__(self, ne: NetworkElement) -> None:
        self._ne = ne

    def write(self, folder: Path) -> None:
        """Looks until both agree, or the patience ends: "after quiescence"."""
        deadline = self._ne.world.now + self.PATIENCE_MS * NS_PER_MS
        records = [self._look(node.name) for node in self._ne.fes]
        while not all(each["agree"] for each in records) and self._ne.world.now < deadline:
            self._ne.world.run_ms(self.PAUSE_MS)
            records = [self._look(node.name) for node in self._ne.fes]
        for record in records:
            (folder / f"kernel-{record['fe']}.json").write_text(json.dumps(record) + "\n")

    def _look(self, fe: str) -> dict[str, Any]:
        master = self._ne.master_of(fe)
        committed, reason = self._committed(fe, master)
        return comparison(fe, master, self._routes(fe), committed, reason)

    def _committed(self, fe: str, master: str | None) -> tuple[list[str] | None, str]:
        if master is None:
            return None, "no master"
        rows = self._ne.ask(master, "routes", {"fe": fe, "packed": True})
        if rows is None:
            return None, f"{master} does not answer"
        return committed_rows(fe, rows[fe]), ""

    def _routes(self, fe: str) -> list[str]:
        datapath = self._ne.datapath(fe)
        names = {number: state.name for number, state in datapath.ports().items()}
        hops, ways = datapath.nexthops(), datapath.fib.ways
        shown = []
        for (prefix, length), identifier in datapath.routes().items():
            if not is_beacon(prefix):
                network = ipaddress.IPv4Network((prefix, length))
                over = ((names[hops[way][0]], hops[way][1]) for way in ways(identifier))
                shown.append(route_row(str(network), *over))
        return sorted(shown)
