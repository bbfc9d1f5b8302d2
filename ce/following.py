"""A CE towards the FEs that are others' (docs/ce-ce-sync.md): what their masters send goes into the
replicas, and a replica that is not in step is fed until its master may go on from there.
"""

from __future__ import annotations

from collections.abc import Mapping

from ce.destinations import SharedDestinations
from ce.feed import Feed
from ce.fr_peer import FrPeer
from ce.replica import FeReplica
from ce.session import FeSession, Role
from ce.work import Work
from forces.effects import Effect, SetTimer
from forces.errors import ProtocolError, ResultCode
from forces.messages import Message
from forces.wire import decode

FEED_AGAIN_NS = 200_000_000
"""How often a replica that nobody feeds reads the FE's journal, and asks the master again."""
COMPARE_REST_NS = 1_000_000
"""Between two slices of a comparison, each of half as long: a CE that hands its FEs over one after
the other compares the first ones' tables meanwhile, and must not keep a core from the last."""


class Following:
    def __init__(
        self,
        sessions: Mapping[int, FeSession],
        replicas: Mapping[int, FeReplica],
        peers: Mapping[int, FrPeer],
        destinations: SharedDestinations,
        out: list[Effect],
        work: Work,
    ) -> None:
        """`peers`: the other CEs."""
        self._sessions = sessions
        self._replicas = replicas
        self._peers = peers
        self._destinations = destinations
        self._out = out
        self._work = work
        self._feeds: dict[int, Feed] = {}
        self._feed_due: dict[int, int] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        """FE -> its generation and our replica's, when last compared."""

    def begin(self, peer: FrPeer, now: int) -> None:
        """The association with this CE is set up."""
        for fe, session in self._sessions.items():
            if session.role is Role.BACKUP and session.master == peer.id:
                self._feed(fe, now)

    def lost(self, peer: FrPeer, now: int) -> None:
        """It is over: what this CE sends then has to be asked for."""
        for fe, session in self._sessions.items():
            if session.role is Role.BACKUP and session.master == peer.id:
                self._replicas[fe].refuses()
                self._feed_later(fe, now)

    def changes(self, peer: FrPeer, message: Message, now: int) -> None:
        """A Config of this CE's, for our replicas."""
        peer.answer_changes(
            message,
            lambda fe, inc, term, gen, octets: self.change(fe, (inc, term, gen), octets, now),
            lambda row, value: self._destinations.learn(row, value, now),
            now,
        )

    def change(self, fe: int, at: tuple[int, int, int], octets: bytes, now: int) -> ResultCode:
        """One of them; `at`: incarnation, term and generation."""
        incarnation, term, generation = at
        session, replica = self._sessions.get(fe), self._replicas.get(fe)
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
        self._replicas[fe].intention_changed()
        self._compare(fe, now)

    def _compare(self, fe: int, now: int) -> None:
        if self._replicas[fe].look():
            self._work.later(lambda when: self._compare(fe, when), now, COMPARE_REST_NS)

    def backup(self, session: FeSession, now: int) -> None:
        """This CE is no master of this FE: see that its replica is in step."""
        self._replicas[session.fe].refuses()
        self._seen.pop(session.fe, None)
        self._feed(session.fe, now)

    def check(self, session: FeSession, generation: int, now: int) -> None:
        """From time to time: a replica that follows must not fall behind, or be ahead for long."""
        fe, replica = session.fe, self._replicas[session.fe]
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

    def left(self, session: FeSession, settled: bool, now: int) -> None:
        """This CE was the FE's master until now. If nothing was under way its tables are a replica,
        which the FE's journal will confirm or refute."""
        replica, last = self._replicas[session.fe], session.log.last
        if settled and last is not None:
            replica.is_left(session.log.incarnation, session.log.term, last)
            replica.beacon_row = session.beacon.contents
            self._compare(session.fe, now)
        else:
            replica.reset()

    def timer(self, fe: int, now: int) -> None:
        """As `_feed_later` has set it."""
        self._feed_due.pop(fe, None)
        self._feed(fe, now)

    def _feed(self, fe: int, now: int) -> None:
        session, replica = self._sessions.get(fe), self._replicas[fe]
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
        session, replica = self._sessions.get(fe), self._replicas[fe]
        if session is None or session.role is not Role.BACKUP or not replica.complete:
            return
        if replica.following:
            return  # meanwhile
        master = self._peers.get(session.master or 0)
        if master is not None and master.is_element:
            replica.asked = True
            master.want(fe, replica.incarnation, replica.generation, now)

    def _feed_later(self, fe: int, now: int) -> None:
        if fe not in self._feed_due:
            self._feed_due[fe] = now + FEED_AGAIN_NS
            self._out.append(SetTimer(("feed", fe), self._feed_due[fe]))
