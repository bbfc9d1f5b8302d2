"""Ports and their interfaces: readings, and link events (rtnetlink(7), RTMGRP_LINK).

A raw socket in the event loop brings a carrier change to the callback in about 0.3 ms; pyroute2's
own monitors take three times that, and tens of ms beside a busy process.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from fe_datapath.config import PortConfig
from fe_datapath.datapath import LinkListener, NeighborKey, PortState, Queue
from fe_datapath.linux import messages
from fe_datapath.linux.ethtool import Ethtool
from fe_datapath.linux.links import Link, read_link
from fe_datapath.linux.messages import IFF_LOWER_UP, IFF_PROMISC, IFF_UP, MessageType
from fe_datapath.linux.neighbors import read_neighbors
from fe_datapath.linux.netlink import DATAGRAM, HEADER, NetlinkSocket, again
from fe_datapath.linux.queues import read_queues

DATAGRAMS_PER_TURN = 64
"""Notifications read before the event loop gets its turn."""

_RTMGRP_LINK = 1

logger = logging.getLogger(__name__)


class Ports:
    """Reads ports in the calling thread; `watch` calls back in the event loop's thread."""

    def __init__(self, ports: Sequence[PortConfig]) -> None:
        self._configured = {port.interface: port for port in ports}
        self._ifindex: dict[int, int] = {}
        self._port_of: dict[int, int] = {}
        self._known: dict[int, PortState] = {}
        self._reader = NetlinkSocket()
        try:
            self._events = NetlinkSocket(groups=_RTMGRP_LINK)
            self._events.socket.setblocking(False)
            self.ethtool = Ethtool()
        except OSError:
            self._reader.close()
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_link: LinkListener = lambda state, at_ns: None
        self._on_loss: Callable[[int], None] = lambda port: None

    def ifindex_of(self, port: int) -> int | None:
        """Kernel interface index; None for a port that there is not, or not any more."""
        return self._ifindex.get(port)

    def port_of(self, ifindex: int) -> int | None:
        return self._port_of.get(ifindex)

    def mac_of(self, port: int) -> bytes:
        """As of the last notification."""
        return self._known[port].mac

    def find(self) -> None:
        """Look the interfaces up by name. OSError if one is not there."""
        links = {link.name: link for link in self._links()}
        for interface, port in self._configured.items():
            if interface not in links:
                raise OSError(
                    errno.ENODEV, f"port {port.id}: this namespace has no interface {interface!r}"
                )
            link = links[interface]
            self._bind(port.id, link.index)
            if link.peer_index == link.index:
                logger.warning(
                    "%s: both ends of the link have interface index %d, so the kernel reports "
                    "carrier loss up to 1 s late; create the link with distinct indexes",
                    interface,
                    link.index,
                )
            self._known[port.id] = self._state(port, link)

    def read(self) -> dict[int, PortState]:
        """Every port afresh; one whose interface is gone is down."""
        states = {}
        for link in self._links():
            port = self._configured.get(link.name)
            if port is not None:
                states[port.id] = self._state(port, link)
        for port in self._configured.values():
            if port.id not in states:
                states[port.id] = _gone(port)
        return states

    def neighbors(self) -> dict[NeighborKey, bytes]:
        return again(lambda: read_neighbors(self._reader, self.port_of))

    def queues(self, port: int) -> Sequence[Queue]:
        name = self.interface_of(port)
        link = next((one for one in self._links() if one.name == name), None)
        if link is None:
            return ()
        return again(lambda: read_queues(self._reader, link.index, link.mtu, link.queue_length))

    def interface_of(self, port: int) -> str:
        return next(name for name, one in self._configured.items() if one.id == port)

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        on_link: LinkListener,
        on_loss: Callable[[int], None],
    ) -> None:
        """`on_loss` comes before `on_link`, each time a port can carry nothing any more."""
        self._loop, self._on_link, self._on_loss = loop, on_link, on_loss
        loop.add_reader(self._events.socket, self._readable)
        self._compare_all(time.monotonic_ns())  # what changed between find() and now

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._events.socket)
            self._loop = None
        self._events.close()
        self._reader.close()
        self.ethtool.close()

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            if self._loop is None:  # closed by a listener
                return
            try:
                datagram = self._events.socket.recv(DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                logger.warning("link notifications were lost; reading every port afresh")
                self._compare_all(time.monotonic_ns())
                continue
            self._notified(datagram, time.monotonic_ns())

    def _notified(self, datagram: bytes, at_ns: int) -> None:
        offset = 0
        while offset < len(datagram):
            length, kind, *_ = HEADER.unpack_from(datagram, offset)
            if kind in (MessageType.NEWLINK, MessageType.DELLINK):
                link = read_link(datagram, offset, offset + length)
                port = self._configured.get(link.name)
                ours = self._port_of.get(link.index)
                if port is not None and kind == MessageType.NEWLINK:
                    self._bind(port.id, link.index)
                    self._compare(self._state(port, link), at_ns)
                elif ours is not None:  # removed, renamed, or moved to another namespace
                    self._unbind(ours)
                    gone = next(p for p in self._configured.values() if p.id == ours)
                    self._compare(_gone(gone), at_ns)
            offset += (length + 3) & ~3

    def _compare_all(self, at_ns: int) -> None:
        for state in self.read().values():
            self._compare(state, at_ns)

    def _compare(self, state: PortState, at_ns: int) -> None:
        """The kernel notifies more often than anything changes, counters apart."""
        before = self._known.get(state.port)
        self._known[state.port] = state
        if before is not None and replace(state, counters={}) == replace(before, counters={}):
            return
        if before is not None and before.carrier and not state.carrier:
            self._on_loss(state.port)
        self._on_link(state, at_ns)

    def _bind(self, port: int, ifindex: int) -> None:
        if self._ifindex.get(port) != ifindex:
            self._unbind(port)
            self._ifindex[port] = ifindex
            self._port_of[ifindex] = port

    def _unbind(self, port: int) -> None:
        ifindex = self._ifindex.pop(port, None)
        if ifindex is not None:
            self._port_of.pop(ifindex, None)

    def _links(self) -> list[Link]:
        def read() -> list[Link]:
            request = messages.dump_links(self._reader.sequences(1))
            return [read_link(*message) for message in self._reader.dump(request)]

        return again(read)

    def _state(self, port: PortConfig, link: Link) -> PortState:
        admin_up = bool(link.flags & IFF_UP)
        mode = self.ethtool.read(port.interface)
        return PortState(
            port=port.id,
            name=port.interface,
            admin_up=admin_up,
            carrier=admin_up and bool(link.flags & IFF_LOWER_UP),
            mtu=link.mtu,
            mac=link.mac,
            speed_mbit=mode.speed_mbit,
            full_duplex=mode.full_duplex,
            promiscuous=bool(link.flags & IFF_PROMISC),
            counters=link.counters,
            media=mode.media,
        )


def _gone(port: PortConfig) -> PortState:
    return PortState(port.id, port.interface, False, False, 0, b"", None, None, False, {})
