"""A host, an FE's kernel and another host in a row, and traffic that counts itself."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time

from fe_datapath.config import PortConfig
from tests.datapath.namespaces import Namespace

CHAIN_PORTS = (
    PortConfig(id=10, interface="fe-eth0", address="10.2.0.1/24"),
    PortConfig(id=1, interface="fe-eth1", address="10.1.0.1/30"),
    PortConfig(id=2, interface="fe-eth2", address="10.1.0.5/30"),
)


class Chain:
    """h1 (10.2.0.10) -- fe -- two links -- h2 (10.3.0.10 on lo), each in a namespace. In IPv6 h1 is
    fd02::10, h2 fd03::10, and the first link fd01::/64."""

    def __init__(self) -> None:
        self.h1, self.fe, self.h2 = Namespace(), Namespace(), Namespace()
        self.fe.ip(
            f"link add fe-eth0 type veth peer name h1-eth0 netns {self.h1.tid}",
            f"link add fe-eth1 type veth peer name h2-eth1 netns {self.h2.tid}",
            f"link add fe-eth2 type veth peer name h2-eth2 netns {self.h2.tid}",
            "addr add 10.2.0.1/24 dev fe-eth0",
            "addr add 10.1.0.1/30 dev fe-eth1",
            "addr add 10.1.0.5/30 dev fe-eth2",
            "addr add fd02::1/64 dev fe-eth0 nodad",
            "addr add fd01::1/64 dev fe-eth1 nodad",
            *(f"link set fe-eth{n} up" for n in range(3)),
        )
        self.h1.ip(
            "addr add 10.2.0.10/24 dev h1-eth0",
            "link set h1-eth0 up",
            "route add default via 10.2.0.1",
            "addr add fd02::10/64 dev h1-eth0 nodad",
        )
        self.h2.ip(
            "addr add 10.3.0.10/32 dev lo",
            "addr add fd03::10/128 dev lo nodad",
            "addr add 10.1.0.2/30 dev h2-eth1",
            "addr add fd01::2/64 dev h2-eth1 nodad",
            "addr add 10.1.0.6/30 dev h2-eth2",
            "link set h2-eth1 up",
            "link set h2-eth2 up",
            "route add default via 10.1.0.1",
        )

        for node, neighbor in (
            (self.fe, "fd01::2"),
            (self.fe, "fd02::10"),
            (self.h1, "fd02::1"),
            (self.h2, "fd01::1"),
        ):
            _await_link(node, neighbor)
        self.h1.ip("route add default via fd02::1")
        self.h2.ip("route add default via fd01::1")

    def close(self) -> None:
        for namespace in (self.h1, self.fe, self.h2):
            namespace.close()


def _await_link(node: Namespace, neighbor: str) -> None:
    """IPv6 takes a link into use when the kernel's watch over links has told it to."""
    deadline = time.monotonic() + 10
    while True:
        try:
            shown = node.show(f"-6 route get {neighbor}")
        except subprocess.CalledProcessError:
            shown = "unreachable"
        if not any(word in shown for word in ("unreachable", "linkdown", "dead")):
            return
        assert time.monotonic() < deadline, shown
        time.sleep(0.005)


class Traffic:
    """Numbered UDP packets from h1 to h2, one a millisecond or a little less often."""

    def __init__(self, chain: Chain, to: str = "10.3.0.10") -> None:
        self._family = socket.AF_INET6 if ":" in to else socket.AF_INET
        self._stop = threading.Event()
        self.sent = 0
        self.got: set[int] = set()
        self._receiver = chain.h2.run(self._socket)
        self._receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self._receiver.bind((to, 5000))
        self._receiver.setblocking(False)
        self._sender = chain.h1.run(self._socket)
        self._sender.connect((to, 5000))
        self._thread = threading.Thread(target=self._send)

    def _socket(self) -> socket.socket:
        return socket.socket(self._family, socket.SOCK_DGRAM)

    def _send(self) -> None:
        while not self._stop.wait(0.001):
            self._sender.send(self.sent.to_bytes(8))
            self.sent += 1

    async def flows(self) -> None:
        """Wait until packets arrive."""
        deadline = time.monotonic() + 5
        while not self.got:
            assert time.monotonic() < deadline, "no packet gets through"
            self._sender.send((1 << 40).to_bytes(8))
            await asyncio.sleep(0.01)
            self._drain()
        self._thread.start()

    def end(self, patience_s: float = 2) -> None:
        """`patience_s`: to wait for what may still be on its way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + patience_s
        while len(self.got) <= self.sent and time.monotonic() < deadline:
            self._drain()
            time.sleep(0.001)
        self._sender.close()
        self._receiver.close()

    async def after(self, count: int) -> int:
        """The number of the first of the next `count` packets, when those have been sent."""
        first = self.sent
        while self.sent < first + count:
            await asyncio.sleep(0.001)
        return first

    def _drain(self) -> None:
        try:
            while True:
                self.got.add(int.from_bytes(self._receiver.recv(64)))
        except BlockingIOError:
            pass

    @property
    def lost(self) -> int:
        return self.sent + 1 - len(self.got)
