"""A transport inside one process, for unit tests of everything above it.

`MemoryNetwork` joins `MemoryTml` objects by their control addresses and can hurt them: `kill`
(the process is gone and its host says so), `refuse` and `drop` (silence). Messages and answers
take one turn of the event loop; nothing else about it is a clock.
"""

from __future__ import annotations

import asyncio

from forces.channels import Channel
from forces.events import LossCause
from forces.io.group import Link
from forces.io.grouping import GroupedTml
from forces.io.tml import TmlConfig, send_buffer


class MemoryNetwork:
    """The control network: who is where, and what is broken."""

    def __init__(self) -> None:
        self.nodes: dict[str, MemoryTml] = {}
        self.refusing: set[str] = set()
        """Addresses that turn connection attempts down."""
        self.cut: set[frozenset[str]] = set()
        """Pairs of addresses with silence between them."""

    def kill(self, address: str) -> None:
        """SIGKILL: it says nothing any more, and its host answers for it."""
        tml = self.nodes.pop(address)
        tml.killed = True
        for link in list(tml.links):
            tml.links.discard(link)
            if link.far is not None:
                link.far.lost(LossCause.ICMP, "protocol unreachable")

    def refuse(self, address: str, refusing: bool = True) -> None:
        (self.refusing.add if refusing else self.refusing.discard)(address)

    def drop(self, one: str, other: str) -> None:
        """Silence between two addresses, both ways; established channels do not notice."""
        self.cut.add(frozenset((one, other)))

    def heal(self, one: str, other: str) -> None:
        self.cut.discard(frozenset((one, other)))

    def passes(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self.cut


class MemoryLink(Link):
    def __init__(self, tml: MemoryTml, address: str, channel: Channel) -> None:
        super().__init__(channel)
        self.tml = tml
        self.address = address
        """The other end's."""
        self.far: MemoryLink | None = None
        self.waiting = 0
        """Octets on the way to the other end."""
        self.wants_room = False
        tml.links.add(self)

    def send(self, data: bytes) -> bool:
        far = self.far
        if far is None or not self.tml.network.passes(self.tml.config.local_address, self.address):
            return True
        if self.waiting + len(data) > send_buffer(self.tml.config, self.channel):
            self.wants_room = True
            return False
        self.waiting += len(data)
        self.tml.loop.call_soon(self._deliver, far, data)
        return True

    def _deliver(self, far: MemoryLink, data: bytes) -> None:
        self.waiting -= len(data)
        if far in far.tml.links:
            far.tml.arrived(far, far.channel.ppid, data)
        if self.wants_room and self in self.tml.links:
            self.wants_room = False
            self.tml.has_room(self)

    def close(self, abort: bool) -> None:
        if self not in self.tml.links:
            return
        self.tml.links.discard(self)
        if self.far is not None:
            cause = LossCause.ABORT if abort else LossCause.SHUTDOWN
            self.far.lost(cause, f"{self.channel.name} closed by the peer")

    def lost(self, cause: LossCause, detail: str) -> None:
        if self.tml.network.passes(self.tml.config.local_address, self.address):
            self.far = None
            self.tml.loop.call_soon(self._ended, cause, detail)

    def _ended(self, cause: LossCause, detail: str) -> None:
        if self in self.tml.links:
            self.tml.ended(self, cause, detail)


class MemoryTml(GroupedTml):
    """See `forces.io.tml.Tml`."""

    name = "memory"

    def __init__(self, network: MemoryNetwork, config: TmlConfig) -> None:
        super().__init__(config)
        self.network = network
        self.links: set[MemoryLink] = set()
        self.killed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def _open(self) -> None:
        if self.config.local_address in self.network.nodes:
            raise OSError(f"address {self.config.local_address} is in use")
        self.network.nodes[self.config.local_address] = self

    def _dial(self, peer: int, address: str, channel: Channel) -> Link:
        link = MemoryLink(self, address, channel)
        self.loop.call_soon(self._knock, link)
        return link

    def _knock(self, link: MemoryLink) -> None:
        own, network = self.config.local_address, self.network
        if link not in self.links or not network.passes(own, link.address):
            return
        there = network.nodes.get(link.address)
        if there is None:
            self.ended(link, LossCause.ICMP, "protocol unreachable")
            return
        if link.address in network.refusing or not there.config.listen:
            self.ended(link, LossCause.REFUSED, f"{link.channel.name} refused")
            return
        far = MemoryLink(there, own, link.channel)
        link.far, far.far = far, link
        if there.accepted(own, far):
            self.established(link)
        else:
            link.far = far.far = None
            there.links.discard(far)
            self.ended(link, LossCause.REFUSED, f"{link.channel.name} refused")

    async def _shut(self) -> None:
        if self.network.nodes.get(self.config.local_address) is self:
            del self.network.nodes[self.config.local_address]
