"""RedirectIn and RedirectOut (RFC 6956 sections 5.5.1 and 5.5.2), and what goes through them.

Up: a packet of a port becomes a PacketRedirect to the master CE with PHYPortID, L3PortID and
ExceptionID. Down: one of the master's leaves by the port that RedirectIndex (or PHYPortID) names;
RedirectIn's output group has a port for every PHYPortID. RFC 7121 section 3.2: a backup gets none,
and what it sends is dropped. Each port has a limit in each direction, so that a storm on one port
costs neither the others nor the channel to the CE.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from fe_datapath.config import FeConfig
from fe_datapath.lfbs.instance import Instance
from fe_datapath.punting import rules_of
from forces.effects import InjectPacket
from forces.events import PacketPunted
from forces.header import Header, MessageType
from forces.messages import Message, Redirect, flags_for
from forces.model import Library
from forces.token_bucket import TokenBucket

PHY_PORT_ID, EXCEPTION_ID, L3_PORT_ID, REDIRECT_INDEX = 1, 11, 13, 14
"""Metadata IDs (RFC 6956 section 4.4)."""
MAX_FRAME = 65_000
"""A REDIRECT-TLV's length has 16 bits, and holds the metadata too."""
MIN_FRAME = 14
_U32 = struct.Struct("!I")


class RedirectLfb(Instance):
    """RedirectIn, from the CE, or RedirectOut, to it: one counter, which a CE can set."""

    def __init__(self, library: Library, name: str, counter: str) -> None:
        super().__init__(library.cls(name), 1)
        self._counter = counter

    @property
    def packets(self) -> int:
        count: int = self.values[self._counter]
        return count

    def counted(self) -> None:
        self.values[self._counter] += 1


class Redirection:
    """Both LFBs of an FE, if it has them; decides what is let through."""

    def __init__(
        self,
        library: Library,
        config: FeConfig,
        send: Callable[[int, Message], None],
        inject: Callable[[InjectPacket], None],
    ) -> None:
        redirect = config.redirect
        self.entry = RedirectLfb(library, "RedirectIn", "NumPacketsReceived")
        self.exit = RedirectLfb(library, "RedirectOut", "NumPacketsSent")
        self.dropped = {"limit": 0, "no_master": 0, "unwanted": 0, "no_port": 0}
        self._own_id = config.id
        self._rules = rules_of(redirect, config.ports) if redirect is not None else {}
        self._send = send
        self._inject = inject

        def buckets() -> Mapping[int, TokenBucket]:
            if redirect is None:
                return {}
            return {p.id: TokenBucket(redirect.rate_pps, redirect.burst) for p in config.ports}

        self._up, self._down = buckets(), buckets()

    @property
    def exceptions(self) -> frozenset[str]:
        """Classes whose exceptions go to the CE."""
        if not self._rules:
            return frozenset()
        found = {"EtherClassifier", "IPv4Validator"}
        if any(rules.no_route for rules in self._rules.values()):
            found |= {"IPv4UcastLPM", "IPv6UcastLPM"}
        return frozenset(found)

    def instances(self) -> list[Instance]:
        """None where the FE was not told to redirect."""
        return [self.entry, self.exit] if self._rules else []

    def punted(self, event: PacketPunted, master: int | None, now: int) -> None:
        """A packet of a port, for the CE."""
        rules = self._rules.get(event.port)
        exception = event.exception
        if exception is None and rules is not None:
            exception = rules.exception(event.packet)
        elif rules is None or not rules.no_route:
            exception = None
        if exception is None or len(event.packet) > MAX_FRAME:
            self.dropped["unwanted"] += 1
        elif master is None:
            self.dropped["no_master"] += 1
        elif not self._up[event.port].take(now):
            self.dropped["limit"] += 1
        else:
            port = _U32.pack(event.port)
            metadata = (
                (PHY_PORT_ID, port),
                (L3_PORT_ID, port),
                (EXCEPTION_ID, _U32.pack(exception)),
            )
            kind = MessageType.PACKET_REDIRECT
            header = Header(kind, self._own_id, master, 0, flags_for(kind))
            self.exit.counted()
            self._send(master, Message(header, redirects=(Redirect(metadata, event.packet),)))

    def received(self, message: Message, now: int) -> None:
        """Packets of the master CE."""
        for redirect in message.redirects:
            port = chosen_port(redirect)
            if port not in self._down or not MIN_FRAME <= len(redirect.packet) <= MAX_FRAME:
                self.dropped["no_port"] += 1
            elif not self._down[port].take(now):
                self.dropped["limit"] += 1
            else:
                self.entry.counted()
                self._inject(InjectPacket(port, redirect.packet))

    def view(self) -> dict[str, Any]:
        """For the local API."""
        return {
            "received": self.entry.packets,
            "sent": self.exit.packets,
            "dropped": dict(self.dropped),
        }


def chosen_port(redirect: Redirect) -> int:
    """0, which is no port, where the CE chose none."""
    metadata = dict(redirect.metadata)
    value = metadata.get(REDIRECT_INDEX, metadata.get(PHY_PORT_ID, b""))
    return int(_U32.unpack(value)[0]) if len(value) == _U32.size else 0
