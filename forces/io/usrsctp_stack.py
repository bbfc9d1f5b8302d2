"""libusrsctp driven by our event loop: its packets, its timers, its associations.

No-threads mode with AF_CONN addresses: packets go in by `usrsctp_conninput` and come out by a
callback, timers are driven by `usrsctp_handle_timers`. The library is one per process; an AF_CONN
address is our number of one path (a packet socket and a peer's address), so several transports
can share it. What the library says in callbacks is only queued there, and handled after it
returned: nothing of ours ever runs inside it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from forces.channels import Channel
from forces.io import usrsctp_lib as u
from forces.io.packet_socket import PacketSocket
from forces.io.tml import TmlConfig
from forces.io.usrsctp_assoc import Assoc
from forces.io.usrsctp_socket import open_socket, tune

TICK_S = 0.010  # the library's own resolution
BACKLOG = 128
EPHEMERAL = range(49152, 65536)


class PathOwner(Protocol):
    """Who is told of associations that come in."""

    config: TmlConfig

    def incoming(self, assoc: Assoc, address: str) -> None:
        """Sets `assoc.owner`, or closes it."""


@dataclass(frozen=True, slots=True)
class Path:
    packets: PacketSocket
    address: str
    owner: PathOwner


class Stack:
    """The library, once per process; `attach` gives it the loop that drives it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.library = u.library()
        self.paths: dict[int, Path] = {}
        self.blocked: set[Assoc] = set()
        self.associations: dict[int, Assoc] = {}
        self._by_ports: dict[tuple[int, int, int], Assoc] = {}
        self._listeners: dict[int, int] = {}
        self._listening: set[PathOwner] = set()
        self._said: deque[tuple[int, bytes | None, int, int]] = deque()
        self._next_key = 1
        self._next_port = random.choice(EPHEMERAL)
        self._tick: asyncio.TimerHandle | None = None
        self._attached = 0
        self._ticked_ns = 0
        self._loop: asyncio.AbstractEventLoop
        self._on_output = u.ConnOutput(self._output)  # the library keeps no reference
        self._on_receive = u.ReceiveCallback(self._receive)
        self.library.init_nothreads(0, self._on_output, None)
        # One address per peer: no ASCONF. No router here marks ECN.
        for name in ("ecn_enable", "asconf_enable", "auto_asconf"):
            getattr(self.library, f"sysctl_set_sctp_{name}")(0)

    # Life

    def begin_anew(self) -> None:
        """In a forked process, where what is open is the parent's, and after a loop that ended with
        something open: nothing of it is sent any more, and no owner is told of it."""
        self.pid = os.getpid()
        self.paths.clear()
        for so in list(self._listeners.values()):
            self.library.close(so)
        for assoc in list(self.associations.values()):
            assoc.close(abort=True)
        for kept in (self._listeners, self._listening, self._said):
            kept.clear()
        self._tick, self._attached = None, 0

    def attach(self) -> None:
        """Begin to drive the timers; each call wants a `detach`."""
        if self._tick is not None and self._loop.is_closed():
            self.begin_anew()
        self._attached += 1
        if self._tick is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()
            self._ticked_ns = time.monotonic_ns()
            self._tick = self._loop.call_later(TICK_S, self._timers)

    def detach(self) -> None:
        self._attached -= 1
        if self._attached == 0 and self._tick is not None:
            self._tick.cancel()
            self._tick = None
            self._said.clear()

    def add_path(self, packets: PacketSocket, address: str, owner: PathOwner) -> int:
        key = self._next_key
        self._next_key += 1
        self.paths[key] = Path(packets, address, owner)
        self.library.register_address(key)
        return key

    def remove_path(self, key: int) -> None:
        del self.paths[key]
        self.library.deregister_address(key)

    # Sockets

    def listen(self, owner: PathOwner) -> None:
        """On the three ports, for every path; `owner.incoming` follows."""
        if not self._listening:
            for channel in Channel:
                so = open_socket(self.library, self._on_receive, owner.config, channel)
                address = u.conn_address(channel.port, None)
                size = ctypes.sizeof(address)
                if self.library.bind(so, address, size) or self.library.listen(so, BACKLOG):
                    number = ctypes.get_errno()
                    raise OSError(number, f"SCTP port {channel.port}: {os.strerror(number)}")
                self._listeners[channel.port] = so
        self._listening.add(owner)

    def unlisten(self, owner: PathOwner) -> None:
        self._listening.discard(owner)
        if not self._listening:
            for so in self._listeners.values():
                self.library.close(so)
            self._listeners.clear()

    def dial(self, key: int, channel: Channel, config: TmlConfig, local_port: int = 0) -> Assoc:
        """Begin an association; a notification says how it went."""
        so = open_socket(self.library, self._on_receive, config, channel)
        port = local_port or self._free_port(key, channel.port)
        for call, address in (
            (self.library.bind, u.conn_address(port, key)),
            (self.library.connect, u.conn_address(channel.port, key)),
        ):
            if call(so, address, ctypes.sizeof(address)):
                number = ctypes.get_errno()
                if number not in (0, errno.EINPROGRESS):
                    self.library.close(so)
                    raise OSError(number, os.strerror(number))
        return self._remember(so, key, port, channel.port)

    def _free_port(self, key: int, remote_port: int) -> int:
        # Not the library's choice, because an ICMP error names the association by its ports.
        for _ in EPHEMERAL:
            self._next_port += 1
            if self._next_port not in EPHEMERAL:
                self._next_port = EPHEMERAL.start
            if (key, self._next_port, remote_port) not in self._by_ports:
                return self._next_port
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def _remember(self, so: int, key: int, local_port: int, remote_port: int) -> Assoc:
        assoc = Assoc(self, so, key, local_port, remote_port)
        self.associations[so] = assoc
        self._by_ports[key, local_port, remote_port] = assoc
        return assoc

    def forget(self, assoc: Assoc, so: int) -> None:
        self.associations.pop(so, None)
        if self._by_ports.get((assoc.key, *assoc.ports)) is assoc:
            del self._by_ports[(assoc.key, *assoc.ports)]
        self.blocked.discard(assoc)
        if self._said:  # the library may give the same number to its next socket
            kept = [entry for entry in self._said if entry[0] != so]
            self._said.clear()
            self._said.extend(kept)

    def _accept(self) -> None:
        for port, listener in list(self._listeners.items()):
            while self.library.get_events(listener) & u.SCTP_EVENT_READ:
                address = u.SockaddrConn()
                size = ctypes.c_uint32(ctypes.sizeof(address))
                so = self.library.accept(listener, address, ctypes.byref(size))
                if not so:
                    break
                self.library.set_non_blocking(so, 1)
                self._accepted(int(so), address.addr, port, socket.ntohs(address.port))

    def _accepted(self, so: int, key: int | None, port: int, remote_port: int) -> None:
        path = self.paths.get(key) if key is not None else None
        assoc = self._remember(so, key or 0, port, remote_port)
        if path is None or path.owner not in self._listening:
            assoc.close(abort=True)
            return
        try:
            tune(self.library, so, path.owner.config, Channel(port - Channel.HP.port))
        except OSError:
            pass  # it ended already, and its notification is in the queue
        path.owner.incoming(assoc, path.address)

    # In and out

    def read(self, packets: PacketSocket, key_of: Callable[[str], int | None]) -> bool:
        """A turn's part of what `packets` has: SCTP packets, then ICMP errors, then room in send
        buffers. Whether packets are left that want another turn."""

        def take(address: str, packet: bytes) -> None:
            key = key_of(address)
            if key is not None:
                conninput(key, packet, len(packet), 0)

        conninput = self.library.conninput
        left = packets.receive(take)
        self.settle()
        for error in packets.errors():
            key = key_of(error.address)
            assoc = self._by_ports.get((key or 0, error.local_port, error.remote_port))
            if assoc is not None and assoc.owner is not None:
                assoc.owner.on_unreachable(error.reason)
        return left

    def settle(self) -> None:
        """Handle what the library has said meanwhile."""
        while self._said:
            so, data, ppid, flags = self._said.popleft()
            assoc = self.associations.get(so)
            if assoc is None:
                self._accept()
                assoc = self.associations.get(so)
            if assoc is None or assoc.owner is None:
                continue
            if data is None:
                assoc.owner.on_end()
            elif flags & u.MSG_NOTIFICATION:
                assoc.owner.on_notification(data)
            else:
                assoc.owner.on_data(data, ppid, bool(flags & u.MSG_EOR))
        if self._listeners:
            self._accept()
        if self.blocked:
            for assoc in list(self.blocked):
                if assoc.so is not None and (
                    self.library.get_events(assoc.so) & u.SCTP_EVENT_WRITE
                ):
                    self.blocked.discard(assoc)
                    if assoc.owner is not None:
                        assoc.owner.on_room()

    def _timers(self) -> None:
        elapsed = (time.monotonic_ns() - self._ticked_ns) // 1_000_000
        self._tick = self._loop.call_later(TICK_S, self._timers)
        if elapsed > 0:
            self._ticked_ns += elapsed * 1_000_000
            # After a long stop (SIGSTOP) the lost time must not come as one leap.
            self.library.handle_timers(min(elapsed, 1000))
            if self._said or self.blocked:
                self.settle()

    def _output(self, key: int, buffer: int, size: int, tos: int, df: int) -> int:
        path = self.paths.get(key)
        if path is None:
            return errno.ENETUNREACH
        return path.packets.send(path.address, ctypes.string_at(buffer, size))

    def _receive(
        self,
        so: int,
        address: u.SockStore,
        data: int | None,
        size: int,
        info: u.RcvInfo,
        flags: int,
        ulp: int | None,
    ) -> int:
        octets = None
        if data:
            octets = ctypes.string_at(data, size)
            self.library.free(data)
        self._said.append((so, octets, socket.ntohl(info.ppid), flags))
        return 1


_stack: Stack | None = None


def stack() -> Stack:
    """This process's. Raises OSError when the library is not installed."""
    global _stack
    if _stack is None:
        _stack = Stack()
    elif _stack.pid != os.getpid():
        _stack.begin_anew()
    return _stack
