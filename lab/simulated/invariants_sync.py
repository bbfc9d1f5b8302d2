"""The invariants of a change of master that concern changes (DESIGN section 8, numbers 1, 2 and 6),
checked after every event of every element, in every mode:

- an FE carries a Config out once, in the order in which it came, and in one term one CE's only;
- a CE that says it is ready knows what the FE holds: no acknowledged change is lost to it, and none
  of them is taken for another;
- a CE with a replica sends the FE what that never got, each once and in order, and nothing else
  before it is ready;
- another CE's claim that the master is dead moves no FE that hears the master, or has not looked;
- in quiet, replicas follow, and hold what the FE holds.

What an FE and a CE say of themselves (generations, terms) is compared with what was seen of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ce.config import BEACON_ROW
from ce.controller import Controller
from ce.fe_tables import TABLES, Rows, Table
from ce.lfbs import row, table
from ce.replica import row_changes
from fe_datapath.element import ForwardingElement
from forces.effects import Effect, Journal, Send
from forces.events import Event, MessageReceived, PeerLost
from forces.header import MessageType
from forces.messages import LfbSelect, Message
from lab.simulated.element import NetworkElement
from lab.simulated.process import Process
from lab.simulated.world import NS_PER_MS

Lfbs = tuple[LfbSelect, ...]
PATIENCE_INTERVALS = 3
"""Of the FE's heartbeats: with less silence it does not agree that its master is dead."""
LEAST_PATIENCE_MS = 60
MOST_PATIENCE = 0.75
"""Of the dead interval."""
MAX_SEEN = 8192
"""Configs under way to one FE, and changes remembered of it."""


@dataclass(slots=True)
class _Seen:
    """What was seen of one FE since its state began."""

    incarnation: int = 0
    generation: int = 0
    arrived: deque[tuple[int, int, Message]] = field(default_factory=lambda: deque(maxlen=MAX_SEEN))
    """(order, sender, Config) of all that came from who was the master then."""
    order: int = 0
    last: int = 0
    """Order of the last one carried out."""
    hands: dict[int, int] = field(default_factory=dict)
    """Term -> whose Configs were carried out in it."""
    by: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=MAX_SEEN))
    """(generation, term) of what was carried out."""
    under_way: Message | None = None
    heard: dict[int, int] = field(default_factory=dict)
    """CE -> when something of it last came."""


@dataclass(slots=True)
class _Taking:
    """A CE on its way to be an FE's master."""

    kept: tuple[tuple[int, Message], ...]
    """The last changes of its replica."""
    incarnation: int
    sent: list[Lfbs] = field(default_factory=list)
    """Configs to the tables, since."""


class ChangeInvariants:
    """A watcher; `fail(number, text)` does not return."""

    def __init__(self, ne: NetworkElement, fail: Callable[[int, str], None]) -> None:
        self.ne = ne
        self.fail = fail
        self.pictures = 0
        """CEs that got ready while nothing was under way, and were compared with the FE."""
        self._names = {node.id: node.name for node in (*ne.ces, *ne.fes)}
        self._ids = {name: number for number, name in self._names.items()}
        self._seen: dict[str, _Seen] = {}
        self._taking: dict[tuple[str, str], _Taking] = {}
        self._table_classes = {table(which).class_id for which in TABLES}

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        core = process.core
        if type(core) is ForwardingElement:
            self._fe(process.name, core, event)
            if effects:
                self._claims(process.name, core, event, effects)
        elif effects and type(core) is Controller:
            self._ce(process.name, core, effects)

    # An FE

    def _fe(self, fe: str, core: ForwardingElement, event: Event | None) -> None:
        sync = core.sync
        seen = self._seen.get(fe)
        if event is None or seen is None or seen.incarnation != sync.incarnation:
            heard = seen.heard if seen is not None and event is not None else {}
            waiting = seen.arrived if seen is not None and event is not None else deque()
            order = seen.order if seen is not None and event is not None else 0
            seen = self._seen[fe] = _Seen(sync.incarnation, order=order, last=order)
            seen.heard = heard
            seen.arrived.extend(waiting)  # they are fenced, or belong to the new state
        if type(event) is MessageReceived:
            seen.heard[event.peer] = self.ne.world.now
            if event.message.header.type is MessageType.CONFIG:
                seen.order += 1
                seen.arrived.append((seen.order, event.peer, event.message))
        current = core.configs.under_way
        ended = seen.under_way
        seen.under_way = current[0].message if current is not None else None
        if sync.generation == seen.generation:
            if ended is not None and ended is not seen.under_way:
                self.fail(6, f"{fe} carried a Config out, and its generation did not grow")
            return
        if sync.generation < seen.generation:
            self.fail(6, f"generation of {fe} fell from {seen.generation} to {sync.generation}")
        for generation in range(seen.generation + 1, sync.generation + 1):
            done = self._carried_out(fe, core, seen, generation)
            if done is ended:
                ended = None
        if ended is not None and ended is not seen.under_way:
            self.fail(6, f"{fe} carried a Config out that its journal does not have")
        seen.generation = sync.generation

    def _carried_out(
        self, fe: str, core: ForwardingElement, seen: _Seen, generation: int
    ) -> Message | None:
        change = core.sync.change(generation)
        if change is None:
            self.fail(6, f"the journal of {fe} lacks its newest change, {generation}")
            return None
        found = next((one for one in seen.arrived if one[2] is change.message), None)
        if found is None:
            self.fail(6, f"{fe} carried out twice, or never got, its change {generation}")
            return None
        order, sender, _ = found
        if order <= seen.last:
            self.fail(6, f"{fe} carried out Configs in another order than they came")
        seen.last = order
        while seen.arrived and seen.arrived[0][0] <= order:
            seen.arrived.popleft()
        seen.by.append((generation, change.term))
        if self.ne.settings.profile == "rfc7121":
            hand = seen.hands.setdefault(change.term, sender)
            if hand != sender:
                pair = f"{self._names[hand]} and {self._names[sender]}"
                self.fail(1, f"{fe} carried out Configs of {pair} in its term {change.term}")
        return change.message

    def _claims(
        self, fe: str, core: ForwardingElement, event: Event | None, effects: Sequence[Effect]
    ) -> None:
        for effect in effects:
            if type(effect) is not Journal or effect.event != "detect":
                continue
            if effect.fields["source"] != "claim" or isinstance(event, PeerLost):
                continue
            name, settings = effect.fields["ce"], self.ne.settings
            heard_ns = self._seen[fe].heard.get(self._ids[name], 0)
            silent_ms = (self.ne.world.now - heard_ns) / NS_PER_MS
            patience = max(LEAST_PATIENCE_MS, PATIENCE_INTERVALS * settings.fe_heartbeat_ms)
            if silent_ms < min(patience, MOST_PATIENCE * settings.cehdi_ms) - 1:  # whole ms
                self.fail(6, f"{fe} believes {name} dead, which it heard {silent_ms:.1f} ms ago")

    def _foreign(self, fe: str, term: int) -> int:
        """The last generation of this FE that is of an earlier term."""
        return next((g for g, of in reversed(self._seen[fe].by) if of < term), 0)

    # A CE

    def _ce(self, ce: str, core: Controller, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if type(effect) is Journal:
                fe = effect.fields.get("fe")
                if effect.event == "takeover":
                    self._takes_over(ce, core, str(fe))
                elif effect.event == "ready":
                    self._ready(ce, core, str(fe), effect)
            elif type(effect) is Send and effect.message.header.type is MessageType.CONFIG:
                taking = self._taking.get((ce, self._names.get(effect.peer, "")))
                if taking is not None and self._about_tables(effect.message):
                    taking.sent.append(effect.message.lfbs)

    def _about_tables(self, message: Message) -> bool:
        return any(select.class_id in self._table_classes for select in message.lfbs)

    def _takes_over(self, ce: str, core: Controller, fe: str) -> None:
        """What its replica is, before it goes on (the effects of this event come after)."""
        if core.fr is None:
            return
        replica = core.fr.replicas[self._ids[fe]]
        self._taking[ce, fe] = _Taking(tuple(replica.kept), replica.incarnation)

    def _ready(self, ce: str, core: Controller, fe: str, journal: Journal) -> None:
        taking = self._taking.pop((ce, fe), None)
        process = self.ne.processes[fe]
        element = process.core if process.alive else None
        if not isinstance(element, ForwardingElement) or element.ha.master != self._ids[ce]:
            return  # it is about to learn that it came too late
        same = taking is not None and self._seen[fe].incarnation == taking.incarnation
        if journal.fields["kind"] == "sync" and taking is not None and same:
            self._sent_what_lacked(ce, fe, element.sync.term, taking)
        self._same_picture(ce, core, fe, element)

    def _sent_what_lacked(self, ce: str, fe: str, term: int, taking: _Taking) -> None:
        theirs = self._foreign(fe, term)
        lacking = [
            tuple(one for one in message.lfbs if one.class_id in self._table_classes)
            for generation, message in taking.kept
            if generation > theirs and self._about_tables(message) and not _only_beats(message)
        ]
        if taking.sent[: len(lacking)] != lacking:
            self.fail(6, f"{ce} did not send {fe} exactly what that had not got, in order")

    def _same_picture(self, ce: str, core: Controller, fe: str, element: ForwardingElement) -> None:
        programmer = core.sessions[self._ids[fe]].programmer
        if element.configs.pending or (programmer is not None and programmer.busy):
            return
        self.pictures += 1
        differing = self.differing(core, fe, element)
        if differing:
            self.fail(6, f"{ce} is ready for {fe} and mistakes {differing} rows of its tables")

    def differing(self, core: Controller, fe: str, element: ForwardingElement) -> int:
        """Rows that this CE believes the FE to have, and it has not, or the reverse."""
        believed = core.ne.tables[self._ids[fe]].confirmed
        real = fe_rows(element)
        return sum(
            believed[which].get(index) != real[which].get(index)
            for which in TABLES
            for index in believed[which].keys() | real[which].keys()
        )

    # When all has healed

    def not_following(self) -> list[str]:
        """hot+sync: replicas that do not follow, or are not what the FE is."""
        wrong = []
        for node in self.ne.fes:
            element = self.ne.fe(node.name)
            for ce in self.ne.ces:
                core = self.ne.ce(ce.name)
                if core.fr is None or element.ha.master == ce.id:
                    continue
                replica = core.fr.replicas[node.id]
                at = replica.incarnation, replica.generation
                if not replica.complete or not replica.following:
                    wrong.append(f"the replica of {node.name} at {ce.name} does not follow")
                elif at != (element.sync.incarnation, element.sync.generation):
                    wrong.append(f"the replica of {node.name} at {ce.name} is at {at[1]}")
                elif not element.configs.pending and self.differing(core, node.name, element):
                    wrong.append(f"the replica of {node.name} at {ce.name} differs from it")
        return wrong


def _only_beats(message: Message) -> bool:
    changes = row_changes(message)
    return all(
        change.table is Table.PREFIXES and not change.replaces and set(change.rows) <= {BEACON_ROW}
        for change in changes
    )


def fe_rows(element: ForwardingElement) -> dict[Table, Rows]:
    """An FE's tables as a CE knows them: packed, without the beacon's row."""
    rows = {
        Table.NEXT_HOPS: element.next_hops.rows,
        Table.GROUPS: element.unicast.ipv4.groups.rows,
        Table.PREFIXES: element.prefixes.rows,
    }
    return {
        which: {
            index: row(which).pack(contents)
            for index, contents in values.items()
            if which is not Table.PREFIXES or index != BEACON_ROW
        }
        for which, values in rows.items()
    }
