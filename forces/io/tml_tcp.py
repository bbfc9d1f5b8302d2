"""ForCES over TCP, framed by the header's length field; by name only.

Not an RFC 5811 transport: it has no payload protocol identifiers, no partial reliability and no
heartbeats of its own. It is here to compare with, and for machines that allow no raw socket.
Ports, channels and the order of connecting are RFC 5811's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from forces.channels import Channel
from forces.events import LossCause
from forces.header import HEADER_LENGTH, WORD
from forces.io.causes import cause_of
from forces.io.group import Link
from forces.io.grouping import GroupedTml
from forces.io.tml import send_buffer

LINGER_S = 1.0
"""How long an ordered close may take to get its last octets away."""


class TcpLink(Link, asyncio.Protocol):
    def __init__(self, tml: TcpTml, channel: Channel, dialled: bool) -> None:
        super().__init__(channel)
        self.tml = tml
        self.dialled = dialled
        self.dialling: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.closed = False
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.closed:
            transport.abort()
            return
        config = self.tml.config
        limit = send_buffer(config, self.channel)
        transport.set_write_buffer_limits(high=limit, low=limit // 2)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The nearest thing to SCTP's retransmission limit.
        patience = config.rto_max_ms * config.max_retransmissions
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        if self.dialled:
            self.tml.established(self)
        elif not self.tml.accepted(transport.get_extra_info("peername")[0], self):
            self.close(abort=True)

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= WORD:
            length = WORD * int.from_bytes(buffer[start + 2 : start + 4])
            if length < HEADER_LENGTH:
                # The next message cannot be found any more.
                detail = f"{self.channel.name}: a length field of {length} octets"
                self.tml.ended(self, LossCause.LOCAL, detail)
                buffer.clear()
                return
            if len(buffer) - start < length:
                break
            message = bytes(buffer[start : start + length])
            start += length
            self.tml.arrived(self, self.channel.ppid, message)
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed:
            return
        if exc is None:
            cause, detail = LossCause.SHUTDOWN, f"{self.channel.name} closed by the peer"
        else:
            cause = cause_of(exc, LossCause.ABORT)
            detail = f"{self.channel.name}: {exc}"
        if self.dialled and not self.tml.is_up(self):
            cause = LossCause.REFUSED  # taken from the queue of a listener and turned down
        self.tml.ended(self, cause, detail)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.tml.has_room(self)

    def send(self, data: bytes) -> bool:
        if self.paused:
            return False
        if self.transport is None or self.transport.is_closing():
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.transport.write(data)
        return True

    def close(self, abort: bool) -> None:
        if self.closed:
            return
        self.closed = True
        if self.dialling is not None:
            self.dialling.cancel()
        if self.transport is None:
            return
        if abort:
            sock = self.transport.get_extra_info("socket")
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass  # closed already
            self.transport.abort()
        else:
            self.transport.close()
            asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)


class TcpTml(GroupedTml):
    """See `forces.io.tml.Tml`."""

    name = "tcp"

    _servers: tuple[asyncio.Server, ...] = ()

    async def _open(self) -> None:
        if not self.config.listen:
            return
        servers = []
        try:
            for channel in Channel:
                servers.append(await self._listen(channel))
        except OSError:
            for server in servers:
                server.close()
            raise
        self._servers = tuple(servers)

    async def _listen(self, channel: Channel) -> asyncio.Server:
        return await self._loop.create_server(
            lambda: TcpLink(self, channel, dialled=False), self.config.local_address, channel.port
        )

    def _dial(self, peer: int, address: str, channel: Channel) -> Link:
        link = TcpLink(self, channel, dialled=True)
        link.dialling = self._loop.create_task(self._connect(link, address))
        return link

    async def _connect(self, link: TcpLink, address: str) -> None:
        try:
            await self._loop.create_connection(
                lambda: link,
                address,
                link.channel.port,
                local_addr=(self.config.local_address, 0),
            )
        except OSError as error:
            cause = cause_of(error, LossCause.REFUSED)
            if cause is LossCause.RETRANSMISSION:
                cause = LossCause.TIMEOUT
            self.ended(link, cause, f"{link.channel.name}: {error.strerror or error}")

    async def _shut(self) -> None:
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)
