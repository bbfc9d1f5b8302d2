"""What differs between IPv4 and IPv6 in the unicast LFBs (RFC 6956 sections 5.3 and 5.4), and the
number space that both share with the groups: a kernel's nexthop identifiers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

TABLE_LIMIT = 1 << 20
"""Rows of a table: what a full Internet table needs, about 0.6 GiB of row values."""
SELECTORS = range(1, 1 << 30)
"""HopSelectors: two bits of an identifier say what it is the identifier of."""
GROUPS_FROM = 1 << 31
"""Identifiers of groups."""

Prefix = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Family:
    version: int
    octets: int
    lpm: str
    prefix_table: str
    address: str
    """Component of a prefix row."""
    next_hop: str
    next_hop_table: str
    ecmp_instance: int
    first_id: int

    def hop_id(self, selector: int) -> int:
        """The datapath's identifier of a next hop row."""
        return self.first_id + selector

    def group_id(self, selector: int) -> int:
        return GROUPS_FROM + self.first_id + selector

    def target(self, row: dict[str, Any]) -> int:
        """What a prefix row points to."""
        selector: int = row["HopSelector"]
        return self.group_id(selector) if row["ECMPFlag"] else self.hop_id(selector)

    def prefix_of(self, row: dict[str, Any]) -> Prefix:
        """A row's prefix with its host bits cleared: two rows that differ only there are the same
        route."""
        address: bytes = row[self.address]
        length: int = row["Prefixlen"]
        host = (1 << 8 * self.octets - length) - 1
        number = int.from_bytes(address, "big")
        if number & host:
            address = (number & ~host).to_bytes(self.octets, "big")
        return address, length

    def key_of(self, row: dict[str, Any]) -> bytes:
        """The prefix in one piece: its length is the last octet."""
        address, length = self.prefix_of(row)
        return address + length.to_bytes()

    def gateway(self, octets: bytes) -> str:
        if self.version == 4:
            return ".".join(map(str, octets))
        return str(ipaddress.IPv6Address(octets))


IPV4 = Family(
    4,
    4,
    "IPv4UcastLPM",
    "IPv4PrefixTable",
    "IPv4Address",
    "IPv4NextHop",
    "IPv4NextHopTable",
    ecmp_instance=1,
    first_id=0,
)
IPV6 = Family(
    6,
    16,
    "IPv6UcastLPM",
    "IPv6PrefixTable",
    "IPv6Address",
    "IPv6NextHop",
    "IPv6NextHopTable",
    ecmp_instance=2,
    first_id=1 << 30,
)
