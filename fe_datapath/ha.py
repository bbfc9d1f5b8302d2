"""An FE's associations, and its mastership put into effect (RFC 7121 sections 2.1 and 3.2).

`forces.mastership` decides; here are the transports, the AssociationSetup and its answer, the
heartbeats and dead intervals of every associated CE, the timers and the two events.
"""

from __future__ import annotations

import random
from typing import Protocol

from fe_datapath.config import FeConfig
from fe_datapath.context import NS_PER_MS, Context
from fe_datapath.look import Look, agreed_silence_ms
from fe_datapath.standby import Standby
from forces import mastership_actions as m
from forces.association import Association, Due, Statistics, heartbeat_answer
from forces.effects import Connect, Disconnect, Send
from forces.errors import ForcesError
from forces.events import ConnectFailed, LossCause, MessageReceived, PeerLost, PeerUp
from forces.header import Header, MessageType
from forces.mastership import HaMode, Mastership
from forces.mastership_table import State, Trigger
from forces.messages import Message, SetupResult, TeardownReason, flags_for
from forces.wire import encoded_length

SETUP_PATIENCE = 2
"""Dead intervals that a CE has to answer an AssociationSetup."""
SETUP_PATIENCE_MIN_MS = 200
RETRY_JITTER = 0.1
"""Share of a pause by which it varies, so that FEs which lost a CE together return apart."""


class Owner(Protocol):
    """What the associations need of the FE around them."""

    def new_master(self) -> None:
        """A CE has just taken office."""

    def stop_forwarding(self) -> None:
        """FEState OperDisable, state discarded."""

    def mirror(self) -> None:
        """Something that FEPO shows has changed."""

    def issue(self, event: str) -> None:
        """Send this event of FEPO to the CEs that get it."""


class HighAvailability:
    def __init__(self, config: FeConfig, context: Context, owner: Owner, rng_seed: int) -> None:
        self.config = config
        self.context = context
        self.owner = owner
        self.mastership = Mastership(
            tuple(ce.id for ce in config.ces), HaMode(config.ha_mode), config.failover_policy
        )
        self.standby = Standby(context, self.mastership)
        self.statistics = {ce: Statistics() for ce in self.mastership.all_ces}
        self.links: dict[int, Association] = {}
        """CEs that an AssociationSetup was sent to, or that are associated."""
        self.heartbeat_ms: int | None = config.fe_heartbeat_ms
        self.dead_ms: int | None = config.cehdi_ms
        self.cefti_ms = config.cefti_ms
        self._rng = random.Random(rng_seed)
        self._dialling: set[int] = set()
        self._setups: dict[int, int] = {}
        """CE -> correlator of the AssociationSetup that waits for its answer."""
        self._torn_down: int | None = None
        self._in_office = (0, 0)
        self._look = Look(context)

    @property
    def master(self) -> int | None:
        return self.mastership.master

    def associated(self, ce: int) -> bool:
        return ce in self.links and ce not in self._setups

    def holds(self, association: Association) -> bool:
        """It has not ended. A CE that was lost and has come back starts anew: it does not know
        what it asked for before, and its correlators begin again."""
        return self.links.get(association.peer_id) is association

    def start(self) -> None:
        self._do_all(self.mastership.start())

    # What the transport reports

    def peer_up(self, event: PeerUp) -> None:
        ce = event.peer
        if ce not in self._dialling:
            self.context.emit(Disconnect(ce, abort=True))
            return
        self._dialling.discard(ce)
        self.context.journal("tml_up", peer=self.context.name(ce))
        self._trigger(Trigger.CONNECTED, ce)

    def connect_failed(self, event: ConnectFailed) -> None:
        ce = event.peer
        if ce not in self._dialling:
            return
        self._dialling.discard(ce)
        self._journal_transport("connect_failed", ce, event.cause, event.detail)
        self._trigger(Trigger.CONNECT_FAILED, ce)

    def peer_lost(self, event: PeerLost) -> None:
        """RFC 7121 section 2.1.1: a loss that the TML reports is a loss of the association;
        RFC 5810 section 4.2.2.3 leaves the word to the dead interval (`detect: heartbeat`)."""
        ce = event.peer
        if ce not in self.links:
            return
        self._journal_transport("tml_lost", ce, event.cause, event.detail)
        watched = self.associated(ce) and self.links[ce].dead_ns is not None
        looked = ce == self._look.at
        if self.config.detect == "heartbeat" and watched and not looked:
            return
        self._trigger(Trigger.LOST, ce, "claim" if looked else "tml", event.cause.value)

    def _journal_transport(self, what: str, ce: int, cause: LossCause, detail: str) -> None:
        self.context.journal(what, peer=self.context.name(ce), cause=cause.value, detail=detail)

    # What CEs say about the association

    def setup_response(self, event: MessageReceived) -> bool:
        """False: nobody asked for it."""
        ce, message = event.peer, event.message
        if self._setups.get(ce) != message.header.correlator:
            return False
        self.links[ce].received(self.context.now, event.size)
        del self._setups[ce]
        self.context.cancel_timer(("setup", ce))
        if message.result != SetupResult.SUCCESS:
            self._setups[ce] = 0  # not associated, whatever the machine does with it
            self.context.journal("refused", peer=self.context.name(ce), result=message.result)
            self._trigger(Trigger.REFUSED, ce)
            return True
        self._watch(ce)
        self.context.journal("associated", peer=self.context.name(ce))
        self._trigger(Trigger.ACCEPTED, ce)
        return True

    def heartbeat(self, event: MessageReceived) -> None:
        answer = heartbeat_answer(event.message)
        if answer is not None:
            self.send(event.peer, answer)

    def teardown(self, event: MessageReceived) -> None:
        reason = event.message.reason
        known = {r.value: r.name.lower() for r in TeardownReason}
        self._torn_down = event.peer
        cause = known.get(reason if reason is not None else -1, f"reason {reason}")
        self._trigger(Trigger.TEARDOWN, event.peer, "teardown", cause)
        self._torn_down = None

    # Another CE asks whether the master lives

    def liveness(self) -> tuple[int, int, int]:
        """The master (0: none), its silence, and the silence with which we agree, in ms."""
        ce = self.master
        link = None if ce is None else self.links.get(ce)
        if ce is None or link is None:
            return 0, 0, 0
        silence_ns = self.context.now - link.last_received_ns
        return ce, min(silence_ns // NS_PER_MS, 0xFFFFFFFF), self._patience_ms()

    def _patience_ms(self) -> int:
        dead_ms = self.config.cehdi_ms if self.dead_ms is None else self.dead_ms
        return agreed_silence_ms(self.heartbeat_ms, dead_ms)

    def look(self, asker: int) -> None:
        ce = self.master
        link = None if ce is None else self.links.get(ce)
        if link is not None and asker != ce:
            self._look.begin(link, asker, self._patience_ms(), self.send)

    def _looked(self, ce: int) -> None:
        link = self.links.get(ce)
        if ce != self.master or link is None:
            self._look.at = None
            return
        cause = self._look.over(link, self._patience_ms())
        if cause is not None:
            self._trigger(Trigger.LOST, ce, "claim", cause)

    # What the master sets

    def set_ceid(self, ce: int) -> None:
        if self.mastership.state is State.ASSOCIATED:
            self._trigger(Trigger.SET_CEID, ce, "planned", "SET FEPO.CEID")

    def set_backups(self, backups: list[int]) -> None:
        """If the FE has moved meanwhile, its new master is no backup."""
        self.mastership.set_backups([ce for ce in backups if ce != self.mastership.ceid])

    def configure(self, mode: HaMode | None, policy: int | None) -> None:
        self._do_all(self.mastership.configure(mode, policy))

    def set_liveness(self, heartbeat_ms: int | None, dead_ms: int | None, cefti_ms: int) -> None:
        """RFC 7121 section 3.2: the heartbeat parameters are global for all CEs."""
        self.heartbeat_ms, self.dead_ms, self.cefti_ms = heartbeat_ms, dead_ms, cefti_ms
        for ce in self.links:
            if self.associated(ce):
                self._watch(ce)

    # Time

    def timer(self, key: tuple[str, int], due_ns: int) -> None:
        if self.context.now > due_ns:
            for link in self.links.values():
                link.fired(self.context.now, due_ns)
        what, ce = key
        if what == "liveness":
            self._liveness(ce)
        elif what == "setup":
            self._trigger(Trigger.REFUSED, ce)
        elif what == "look":
            self._looked(ce)
        elif what == "retry":
            self._trigger(Trigger.RETRY_DUE, ce)
        elif what == "cefti":
            self.context.journal("cefti", what="expired")
            self._trigger(Trigger.CEFTI_EXPIRED, None)

    def _liveness(self, ce: int) -> None:
        link = self.links[ce]
        due = link.due(self.context.now)
        if Due.DEAD in due:
            silence_ms = (self.context.now - link.last_received_ns) / NS_PER_MS
            self._trigger(Trigger.LOST, ce, "heartbeat", f"silent for {silence_ms:.1f} ms")
            return
        if Due.HEARTBEAT in due:
            self.send(ce, link.heartbeat())
        self._arm(ce)

    def _watch(self, ce: int) -> None:
        link = self.links[ce]
        watching = self.config.detect in ("heartbeat", "both") and self.dead_ms is not None
        link.dead_ns = (self.dead_ms or 0) * NS_PER_MS if watching else None
        beating = self.heartbeat_ms is not None
        link.heartbeat_ns = (self.heartbeat_ms or 0) * NS_PER_MS if beating else None
        self._arm(ce)

    def _arm(self, ce: int) -> None:
        deadline = self.links[ce].deadline()
        if deadline is None:
            self.context.cancel_timer(("liveness", ce))
        else:
            self.context.set_timer(("liveness", ce), max(deadline, self.context.now))

    # Mastership's actions

    def _trigger(self, trigger: Trigger, ce: int | None, source: str = "", cause: str = "") -> None:
        self._do_all(self.mastership.trigger(trigger, ce, source, cause))

    def _do_all(self, actions: list[m.Action]) -> None:
        self.owner.mirror()
        for action in actions:
            self._do(action)
        self.standby.look()

    def _do(self, action: m.Action) -> None:
        context = self.context
        match action:
            case m.Dial(ce):
                self._dialling.add(ce)
                context.emit(Connect(ce))
            case m.Associate(ce):
                self._set_up(ce)
            case m.Hangup(ce, abort):
                self._hang_up(ce, abort)
            case m.RetryLater(ce, standby):
                pause = self.config.backup_retry_ms if standby else self.config.connect_retry_ms
                jitter = self._rng.uniform(-RETRY_JITTER, RETRY_JITTER)
                context.set_timer_in(("retry", ce), pause * (1 + jitter))
            case m.CancelRetry(ce):
                context.cancel_timer(("retry", ce))
            case m.StartCefti():
                context.journal("cefti", what="start")
                context.set_timer_in(("cefti", 0), self.cefti_ms)
            case m.CancelCefti():
                context.journal("cefti", what="cancel")
                context.cancel_timer(("cefti", 0))
            case m.StopForwarding():
                self.owner.stop_forwarding()
            case m.MasterLost(ce, source, cause):
                context.journal("detect", ce=context.name(ce), source=source, cause=cause)
            case m.NewMaster(ce, last):
                self._in_office = (ce, last)
                self._look.at = None
                self.owner.new_master()
            case m.StateChanged(previous, state, cause):
                context.journal(
                    "state", **{"from": previous.value, "to": state.value, "cause": cause}
                )
            case m.PrimaryCeDown():
                self.owner.issue("PrimaryCEDown")
            case m.PrimaryCeChanged():
                self.owner.issue("PrimaryCEChanged")
                # t_master: chosen, and PrimaryCEChanged sent (docs/measuring.md)
                ce, last = self._in_office
                context.journal("master", ce=context.name(ce), last=self._name_or_none(last))

    def _name_or_none(self, ce: int) -> str | None:
        return self.context.name(ce) if ce else None

    def _set_up(self, ce: int) -> None:
        link = Association(self.config.id, ce, self.context.now, None, None, self.statistics[ce])
        self.links[ce] = link
        kind = MessageType.ASSOCIATION_SETUP
        correlator = self._setups[ce] = link.next_correlator()
        self.send(ce, Message(Header(kind, self.config.id, ce, correlator, flags_for(kind))))
        patience = SETUP_PATIENCE * (self.dead_ms or 0)
        self.context.set_timer_in(("setup", ce), max(patience, SETUP_PATIENCE_MIN_MS))

    def _hang_up(self, ce: int, abort: bool) -> None:
        if self.associated(ce) and not abort and ce != self._torn_down:
            kind = MessageType.ASSOCIATION_TEARDOWN
            header = Header(kind, self.config.id, ce, 0, flags_for(kind))
            self.send(ce, Message(header, reason=TeardownReason.NORMAL))
        self.links.pop(ce, None)
        self._setups.pop(ce, None)
        self._dialling.discard(ce)
        self.context.cancel_timer(("liveness", ce))
        self.context.cancel_timer(("setup", ce))
        self.context.emit(Disconnect(ce, abort))

    # Sending

    def send(self, ce: int, message: Message) -> None:
        link = self.links.get(ce)
        if link is None:
            return
        try:
            size = encoded_length(message)
        except ForcesError:
            size = 0  # the driver finds out too, and gives the peer up
            self.statistics[ce].txmit_err_packets += 1
        link.sent(self.context.now, size)
        self.context.emit(Send(ce, message))
