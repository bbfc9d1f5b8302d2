"""One FE as this CE sees it: association, liveness, and the role that this CE has for it.

RFC 5810 sections 4.3.3 and 7.5 (association, heartbeats), RFC 7121 section 3.2 (a CE is an FE's
master or a backup; FEPO.CEID and the events PrimaryCEDown and PrimaryCEChanged say which).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from ce.backups import HOT_STANDBY, Backups
from ce.beacon import FeBeacon
from ce.change_log import ChangeLog
from ce.config import FeView
from ce.context import Context
from ce.departure import Departure
from ce.discovery import discovery_query, role_query
from ce.exchange import Answer, Exchange
from ce.fe_tables import FeTables
from ce.news import News
from ce.position import position_get, read_state
from ce.programming import Programmer
from ce.sync_takeover import SyncTakeover
from ce.takeover import Takeover
from forces.association import Association, Due
from forces.effects import Disconnect, Journal, Send, SetTimer
from forces.header import Header, MessageType
from forces.messages import Message, TeardownReason, flags_for

MS = 1_000_000
ROLE_CHECK_NS = 1_000_000_000
"""MP may lose an event (RFC 5811 section 4.2.1.3); this is how long it can go unnoticed."""
FROM_AN_FE = frozenset(
    {
        MessageType.QUERY_RESPONSE,
        MessageType.CONFIG_RESPONSE,
        MessageType.EVENT_NOTIFICATION,
        MessageType.HEARTBEAT,
        MessageType.PACKET_REDIRECT,
    }
)
"""What an associated FE may send (RFC 5810 Table 1); setup and teardown are the controller's."""


class Role(Enum):
    UNKNOWN = "unknown"
    BACKUP = "backup"
    MASTER = "master"


class FeSession:
    """From the association to its end."""

    def __init__(self, view: FeView, context: Context, now: int) -> None:
        config = context.config
        self.fe = view.id
        self.name = view.name
        self.role = Role.UNKNOWN
        self.ready = False
        self.discovered = False
        self.last_event = "associated"
        self.departure = Departure(self)
        self.takeover: Takeover | None = None
        self.programmer: Programmer | None = None
        self.context = context
        self.news = News(self)
        self.out = context.out
        self.association = Association(
            config.id, view.id, now, config.heartbeat_ms * MS, config.fe_dead_ms * MS
        )
        self.exchange = Exchange(self.association, context.out)
        self.log = ChangeLog(config.id)
        self.master: int | None = None
        """The FE's, as far as we know."""
        self.fr = context.fr
        if self.fr is not None:
            followers = self.fr.followers
            self.exchange.outgoing = lambda send, now: followers.outgoing(self, send, now)
        self.beacon = FeBeacon(config.id, view.name, self.tables, self.exchange, context.out)
        self._port_ids = tuple(port.id for port in view.ports)
        self._backups = Backups(config.id, self.journal)
        self._next_role_check = now + ROLE_CHECK_NS
        self._armed_ns = 0

    @property
    def tables(self) -> FeTables:
        return self.context.ne.tables[self.fe]

    @property
    def port_ids(self) -> tuple[int, ...]:
        return self._port_ids

    def journal(self, what: str, /, **fields: Any) -> None:
        self.last_event = what
        self.out.append(Journal(what, {"fe": self.name, **fields}))

    def begin(self, now: int) -> None:
        """The association is set up: discover the FE."""
        self.out.append(Journal("associated", {"peer": self.name}))
        query = discovery_query(self._port_ids, self.context.config.alternates)
        self.exchange.query(query, now, self._discovered)
        self._arm(now)

    def _discovered(self, answer: Answer, now: int) -> None:
        if answer.message is None:
            return
        self.discovered = True
        self.news.answered(answer.message, now)
        if self.role is Role.MASTER and self.takeover is None and not self.ready:
            self._take_over(now, hot=False)

    def received(self, message: Message, size: int, now: int) -> None:
        """Any message but an AssociationSetup."""
        if message.header.source != self.fe:
            self.association.refused(size)
            return
        kind = message.header.type
        if kind not in FROM_AN_FE:
            self.association.refused(size)
            return
        self.association.received(now, size)
        if kind in (MessageType.QUERY_RESPONSE, MessageType.CONFIG_RESPONSE):
            if not self.exchange.received(message, now):
                self.journal("unexpected", message=kind.name)
        elif kind is MessageType.EVENT_NOTIFICATION:
            self.news.reported(message, now)
        elif kind is MessageType.PACKET_REDIRECT:
            self.context.redirected(self.fe, message)

    def become_master(self, last: int | None, now: int) -> None:
        if self.role is Role.MASTER:
            return
        hot = self.role is Role.BACKUP and self.context.config.ha_mode == HOT_STANDBY
        self.role = Role.MASTER
        self.master = self.context.config.id
        self.journal("takeover", last=self.context.names.get(last) if last else None)
        if self.fr is not None:
            self.fr.following.forget(self.fe)
            self.log.forget()
            if hot and self.fr.replicas[self.fe].complete:
                self._take_over_in_step(now)
                return
        if self.discovered:
            self._take_over(now, hot)

    @property
    def is_master(self) -> bool:
        return self.role is Role.MASTER

    def _new_programmer(self) -> Programmer:
        if self.programmer is not None:
            self.programmer.close()
        self.programmer = Programmer(
            self.name,
            self.tables,
            self.exchange,
            self.beacon,
            self.out,
            self.context.work,
            self._programmed,
            self.distrust_replicas,
        )
        return self.programmer

    def _take_over(self, now: int, hot: bool) -> None:
        self.tables.forget()
        self.takeover = Takeover(self, self._new_programmer(), hot)
        self.takeover.start(now)
        if self.fr is not None:
            self.fr.replicas[self.fe].leave_to_master()
            self.exchange.query((position_get(),), now, self._calibrated)

    def _take_over_in_step(self, now: int) -> None:
        """There is a replica of the FE's tables: no reading of them (docs/ce-ce-sync.md)."""
        assert self.fr is not None
        replica = self.fr.replicas[self.fe]
        self.takeover = SyncTakeover(self, self._new_programmer(), replica, self.log)
        self.takeover.start(now)

    def take_over_hot(self, now: int) -> None:
        """The replica does not fit the FE: its tables are read."""
        self.ready = False
        self.beacon.stop()
        self._take_over(now, hot=True)

    def _calibrated(self, answer: Answer, now: int) -> None:
        """The FE's generation, against our own count."""
        if answer.message is None or not self.is_master or self.fr is None:
            return
        position = read_state(answer.message).position
        if position is not None and not self.log.calibrate(position):
            self.journal("recounted", generation=position.generation)
            self.fr.followers.distrust(self)

    def distrust_replicas(self, now: int) -> None:
        """What the FE refused, or has not carried out yet, the replicas have all the same."""
        if self.fr is not None:
            self.fr.followers.distrust(self)

    def take_over_again(self, now: int) -> None:
        """The FE left something unanswered: nothing is certain, start from scratch."""
        self._take_over(now, hot=False)

    def start_over(self, now: int) -> None:
        """What an FE that was ready holds is not known any more."""
        self.ready = False
        self.beacon.stop()
        self.take_over_again(now)

    def _programmed(self, now: int) -> None:
        """Nothing is under way any more."""
        if self.departure.under_way:
            self.departure.answered(now)
        elif self.takeover is not None:
            self.takeover.settle(now)
        elif self.programmer is not None:
            self.programmer.sync(now)

    def intention_changed(self, now: int) -> None:
        """Routing has other rows for this FE."""
        if self.role is not Role.MASTER or self.programmer is None:
            return
        self.programmer.outdated()
        if self.departure.under_way:
            self.programmer.abandon(now)
            return
        if self.takeover is None or self.takeover.writing:
            self.programmer.sync(now)

    def now_ready(self, kind: str, failed: int, now: int, **more: Any) -> None:
        assert self.programmer is not None
        self.takeover = None
        self.ready = True
        written = self.programmer.rows_written
        self.journal("ready", kind=kind, rows_written=written, failed=failed, **more)
        if self.fr is not None:
            self.fr.replicas[self.fe].leave_to_master()
        self.start_beacon(now)

    def start_beacon(self, now: int) -> None:
        if self.context.config.beacon_ms > 0 and self.ready:
            self.beacon.start(now)
            self.context.beacon_started(now)

    def become_backup(self, master: int, now: int) -> None:
        """Another CE is this FE's master now."""
        changed, self.master = self.master != master, master
        if self.role is Role.BACKUP:
            if changed and self.fr is not None:
                self.fr.following.backup(self, now)
            return
        self._stop_mastering(now)
        self.role = Role.BACKUP
        if self.fr is not None:
            self.fr.following.backup(self, now)
        self.journal("backup", master=self.context.names.get(master, f"0x{master:08x}"))

    def _stop_mastering(self, now: int) -> None:
        self.beacon.stop()
        self.departure.over(now)
        if self.fr is None:
            self.tables.forget()
        elif self.is_master:
            settled = self.ready and self.programmer is not None and not self.programmer.busy
            self.fr.retire(self, settled, now)
        if self.programmer is not None:
            self.programmer.close()
        self.programmer = self.takeover = None
        self.ready = False

    def timer(self, now: int) -> bool:
        """The session's timer fired. False: the FE is lost."""
        association = self.association
        dead_ns = association.dead_ns
        if dead_ns is not None and now - self._armed_ns > dead_ns // 2:
            # This process was stopped (or starved), and the FE's messages of that time still wait
            # in its sockets: the silence is ours. One more interval, then it counts.
            association.last_received_ns = max(association.last_received_ns, now)
        due = association.due(now)
        if Due.DEAD in due:
            return False
        if Due.HEARTBEAT in due:
            self.out.append(Send(self.fe, association.heartbeat()))
            association.sent(now)
        self.exchange.expire(now)
        if now >= self._next_role_check:
            self._next_role_check = now + ROLE_CHECK_NS
            asked = role_query(self._port_ids)
            if self.fr is not None:
                asked = (*asked, position_get())
            self.exchange.query(asked, now, self._role_checked)
        self._arm(now)
        return True

    def _role_checked(self, answer: Answer, now: int) -> None:
        if answer.message is not None:
            self.news.answered(answer.message, now)
            self._position_checked(answer, now)
            self._backups.look(self.news.picture, self.context.names.get)

    def _position_checked(self, answer: Answer, now: int) -> None:
        if self.fr is None or answer.message is None:
            return
        if self.is_master and self.ready:
            self._calibrated(answer, now)
            self.fr.reunion.check(self, now)
        elif self.role is Role.BACKUP:
            position = read_state(answer.message).position
            if position is not None:
                self.fr.following.check(self, position.generation, now)

    def _arm(self, now: int) -> None:
        """Set again only when it fires: traffic moves the deadlines on all the time, and a timer
        that finds nothing due is cheaper than a new one for every message."""
        due_ns = self._next_role_check
        for time in (self.association.deadline(), self.exchange.next_due()):
            if time is not None and time < due_ns:
                due_ns = time
        self._armed_ns = max(due_ns, now + 1)
        self.out.append(SetTimer(("fe", self.fe), self._armed_ns))

    def close(self, cause: str, now: int, connected: bool) -> None:
        """The association is over. `connected`: the transport is still there, close it too. The
        FE is told (RFC 5810 section 7.5.3) where it cannot know: it fell silent, or this CE's
        user ends the association (`ordered`)."""
        if cause in ("heartbeat", "ordered"):
            header = Header(
                MessageType.ASSOCIATION_TEARDOWN,
                self.association.own_id,
                self.fe,
                0,
                flags_for(MessageType.ASSOCIATION_TEARDOWN),
            )
            reason = (
                TeardownReason.NORMAL if cause == "ordered" else TeardownReason.LOSS_OF_HEARTBEATS
            )
            self.out.append(Send(self.fe, Message(header, reason=reason)))
        if connected:
            self.out.append(Disconnect(self.fe, abort=cause == "heartbeat"))
        if self.fr is not None:
            self.fr.following.forget(self.fe)
        self._stop_mastering(now)
        self.role = Role.UNKNOWN
        self.journal("fe_lost", cause=cause)
        self.exchange.close(now)
