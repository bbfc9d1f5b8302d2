"""What an FE process is told before it associates (the FE manager's part, RFC 3746).

Plain dataclasses: `pydantic.TypeAdapter(FeConfig).validate_python(mapping)` reads one from JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ROUTE_PROTOCOL = 200
"""rtm_protocol of everything we put into a kernel: how an FE finds its own objects again."""

TmlName = Literal["auto", "sctp", "usrsctp", "usrsctp-udp", "tcp"]
Detection = Literal["tml", "heartbeat", "both"]


@dataclass(frozen=True, slots=True)
class CePeer:
    id: int
    name: str
    address: str
    """IPv4 address on the control network."""


@dataclass(frozen=True, slots=True)
class PortConfig:
    id: int
    """PHYPortID, and the instance ID of the port's EtherPHYCop, EtherMACIn and EtherMACOut."""
    interface: str
    """Kernel name, e.g. fe1-eth1."""
    address: str
    """Interface address with prefix length, e.g. 10.1.0.1/30 (the lab sets it, not the FE)."""
    neighbor_fe: int | None = None
    """FE at the other end (FEObject.FENeighbors), None for a host."""


@dataclass(frozen=True, slots=True)
class RedirectConfig:
    """Which packets that come in by a port go to the master CE (docs/redirect.md)."""

    protocols: tuple[int, ...] = (89,)
    """IP protocols to the port's own address or to 224.0.0.0/24, e.g. OSPF."""
    for_us: bool = False
    """Whatever else is sent to an address of the FE."""
    ttl_expired: bool = False
    """Unicast that the FE would have to forward with a TTL of 0 or 1."""
    no_route: bool = False
    """What would have to be forwarded, and nothing says whither; IPv4 and IPv6."""
    rate_pps: int = 1000
    """Of each port, in each direction."""
    burst: int = 200

    def __post_init__(self) -> None:
        if len(self.protocols) > 16 or any(not 1 <= p <= 254 for p in self.protocols):
            raise ValueError("redirect: at most 16 protocols, each 1 to 254")
        if not (1 <= self.rate_pps <= 100_000 and 1 <= self.burst <= 10_000):
            raise ValueError("redirect: rate_pps is 1 to 100000, burst 1 to 10000")


@dataclass(frozen=True, slots=True)
class FeConfig:
    id: int
    name: str
    control_address: str
    ces: tuple[CePeer, ...]
    """Order is FEPO.AllCEs: the first is tried first (RFC 7121 section 3.2)."""
    ports: tuple[PortConfig, ...]
    ha_mode: Literal[0, 1, 2] = 0
    """FEPO.HAMode: 0 none, 1 cold, 2 hot."""
    failover_policy: Literal[0, 1] = 1
    """FEPO.CEFailoverPolicy."""
    profile: Literal["rfc7121", "slides"] = "rfc7121"
    detect: Detection = "both"
    cehdi_ms: int = 100
    """FEPO.CEHDI: silence after which a CE counts as lost."""
    fe_heartbeat_ms: int = 25
    """FEPO.FEHI, with FEHBPolicy 1."""
    cefti_ms: int = 10_000
    restart_hold_ms: int = 5_000
    """After a restart: how long a master has to say what it wants of what the FE found in the
    kernel, before the rest is swept."""
    connect_retry_ms: int = 50
    """Pause between two rounds of connection attempts while there is no master."""
    backup_retry_ms: int = 500
    """Pause before a lost or unreachable backup is tried again (hot)."""
    tml: TmlName = "auto"
    strict: bool = True
    """Messages on another channel, or with another PPID or priority than RFC 5811 has them, are
    refused; False: tolerated."""
    journal: str = ""
    """Path of the journal file; empty: none."""
    api_socket: str = ""
    """Path of the Unix socket of the local HTTP API; empty: none."""
    redirect: RedirectConfig | None = None
    """None: no packets to and from the CE, and no RedirectIn and RedirectOut."""
    lfb_documents: tuple[str, ...] = ()
    """Paths of RFC 5812 LFB libraries: the FE has instance 1 of each class that they add."""
    extra: dict[str, str] = field(default_factory=dict)
