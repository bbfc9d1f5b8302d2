"""rtnetlink messages as pyroute2 classes, with what pyroute2 0.9.7 lacks (rtnetlink(7),
linux/nexthop.h): RTA_NH_ID in a route, and the messages of nexthop objects.

Encoding through pyroute2 costs about 0.3 ms a message: single messages come from here as they
are, routes in bulk through `templates`.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any

from pyroute2.netlink import NLA_F_NESTED, nla, nlmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg_base

ROUTE_METRIC = 1200
"""Metric of all our routes: below the kernel's connected routes (0, IPv6: 256) and below the
default of `ip -6 route add` (1024), so that replacing a route of ours can never replace a route
that is not, and a connected route goes first."""

RT_TABLE_MAIN = 254
RTN_UNICAST = 1
IFF_UP = 0x1
IFF_PROMISC = 0x100
IFF_LOWER_UP = 0x10000


class MessageType(IntEnum):
    """linux/netlink.h, linux/rtnetlink.h, linux/nexthop.h."""

    ERROR = 2
    DONE = 3
    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEXTHOP = 104
    DELNEXTHOP = 105
    GETNEXTHOP = 106


class Flag(IntFlag):
    """nlmsg_flags; the same bit means different things in different kinds of message."""

    REQUEST = 0x1
    ACK = 0x4
    DUMP_INTERRUPTED = 0x10
    REPLACE = 0x100
    ACK_TLVS = 0x200
    DUMP = 0x300
    CREATE = 0x400


class NexthopRouteMessage(rtmsg_base, nlmsg):  # type: ignore[misc]
    """rtmsg with the attribute that points a route to a nexthop object. Made as pyroute2 makes
    rtmsg: a subclass of that would inherit its compiled attribute table, if there is one yet."""

    __slots__ = ()
    nla_map = (
        *((number, *entry) for number, entry in enumerate(rtmsg_base.nla_map)),
        (30, "RTA_NH_ID", "uint32"),
    )


class NexthopMessage(nlmsg):  # type: ignore[misc]
    """struct nhmsg."""

    __slots__ = ()
    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = (
        (1, "NHA_ID", "uint32"),
        (2, "NHA_GROUP", "cdata"),
        (3, "NHA_GROUP_TYPE", "uint16"),
        (5, "NHA_OIF", "uint32"),
        (6, "NHA_GATEWAY", "target"),
        (12, "NHA_RES_GROUP", "resilience"),
    )

    class resilience(nla):  # type: ignore[misc]
        """How a resilient group spreads and moves its flows."""

        nla_flags = NLA_F_NESTED
        prefix = "NHA_RES_GROUP_"
        nla_map = (
            (1, "NHA_RES_GROUP_BUCKETS", "uint16"),
            (2, "NHA_RES_GROUP_IDLE_TIMER", "uint32"),
        )


def encode(message: Any, kind: MessageType, flags: int, sequence: int) -> bytes:
    """The octets of a pyroute2 message."""
    message["header"]["type"] = int(kind)
    message["header"]["flags"] = int(flags)
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


def route(
    kind: MessageType,
    sequence: int,
    protocol: int,
    prefix: bytes,
    length: int,
    nexthop: int | None,
    metric: int = ROUTE_METRIC,
    table: int = RT_TABLE_MAIN,
) -> bytes:
    """Set (NEWROUTE, replacing) or delete (DELROUTE) one route of ours."""
    message = NexthopRouteMessage()
    message["family"] = socket.AF_INET if len(prefix) == 4 else socket.AF_INET6
    message["dst_len"] = length
    message["table"] = table if table < 256 else 0
    message["proto"] = protocol
    message["type"] = RTN_UNICAST
    message["attrs"] = [
        ("RTA_DST", str(ipaddress.ip_address(prefix))),
        ("RTA_PRIORITY", metric),
    ]
    if table >= 256:
        message["attrs"].append(("RTA_TABLE", table))
    flags = Flag.REQUEST
    if kind is MessageType.NEWROUTE:
        flags |= Flag.CREATE | Flag.REPLACE
    if nexthop is not None:
        message["attrs"].append(("RTA_NH_ID", nexthop))
    return encode(message, kind, flags, sequence)


def set_nexthop(sequence: int, protocol: int, identifier: int, ifindex: int, gateway: str) -> bytes:
    """Create or replace a nexthop object; the unspecified address stands for 'on the link'."""
    address = ipaddress.ip_address(gateway)
    message = NexthopMessage()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["protocol"] = protocol
    message["attrs"] = [("NHA_ID", identifier), ("NHA_OIF", ifindex)]
    if not address.is_unspecified:
        message["attrs"].append(("NHA_GATEWAY", gateway))
    flags = Flag.REQUEST | Flag.CREATE | Flag.REPLACE | Flag.ACK
    return encode(message, MessageType.NEWNEXTHOP, flags, sequence)


NEXTHOP_GRP_TYPE_RES = 1
GROUP_BUCKETS = 64
"""Of a resilient group. A member whose share is less than half a bucket gets none, and so no
packet: that is how a standby waits in its group."""
FULL_WEIGHT = 256
_GROUP_MEMBER = struct.Struct("=IBBH")
"""struct nexthop_grp: id, weight - 1, high bits of the weight, reserved."""


def group_members(members: Sequence[tuple[int, int]], standby: int) -> bytes:
    """NHA_GROUP's value. Weights are made as large as they can be: the standby has 1."""
    scale = FULL_WEIGHT // max(weight for _, weight in members)
    packed = [_GROUP_MEMBER.pack(hop, weight * scale - 1, 0, 0) for hop, weight in members]
    if standby:
        packed.append(_GROUP_MEMBER.pack(standby, 0, 0, 0))
    return b"".join(packed)


def set_group(
    sequence: int,
    protocol: int,
    identifier: int,
    members: Sequence[tuple[int, int]],
    standby: int,
) -> bytes:
    """Create or replace a nexthop group. All are resilient, for the kernel cannot replace a group
    by one of another type; with no idle time, so that a replacement moves every flow at once."""
    message = NexthopMessage()
    message["family"] = socket.AF_UNSPEC
    message["protocol"] = protocol
    message["attrs"] = [
        ("NHA_ID", identifier),
        ("NHA_GROUP", group_members(members, standby)),
        ("NHA_GROUP_TYPE", NEXTHOP_GRP_TYPE_RES),
        (
            "NHA_RES_GROUP",
            {
                "attrs": [
                    ("NHA_RES_GROUP_BUCKETS", GROUP_BUCKETS),
                    ("NHA_RES_GROUP_IDLE_TIMER", 0),
                ]
            },
        ),
    ]
    flags = Flag.REQUEST | Flag.CREATE | Flag.REPLACE | Flag.ACK
    return encode(message, MessageType.NEWNEXTHOP, flags, sequence)


def delete_nexthop(sequence: int, identifier: int) -> bytes:
    message = NexthopMessage()
    message["attrs"] = [("NHA_ID", identifier)]
    return encode(message, MessageType.DELNEXTHOP, Flag.REQUEST | Flag.ACK, sequence)


def set_link(
    sequence: int,
    ifindex: int,
    admin_up: bool | None,
    mtu: int | None,
    promiscuous: bool | None,
    mac: bytes | None = None,
) -> bytes:
    """One RTM_NEWLINK: the kernel sets the MAC address first, then the MTU, and the flags only if
    that went well."""
    message = ifinfmsg()
    message["index"] = ifindex
    for wanted, bit in ((admin_up, IFF_UP), (promiscuous, IFF_PROMISC)):
        if wanted is not None:
            message["change"] |= bit
            message["flags"] |= bit if wanted else 0
    if mac is not None:
        message["attrs"].append(("IFLA_ADDRESS", mac.hex(":")))
    if mtu is not None:
        message["attrs"].append(("IFLA_MTU", mtu))
    return encode(message, MessageType.NEWLINK, Flag.REQUEST | Flag.ACK, sequence)


def dump_routes(sequence: int, protocol: int, family: int) -> bytes:
    """All routes of a protocol number: a strict socket filters in the kernel."""
    message = NexthopRouteMessage()
    message["family"] = family
    message["proto"] = protocol
    return encode(message, MessageType.GETROUTE, Flag.REQUEST | Flag.DUMP, sequence)


def dump_nexthops(sequence: int) -> bytes:
    """All nexthop objects: the kernel cannot filter them by protocol."""
    return encode(NexthopMessage(), MessageType.GETNEXTHOP, Flag.REQUEST | Flag.DUMP, sequence)


def dump_links(sequence: int) -> bytes:
    return encode(ifinfmsg(), MessageType.GETLINK, Flag.REQUEST | Flag.DUMP, sequence)
