"""Heartbeats between controllers: a TCP connection from each to each other one.

A beat is 17 octets and goes out every interval, and at once when the role changes. The end of a
peer's connection is the fastest sign of its death: the kernel of a killed process says FIN.
Green threads of Ryu's hub; nothing here knows what a beat leads to.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

BEAT = struct.Struct("!4sIQB")
"""Magic, number of the sender, its term, whether it is master."""
MAGIC = b"CEHB"
PORT = 7653
CONNECT_TIMEOUT_S = 0.5
MAX_PEERS = 255


class Peers:
    """`start()` from within the hub; `announce()` sends a beat to everybody at once."""

    def __init__(
        self,
        hub: Any,
        own: tuple[int, str],
        others: Mapping[int, str],
        interval_s: float,
        state: Callable[[], tuple[int, bool]],
        heard: Callable[[int, int, bool], None],
        lost: Callable[[int], None],
    ) -> None:
        """`own` and `others`: number and address. `state` gives term and whether we are master."""
        assert len(others) <= MAX_PEERS
        self._hub = hub
        self._number, self._address = own
        self._others = others
        self._interval_s = interval_s
        self._state = state
        self._heard, self._lost = heard, lost
        self._links: dict[int, socket.socket] = {}
        self._latest: dict[int, object] = {}
        """Peer -> its newest incoming connection: the end of an older one means nothing."""

    def start(self) -> None:
        """OSError if the port is taken."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._address, PORT))
        listener.listen(MAX_PEERS)
        self._hub.spawn(self._accept, listener)
        for number, address in self._others.items():
            self._hub.spawn(self._send_to, number, address)

    def announce(self) -> None:
        for number in list(self._links):
            self._beat(number)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            link, _ = listener.accept()
            self._hub.spawn(self._receive, link)

    def _receive(self, link: socket.socket) -> None:
        peer: int | None = None
        octets = b""
        try:
            while received := link.recv(4096):
                octets += received
                while len(octets) >= BEAT.size:
                    magic, number, term, is_master = BEAT.unpack_from(octets)
                    octets = octets[BEAT.size :]
                    if magic != MAGIC or number not in self._others:
                        return
                    peer = number
                    self._latest[number] = link
                    self._heard(number, term, bool(is_master))
        except OSError:
            pass  # reset: as dead as closed
        finally:
            link.close()
            if peer is not None and self._latest.get(peer) is link:
                del self._latest[peer]
                self._lost(peer)

    def _send_to(self, number: int, address: str) -> None:
        while True:
            try:
                link = socket.create_connection((address, PORT), CONNECT_TIMEOUT_S)
            except OSError:
                self._hub.sleep(self._interval_s)
                continue
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that does not read must not hold up the beats to the others.
            link.settimeout(CONNECT_TIMEOUT_S)
            self._links[number] = link
            while self._links.get(number) is link:
                self._beat(number)
                self._hub.sleep(self._interval_s)

    def _beat(self, number: int) -> None:
        link = self._links.get(number)
        if link is None:
            return
        term, is_master = self._state()
        try:
            link.sendall(BEAT.pack(MAGIC, self._number, term, is_master))
        except OSError:
            link.close()
            self._links.pop(number, None)
