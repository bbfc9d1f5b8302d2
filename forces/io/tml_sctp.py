"""ForCES over the kernel's SCTP (RFC 5811): one-to-one sockets, standard library only.

The numbers are Linux's (include/uapi/linux/sctp.h). Sockets bind to the control address alone:
an unbound one would offer every address of the host, and control traffic would fail over onto
data links.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable

from forces.channels import Channel
from forces.events import LossCause
from forces.io.causes import cause_of
from forces.io.group import Link
from forces.io.grouping import GroupedTml
from forces.io.sctp_events import AssocChange, AssocState, MessageTooLong, Partial
from forces.io.tml import TmlConfig, send_buffer

SOL_SCTP = IPPROTO_SCTP = 132
SCTP_RTOINFO = 0
SCTP_ASSOCINFO = 1
SCTP_INITMSG = 2
SCTP_NODELAY = 3
SCTP_PEER_ADDR_PARAMS = 9
SCTP_EVENTS = 11
SCTP_DELAYED_SACK = 16
SCTP_SNDRCV = 1  # control message
SCTP_PR_SCTP_TTL = 0x10
SPP_HB_ENABLE = 1
MSG_NOTIFICATION = 0x8000
SCTP_ASSOC_CHANGE = 0x8001
SCTP_SHUTDOWN_EVENT = 0x8005
SCTP_PARTIAL_DELIVERY_EVENT = 0x8006
FIRST_ASSOC_STATE = 0
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33

STREAMS = 1
BACKLOG = 128
INIT_ATTEMPTS = 100  # our connect timeout ends it
RECEIVE_BUFFER = 2 << 20
READ_SIZE = 262144  # above the longest ForCES message
BATCH = 64
"""Reads of one socket in one turn of the loop."""

# struct sctp_sndrcvinfo: stream, ssn, flags, ppid, context, timetolive, tsn, cumtsn, assoc_id
_SNDRCV = struct.Struct("=HHHxxIIIIIi")


def tune(sock: socket.socket, config: TmlConfig, channel: Channel) -> None:
    """Timers, buffers and notifications, before bind, listen or connect."""
    retransmissions = config.max_retransmissions
    sock.setblocking(False)
    options = (
        (SCTP_NODELAY, struct.pack("=i", 1)),
        (
            SCTP_RTOINFO,
            struct.pack("=iIII", 0, config.rto_initial_ms, config.rto_max_ms, config.rto_min_ms),
        ),
        # struct sctp_assocparams: id, max retransmissions, peers, rwnd twice, cookie life
        (SCTP_ASSOCINFO, struct.pack("=iHHIII", 0, retransmissions, 0, 0, 0, 0)),
        # struct sctp_paddrparams, packed: id, address, interval, retransmissions, MTU, SACK delay,
        # flags, flow label, DSCP
        (
            SCTP_PEER_ADDR_PARAMS,
            struct.pack(
                "=i128sIHIIIIBx",
                *(0, b"", config.heartbeat_ms, retransmissions, 0, 0, SPP_HB_ENABLE, 0, 0),
            ),
        ),
        # Every packet is acknowledged at once: the default delay of 200 ms is above our RTO.
        (SCTP_DELAYED_SACK, struct.pack("=iII", 0, 0, 1)),
        (SCTP_INITMSG, struct.pack("=HHHH", STREAMS, STREAMS, INIT_ATTEMPTS, config.rto_max_ms)),
        # struct sctp_event_subscribe: data_io, association, address, send failure, peer error,
        # shutdown, partial delivery, then four that we do not want
        (SCTP_EVENTS, bytes((1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0))),
    )
    for name, value in options:
        sock.setsockopt(SOL_SCTP, name, value)
    for force, plain, size in (
        (SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER),
        (SO_SNDBUFFORCE, socket.SO_SNDBUF, send_buffer(config, channel)),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


def new_socket(config: TmlConfig, channel: Channel, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP)
    try:
        tune(sock, config, channel)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.local_address, port))
    except OSError:
        sock.close()
        raise
    return sock


class SctpLink(Link):
    def __init__(self, tml: SctpTml, sock: socket.socket, channel: Channel) -> None:
        super().__init__(channel)
        self.tml = tml
        self.sock = sock
        self.partial = Partial()
        lifetime_ms = tml.lifetime_ms(channel)
        flags = SCTP_PR_SCTP_TTL if lifetime_ms else 0
        info = _SNDRCV.pack(0, 0, flags, socket.htonl(channel.ppid), 0, lifetime_ms, 0, 0, 0)
        self._ancillary = [(SOL_SCTP, SCTP_SNDRCV, info)]
        self._writing: Callable[[], None] | None = None
        self._ended = False

    def dial(self, address: str) -> None:
        number = self.sock.connect_ex((address, self.channel.port))
        if number not in (0, errno.EINPROGRESS):
            self.sock.close()
            raise OSError(number, os.strerror(number))
        self._wait_writable(self._connected)

    def _wait_writable(self, then: Callable[[], None]) -> None:
        self._writing = then
        self.tml.loop.add_writer(self.sock.fileno(), then)

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing = None
            self.tml.loop.remove_writer(self.sock.fileno())

    def _connected(self) -> None:
        self._stop_writing()
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._failed(OSError(number, os.strerror(number)), LossCause.REFUSED)
            return
        self.listen_for_data()
        self.tml.established(self)

    def listen_for_data(self) -> None:
        self.tml.loop.add_reader(self.sock.fileno(), self._read)

    def send(self, data: bytes) -> bool:
        try:
            self.sock.sendmsg([data], self._ancillary, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if self._writing is None:
                self._wait_writable(self._room)
            return False
        except OSError as error:
            self._failed(error, LossCause.ABORT)
        return True

    def _room(self) -> None:
        self._stop_writing()
        self.tml.has_room(self)

    def _read(self) -> None:
        for _ in range(BATCH):
            if self._ended or self.sock.fileno() < 0:
                return
            try:
                size, ancillary, flags, _ = self.sock.recvmsg_into([self.tml.buffer], 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error, LossCause.ABORT)
                return
            data = bytes(self.tml.buffer[:size])
            if flags & MSG_NOTIFICATION:
                self._notified(data)
            elif not data:
                self._lost(LossCause.SHUTDOWN, f"{self.channel.name} closed by the peer")
            else:
                self._take(data, ancillary, bool(flags & socket.MSG_EOR))

    def _take(
        self, data: bytes, ancillary: list[tuple[int, int, bytes]], end_of_record: bool
    ) -> None:
        try:
            message = self.partial.add(data, end_of_record)
        except MessageTooLong:
            self._lost(LossCause.LOCAL, f"{self.channel.name}: message too long")
            return
        if message is None:
            return
        ppid = 0
        for level, kind, info in ancillary:
            if (level, kind) == (SOL_SCTP, SCTP_SNDRCV) and len(info) >= _SNDRCV.size:
                ppid = socket.ntohl(_SNDRCV.unpack_from(info)[3])
        self.tml.arrived(self, ppid, message)

    def _notified(self, data: bytes) -> None:
        kind = int.from_bytes(data[:2], sys.byteorder)
        if kind == SCTP_SHUTDOWN_EVENT:
            self._lost(LossCause.SHUTDOWN, f"{self.channel.name} closed by the peer")
        elif kind == SCTP_PARTIAL_DELIVERY_EVENT:
            self.partial.clear()
        elif kind == SCTP_ASSOC_CHANGE:
            change = AssocChange.parse(data, FIRST_ASSOC_STATE)
            if change is not None:
                self._changed(change)

    def _changed(self, change: AssocChange) -> None:
        name = self.channel.name
        if change.state is AssocState.COMM_LOST:
            number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number == errno.ETIMEDOUT:
                self._lost(LossCause.RETRANSMISSION, f"{name}: retransmission limit")
            elif number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                self._lost(LossCause.PATH, f"{name}: {os.strerror(number).lower()}")
            else:
                self._lost(LossCause.ABORT, f"{name} aborted by the peer")
        elif change.state is AssocState.RESTART:
            self.partial.clear()
            if not self.tml.restarted(self.sock.getpeername()[0], self):
                self.close(abort=True)
        elif change.state is AssocState.CANT_STR_ASSOC:
            self._lost(LossCause.REFUSED, f"{name} refused")
        elif change.state is AssocState.SHUTDOWN_COMP:
            self._lost(LossCause.SHUTDOWN, f"{name} closed by the peer")

    def _failed(self, error: OSError, default: LossCause) -> None:
        self._lost(cause_of(error, default), f"{self.channel.name}: {error.strerror or error}")

    def _lost(self, cause: LossCause, detail: str) -> None:
        self._ended = True
        self._stop_writing()
        if self.sock.fileno() >= 0:
            self.tml.loop.remove_reader(self.sock.fileno())
        self.tml.ended(self, cause, detail)

    def close(self, abort: bool) -> None:
        if self.sock.fileno() < 0:
            return
        self._ended = True
        self._stop_writing()
        self.tml.loop.remove_reader(self.sock.fileno())
        try:
            # Without abort the kernel goes on with SHUTDOWN, and what was sent before it, after
            # close(); with it, a zero linger time makes close() send ABORT.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", abort, 0))
        except OSError:
            pass  # gone already
        self.sock.close()


class SctpTml(GroupedTml):
    """See `forces.io.tml.Tml`."""

    name = "sctp"

    def __init__(self, config: TmlConfig) -> None:
        super().__init__(config)
        self._listeners: list[socket.socket] = []
        self.buffer = memoryview(bytearray(READ_SIZE))
        """Every read goes through it: a fresh one of this size each time would cost more."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def lifetime_ms(self, channel: Channel) -> int:
        """SCTP-PR (RFC 5811 sections 4.2.1.2 to 4.2.1.4); 0: reliable."""
        return (0, self.config.mp_lifetime_ms, self.config.lp_lifetime_ms)[channel]

    async def _open(self) -> None:
        if not self.config.listen:
            return
        try:
            for channel in Channel:
                sock = new_socket(self.config, channel, channel.port)
                self._listeners.append(sock)
                sock.listen(BACKLOG)
                self._loop.add_reader(sock.fileno(), self._accept, sock, channel)
        except OSError as error:
            await self._shut()
            where = f"{self.config.local_address} port {channel.port}"
            raise OSError(error.errno, f"SCTP on {where}: {error.strerror}") from None

    def _accept(self, listener: socket.socket, channel: Channel) -> None:
        for _ in range(BATCH):
            try:
                sock, (address, _) = listener.accept()
            except OSError:
                return
            try:
                tune(sock, self.config, channel)
            except OSError:
                sock.close()
                continue
            link = SctpLink(self, sock, channel)
            if self.accepted(address, link):
                link.listen_for_data()
            else:
                link.close(abort=True)

    def _dial(self, peer: int, address: str, channel: Channel) -> Link:
        link = SctpLink(self, new_socket(self.config, channel, 0), channel)
        link.dial(address)
        return link

    async def _shut(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
