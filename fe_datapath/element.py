"""A forwarding element's core: events in, effects out, no clock and no socket (DESIGN section 5).

Here the parts meet: associations and mastership (`ha`), Config messages (`configs`), queries
(`query`), the LFB instances (`lfbs`), and the ports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fe_datapath.config import FeConfig
from fe_datapath.configs import Configs, Finished, Request
from fe_datapath.context import Context
from fe_datapath.datapath import (
    Change,
    Found,
    PortState,
    Readings,
    SetForwarding,
    count,
)
from fe_datapath.ha import HighAvailability
from fe_datapath.lfbs.counted import Validator
from fe_datapath.lfbs.ether import EtherPhyCop, Port
from fe_datapath.lfbs.feobject import FeObject, FeState
from fe_datapath.lfbs.fepo import Fepo
from fe_datapath.lfbs.instance import Instance
from fe_datapath.lfbs.plan import Plan
from fe_datapath.lfbs.redirect import Redirection
from fe_datapath.lfbs.sorting import link_layer
from fe_datapath.lfbs.sync import StateSync
from fe_datapath.lfbs.unbound import hosted
from fe_datapath.lfbs.unicast import Unicast
from fe_datapath.notifications import notification
from fe_datapath.query import answers
from fe_datapath.questions import Questions
from fe_datapath.responses import Verdicts, response
from fe_datapath.restart import TIMER as RESTART
from fe_datapath.restart import Restart
from fe_datapath.store import Store
from fe_datapath.view import view
from forces.effects import Deliver, Effect, Program
from forces.events import (
    BadMessage,
    Command,
    ConnectFailed,
    Event,
    LinkChanged,
    MessageReceived,
    PacketPunted,
    PeerLost,
    PeerUp,
    ProgramDone,
    TimerFired,
)
from forces.header import ALL_ELEMENTS, ALL_FES, Ack, MessageType
from forces.mastership import HaMode

PORT_EVENTS = {
    "OperStatus": "PHYPortStatusChanged",
    "OperLinkSpeed": "LinkSpeedChanged",
    "OperDuplexMode": "DuplexModeChanged",
}
"""EtherPHYCop: target component -> event (RFC 6956 section 5.1.1)."""


class ForwardingElement:
    def __init__(
        self,
        config: FeConfig,
        ports: Mapping[int, PortState],
        rng_seed: int = 0,
        readings: Readings | None = None,
        found: Found = Found(),
    ) -> None:
        """`ports`: their state now. `readings`: counters and the like, from the datapath itself.
        `found`: what an earlier process left there."""
        self.config = config
        self.context = Context({ce.id: ce.name for ce in config.ces} | {config.id: config.name})
        self.ha = HighAvailability(config, self.context, self, rng_seed)
        self.restart = Restart(config, self.context, found, lambda: self.ha.master is not None)
        self.ports = {number: Port(state, readings) for number, state in ports.items()}
        lfbs, self.unbound = hosted(config.lfb_documents)
        self.fepo = Fepo(lfbs, config, self.ha.mastership, self.ha.statistics)
        self.fe_object = FeObject(lfbs, config)
        self.unicast = Unicast(lfbs, self.ports, readings)
        self.prefixes = self.unicast.ipv4.prefixes
        self.next_hops = self.unicast.ipv4.next_hops
        self.phys = {number: EtherPhyCop(lfbs, port) for number, port in self.ports.items()}
        instances: list[Instance] = [self.fe_object, self.fepo, *self.phys.values()]
        instances += link_layer(lfbs, self.ports, readings)
        instances += [Validator(lfbs, version, readings) for version in (4, 6)]
        self.sync = StateSync(lfbs, lambda: self.configs.pending, self.ha.liveness)
        instances += [*self.unicast.instances, self.sync]
        self.redirection = Redirection(lfbs, config, self.ha.send, self.context.emit)
        instances += [*self.redirection.instances(), *self.unbound]
        self.fe_object.describe(instances, self.redirection.exceptions)
        self.store = Store(lfbs, instances)
        self.configs = Configs(self.store, self.unicast, self.context.next_token)
        self.applied = 0
        """Configs carried out."""
        self.questions = Questions(self.configs, lambda: self.sync.term)
        self._enabled = False
        """The FE has moved itself to OperEnable: it does so once."""
        self._programs: dict[int, tuple[Change, ...]] = {}
        self._handlers: dict[MessageType, Callable[[MessageReceived], None]] = {
            MessageType.HEARTBEAT: self.ha.heartbeat,
            MessageType.CONFIG: self._config,
            MessageType.QUERY: self._query,
            MessageType.ASSOCIATION_TEARDOWN: self.ha.teardown,
        }
        """What a CE may send to an FE that is associated with it (RFC 5810 section 7)."""
        if config.redirect is not None:
            self._handlers[MessageType.PACKET_REDIRECT] = self._redirected

    def start(self, now: int) -> list[Effect]:
        """RFC 5812 section 5.2: an FE starts in OperDisable. It may forward all the same, by what
        was found; then the CE says when the FE's state is its own again (see `restart`)."""
        self.context.now = now
        self.sync.begin(now)
        self._enabled = self.fe_object.by_grace = self.restart.graceful
        self.restart.start()
        self.ha.start()
        return self._take()

    def handle(self, event: Event, now: int) -> list[Effect]:
        self.context.now = now
        match event:
            case MessageReceived():
                self._message(event)
            case TimerFired(key):
                if self.context.fired(key) and isinstance(key, tuple):
                    if key == RESTART:
                        self._restart_timer()
                    else:
                        self.ha.timer(key, self.context.due_ns)
            case ProgramDone():
                self._program_done(event)
            case LinkChanged():
                self._link_changed(event)
            case PacketPunted():
                self.redirection.punted(event, self.ha.master, now)
            case PeerUp():
                self.ha.peer_up(event)
            case PeerLost():
                self.ha.peer_lost(event)
            case ConnectFailed():
                self.ha.connect_failed(event)
            case BadMessage(peer, _, size):
                self._refuse(peer, size)
            case Command():
                self._command(event)
        if len(self.configs.two_phase):
            self.configs.two_phase.keep(self.ha.associated)
        if self.configs.waiting:
            self._next_config()
        if self.questions.waiting:
            for question in self.questions.due(self.ha.holds):
                self._answer_query(question)
        return self._take()

    def _take(self) -> list[Effect]:
        effects = self.context.take()
        for effect in effects:
            if type(effect) is Program:
                self._programs[effect.token] = effect.changes
        return effects

    # Messages

    def _message(self, event: MessageReceived) -> None:
        ce, message = event.peer, event.message
        link = self.ha.links.get(ce)
        header = message.header
        if link is None or header.source != ce or not self._is_for_us(header.destination):
            self._refuse(ce, event.size)
            return
        kind = header.type
        if kind is MessageType.ASSOCIATION_SETUP_RESPONSE:
            if not self.ha.setup_response(event):
                self._refuse(ce, event.size)
            return
        handler = self._handlers.get(kind) if self.ha.associated(ce) else None
        if handler is None:
            self._refuse(ce, event.size)
            return
        if kind is MessageType.CONFIG and not self._obeys(ce):
            link.last_received_ns = self.context.now  # fenced, but alive
            self._fence(ce, event.size)
            return
        link.received(self.context.now, event.size)
        handler(event)

    def _redirected(self, event: MessageReceived) -> None:
        if event.peer != self.ha.master:
            self._fence(event.peer, event.size)
        else:
            self.redirection.received(event.message, self.context.now)

    def _is_for_us(self, destination: int) -> bool:
        if destination in (self.config.id, ALL_FES, ALL_ELEMENTS):
            return True
        return destination in self.fepo.values["MulticastFEIDs"].values()

    def _obeys(self, ce: int) -> bool:
        """RFC 7121 section 3.2: no Config but the master's. Profile "slides": of every CE."""
        return ce == self.ha.master or (self.config.profile == "slides" and self.ha.associated(ce))

    def _refuse(self, ce: int, size: int) -> None:
        figures = self.ha.statistics.get(ce)
        if figures is not None:
            figures.recv_err_packets += 1
            figures.recv_err_bytes += size

    def _fence(self, ce: int, size: int) -> None:
        self._refuse(ce, size)
        self.context.journal("fenced", ce=self.context.name(ce), octets=size)

    def _query(self, event: MessageReceived) -> None:
        if event.peer != self.ha.master or not self.questions.must_wait():
            self._answer_query(event)
        elif not self.questions.wait(event, self.ha.links[event.peer]):
            self._refuse(event.peer, event.size)

    def _answer_query(self, event: MessageReceived) -> None:
        request, under_way = event.message, self.configs.transaction
        for body, phase in answers(self.store, request.lfbs, under_way, self.fepo.extended):
            self.ha.send(event.peer, response(request, MessageType.QUERY_RESPONSE, body, phase))
        if self.sync.asked:
            self.sync.asked = False
            self.ha.look(event.peer)

    # Configs

    def _config(self, event: MessageReceived) -> None:
        link = self.ha.links[event.peer]
        request = Request(event.peer, event.message, event.size, link, self.sync.term)
        if not self.configs.submit(request):
            self.sync.not_taken()
            self._refuse(event.peer, event.size)
            self.context.journal("overload", ce=self.context.name(event.peer))

    def _next_config(self) -> None:
        while True:
            step = self.configs.next(self._still_allowed)
            if step is None:
                return
            if isinstance(step, Program):
                self.context.emit(step)
                return
            self._finish(step)

    def _still_allowed(self, request: Request) -> bool:
        """A Config that waited while its sender ceased to be the master is fenced too, also if
        the same CE has become the master anew: it counts on nothing of what was before."""
        of_now = request.term == self.sync.term or self.config.profile == "slides"
        if of_now and self._obeys(request.peer) and self.ha.holds(request.association):
            return True
        self._fence(request.peer, request.size)
        return False

    def _finish(self, finished: Finished) -> None:
        """Answer, and then do what the Config asked of the FE itself: a CE that is dismissed
        learns first that its SET CEID was taken."""
        request, edits = finished.request, finished.edits
        if finished.diverged:
            self.context.journal("diverged", detail=finished.diverged)
        flags, failed = request.message.header.flags, edits.failed
        ack = flags.ack
        exact = not (failed or finished.diverged or flags.transaction)
        self.sync.carried_out(request.message, request.size, exact, request.term)
        wanted = ack is Ack.ALWAYS_ACK or ack is (Ack.FAILURE_ACK if failed else Ack.SUCCESS_ACK)
        if wanted and self.ha.associated(request.peer) and self.ha.holds(request.association):
            verdicts = Verdicts.of(edits, self.fepo.extended)
            body = verdicts.response(failed_only=ack is Ack.FAILURE_ACK)
            if body:  # a TRCOMP is not answered
                kind = MessageType.CONFIG_RESPONSE
                self.ha.send(request.peer, response(request.message, kind, body))
        changes = edits.transaction.changes()
        self.applied += bool(len(edits.transaction))
        for unbound in self.unbound:
            for title in unbound.told(changes.get(unbound, {}), self.context.now):
                self._notify(unbound, title)
        if self.fe_object in changes:
            self.fe_object.by_grace = False
            if self.restart.graceful and self.fe_object.forwarding:
                self._restarted("enabled")
        if self.fepo in changes:
            if self._obeys(request.peer) and self.ha.holds(request.association):
                self._fepo_set(set(changes[self.fepo]))
            self.mirror()

    def _fepo_set(self, names: set[str]) -> None:
        values = self.fepo.values
        ceid, last, backups = values["CEID"], values["LastCEID"], values["BackupCEs"]
        if names & {"CEHBPolicy", "CEHDI", "FEHBPolicy", "FEHI", "CEFTI"}:
            self.ha.set_liveness(
                values["FEHI"] if values["FEHBPolicy"] == 1 else None,
                values["CEHDI"] if values["CEHBPolicy"] == 0 else None,
                values["CEFTI"],
            )
        if "LastCEID" in names:
            self.ha.mastership.last_ceid = last
        if names & {"HAMode", "CEFailoverPolicy"}:
            self.ha.configure(HaMode(values["HAMode"]), values["CEFailoverPolicy"])
        if "CEID" in names:
            self.ha.set_ceid(ceid)
        if "BackupCEs" in names:  # after CEID: the old master may be among them
            self.ha.set_backups([backups[index] for index in sorted(backups)])

    # The datapath

    def _program(self, changes: tuple[Change, ...]) -> None:
        self.context.program(changes)

    def _program_done(self, event: ProgramDone) -> None:
        changes = self._programs.pop(event.token, ())
        first = min(event.failed, default=None)
        for index, change in enumerate(changes):
            if isinstance(change, SetForwarding) and (
                first is None or count(changes[:index]) < first
            ):
                self.context.journal("forwarding", on=change.on)
        step = self.configs.done(event.token, event.failed, event.codes)
        if isinstance(step, Program):
            self.context.emit(step)
        elif step is not None:
            self._finish(step)
        elif event.failed:
            self.context.journal("unprogrammed", detail="; ".join(event.failed.values()))

    def _link_changed(self, event: LinkChanged) -> None:
        port, phy = self.ports.get(event.port), self.phys.get(event.port)
        if port is None or phy is None:
            return
        before = {name: phy.read(name) for name in PORT_EVENTS}
        was_up = port.up
        port.link_changed(event.up, event.attributes)
        if port.up != was_up:
            self.context.journal("link", port=event.port, up=port.up, at_ns=event.at_ns)
            plan = Plan()
            if port.up:
                self.unicast.port_back(event.port, plan)
            else:
                self.unicast.port_lost(event.port, plan)
            self._program(plan.result()[0])  # the repair, before any event goes out
        for name, title in PORT_EVENTS.items():
            event_def = phy.cls.event(title)
            if phy.has_due(event_def, before[name], phy.read(name), self.context.now):
                self._notify(phy, title)

    # What the associations need of the FE

    def mirror(self) -> None:
        under_way = self.configs.transaction
        self.fepo.mirror(() if under_way is None else under_way.touched(self.fepo))

    def new_master(self) -> None:
        """RFC 5812 section 5.2: the FE moves itself to OperEnable when it can work. After a stop
        (policy 0, CEFTI) its state is gone, and only the CE knows when it is there again."""
        self.sync.new_master()
        self.restart.new_master()
        if not self._enabled and self.fe_object.state is FeState.OperDisable:
            self._enable()

    def _enable(self) -> None:
        self._enabled = True
        self.fe_object.state = FeState.OperEnable
        self._program((SetForwarding(True),))

    def _restart_timer(self) -> None:
        over = self.restart.timer()
        if over == "cefti":
            self.stop_forwarding()
        elif over == "hold":
            if self.fe_object.state is FeState.OperDisable:
                self._enable()
            self._restarted(over)

    def _restarted(self, cause: str) -> None:
        """The new master's state is there: the rest goes."""
        self.fe_object.by_grace = False
        held = self.unicast.held()
        self.restart.sweep(cause, held.routes, held.objects, held.neighbors)

    def stop_forwarding(self) -> None:
        """RFC 7121 section 2.1.1: OperDisable, and all FE states will need to be re-created."""
        self._enabled = True
        held = self.unicast.held()
        self.configs.forget()
        held |= self.unicast.held()
        self.unicast.clear()
        self.sync.begin(self.context.now)
        self.fe_object.state = FeState.OperDisable
        for instance in self.store.instances.values():
            instance.forget_events()
        for unbound in self.unbound:
            unbound.begin_anew()
        self.fe_object.by_grace = False
        self._program((SetForwarding(False), *self.restart.discard(), *held.deletions()))

    def issue(self, event: str) -> None:
        self._notify(self.fepo, event)

    def _notify(self, instance: Instance, event: str) -> None:
        """RFC 7121 section 3.2: events go to all associated CEs, to the master first (RFC 6984
        section 4.3). Profile "slides": to the master."""
        for ce in sorted(self.ha.mastership.associated, key=lambda ce: ce != self.ha.master):
            if self.config.profile == "rfc7121" or ce == self.ha.master:
                self.ha.send(ce, notification(self.config.id, ce, instance, event))

    # The local API

    def _command(self, event: Command) -> None:
        if event.name == "state":
            self.context.emit(Deliver(event.token, view(self)))
        else:
            self.context.emit(Deliver(event.token, error=f"an FE has no command {event.name!r}"))
