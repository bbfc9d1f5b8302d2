"""CE to CE over ForCES (docs/ce-ce-sync.md): the other CEs, and what their messages, their silence
and their loss mean for the FEs.

Every CE is an element to every other one, with one LFB (Ext-CEReplica): each sends the other an
AssociationSetup over the one transport between them, which the later of the two in the list of
CEs dials. The master of an FE replicates each change by a Config; a replica that is not in step
says by an event from where it wants them. The master's part is in `ce.followers`, the replica's in
`ce.following`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ce.config import CeConfig
from ce.destinations import SharedDestinations
from ce.followers import Followers
from ce.following import Following
from ce.fr_peer import FrPeer
from ce.ne_state import NeState
from ce.position import liveness_get
from ce.replica import FeReplica
from ce.reunion import Reunion
from ce.session import FeSession, Role
from ce.work import Work
from forces.effects import Connect, Disconnect, Effect, Journal, SetTimer
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

MS = 1_000_000
DIAL_AGAIN_NS = 200 * MS
GUARDED_NS = 5 * MS
"""Where a guard says that a CE has died it says so to the FEs too, and they move by themselves: so
long they are left in peace, for each question costs them and us time that the takeover needs."""
_OF_A_PEER = (MessageReceived, BadMessage, PeerUp, PeerLost, ConnectFailed)


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
        self.replicas = {fe: FeReplica(config.id, ne.tables[fe]) for fe in ne.tables}
        self._sessions = sessions
        self._out = out
        order = [peer.id for peer in config.ces]
        mine = order.index(config.id)
        self.peers = {
            peer.id: FrPeer(config, peer.id, peer.name, index < mine, out)
            for index, peer in enumerate(config.ces)
            if peer.id != config.id
        }
        self.destinations = SharedDestinations(ne, self.peers.values(), intention_changed)
        self.followers = Followers(config, sessions, self.peers, out)
        self.following = Following(
            sessions, self.replicas, self.peers, self.destinations, out, work
        )
        self.reunion = Reunion(config, sessions, self.peers)

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
                self.following.timer(fe, now)
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
        self.followers.release_all()
        if known:
            self._out.append(Journal("fr_lost", {"peer": peer.name, "cause": cause}))
            if cause == LossCause.GUARD:
                self._out.append(SetTimer(("ask", peer.id), now + GUARDED_NS))
            else:
                self._ask_fes(peer, now)
        self.following.lost(peer, now)
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
                    self.following.begin(peer, now)
            case MessageType.ASSOCIATION_TEARDOWN:
                self._out.append(Disconnect(peer.id))
                self._lost(peer, "teardown", now)
            case MessageType.CONFIG if peer.is_element:
                peer.association.received(now, event.size)
                self.following.changes(peer, message, now)
            case MessageType.CONFIG_RESPONSE if peer.replicates:
                peer.association.received(now, event.size)
                peer.exchange.received(message, now)
            case MessageType.EVENT_NOTIFICATION if peer.replicates:
                peer.association.received(now, event.size)
                self.followers.wanted(peer, message)
            case MessageType.QUERY if peer.is_element:
                peer.association.received(now, event.size)
                peer.answer_query(message, now)
            case _:
                peer.association.refused(event.size)

    def retire(self, session: FeSession, settled: bool, now: int) -> None:
        """This CE is the FE's master no more. `settled`: nothing was under way."""
        self.following.left(session, settled, now)
        session.log.forget()
        self.followers.forget(session.fe)

    def flush(self, now: int) -> None:
        """Send what has been gathered while one event was handled."""
        for peer in self.peers.values():
            if peer.queued:
                peer.flush(now, self.followers.acknowledged)
