"""Packets without a route, for the CE, with the port that they came in by: RFC 6956's exception
LPMLookupFailed (section 5.3.1.1).

Behind the kernel's own tables, which end with that of priority 32767, each port has a rule of its
own with a table of its own, whose one route leads into a tun of its own: only what no table has a
route for gets there, and the tun says by which port it came. What the kernel did to forward the
packet (one hop counted) is undone; what it took away, the Ethernet header, is made up again but
for the sender's address.

The tuns and the routes go with the process. The rules carry our protocol number; the next process
takes away what a killed one left. While there are such rules, the kernel looks rules up for each
packet that is new to it, and its source too.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence

from fe_datapath.config import PortConfig, RedirectConfig
from fe_datapath.datapath import PacketListener
from fe_datapath.linux import messages, sysctl
from fe_datapath.linux.messages import Flag, MessageType
from fe_datapath.linux.netlink import HEADER, NetlinkSocket, again, attributes, packed
from fe_datapath.punting import ExceptionId, as_received
from forces.io.paced import PacedReader
from forces.token_bucket import TokenBucket

PRIORITY = 40_000
TABLES_FROM = 200_000
"""Port N's table is this plus N."""
FAMILIES = (socket.AF_INET, socket.AF_INET6)
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
_RULE = struct.Struct("=8BI")
"""struct fib_rule_hdr: family, dst_len, src_len, tos, table, 2 reserved, action, flags."""
_ROUTE = struct.Struct("=8BI")
"""struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
_TO_TABLE = 1
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 3, 6, 15, 21
_RTA_OIF, _RTA_TABLE = 4, 15
_RTPROT_STATIC, _SCOPE_LINK, _UNICAST = 4, 253, 1
_U32 = struct.Struct("=I")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
MTU = 65_535
"""No packet is too long for it."""
MAX_PACKET = 65_536


class NoRoute:
    """Belongs to the event loop and the namespace in which it is made."""

    def __init__(
        self,
        config: RedirectConfig,
        ports: Sequence[PortConfig],
        protocol: int,
        mac_of: Callable[[int], bytes],
        on_packet: PacketListener,
    ) -> None:
        """`config.rate_pps` limits what is read of each port; the core counts what it drops."""
        self._protocol = protocol
        self._mac_of = mac_of
        self._on_packet = on_packet
        self._descriptors: list[int] = []
        self._readers: list[PacedReader] = []
        self._netlink = NetlinkSocket()
        try:
            for port in ports:
                self._open(port, config)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        sweep(self._netlink, self._protocol)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._netlink.close()

    def _open(self, port: PortConfig, config: RedirectConfig) -> None:
        name = f"noroute{port.id}"
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._descriptors.append(descriptor)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        sysctl.prepare_tun(name)
        ifindex = socket.if_nametoindex(name)
        sequence = self._netlink.sequences(1)
        self._netlink.request(messages.set_link(sequence, ifindex, True, MTU, None))
        for family in FAMILIES:
            self._netlink.request(self._route(family, TABLES_FROM + port.id, ifindex))
            self._netlink.request(self._rule(family, TABLES_FROM + port.id, port.interface))
        limit = TokenBucket(2 * config.rate_pps, config.burst)
        self._readers.append(
            PacedReader(
                descriptor,
                limit,
                lambda: _read(descriptor),
                lambda packet: self._deliver(port.id, packet),
            )
        )

    def _deliver(self, port: int, packet: bytes) -> None:
        frame = as_received(packet, self._mac_of(port))
        if frame is not None:
            self._on_packet(port, frame, ExceptionId.LPMLookupFailed)

    def _route(self, family: int, table: int, ifindex: int) -> bytes:
        body = _ROUTE.pack(family, 0, 0, 0, 0, _RTPROT_STATIC, _SCOPE_LINK, _UNICAST, 0)
        flags = Flag.REQUEST | Flag.ACK | Flag.CREATE | Flag.REPLACE
        values = (_RTA_OIF, _U32.pack(ifindex)), (_RTA_TABLE, _U32.pack(table))
        return packed(MessageType.NEWROUTE, flags, self._netlink.sequences(1), body, *values)

    def _rule(self, family: int, table: int, interface: str) -> bytes:
        flags = Flag.REQUEST | Flag.ACK | Flag.CREATE
        return packed(
            RTM_NEWRULE,
            flags,
            self._netlink.sequences(1),
            _RULE.pack(family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0),
            (_FRA_IIFNAME, interface.encode() + b"\0"),
            (_FRA_PRIORITY, _U32.pack(PRIORITY)),
            (_FRA_TABLE, _U32.pack(table)),
            (_FRA_PROTOCOL, bytes((self._protocol,))),
        )


def sweep(netlink: NetlinkSocket, protocol: int) -> None:
    """Take away the rules that carry our protocol number."""
    for family in FAMILIES:
        for body in again(lambda family=family: list(_rules(netlink, protocol, family))):  # type: ignore[misc]
            head = (RTM_DELRULE, Flag.REQUEST | Flag.ACK, netlink.sequences(1))
            netlink.request(packed(*head, body))


def _rules(netlink: NetlinkSocket, protocol: int, family: int) -> Iterator[bytes]:
    """Each as the kernel tells it, which is how it can be deleted."""
    request = packed(
        RTM_GETRULE,
        Flag.REQUEST | Flag.DUMP,
        netlink.sequences(1),
        _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    for datagram, offset, end in netlink.dump(request):
        start = offset + HEADER.size
        for kind, at, _ in attributes(datagram, start + _RULE.size, end):
            if kind == _FRA_PROTOCOL and datagram[at] == protocol and datagram[start] == family:
                yield datagram[start:end]


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, MAX_PACKET)
    except OSError:
        return None
