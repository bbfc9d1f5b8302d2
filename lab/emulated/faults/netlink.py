"""Link, bridge-port and tc messages for faults, packed beforehand (rtnetlink(7)).

A fault is timed around one send() on a socket that is already open in the right namespace: tens
of microseconds up to about a millisecond, where pyroute2 would spend that much on packing alone.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from lab.emulated.namespaces import network_of

_HEADER = struct.Struct("=IHHII")
_IFINFOMSG = struct.Struct("=BxHiII")
_TCMSG = struct.Struct("=BxxxiIII")
_ATTRIBUTE = struct.Struct("=HH")

_NLMSG_ERROR = 2
_RTM_NEWLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 18, 19
_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_NEWTFILTER, _RTM_DELTFILTER = 36, 37, 44, 45
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLM_F_CREATE_EXCL = 0x400 | 0x200
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_IFLA_IFNAME, _IFLA_PROTINFO, _IFLA_LINKINFO, _IFLA_CARRIER = 3, 12, 18, 33
_IFLA_INFO_SLAVE_DATA = 5
_IFLA_BRPORT_STATE = 1
_IFF_UP = 1
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS = 6, 7, 8
_TCA_BPF_FLAG_ACT_DIRECT = 1
_TC_H_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_CLSACT_INGRESS, _CLSACT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ETH_P_ALL = 3

BR_STATE_DISABLED, BR_STATE_FORWARDING = 0, 3
_ANSWER_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the kernel says of an interface."""

    index: int
    admin_up: bool
    carrier: bool
    bridge_state: int | None
    """BR_STATE_*, None where it is no bridge port."""


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _message(kind: int, body: bytes, flags: int = 0) -> bytes:
    flags |= _NLM_F_REQUEST | _NLM_F_ACK
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def set_admin(index: int, up: bool) -> bytes:
    """RTM_NEWLINK: administratively up or down."""
    flags = _IFF_UP if up else 0
    return _message(_RTM_NEWLINK, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flags, _IFF_UP))


def set_bridge_state(index: int, state: int) -> bytes:
    """RTM_SETLINK: a bridge port's state. Disabled, it drops everything in both directions and
    neither end loses its carrier."""
    port = _attribute(
        _IFLA_PROTINFO | _NLA_F_NESTED, _attribute(_IFLA_BRPORT_STATE, bytes([state]))
    )
    return _message(_RTM_SETLINK, _IFINFOMSG.pack(socket.AF_BRIDGE, 0, index, 0, 0) + port)


def add_clsact(index: int) -> bytes:
    """RTM_NEWQDISC: where ingress filters hang."""
    return _message(_RTM_NEWQDISC, _clsact(index), _NLM_F_CREATE_EXCL)


def delete_clsact(index: int) -> bytes:
    """RTM_DELQDISC: its filters go with it."""
    return _message(_RTM_DELQDISC, _clsact(index))


def _clsact(index: int) -> bytes:
    return _TCMSG.pack(0, index, _CLSACT_HANDLE, _TC_H_CLSACT, 0) + _attribute(
        _TCA_KIND, b"clsact\0"
    )


IMPAIRMENT_PRIORITY, FAULT_PRIORITY = 1, 2
"""Of filters: a delayed frame meets a fault when it leaves the delay line, once."""


def add_program(index: int, program: int, egress: bool, priority: int = FAULT_PRIORITY) -> bytes:
    """RTM_NEWTFILTER: a loaded BPF program judges every frame that arrives, or that leaves. One
    for each direction and priority: a second one is refused (EEXIST)."""
    options = (
        _attribute(_TCA_BPF_FD, struct.pack("=I", program))
        + _attribute(_TCA_BPF_NAME, b"ceha\0")
        + _attribute(_TCA_BPF_FLAGS, struct.pack("=I", _TCA_BPF_FLAG_ACT_DIRECT))
    )
    body = _filter(index, egress, priority, handle=1)
    body += _attribute(_TCA_KIND, b"bpf\0") + _attribute(_TCA_OPTIONS | _NLA_F_NESTED, options)
    return _message(_RTM_NEWTFILTER, body, _NLM_F_CREATE_EXCL)


def delete_programs(index: int, egress: bool, priority: int = FAULT_PRIORITY) -> bytes:
    """RTM_DELTFILTER: all of this direction and priority."""
    return _message(_RTM_DELTFILTER, _filter(index, egress, priority, handle=0))


def _filter(index: int, egress: bool, priority: int, handle: int) -> bytes:
    parent = _CLSACT_EGRESS if egress else _CLSACT_INGRESS
    return _TCMSG.pack(0, index, handle, parent, priority << 16 | socket.htons(_ETH_P_ALL))


class LinkSocket:
    """A request socket in the network namespace of `pid`, open as long as a fault is armed."""

    def __init__(self, pid: int) -> None:
        with network_of(pid):
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))

    def send(self, message: bytes) -> None:
        """The kernel has carried it out (or refused) when this returns; `confirm` says which."""
        self._socket.send(message)

    def confirm(self) -> None:
        """OSError if the message just sent was refused."""
        octets = self._socket.recv(1 << 16)
        _length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(octets)
        assert kind == _NLMSG_ERROR, f"an answer of type {kind} to a request with NLM_F_ACK"
        (number,) = struct.unpack_from("=i", octets, _HEADER.size)
        if number:
            raise OSError(-number, os.strerror(-number))

    def execute(self, message: bytes) -> None:
        self.send(message)
        self.confirm()

    def state(self, interface: str) -> LinkState:
        """OSError ENODEV if there is none of that name."""
        name = _attribute(_IFLA_IFNAME, interface.encode() + b"\0")
        self._socket.send(_message(_RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + name))
        octets = self._socket.recv(1 << 16)
        _length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(octets)
        if kind == _NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", octets, _HEADER.size)
            raise OSError(-number, f"{interface}: {os.strerror(-number)}")
        self.confirm()
        _family, _kind, index, flags, _change = _IFINFOMSG.unpack_from(octets, _HEADER.size)
        attributes = _parse(octets[_HEADER.size + _IFINFOMSG.size :])
        info = _parse(attributes.get(_IFLA_LINKINFO, b""))
        port = _parse(info.get(_IFLA_INFO_SLAVE_DATA, b""))
        bridge_state = port[_IFLA_BRPORT_STATE][0] if _IFLA_BRPORT_STATE in port else None
        carrier = attributes.get(_IFLA_CARRIER, b"\0") != b"\0"
        return LinkState(index, bool(flags & _IFF_UP), carrier, bridge_state)

    def close(self) -> None:
        self._socket.close()


def is_absent(error: OSError) -> bool:
    """What was to be removed is not there (any more)."""
    return error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV)


def _parse(octets: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NLA_TYPE_MASK] = octets[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
