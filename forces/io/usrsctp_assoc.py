"""One association of userland SCTP: a one-to-one socket of libusrsctp (RFC 6458 section 4)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from forces.io import usrsctp_lib as u

if TYPE_CHECKING:
    from forces.io.usrsctp_stack import Stack


class AssocOwner(Protocol):
    """Who is told what happens to an association."""

    def on_data(self, data: bytes, ppid: int, end_of_record: bool) -> None: ...

    def on_notification(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_room(self) -> None: ...

    def on_unreachable(self, reason: str) -> None: ...


class Assoc:
    """One association: a one-to-one socket of the library."""

    def __init__(self, stack: Stack, so: int, key: int, local_port: int, remote_port: int) -> None:
        self.stack = stack
        self.so: int | None = so
        self.key = key
        self.ports = (local_port, remote_port)
        self.owner: AssocOwner | None = None
        self._spa = u.SendvSpa()
        self._spa.sndinfo.assoc_id = 0

    def prepare(self, ppid: int, lifetime_ms: int) -> None:
        """What every message of this association carries; lifetime 0: reliable."""
        self._spa.sndinfo.ppid = socket.htonl(ppid)
        self._spa.flags = u.SCTP_SEND_SNDINFO_VALID
        if lifetime_ms:
            self._spa.flags |= u.SCTP_SEND_PRINFO_VALID
            self._spa.prinfo.policy = u.SCTP_PR_SCTP_TTL
            self._spa.prinfo.value = lifetime_ms

    def send(self, data: bytes) -> bool:
        """False: the send buffer is full, and `on_room` follows."""
        if self.so is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        spa = self._spa
        taken = self.stack.library.sendv(
            *(self.so, data, len(data), None, 0),
            *(ctypes.byref(spa), ctypes.sizeof(spa), u.SCTP_SENDV_SPA, 0),
        )
        if taken >= 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.EAGAIN, errno.EWOULDBLOCK):
            self.stack.blocked.add(self)
            return False
        raise OSError(number, os.strerror(number))

    def shutdown(self) -> None:
        """Ordered end: what was sent gets there, and `on_end` or a notification follows."""
        if self.so is not None:
            self.stack.library.shutdown(self.so, socket.SHUT_WR)

    def close(self, abort: bool) -> None:
        """Silent and final."""
        if self.so is None:
            return
        so, self.so, self.owner = self.so, None, None
        if abort:
            linger = struct.pack("=ii", 1, 0)
            self.stack.library.setsockopt(
                so, socket.SOL_SOCKET, socket.SO_LINGER, linger, len(linger)
            )
        self.stack.forget(self, so)
        self.stack.library.close(so)
