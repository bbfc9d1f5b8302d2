"""The core of a CE: `handle(event, now) -> effects`, no clock, no socket (DESIGN section 5).

One `FeSession` for every associated FE, one `NeState` for all of them. What an event means for
one FE is the session's matter; here is what concerns several, or an FE that is none yet.
"""

from __future__ import annotations

from ce.answers import has_result
from ce.commands import Commands
from ce.config import CeConfig
from ce.context import Context
from ce.ne_state import NeState
from ce.redirect import CeRedirect
from ce.replication import Replication
from ce.session import MS, FeSession
from ce.switching import Switching
from ce.work import WORK_TIMER, Work
from forces.effects import CancelTimer, Disconnect, Effect, Journal, Send, SetTimer
from forces.events import (
    BadMessage,
    Command,
    ConnectFailed,
    Event,
    KernelRoutesRead,
    LinkChanged,
    MessageReceived,
    PacketPunted,
    PeerLost,
    PeerUp,
    ProgramDone,
    TimerFired,
)
from forces.header import Header, MessageType
from forces.messages import Message, SetupResult, flags_for

BEACON_TIMER = "beacon"


class Controller:
    """Raises ValueError for a configuration that cannot be routed."""

    def __init__(self, config: CeConfig) -> None:
        self.config = config
        self.ne = NeState(config)
        self.sessions: dict[int, FeSession] = {}
        """By FE ID; associated FEs only."""
        self._names = {peer.id: peer.name for peer in (*config.fes, *config.ces)}
        self._views = {fe.id: fe for fe in config.network}
        self._allowed = {peer.id for peer in config.fes} & self._views.keys()
        self._out: list[Effect] = []
        self._beacon_due: int | None = None
        self._work = Work(self._out)
        self.redirect = CeRedirect(config, self.ne, self.sessions, self._out, self._ports_changed)
        self.fr: Replication | None = None
        if config.sync != "off":
            self.fr = Replication(
                config, self.sessions, self.ne, self._ports_changed, self._out, self._work
            )
        self._context = Context(
            config,
            self.ne,
            self._out,
            self._names,
            self._ports_changed,
            self._start_beacon,
            self.redirect.from_fe,
            self._work,
            self.fr,
        )
        self.switching = Switching(self.sessions, self._names)
        if self.fr is not None:
            self.fr.reunion.hand_over = self._hand_over
        self._commands = Commands(
            config,
            self.ne,
            self.sessions,
            self._out,
            self._ports_changed,
            self._end,
            self.switching,
            self.fr.destinations.tell if self.fr is not None else None,
        )

    def start(self, now: int) -> list[Effect]:
        """An FE dials, a CE waits (RFC 5810 section 4.2.1): there is nothing to do yet, but
        towards other CEs."""
        if self.fr is not None:
            self.fr.start()
        return self._take()

    def handle(self, event: Event, now: int) -> list[Effect]:
        if self.fr is not None and self.fr.concerns(event):
            self.fr.handle(event, now)
        else:
            self._handle(event, now)
        self._commands.look(now)
        if self.fr is not None:
            self.fr.flush(now)
        return self._take()

    def _handle(self, event: Event, now: int) -> None:
        match event:
            case MessageReceived():
                self._received(event, now)
            case TimerFired(key):
                self._timer(key, now)
            case PeerUp(peer):
                self._out.append(Journal("tml_up", {"peer": self._name(peer)}))
            case PeerLost(peer, cause, detail):
                fields = {"peer": self._name(peer), "cause": str(cause), "detail": detail}
                self._out.append(Journal("tml_lost", fields))
                self._lose(peer, str(cause), now, connected=False)
            case BadMessage(peer, channel, size, error):
                self._bad(peer, channel.name, size, error.reason)
            case Command():
                self._commands.run(event, now)
            case PacketPunted():
                self.redirect.written(event, now)
            case KernelRoutesRead():
                self.redirect.routes_read(event, now)
            case ConnectFailed() | LinkChanged() | ProgramDone():
                raise AssertionError(f"a CE has no use for {event}")
        self.redirect.follow(now)

    def _take(self) -> list[Effect]:
        effects = list(self._out)
        self._out.clear()  # the sessions hold this very list
        return effects

    def _name(self, peer: int) -> str:
        return self._names.get(peer, f"0x{peer:08x}")

    def _received(self, event: MessageReceived, now: int) -> None:
        message = event.message
        session, kind = self.sessions.get(event.peer), message.header.type
        if kind is MessageType.ASSOCIATION_SETUP:
            self._setup(event.peer, message, event.size, now)
        elif session is None:
            return  # not associated: RFC 5810 section 4.2 has no other message before the setup
        elif kind is MessageType.ASSOCIATION_TEARDOWN:
            self._lose(event.peer, "teardown", now, connected=True)
        else:
            session.received(message, event.size, now)

    def _setup(self, peer: int, message: Message, size: int, now: int) -> None:
        """RFC 5810 sections 7.5.1 and 7.5.2."""
        source = message.header.source
        if peer not in self._allowed:
            result = SetupResult.PERMISSION_DENIED
        elif source not in (0, peer):
            result = SetupResult.FE_ID_INVALID
        else:
            result = SetupResult.SUCCESS
        kind = MessageType.ASSOCIATION_SETUP_RESPONSE
        # A source of 0 asks for an ID: it is the destination of the response.
        header = Header(
            kind, self.config.id, source or peer, message.header.correlator, flags_for(kind)
        )
        if result is not SetupResult.SUCCESS:
            self._out.append(Send(peer, Message(header, result=result)))
            self._out.append(Disconnect(peer))
            fields = {"peer": self._name(peer), "result": result.name, "id": source}
            self._out.append(Journal("setup_refused", fields))
            return
        if peer in self.sessions:
            # The FE starts anew on the same transport: the old association is over.
            self._lose(peer, "associated again", now, connected=False)
        session = FeSession(self._views[peer], self._context, now)
        self.sessions[peer] = session
        session.association.received(now, size)
        if has_result(message):
            # RFC 5810 section 7.5.1 forbids it. Nothing of a setup's REPORT is believed anyway: the
            # CE asks; so it is counted, and the FE served.
            session.association.refused(size)
        self._out.append(Send(peer, Message(header, result=result)))
        session.association.sent(now)
        session.begin(now)

    def _lose(self, peer: int, cause: str, now: int, connected: bool) -> None:
        session = self.sessions.pop(peer, None)
        if session is not None:
            self._out.append(CancelTimer(("fe", peer)))
            session.close(cause, now, connected)

    def _hand_over(self, fe: int, to: int, now: int) -> None:
        if self.switching.can(fe) and not self._commands.atomic.under_way:
            self.switching.begin([fe], to, now, lambda _failed, _when: None)

    def _end(self, fe: int, now: int) -> None:
        """This CE's user ends an association."""
        self._lose(fe, "ordered", now, connected=True)

    def _bad(self, peer: int, channel: str, size: int, reason: str) -> None:
        session = self.sessions.get(peer)
        if session is None:
            return
        session.association.refused(size)
        if session.association.statistics.recv_err_packets == 1:
            session.journal("bad_message", channel=channel, reason=reason)

    def _timer(self, key: object, now: int) -> None:
        if key == BEACON_TIMER:
            self._beat(now)
            return
        if key == WORK_TIMER:
            self._work.turn(now)
            return
        session = self.sessions.get(key[1]) if isinstance(key, tuple) else None
        if session is not None and not session.timer(now):
            self._lose(session.fe, "heartbeat", now, connected=True)

    def _ports_changed(self, now: int) -> None:
        """The route's way (DESIGN section 13): recompute, then program what changed, on every FE
        that this CE is the master of."""
        changed = self.ne.recompute()
        self._commands.atomic.network_changed(changed, now)
        if self.fr is not None:
            for fe in changed:
                self.fr.following.intention_changed(fe, now)
        for fe in sorted(changed & self.sessions.keys()):
            self.sessions[fe].intention_changed(now)

    def _start_beacon(self, now: int) -> None:
        if self._beacon_due is None:
            self._arm_beacon(now + self.config.beacon_ms * MS)

    def _arm_beacon(self, at_ns: int) -> None:
        self._beacon_due = at_ns
        self._out.append(SetTimer(BEACON_TIMER, at_ns))

    def _beat(self, now: int) -> None:
        due, self._beacon_due = self._beacon_due, None
        running = [session for session in self.sessions.values() if session.beacon.running]
        if not running or due is None:
            return
        for session in running:
            session.beacon.beat(now)
            session.departure.beaten(now)
        # Keep the grid, but never catch up: ticks that were missed are missed.
        interval = self.config.beacon_ms * MS
        self._arm_beacon(due + interval if due + interval > now else now + interval)
