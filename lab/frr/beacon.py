"""The FRR baseline's beacon: numbered routes that a router's kernel has and OSPF spreads.

At each beat a blackhole route in 198.18.0.0/15 is added to the kernel of a router and the last one
deleted; zebra reads both, ospfd tells the other routers (`redistribute kernel`), their zebras
program them. So a beat at a router says that zebra, ospfd and its adjacencies work. Two routers
do this, with numbers of their own, for none learns from others what it has itself.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from fe_datapath.config import ROUTE_PROTOCOL
from lab.emulated.meters.beacon_record import BEACON_NETWORK

NUMBERS = 0x4000
"""Of one source: 15 bits of number are shared by two."""

_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_NLM_F_REQUEST, _NLM_F_CREATE = 1, 0x400
_RTN_BLACKHOLE = 6
_RT_TABLE_MAIN = 254
_RTA_DST = 1


def is_beat(prefix: str) -> bool:
    """Whether a route is in 198.18.0.0/15."""
    return prefix.startswith(("198.18.", "198.19."))


def message(kind: int, destination: int) -> bytes:
    """RTM_NEWROUTE or RTM_DELROUTE of a blackhole host route."""
    body = _RTMSG.pack(
        *(socket.AF_INET, 32, 0, 0, _RT_TABLE_MAIN, ROUTE_PROTOCOL, 0, _RTN_BLACKHOLE, 0)
    )
    body += struct.pack("=HH", 8, _RTA_DST) + struct.pack("!I", destination)
    flags = _NLM_F_REQUEST | (_NLM_F_CREATE if kind == _RTM_NEWROUTE else 0)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def run(config: Mapping[str, Any]) -> int:
    """Until SIGTERM. Keys: `source` (0 or 1), `beacon_ms`."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    first = BEACON_NETWORK + int(config["source"]) * NUMBERS
    interval_ns = int(config["beacon_ms"]) * 1_000_000
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    kernel.bind((0, 0))
    number = 0
    due = time.monotonic_ns()
    while True:
        last, number = number, (number + 1) % NUMBERS
        kernel.send(message(_RTM_NEWROUTE, first + number) + message(_RTM_DELROUTE, first + last))
        due = max(due + interval_ns, time.monotonic_ns())
        time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
