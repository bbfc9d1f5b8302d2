"""ForCES over userland SCTP (RFC 5811): libusrsctp, with packets over raw IP or UDP port 9899.

For kernels without SCTP. One stack per network namespace for raw IP: a second one in the same
namespace, at the same address, would abort the first one's associations.
"""

from __future__ import annotations

import asyncio
import sys

from forces.channels import Channel
from forces.events import LossCause
from forces.io import usrsctp_lib as u
from forces.io.group import Link
from forces.io.grouping import GroupedTml
from forces.io.guard import Guard, is_from_guard
from forces.io.packet_socket import PacketSocket
from forces.io.sctp_events import AssocChange, AssocState, MessageTooLong, Partial
from forces.io.tml import TmlConfig
from forces.io.usrsctp_assoc import Assoc
from forces.io.usrsctp_stack import Stack, stack

FAREWELL_S = 0.2
"""How long `close` waits for the peers' answers to SHUTDOWN."""


class UsrsctpLink(Link):
    def __init__(self, tml: UsrsctpTml, assoc: Assoc, channel: Channel) -> None:
        super().__init__(channel)
        self.tml = tml
        self.assoc = assoc
        self.partial = Partial()
        assoc.owner = self
        assoc.prepare(channel.ppid, tml.lifetime_ms(channel))

    def send(self, data: bytes) -> bool:
        return self.assoc.send(data)

    def close(self, abort: bool) -> None:
        if abort:
            self.assoc.close(abort=True)
        elif self.assoc.so is not None:
            self.tml.say_goodbye(self)

    def on_data(self, data: bytes, ppid: int, end_of_record: bool) -> None:
        try:
            message = self.partial.add(data, end_of_record)
        except MessageTooLong:
            self.tml.ended(self, LossCause.LOCAL, f"{self.channel.name}: message too long")
            return
        if message is not None:
            self.tml.arrived(self, ppid, message)

    def on_notification(self, data: bytes) -> None:
        kind = int.from_bytes(data[:2], sys.byteorder)
        if kind == u.SCTP_ASSOC_CHANGE:
            change = AssocChange.parse(data, u.FIRST_ASSOC_STATE)
            if change is not None:
                self._changed(change)
        elif kind == u.SCTP_SHUTDOWN_EVENT:
            self._ended(LossCause.SHUTDOWN, f"{self.channel.name} closed by the peer")
        elif kind == u.SCTP_PARTIAL_DELIVERY_EVENT:
            self.partial.clear()

    def _changed(self, change: AssocChange) -> None:
        name = self.channel.name
        if change.state is AssocState.COMM_UP:
            self.tml.established(self)
        elif change.state is AssocState.COMM_LOST:
            if is_from_guard(change.abort_chunk):
                self._ended(LossCause.GUARD, f"{name} aborted by the peer's guard")
            elif change.abort_chunk:
                self._ended(LossCause.ABORT, f"{name} aborted by the peer")
            elif reason := self.tml.no_path_to(self.assoc):
                self._ended(LossCause.PATH, f"{name}: {reason}")
            else:
                self._ended(LossCause.RETRANSMISSION, f"{name}: retransmission limit")
        elif change.state is AssocState.RESTART:
            self.partial.clear()
            if not self.tml.restarted(self.tml.address_of(self.assoc), self):
                self.assoc.close(abort=True)
        elif change.state is AssocState.CANT_STR_ASSOC:
            self._ended(LossCause.REFUSED, f"{name} refused")
        else:
            self._ended(LossCause.SHUTDOWN, f"{name} closed by the peer")

    def on_end(self) -> None:
        self._ended(LossCause.SHUTDOWN, f"{self.channel.name} closed by the peer")

    def _ended(self, cause: LossCause, detail: str) -> None:
        if self.group is None:  # we said goodbye before
            self.assoc.close(abort=False)
            self.tml.leaving.discard(self)
        else:
            self.tml.ended(self, cause, detail)

    def on_room(self) -> None:
        self.tml.has_room(self)

    def on_unreachable(self, reason: str) -> None:
        if self.group is None:
            self.assoc.close(abort=True)
            self.tml.leaving.discard(self)
        else:
            self.tml.ended(self, LossCause.ICMP, f"{self.channel.name}: {reason}")


class UsrsctpTml(GroupedTml):
    """See `forces.io.tml.Tml`."""

    def __init__(self, config: TmlConfig, udp: bool = False, guard: Guard | None = None) -> None:
        super().__init__(config)
        self._guard = guard
        self.name = "usrsctp-udp" if udp else "usrsctp"
        self.leaving: set[UsrsctpLink] = set()
        """Closed by us; their SHUTDOWN is under way."""
        self._udp = udp
        self._keys: dict[str, int] = {}
        self._rest: asyncio.Handle | None = None
        """Another turn is due for packets that have been taken from the kernel already."""
        self._stack: Stack
        self._packets: PacketSocket

    def lifetime_ms(self, channel: Channel) -> int:
        """SCTP-PR (RFC 5811 sections 4.2.1.2 to 4.2.1.4); 0: reliable."""
        return (0, self.config.mp_lifetime_ms, self.config.lp_lifetime_ms)[channel]

    def address_of(self, assoc: Assoc) -> str:
        return self._stack.paths[assoc.key].address

    def no_path_to(self, assoc: Assoc) -> str:
        """Why packets do not get to that peer's host; empty: nothing says so."""
        return self._packets.no_path.get(self.address_of(assoc), "")

    async def _open(self) -> None:
        self._stack = stack()
        witness = self._guard.saw if self._guard is not None else None
        self._packets = PacketSocket(self.config.local_address, self._udp, witness)
        self._stack.attach()
        for address in self.config.peers.values():
            self._keys[address] = self._stack.add_path(self._packets, address, self)
        if self.config.listen:
            self._stack.listen(self)
        self._loop.add_reader(self._packets.fileno(), self._read)

    def _dial(self, peer: int, address: str, channel: Channel) -> Link:
        assoc = self._stack.dial(self._keys[address], channel, self.config)
        return UsrsctpLink(self, assoc, channel)

    def incoming(self, assoc: Assoc, address: str) -> None:
        link = UsrsctpLink(self, assoc, Channel(assoc.ports[0] - Channel.HP.port))
        if not self.accepted(address, link):
            assoc.close(abort=True)

    def say_goodbye(self, link: UsrsctpLink) -> None:
        """Ordered end: SHUTDOWN, and the socket goes when the peer has answered, or after a
        while without it."""
        self.leaving.add(link)
        link.assoc.shutdown()
        self._loop.call_later(FAREWELL_S, self._left, link)

    def _left(self, link: UsrsctpLink) -> None:
        self.leaving.discard(link)
        link.assoc.close(abort=True)

    def _key_of(self, address: str) -> int | None:
        key = self._keys.get(address)
        if key is None:
            self.peer_at(address)
        return key

    def _read(self) -> None:
        left = self._stack.read(self._packets, self._key_of)
        self.flush()
        if left and self._rest is None:
            self._rest = self._loop.call_soon(self._read_rest)

    def _read_rest(self) -> None:
        self._rest = None
        self._read()

    async def _shut(self) -> None:
        deadline = self._loop.time() + FAREWELL_S
        while self.leaving and self._loop.time() < deadline:
            await asyncio.sleep(0.002)
        for link in list(self.leaving):
            self._left(link)
        self._stack.unlisten(self)
        self._loop.remove_reader(self._packets.fileno())
        if self._rest is not None:
            self._rest.cancel()
        self._packets.close()
        for key in self._keys.values():
            self._stack.remove_path(key)
        self._stack.detach()
        if self._guard is not None:
            self._guard.release()
