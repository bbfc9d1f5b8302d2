"""What a CE process is told before FEs associate (the CE manager's part, RFC 3746).

Plain dataclasses: `pydantic.TypeAdapter(CeConfig).validate_python(mapping)` reads one from JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Peer:
    """An FE, or another CE."""

    id: int
    name: str
    address: str
    """IPv4 address on the control network."""


@dataclass(frozen=True, slots=True)
class PortView:
    """A data port of an FE as the topology file has it; whether it is up the CE learns itself."""

    id: int
    address: str
    """The port's own address with prefix length."""
    neighbor_fe: int | None
    """None: a host is at the other end."""
    neighbor_port: int | None
    neighbor_address: str
    """Address at the other end, without length."""
    cost: int = 1
    """Of the link, in this direction."""


@dataclass(frozen=True, slots=True)
class FeView:
    id: int
    name: str
    ports: tuple[PortView, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """A prefix that the network must reach, and where it is attached."""

    prefix: str
    """e.g. 10.2.0.0/24."""
    fe: int
    port: int
    gateway: str | None = None
    """None: directly on the port's link (the FE's kernel has a connected route)."""


@dataclass(frozen=True, slots=True)
class CeConfig:
    id: int
    name: str
    control_address: str
    fes: tuple[Peer, ...]
    ces: tuple[Peer, ...]
    """All CEs in priority order, this one included."""
    network: tuple[FeView, ...]
    destinations: tuple[Destination, ...]
    extra_routes: int = 0
    """Synthetic /24 prefixes per FE (table size of an experiment), all reached like the last
    destination; from 20.0.0.0/8 up."""
    alternates: bool = False
    """FEs get a loop-free alternate beside each next hop that has one (ce/alternates.py). Each FE
    must have our class Ext-ECMP."""
    ha_mode: Literal[0, 1, 2] = 0
    heartbeat_ms: int = 25
    """Sent to an FE when nothing else was (FEPO.CEHBPolicy 0)."""
    fe_dead_ms: int = 100
    """Silence after which an FE counts as lost."""
    beacon_ms: int = 0
    """Interval of the control beacon (DESIGN section 3); 0: off."""
    redirect: bool = False
    """Edge ports of the FEs have images in this CE's namespace, for routing daemons
    (docs/redirect.md)."""
    redirect_pps: int = 1000
    """Packets a second that the image of a port may send."""
    redirect_burst: int = 200
    guard: bool = False
    """A process beside this one aborts its associations when it dies (forces/io/guard.py)."""
    sync: Literal["off", "async", "semi"] = "off"
    """CE-CE synchronisation (docs/ce-ce-sync.md). semi: an FE gets a change only after a replica
    has it."""
    fr_heartbeat_ms: int = 5
    """Between CEs, when nothing else was sent."""
    fr_dead_ms: int = 100
    """Silence after which the association with another CE is over; after half of it the FEs are
    asked whether it lives. Best as FEPO.CEHDI: they have looked before that is over."""
    tml: Literal["auto", "sctp", "usrsctp", "usrsctp-udp", "tcp"] = "auto"
    strict: bool = True
    """Messages on another channel, or with another PPID or priority than RFC 5811 has them, are
    refused; False: tolerated."""
    journal: str = ""
    api_socket: str = ""
    """Path of the Unix socket of the local HTTP API; empty: none."""
    api_port: int = 8080
    """The same API on 127.0.0.1 in the CE's namespace; 0: none."""


BEACON_ROW = 1
"""IPv4PrefixTable index that every master uses for its beacon: the next master's first beat
replaces the last one's row."""


def beacon_prefix(ce_id: int, sequence: int) -> int:
    """The beacon's /32 destination as an integer: 198.18.0.0/15 (RFC 2544's benchmarking range),
    2 bits of the CE's number, 15 bits of sequence. A reader of netlink alone can tell who changed
    the kernel, and which change it was."""
    return 0xC6120000 | (ce_id & 3) << 15 | sequence & 0x7FFF
