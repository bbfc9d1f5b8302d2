"""Becoming an FE's master with a replica of its tables at hand (docs/ce-ce-sync.md).

The FE's generation says what is missing. Equal: nothing. FE ahead: the tail of its journal. Replica
ahead: the changes that the FE never got are sent. Else, and whenever something does not fit, the
tables are read whole as in hot standby.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ce.answers import all_failures
from ce.config import BEACON_ROW
from ce.discovery import Picture, fe_state_get, ports_get, read
from ce.exchange import Answer
from ce.fe_tables import Table
from ce.lfbs import FE_OPER_ENABLE, component, table
from ce.position import position_get, read_state, state_get
from ce.programming import Programmer
from ce.replica import FeReplica, Position, row_changes
from ce.takeover import Takeover
from forces.errors import ProtocolError
from forces.messages import LfbSelect, Message, OperType

if TYPE_CHECKING:
    from ce.change_log import ChangeLog
    from ce.session import FeSession

TAIL = 64
"""Changes that are read from the journal; where more are missing, the tables are read."""


class SyncTakeover(Takeover):
    def __init__(
        self, session: FeSession, programmer: Programmer, replica: FeReplica, log: ChangeLog
    ) -> None:
        super().__init__(session, programmer, hot=True)
        self.kind = "sync"
        self.how = ""
        """equal, tail, resent, handed-over"""
        self._replica = replica
        self._log = log
        self._again = False
        """The position has to be asked for once more when all Configs have been carried out."""

    def start(self, now: int) -> None:
        replica = self._replica
        handed_over = replica.handed_over and replica.following
        self._trusted = replica.incarnation, replica.generation
        self._read_at = replica.read_at
        self._confirm(now)
        self._ask(now)
        if handed_over:
            # Its last change made us the master: the old one can have sent nothing after it.
            self._in_step("handed-over", now)

    def _ask(self, now: int) -> None:
        self._waiting += 1
        lfbs = (position_get(), fe_state_get(), *ports_get(self._session.port_ids))
        self._session.exchange.query(lfbs, now, self._position)

    def _confirmed(self, answer: Answer, now: int) -> None:
        super()._confirmed(answer, now)
        if self._again and self._current():
            self._again = False
            self._ask(now)

    def _position(self, answer: Answer, now: int) -> None:
        if not self._answered_while_master(answer, now):
            return
        assert answer.message is not None
        self._small_things(answer.message, now)
        position = read_state(answer.message).position
        if position is None:
            self._whole("no position", now)
            return
        if position.pending and not self.writing:
            # Something of the last master is still under way, or the confirmation behind it is.
            self._again = True
            return
        self._log.calibrate(position)
        if not self.writing:
            self._compare(position, now)
        else:
            self.settle(now)

    def _answered_while_master(self, answer: Answer, now: int) -> bool:
        """The takeover may have ended before the answer came (handed over): it still calibrates."""
        if self._current():
            return self._answered(answer, now)
        if answer.message is not None and self._session.is_master:
            position = read_state(answer.message).position
            if position is not None:
                self._log.calibrate(position)
                self._verify(position, now)
        return False

    def _verify(self, position: Position, now: int) -> None:
        """Handed over: the last master knew what had become of all it sent. The FE says so too."""
        if position.pending:
            return
        theirs = position.generation - self._own_done(position)
        if (position.incarnation, theirs) != self._trusted or position.inexact > self._read_at:
            assert self._session.fr is not None
            self._session.fr.followers.distrust(self._session)
            self._whole("the FE is not where the last master said", now)

    def _small_things(self, message: Message, now: int) -> None:
        picture = Picture()
        read(message, picture)
        if picture.fe_state is not None:
            self._fe_state = picture.fe_state
        if picture.ports:
            self._session.news.learn_queried_ports(picture.ports, message.header.correlator, now)

    def _compare(self, position: Position, now: int) -> None:
        """What the FE had from others, against what the replica has."""
        theirs, have = position.generation - self._own_done(position), self._replica.generation
        if position.incarnation != self._replica.incarnation or theirs - have > TAIL:
            self._whole("too far", now)
        elif position.inexact > self._replica.read_at:
            self._whole("a change was not carried out whole", now)
        elif position.term != self._replica.term + 1:
            # Another master in between: the same generation may be another change there.
            self._whole("a term was missed", now)
        elif theirs == have:
            self._in_step("equal", now)
        elif theirs > have:
            self._waiting += 1
            tail = (state_get(have + 1, theirs),)
            self._session.exchange.query(
                tail, now, lambda answer, when: self._tail(theirs, answer, when)
            )
        else:
            self._resend(theirs, now)

    def _own_done(self, position: Position) -> int:
        """How many of our own Configs are in the FE's generation."""
        assert self._log.head is not None
        return self._log.count - (self._log.head - position.generation)

    def _tail(self, until: int, answer: Answer, now: int) -> None:
        if not self._answered(answer, now):
            return
        assert answer.message is not None
        try:
            for entry in read_state(answer.message).entries:
                if entry.exact and entry.generation == self._replica.generation + 1 <= until:
                    self._replica.apply(entry.generation, entry.message)
        except ProtocolError as error:
            self._whole(error.reason, now)
            return
        if self._replica.generation == until:
            self._in_step("tail", now)
        else:
            self._whole("the journal's tail is gone", now)

    def _resend(self, theirs: int, now: int) -> None:
        """Those that the FE never got, in their order. (Not a beat of the last master's beacon,
        which means nothing now.)"""
        kept = [(n, message) for n, message in self._replica.kept if n > theirs]
        if [n for n, _ in kept] != list(range(theirs + 1, self._replica.generation + 1)):
            self._whole("the changes are not here any more", now)
            return
        for _, message in kept:
            lfbs = _of_tables(message)
            if lfbs:
                self._waiting += 1
                self._session.exchange.config(lfbs, now, self._resent)
        self._in_step("resent", now)

    def _resent(self, answer: Answer, now: int) -> None:
        if not self._answered(answer, now):
            return
        assert answer.message is not None
        if all_failures(answer.message):
            self._whole("the FE refused a change", now)
            return
        self.settle(now)

    def _in_step(self, how: str, now: int) -> None:
        """The tables are the FE's."""
        self.how = how
        session, replica = self._session, self._replica
        session.beacon.found(replica.beacon_row)
        in_step = replica.in_step
        self.writing = True
        if how == "handed-over" and in_step:
            self._waiting = 0  # the answers calibrate, nobody waits for them
        if not in_step:
            self._programmer.sync(now)
        if self._fe_state not in (None, FE_OPER_ENABLE):
            state = component("FEObject", "FEState")
            self._waiting += 1
            session.exchange.config(
                (state.select(OperType.SET, state.set(FE_OPER_ENABLE)),), now, self._confirmed
            )
        self._checked = in_step
        self.settle(now)

    _checked = False

    def settle(self, now: int) -> None:
        if not self.writing or self._waiting > 0 or self._programmer.busy:
            return
        if not self._checked:
            super().settle(now)
            return
        self._session.now_ready(self.kind, 0, now, how=self.how)

    def _whole(self, why: str, now: int) -> None:
        self._session.journal("replica_reset", reason=why)
        self._session.take_over_hot(now)


def _of_tables(message: Message) -> tuple[LfbSelect, ...]:
    """The part of a change that is about the tables; nothing if only the beacon's row is."""
    tables = {table(which).class_id for which in Table}
    lfbs = tuple(select for select in message.lfbs if select.class_id in tables)
    changes = row_changes(message)
    only_beacon = all(
        change.table is Table.PREFIXES and not change.replaces and set(change.rows) <= {BEACON_ROW}
        for change in changes
    )
    return () if only_beacon else lfbs
