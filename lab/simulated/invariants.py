"""DESIGN section 8's invariants, checked after every event that a core handles.

The checks believe what an FE journals and sends only where something else says the same: the
effects of the very same event, the virtual clock, the datapath. What concerns changes (6) is in
`invariants_sync`; what needs two instruments (9) is not here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ce.answers import answers
from ce.fe_tables import Table
from ce.lfbs import event, row
from fe_datapath.configs import Request
from fe_datapath.datapath import SetForwarding, SetRoute
from fe_datapath.element import ForwardingElement
from fe_datapath.lfbs.family import IPV4
from forces.effects import Effect, Journal, Program, Send
from forces.events import Event, MessageReceived
from forces.header import MessageType
from forces.paths import FullData
from lab.simulated.dataplane import is_beacon
from lab.simulated.element import NetworkElement
from lab.simulated.invariants_sync import ChangeInvariants
from lab.simulated.process import Process
from lab.simulated.world import NS_PER_MS


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, number: int, text: str, at_ns: int) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number = number
        self.at_ns = at_ns


class Invariants:
    """A watcher of all processes of one NE."""

    def __init__(self, ne: NetworkElement, data_path_whole: bool) -> None:
        """`data_path_whole`: nothing in the schedule hurts a data link or an FE, so invariant 3
        has something to say."""
        self.ne = ne
        self.events = 0
        self._world = ne.world
        self._names = {node.id: node.name for node in (*ne.ces, *ne.fes)}
        self._ids = {name: number for number, name in self._names.items()}
        self._master: dict[str, str | None] = {}
        """FE -> its master, by what it journaled."""
        self._last: dict[str, str | None] = {}
        self._cefti: dict[str, int] = {}
        """FE -> since when it runs."""
        self._begun: dict[str, Request] = {}
        """FE -> the last Config whose first program was seen."""
        self.changes = ChangeInvariants(ne, self.fail)
        self._judge_flows = data_path_whole and ne.settings.policy == 1
        self._whole = False
        """Every flow arrived after the last program: from now on only faults may break one."""

    def fail(self, number: int, text: str) -> None:
        raise Violation(number, text, self._world.now)

    # The watcher

    def handled(self, process: Process, event: Event | None, effects: Sequence[Effect]) -> None:
        self.events += 1
        self.changes.handled(process, event, effects)
        core = process.core
        if type(core) is not ForwardingElement:
            return
        name = process.name
        if event is None:
            self._master[name] = self._last[name] = None
            self._cefti.pop(name, None)
        elif type(event) is MessageReceived and event.message.header.type is MessageType.CONFIG:
            self._fence(name, event.peer, effects)
        if effects:
            self._effects(process, core, event is None, effects)
        if core.ha.master != self._ids.get(self._master[name] or ""):
            self.fail(5, f"{name} has another master than it says: {core.ha.master}")

    def programmed(self, process: Process, program: Program) -> None:
        if not self._judge_flows:
            return
        if all(isinstance(c, SetRoute) and is_beacon(c.prefix) for c in program.changes):
            return
        if any(isinstance(c, SetForwarding) and not c.on for c in program.changes):
            self._whole = False  # by CEFTI's end: 4 has judged it
            return
        broken = self.ne.data.broken()
        if broken and self._whole:
            self.fail(
                3, f"{process.name} broke {', '.join(broken)} ({len(program.changes)} changes)"
            )
        self._whole = not broken

    # One event of one FE

    def _fence(self, fe: str, sender: int, effects: Sequence[Effect]) -> None:
        """1: what is not the master's has no effect, and no answer."""
        if self._names.get(sender) == self._master[fe] or self.ne.settings.profile != "rfc7121":
            return
        for effect in effects:
            if isinstance(effect, Program) or (isinstance(effect, Send) and effect.peer == sender):
                text = f"{fe} obeyed a Config of {self._names.get(sender)}"
                self.fail(1, f"{text}, its master is {self._master[fe]}")

    def _effects(
        self, process: Process, core: ForwardingElement, first: bool, effects: Sequence[Effect]
    ) -> None:
        fe, policy = process.name, core.ha.mastership.policy
        lost = stopped = started = expired = False
        office: Journal | None = None
        issued: list[Send] = []
        for effect in effects:
            if type(effect) is Journal:
                what = effect.event
                if what == "detect":
                    lost, self._master[fe] = True, None
                elif what == "master":
                    office = effect
                    self._master[fe] = effect.fields["ce"]
                elif what == "cefti":
                    started |= effect.fields["what"] == "start"
                    expired |= effect.fields["what"] == "expired"
                    self._timer(process, effect.fields["what"])
            elif type(effect) is Program:
                stopped |= any(isinstance(c, SetForwarding) and not c.on for c in effect.changes)
                self._one_hand(fe, core, effect)
            elif (
                type(effect) is Send
                and effect.message.header.type is MessageType.EVENT_NOTIFICATION
            ):
                issued.append(effect)
        if stopped and not first and not expired and policy == 1:
            self.fail(4, f"{fe} stopped forwarding before CEFTI's end (policy 1)")
        if lost and policy == 0 and not stopped:
            self.fail(4, f"{fe} lost its master and goes on forwarding (policy 0)")
        if expired and not stopped:
            self.fail(4, f"{fe} goes on forwarding after CEFTI's end")
        if lost and policy == 1 and not started:
            self.fail(4, f"{fe} lost its master and did not start CEFTI")
        if issued or office is not None:
            self._pair(fe, core, office, issued)

    def _one_hand(self, fe: str, core: ForwardingElement, program: Program) -> None:
        """1: also a Config that had to wait begins only while its sender is the master. What has
        begun is brought to its end (or taken back), whoever is the master by then."""
        under_way = core.configs.under_way
        if under_way is None or under_way[1] != program.token:
            return
        request = under_way[0]
        if self._begun.get(fe) is request:
            return
        self._begun[fe] = request
        sender = self._names.get(request.peer)
        if sender != self._master[fe] and self.ne.settings.profile == "rfc7121":
            self.fail(1, f"{fe} carries out a Config of {sender}, its master is {self._master[fe]}")

    def _timer(self, process: Process, what: str) -> None:
        """4: CEFTI ends when it should, not before and not after."""
        fe, now = process.name, self._world.now
        since = self._cefti.pop(fe, None)
        length_ns = process.core.ha.cefti_ms * NS_PER_MS  # type: ignore[attr-defined]
        if what == "start":
            self._cefti[fe] = now
            self._world.at(now + length_ns + NS_PER_MS, self._overdue, process, now)
        elif what == "expired" and (since is None or now - since < length_ns):
            self.fail(4, f"CEFTI of {fe} ended before its time")

    def _overdue(self, process: Process, since: int) -> None:
        awake = self._world.now - process.thawed_ns > NS_PER_MS
        running = process.alive and not process.frozen and awake
        if running and self._cefti.get(process.name) == since:
            self.fail(4, f"CEFTI of {process.name} did not end")

    def _pair(
        self, fe: str, core: ForwardingElement, office: Journal | None, issued: Sequence[Send]
    ) -> None:
        """5: PrimaryCEDown and PrimaryCEChanged, once to each associated CE, with true IDs."""
        down, changed = event("FEPO", "PrimaryCEDown"), event("FEPO", "PrimaryCEChanged")
        told: list[tuple[str, int, int]] = []
        for send in issued:
            for class_id, _instance, ids, content in answers(send.message):
                for name, one in (("down", down), ("changed", changed)):
                    named = class_id == one.class_id and ids[: len(one.ids)] == one.ids
                    if named and isinstance(content, FullData):
                        told.append((name, send.peer, one.unpack(content.value)))
        if office is None:
            if told:
                self.fail(5, f"{fe} announced {told} without a change of master")
            return
        new, last = office.fields["ce"], office.fields["last"]
        if last != self._last[fe]:
            self.fail(5, f"{fe} says that {last} was its last master, it was {self._last[fe]}")
        self._last[fe] = new
        wanted = []
        for ce in core.ha.mastership.associated:
            wanted.append(("down", ce, self._ids.get(last or "", 0)))
            wanted.append(("changed", ce, self._ids[new]))
        if sorted(told) != sorted(wanted):
            self.fail(5, f"{fe} told {sorted(told)}, it should have told {sorted(wanted)}")

    # When all has healed

    def quiet(self) -> list[str]:
        """What is missing for the NE to be whole (8)."""
        missing = self.ne.not_ready() + self.ne.lacking_backups() or self._tables()
        if not missing and self.ne.settings.policy == 1:  # else FEs know no backups
            missing = self.changes.not_following()
        if missing:
            return missing
        wrong, outdated = self._pictures()
        if wrong or outdated:
            return wrong
        return [f"{flow} is broken" for flow in self.ne.data.broken()]

    def _pictures(self) -> tuple[list[str], bool]:
        """What masters hold to be the state of the FEs' ports: what is wrong, and whether one of
        them holds an old state of an FE that left it. Nobody tells it better until CEs synchronise
        (FEs that took different masters and keep no standby associations), so it may leave its own
        FEs without a way."""
        wrong, outdated = [], False
        for ce in {self.ne.master_of(fe.name) for fe in self.ne.fes}:
            assert ce is not None, "asked only when all are ready"
            core = self.ne.ce(ce)
            for node in self.ne.fes:
                for number, state in self.ne.datapath(node.name).ports().items():
                    believed = core.ne.port(node.id, number)
                    if believed is None or believed is (state.admin_up and state.carrier):
                        continue
                    if node.id in core.sessions:
                        wrong.append(f"{ce} believes port {number} of {node.name} up={believed}")
                    outdated = True
        return wrong, outdated

    def _tables(self) -> list[str]:
        """2: the kernel's routes are the master's committed table."""
        wrong = []
        for node in self.ne.fes:
            master = self.ne.master_of(node.name)
            datapath = self.ne.processes[node.name].datapath
            assert master is not None, "asked only when all are ready"
            assert datapath is not None, "an FE has one"
            tables = self.ne.ce(master).ne.tables[node.id]
            if not tables.in_step():
                wrong.append(f"{master} waits for {node.name} to acknowledge")
            prefixes = map(row(Table.PREFIXES).unpack, tables.confirmed[Table.PREFIXES].values())
            wanted = {
                (each["IPv4Address"], each["Prefixlen"]): IPV4.target(each) for each in prefixes
            }
            real = {key: hop for key, hop in datapath.routes().items() if not is_beacon(key[0])}
            hops = datapath.nexthops().keys() ^ tables.confirmed[Table.NEXT_HOPS].keys()
            hops |= datapath.groups().keys() ^ set(
                map(IPV4.group_id, tables.confirmed[Table.GROUPS])
            )
            if real != wanted or hops:
                stray, lost = len(real.keys() - wanted.keys()), len(wanted.keys() - real.keys())
                wrong.append(
                    f"the datapath of {node.name} has {stray} stray routes and lacks {lost}"
                    f", next hops differ: {sorted(hops)}"
                )
        return wrong

    def bounded(self) -> None:
        """8: nothing has grown."""
        for process in self.ne.processes.values():
            limit = 4 + 4 * len(self.ne.processes)
            if process.timers > limit:
                self.fail(8, f"{process.name} has {process.timers} timers")
        pairs = len(self.ne.ces) * (len(self.ne.fes) + len(self.ne.ces))
        if len(self.ne.network.sides) > 2 * pairs:
            self.fail(8, f"{len(self.ne.network.sides)} ends of associations")
