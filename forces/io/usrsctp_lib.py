"""libusrsctp by ctypes: the functions, structures and numbers that we use, and nothing else.

Debian's package libusrsctp2 (0.9.5). Nothing is compiled. The structures are usrsctp.h's; the
option numbers are FreeBSD's, not Linux's (RFC 6458 leaves them to the implementation).
"""

from __future__ import annotations

import ctypes as c
import functools
import socket
import struct

LIBRARY = "libusrsctp.so.2"
AF_CONN = 123
IPPROTO_SCTP = 132

SCTP_RTOINFO = 0x01
SCTP_ASSOCINFO = 0x02
SCTP_INITMSG = 0x03
SCTP_NODELAY = 0x04
SCTP_PEER_ADDR_PARAMS = 0x0A
SCTP_DELAYED_SACK = 0x0F
SCTP_EVENT = 0x1E

SPP_HB_ENABLE = 0x01

SCTP_ASSOC_CHANGE = 0x01
SCTP_SHUTDOWN_EVENT = 0x05
SCTP_PARTIAL_DELIVERY_EVENT = 0x07
FIRST_ASSOC_STATE = 1

SCTP_EVENT_READ = 0x01
SCTP_EVENT_WRITE = 0x02

MSG_EOR = 0x80
MSG_NOTIFICATION = 0x2000

SCTP_SENDV_SPA = 4
SCTP_SEND_SNDINFO_VALID = 0x1
SCTP_SEND_PRINFO_VALID = 0x2
SCTP_PR_SCTP_TTL = 0x1


class SockStore(c.Structure):
    """union sctp_sockstore, passed by value."""

    _fields_ = (("octets", c.c_uint64 * 4),)


class RcvInfo(c.Structure):
    """struct sctp_rcvinfo."""

    _fields_ = (
        ("sid", c.c_uint16),
        ("ssn", c.c_uint16),
        ("flags", c.c_uint16),
        ("ppid", c.c_uint32),
        ("tsn", c.c_uint32),
        ("cumtsn", c.c_uint32),
        ("context", c.c_uint32),
        ("assoc_id", c.c_uint32),
    )


class SndInfo(c.Structure):
    """struct sctp_sndinfo."""

    _fields_ = (
        ("sid", c.c_uint16),
        ("flags", c.c_uint16),
        ("ppid", c.c_uint32),
        ("context", c.c_uint32),
        ("assoc_id", c.c_uint32),
    )


class PrInfo(c.Structure):
    """struct sctp_prinfo (RFC 3758: partial reliability)."""

    _fields_ = (("policy", c.c_uint16), ("value", c.c_uint32))


class SendvSpa(c.Structure):
    """struct sctp_sendv_spa."""

    _fields_ = (
        ("flags", c.c_uint32),
        ("sndinfo", SndInfo),
        ("prinfo", PrInfo),
        ("auth_keynumber", c.c_uint16),
    )


class SockaddrConn(c.Structure):
    """struct sockaddr_conn: the address is a number of ours."""

    _fields_ = (("family", c.c_uint16), ("port", c.c_uint16), ("addr", c.c_void_p))


ConnOutput = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, c.c_uint8, c.c_uint8)
ReceiveCallback = c.CFUNCTYPE(
    c.c_int, c.c_void_p, SockStore, c.c_void_p, c.c_size_t, RcvInfo, c.c_int, c.c_void_p
)

_SIGNATURES = {
    "init_nothreads": (None, (c.c_uint16, ConnOutput, c.c_void_p)),
    "socket": (
        c.c_void_p,
        (c.c_int, c.c_int, c.c_int, ReceiveCallback, c.c_void_p, c.c_uint32, c.c_void_p),
    ),
    "setsockopt": (c.c_int, (c.c_void_p, c.c_int, c.c_int, c.c_char_p, c.c_uint32)),
    "sendv": (
        c.c_ssize_t,
        (
            *(c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_int),
            *(c.c_void_p, c.c_uint32, c.c_uint, c.c_int),
        ),
    ),
    "bind": (c.c_int, (c.c_void_p, c.POINTER(SockaddrConn), c.c_uint32)),
    "listen": (c.c_int, (c.c_void_p, c.c_int)),
    "accept": (c.c_void_p, (c.c_void_p, c.POINTER(SockaddrConn), c.POINTER(c.c_uint32))),
    "connect": (c.c_int, (c.c_void_p, c.POINTER(SockaddrConn), c.c_uint32)),
    "shutdown": (c.c_int, (c.c_void_p, c.c_int)),
    "close": (None, (c.c_void_p,)),
    "conninput": (None, (c.c_void_p, c.c_char_p, c.c_size_t, c.c_uint8)),
    "set_non_blocking": (c.c_int, (c.c_void_p, c.c_int)),
    "get_events": (c.c_int, (c.c_void_p,)),
    "register_address": (None, (c.c_void_p,)),
    "deregister_address": (None, (c.c_void_p,)),
    "handle_timers": (None, (c.c_uint32,)),
    "sysctl_set_sctp_ecn_enable": (c.c_int, (c.c_uint32,)),
    "sysctl_set_sctp_asconf_enable": (c.c_int, (c.c_uint32,)),
    "sysctl_set_sctp_auto_asconf": (c.c_int, (c.c_uint32,)),
}


class Library:
    """The functions without their prefix `usrsctp_`, and C's `free`."""

    def __init__(self) -> None:
        dll = c.CDLL(LIBRARY, use_errno=True)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(dll, f"usrsctp_{name}")
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        libc = c.CDLL(None)
        libc.free.argtypes = (c.c_void_p,)
        libc.free.restype = None
        self.free = libc.free

    def __getattr__(self, name: str) -> c._NamedFuncPointer:
        raise AttributeError(f"usrsctp_{name} is not bound")  # for the type checker

    def option(self, so: int, name: int, value: bytes, level: int = IPPROTO_SCTP) -> None:
        if self.setsockopt(so, level, name, value, len(value)) != 0:
            raise OSError(c.get_errno(), f"usrsctp: setsockopt({level}, 0x{name:x}) failed")


@functools.cache
def library() -> Library:
    """Loaded once. Raises OSError when the package is not installed."""
    return Library()


def integer(value: int) -> bytes:
    return struct.pack("=i", value)


def rtoinfo(initial_ms: int, maximum_ms: int, minimum_ms: int) -> bytes:
    """struct sctp_rtoinfo."""
    return struct.pack("=IIII", 0, initial_ms, maximum_ms, minimum_ms)


def assocparams(max_retransmissions: int) -> bytes:
    """struct sctp_assocparams."""
    return struct.pack("=IIIIHH", 0, 0, 0, 0, max_retransmissions, 0)


def initmsg(streams: int, attempts: int, max_timeout_ms: int) -> bytes:
    """struct sctp_initmsg."""
    return struct.pack("=HHHH", streams, streams, attempts, max_timeout_ms)


def paddrparams(heartbeat_ms: int, max_retransmissions: int) -> bytes:
    """struct sctp_paddrparams, for every address of the peer."""
    return struct.pack(
        "=128sIIIIIHB9x", b"", 0, heartbeat_ms, 0, SPP_HB_ENABLE, 0, max_retransmissions, 0
    )


def delayed_sack(delay_ms: int, frequency: int) -> bytes:
    """struct sctp_sack_info."""
    return struct.pack("=III", 0, delay_ms, frequency)


def event(kind: int) -> bytes:
    """struct sctp_event, switched on."""
    return struct.pack("=IHBx", 0, kind, 1)


def conn_address(port: int, key: int | None) -> SockaddrConn:
    return SockaddrConn(AF_CONN, socket.htons(port), key)
