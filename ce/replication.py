"""CE to CE over ForCES (docs/ce-ce-sync.md): the other CEs, what goes to their replicas, and what
comes to ours.

Every CE is an element to every other one, with one LFB (Ext-CEReplica): each sends the other an
AssociationSetup over the one transport between them, which the later of the two in the list of
CEs dials. The master of an FE replicates each change by a Config; a replica that is not in step
says by an event from where it wants them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ce.change_log import ChangeLog
from ce.config import CeConfig
from ce.destinations import SharedDestinations
from ce.feed import Feed
from ce.fr_peer import FrPeer
from ce.ne_state import NeState
from ce.position import liveness_get
from ce.replica import FeReplica
from ce.replica_lfb import wanted_of
from ce.reunion import Reunion
from ce.session import FeSession, Role
from ce.work import Work
from forces.effects import Connect, Disconnect, Effect, Journal, Send, SetTimer
from forces.errors import ProtocolError, ResultCode
from forces.events import (
    BadMessage,
    ConnectFailed,
    Event,
    LossCause,
    MessageReceived,
    PeerLost,
    PeerUp,
    TimerFired,
)
from forces.header import MessageType
from forces.messages import Message
from forces.wire import decode, encode

MS = 1_000_000
DIAL_AGAIN_NS = 200 * MS
GUARDED_NS = 5 * MS
"""Where a guard says that a CE has died it says so to the FEs too, and they move by themselves: so
long they are left in peace, for each question costs them and us time that the takeover needs."""
FEED_AGAIN_NS = 200 * MS
"""How often a replica that nobody feeds reads the FE's journal, and asks the master again."""
_OF_A_PEER = (MessageReceived, BadMessage, PeerUp, PeerLost, ConnectFailed)


@dataclass(frozen=True, slots=True)
class _Held:
    """A Config that its FE must not see before a replica has it."""

    generation: int
    send: Send


class Replication:
    def __init__(
        self,
        config: CeConfig,
        sessions: Mapping[int, FeSession],
        ne: NeState,
        intention_changed: Callable[[int], None],
        out: list[Effect],
        work: Work,
    ) -> None:
        self.config = config
        self.replicas = {fe: FeReplica(config.id, ne.tables[fe]) for fe in ne.tables}
        self._sessions = sessions
        self._out = out
        self._work = work
        order = [peer.id for peer in config.ces]
        mine = order.index(config.id)
        self.peers = {
            peer.id: FrPeer(config, peer.id, peer.name, index < mine, out)
            for index, peer in enumerate(config.ces)
            if peer.id != config.id
        }
        self.destinations = SharedDestinations(ne, self.peers.values(), intention_changed)
        self.reunion = Reunion(config, sessions, self.peers)
        self._feeds: dict[int, Feed] = {}
        self._feed_due: dict[int, int] = {}
        self._held: dict[int, deque[_Held]] = {}
        self._switching: dict[int, int] = {}
        """FE -> the CE that it is about to be handed to."""
        self._seen: dict[int, tuple[int, int]] = {}
        """FE -> its generation and our replica's, when last compared."""

    # Events of the other CEs

    def start(self) -> None:
        for peer in self.peers.values():
            if peer.dials:
                self._out.append(Connect(peer.id))

    def concerns(self, event: Event) -> bool:
        if type(event) is TimerFired:
            key = event.key
            return type(key) is tuple and key[0] in ("fr", "ask", "feed")
        return isinstance(event, _OF_A_PEER) and event.peer in self.peers

    def handle(self, event: Event, now: int) -> None:
        match event:
            case MessageReceived():
                self._received(self.peers[event.peer], event, now)
            case TimerFired(("fr", int(peer))):
                self._timer(self.peers[peer], now)
            case TimerFired(("ask", int(peer))):
                self._ask_fes(self.peers[peer], now)
            case TimerFired(("feed", int(fe))):
                self._feed_due.pop(fe, None)
                self._feed(fe, now)
            case PeerUp(peer):
                self._out.append(Journal("tml_up", {"peer": self.peers[peer].name}))
                self.peers[peer].up(now)
            case PeerLost(peer, cause, detail):
                fields = {"peer": self.peers[peer].name, "cause": str(cause), "detail": detail}
                self._out.append(Journal("tml_lost", fields))
                self._lost(self.peers[peer], str(cause), now)
            case ConnectFailed(peer):
                self._dial_later(self.peers[peer], now)

    def _timer(self, peer: FrPeer, now: int) -> None:
        if not peer.is_up:
            if peer.dials:
                self._out.append(Connect(peer.id))
        elif not peer.timer(now):
            self._out.append(Disconnect(peer.id, abort=True))
            self._lost(peer, "heartbeat", now)
        elif peer.suspected(now) and (peer.is_element or peer.replicates):
            self._out.append(Journal("fr_silent", {"peer": peer.name}))
            self._ask_fes(peer, now)

    def _ask_fes(self, peer: FrPeer, now: int) -> None:
        """Every FE whose master it is is asked to look for itself (MasterLiveness)."""
        for session in self._sessions.values():
            if session.role is Role.BACKUP and session.master == peer.id:
                session.exchange.query((liveness_get(),), now, lambda answer, when: None)

    def _lost(self, peer: FrPeer, cause: str, now: int) -> None:
        """The other CE may be dead: every FE whose master it is is asked to look for itself."""
        known = peer.replicates or peer.is_element
        peer.down(now)
        for fe in self._held:
            self._release(fe)
        if known:
            self._out.append(Journal("fr_lost", {"peer": peer.name, "cause": cause}))
            if cause == LossCause.GUARD:
                self._out.append(SetTimer(("ask", peer.id), now + GUARDED_NS))
            else:
                self._ask_fes(peer, now)
        for fe, session in self._sessions.items():
            if session.role is Role.BACKUP and session.master == peer.id:
                self.replicas[fe].refuses()
                self._feed_later(fe, now)
        self._dial_later(peer, now)

    def _dial_later(self, peer: FrPeer, now: int) -> None:
        if peer.dials:
            self._out.append(SetTimer(("fr", peer.id), now + DIAL_AGAIN_NS))

    def _received(self, peer: FrPeer, event: MessageReceived, now: int) -> None:
        message = event.message
        match message.header.type:
            case MessageType.HEARTBEAT if peer.replicates or peer.is_element:
                peer.association.received(now, event.size)
            case MessageType.ASSOCIATION_SETUP:
                peer.answer_setup(message, event.size, now)
                self.destinations.tell_all(peer)
            case MessageType.ASSOCIATION_SETUP_RESPONSE:
                if peer.setup_answered(message, event.size, now):
                    self._out.append(Journal("fr_up", {"peer": peer.name}))
                    for fe, session in self._sessions.items():
                        if session.role is Role.BACKUP and session.master == peer.id:
                            self._feed(fe, now)
            case MessageType.ASSOCIATION_TEARDOWN:
                self._out.append(Disconnect(peer.id))
                self._lost(peer, "teardown", now)
            case MessageType.CONFIG if peer.is_element:
                peer.association.received(now, event.size)
                self._changes(peer, message, now)
            case MessageType.CONFIG_RESPONSE if peer.replicates:
                peer.association.received(now, event.size)
                peer.exchange.received(message, now)
            case MessageType.EVENT_NOTIFICATION if peer.replicates:
                peer.association.received(now, event.size)
                self._wanted(peer, message, now)
            case MessageType.QUERY if peer.is_element:
                peer.association.received(now, event.size)
                peer.answer_query(message, now)
            case _:
                peer.association.refused(event.size)

    # The master's part

    def outgoing(self, session: FeSession, send: Send, now: int) -> None:
        """A Config for an FE: to the FE, and to those who follow it."""
        fe = session.fe
        generation = session.log.add(send.message)
        followers = [p for p in self.peers.values() if fe in p.followed]
        if generation is None or not followers:
            if self._held.get(fe) and generation is not None:
                self._held[fe].append(_Held(generation, send))
            else:
                self._out.append(send)
            return
        to = self._switching.get(fe)
        handing_over = to in [peer.id for peer in followers]
        if self.config.sync == "semi" or handing_over or self._held.get(fe):
            self._held.setdefault(fe, deque()).append(_Held(generation, send))
        else:
            self._out.append(send)
        octets = encode(send.message)
        for peer in followers:
            self._queue(peer, session.log, fe, generation, octets)

    def _queue(self, peer: FrPeer, log: ChangeLog, fe: int, generation: int, octets: bytes) -> None:
        peer.queue(fe, log.incarnation, log.term, generation, octets)

    def wait_for_replica(self, fe: int, to: int | None) -> None:
        """A planned switch: the next master has what is sent from now on (SET CEID) first. None:
        there will be no switch."""
        if to is not None:
            self._switching[fe] = to
        elif self._switching.pop(fe, None) is not None:
            self._release(fe)

    def distrust(self, session: FeSession) -> None:
        """The replicas may have what this FE has not: they have to read it again."""
        for peer in self.peers.values():
            if peer.followed.pop(session.fe, None) is not None:
                peer.queue(session.fe, 0, session.log.term, 0, b"")
        session.log.forget_messages()
        self._release(session.fe)

    def retire(self, session: FeSession, settled: bool, now: int) -> None:
        """This CE is the FE's master no more. If nothing was under way its tables are a replica,
        which the FE's journal will confirm or refute."""
        replica, last = self.replicas[session.fe], session.log.last
        if settled and last is not None:
            replica.is_left(session.log.incarnation, session.log.term, last)
            replica.beacon_row = session.beacon.contents
            self._compare(session.fe, now)
        else:
            replica.reset()
        session.log.forget()
        self._held.pop(session.fe, None)
        self._switching.pop(session.fe, None)
        for peer in self.peers.values():
            peer.followed.pop(session.fe, None)

    def _wanted(self, peer: FrPeer, message: Message, now: int) -> None:
        wanted = wanted_of(message)
        if wanted is None:
            peer.association.refused(0)
            return
        fe, incarnation, generation = wanted
        session = self._sessions.get(fe)
        if session is None or session.role is not Role.MASTER:
            return
        log = session.log
        missing = log.since(generation) if incarnation == log.incarnation else None
        if missing is None or log.head is None:
            return
        peer.serves(fe, generation)
        for number, change in missing:
            self._queue(peer, log, fe, number, encode(change))
        if not missing:
            self._queue(peer, log, fe, log.head, b"")  # nothing is missing: it follows

    def _acknowledged(
        self, peer: FrPeer, acked: dict[int, int], failed: set[int], now: int
    ) -> None:
        for fe in failed:
            peer.followed.pop(fe, None)
        for fe, generation in acked.items():
            if fe in peer.followed:
                peer.followed[fe] = max(peer.followed[fe], generation)
        for fe in {*acked, *failed}:
            self._release(fe)

    def _release(self, fe: int) -> None:
        """What a replica has may go to the FE; without any replica nothing is held back."""
        held = self._held.get(fe)
        if not held:
            return
        to = self._switching.get(fe)
        have = [
            peer.followed[fe]
            for peer in self.peers.values()
            if fe in peer.followed and to in (None, peer.id)
        ]
        while held and (not have or held[0].generation <= max(have)):
            self._out.append(held.popleft().send)

    # The replica's part

    def _changes(self, peer: FrPeer, message: Message, now: int) -> None:
        peer.answer_changes(
            message,
            lambda fe, inc, term, gen, octets: self._change(
                peer, fe, (inc, term, gen), octets, now
            ),
            lambda row, value: self.destinations.learn(row, value, now),
            now,
        )

    def _change(
        self, peer: FrPeer, fe: int, at: tuple[int, int, int], octets: bytes, now: int
    ) -> ResultCode:
        incarnation, term, generation = at
        session, replica = self._sessions.get(fe), self.replicas.get(fe)
        if session is None or replica is None:
            return ResultCode.NOT_FOUND
        if session.role is Role.MASTER or term < replica.term:
            return ResultCode.PERM  # of a master that is one no more
        if incarnation == 0:
            session.journal("replica_reset", reason="the master says so")
            replica.reset()
            self._feed_later(fe, now)
            return ResultCode.SUCCESS
        if not replica.complete or incarnation != replica.incarnation or term > replica.term:
            # Of a higher term: our last change may be one of the old master's that the FE never
            # got, a generation does not name a change. The FE is asked first (docs/ce-ce-sync.md,
            # rule 5).
            replica.refuses()
            self._feed(fe, now)
            return ResultCode.NOT_FOUND
        if not replica.following and not replica.asked:
            return ResultCode.NOT_FOUND  # it may fit, but is the last one that comes (rule 6)
        if octets and generation == replica.generation + 1:
            try:
                replica.apply(generation, decode(octets))
                replica.last_term = term
                if replica.handed_over:
                    session.journal("prepared", generation=generation)
            except ProtocolError as error:
                session.journal("replica_reset", reason=error.reason)
                replica.reset()
                self._feed_later(fe, now)
                return error.code
        elif generation > replica.generation:
            replica.following = False  # but if we have asked, what we asked for is still to come
            self._feed(fe, now)
            return ResultCode.NOT_FOUND
        replica.term = term
        if not replica.following:
            replica.follows()
            session.journal("follows", generation=replica.generation)
        return ResultCode.SUCCESS

    def intention_changed(self, fe: int, now: int) -> None:
        """What is in the replica has to be compared with other rows."""
        self.replicas[fe].intention_changed()
        self._compare(fe, now)

    def _compare(self, fe: int, now: int) -> None:
        if self.replicas[fe].look():
            self._work.later(lambda when: self._compare(fe, when), now)

    def backup(self, session: FeSession, now: int) -> None:
        """This CE is no master of this FE: see that its replica is in step."""
        self.replicas[session.fe].refuses()
        self._seen.pop(session.fe, None)
        self._feed(session.fe, now)

    def check(self, session: FeSession, generation: int, now: int) -> None:
        """From time to time: a replica that follows must not fall behind, or be ahead for long."""
        fe, replica = session.fe, self.replicas[session.fe]
        before, self._seen[fe] = self._seen.get(fe), (generation, replica.generation)
        if before is None or not replica.following:
            return
        if replica.generation < before[0] or generation < before[1]:
            session.journal("replica_late", generation=generation, replica=replica.generation)
            replica.refuses()
            self._feed(fe, now)

    def forget(self, fe: int) -> None:
        """The FE is lost, or this CE becomes its master."""
        feed = self._feeds.pop(fe, None)
        if feed is not None:
            feed.stop()

    def _feed(self, fe: int, now: int) -> None:
        session, replica = self._sessions.get(fe), self.replicas[fe]
        if session is None or session.role is not Role.BACKUP or replica.following:
            return
        feed = self._feeds.get(fe)
        if feed is not None and not feed.done:
            self._feed_later(fe, now)
            return
        feed = self._feeds[fe] = Feed(session, replica, lambda when: self._fed(fe, when))
        feed.start(now)
        self._feed_later(fe, now)

    def _fed(self, fe: int, now: int) -> None:
        """The replica is where the FE is: the master may go on from there."""
        session, replica = self._sessions.get(fe), self.replicas[fe]
        if session is None or session.role is not Role.BACKUP or not replica.complete:
            return
        if replica.following:
            return  # meanwhile
        master = self.peers.get(session.master or 0)
        if master is not None and master.is_element:
            replica.asked = True
            master.want(fe, replica.incarnation, replica.generation, now)

    def _feed_later(self, fe: int, now: int) -> None:
        if fe not in self._feed_due:
            self._feed_due[fe] = now + FEED_AGAIN_NS
            self._out.append(SetTimer(("feed", fe), self._feed_due[fe]))

    def flush(self, now: int) -> None:
        """Send what has been gathered while one event was handled."""
        for peer in self.peers.values():
            if peer.queued:
                peer.flush(now, self._acknowledged)

    def state(self) -> dict[str, object]:
        """For the local API."""
        return {
            peer.name: {"up": peer.replicates or peer.is_element, "followed": len(peer.followed)}
            for peer in self.peers.values()
        }
