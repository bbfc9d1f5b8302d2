"""Packets between FEs and the routing daemons beside a CE (RFC 5810 section 7.9, RFC 6984
scenario 4): which port's image follows what, and which packets go through. Pure.

Every edge port of every FE (one without an FE at the other end) has an image in the CE's namespace
(`ce.taps`). It has carrier while the port is up and this CE is the master of its FE: to a daemon,
a CE that is not the master has its cables pulled. RFC 7121 section 3.2: only the master redirects.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from ce.answers import answers
from ce.config import CeConfig, Destination
from ce.exchange import Answer
from ce.lfbs import component
from ce.ne_state import NeState
from ce.session import FeSession, Role
from forces.effects import Effect, FollowPort, InjectPacket, Journal, Send
from forces.errors import ProtocolError
from forces.events import KernelRoutesRead, PacketPunted
from forces.header import Header, MessageType
from forces.messages import Message, OperType, Redirect, flags_for
from forces.paths import FullData
from forces.token_bucket import TokenBucket

PHY_PORT_ID, REDIRECT_INDEX = 1, 14
"""Metadata IDs (RFC 6956 section 4.4)."""
MAX_FRAME = 65_000
_U32 = struct.Struct("!I")

PortKey = tuple[int, int]


class CeRedirect:
    def __init__(
        self,
        config: CeConfig,
        ne: NeState,
        sessions: Mapping[int, FeSession],
        out: list[Effect],
        intention_changed: Callable[[int], None],
    ) -> None:
        self.dropped = {"limit": 0, "not_master": 0, "unknown_port": 0}
        self.sent = self.received = 0
        self._own_id = config.id
        self._ne = ne
        self._sessions = sessions
        self._out = out
        self._intention_changed = intention_changed
        self._limits = {
            (fe.id, port.id): TokenBucket(config.redirect_pps, config.redirect_burst)
            for fe in config.network
            for port in fe.ports
            if config.redirect and port.neighbor_fe is None
        }
        self._followed: dict[PortKey, bool] = {}
        self._macs: dict[PortKey, bytes] = {}
        self._asked: set[FeSession] = set()
        self._routes: dict[str, tuple[int, int, str]] = {}

    def follow(self, now: int) -> None:
        """After anything that may have changed a role or a port: pull cables and plug them in."""
        if not self._limits:
            return
        self._asked &= set(self._sessions.values())
        for key in self._limits:
            fe, port = key
            session = self._sessions.get(fe)
            up = session is not None and session.role is Role.MASTER
            if session is not None and up and session not in self._asked:
                self._asked.add(session)
                self._ask_addresses(session, now)
            up = up and key in self._macs and self._ne.port(fe, port) is True
            if self._followed.get(key) is not up:
                self._followed[key] = up
                self._out.append(FollowPort(fe, port, up, self._macs.get(key)))

    def from_fe(self, fe: int, message: Message) -> None:
        """PacketRedirect of an FE."""
        for redirect in message.redirects:
            value = dict(redirect.metadata).get(PHY_PORT_ID, b"")
            port = int(_U32.unpack(value)[0]) if len(value) == _U32.size else 0
            if (fe, port) not in self._limits:
                self.dropped["unknown_port"] += 1
            elif not self._followed.get((fe, port)):
                self.dropped["not_master"] += 1
            else:
                self.received += 1
                self._out.append(InjectPacket(port, redirect.packet, fe))

    def written(self, event: PacketPunted, now: int) -> None:
        """A daemon, or the CE's own kernel, sends by a port's image."""
        key = (event.fe, event.port)
        session = self._sessions.get(event.fe)
        if session is None or not self._followed.get(key) or len(event.packet) > MAX_FRAME:
            self.dropped["not_master"] += 1
        elif not self._limits[key].take(now):
            self.dropped["limit"] += 1
        else:
            port = _U32.pack(event.port)
            kind = MessageType.PACKET_REDIRECT
            header = Header(kind, self._own_id, event.fe, 0, flags_for(kind))
            redirect = Redirect(((PHY_PORT_ID, port), (REDIRECT_INDEX, port)), event.packet)
            self.sent += 1
            self._out.append(Send(event.fe, Message(header, redirects=(redirect,))))
            session.association.sent(now)

    def routes_read(self, event: KernelRoutesRead, now: int) -> None:
        """The daemons' routes become destinations of the NE, and cease to be."""
        new, old = dict(event.routes), self._routes
        changed = False
        for prefix in sorted(old.keys() - new.keys()):
            self._ne.remove(prefix)
            self._out.append(Journal("route_withdrawn", {"prefix": prefix}))
            changed = True
        for prefix in sorted(prefix for prefix, to in new.items() if old.get(prefix) != to):
            fe, port, gateway = new[prefix]
            fields = {"prefix": prefix, "fe": fe, "port": port, "gateway": gateway}
            try:
                self._ne.add(Destination(prefix, fe, port, gateway))
            except ValueError as error:
                if prefix in old:
                    self._ne.remove(prefix)
                    changed = True
                del new[prefix]
                self._out.append(Journal("route_refused", {**fields, "reason": str(error)}))
            else:
                self._out.append(Journal("route_learnt", fields))
                changed = True
        self._routes = new
        if changed:
            self._intention_changed(now)

    def _ask_addresses(self, session: FeSession, now: int) -> None:
        """An image has its port's MAC address, or neighbours would see two of one IP address."""
        ports = [port for fe, port in self._limits if fe == session.fe]
        local = component("EtherMACIn", "LocalMACAddresses")
        query = tuple(local.select(OperType.GET, local.get(), instance=port) for port in ports)

        def answered(answer: Answer, when: int) -> None:
            if answer.message is None:
                self._asked.discard(session)
                return
            for class_id, port, ids, content in answers(answer.message):
                if (class_id, ids) != (local.class_id, local.ids):
                    continue
                if (session.fe, port) not in self._limits or not isinstance(content, FullData):
                    continue
                try:
                    addresses = local.unpack(content.value)
                except ProtocolError:
                    continue
                if addresses:
                    self._macs[session.fe, port] = addresses[min(addresses)]
                    self._followed.pop((session.fe, port), None)
            self.follow(when)

        if query:
            session.exchange.query(query, now, answered)
