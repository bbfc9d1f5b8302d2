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
    connect_retry_ms: int = 50
    """Pause between two rounds of connection attempts while there is no master."""
    backup_retry_ms: int = 500
    """Pause before a lost or unreachable backup is tried again (hot)."""
    tml: TmlName = "auto"
    journal: str = ""
    """Path of the journal file; empty: none."""
    api_socket: str = ""
    """Path of the Unix socket of the local HTTP API; empty: none."""
    extra: dict[str, str] = field(default_factory=dict)
