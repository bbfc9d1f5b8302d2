"""What makes no neighbour, whatever forwards the packets."""

from __future__ import annotations

import ipaddress

from fe_datapath.datapath import DelNeighbor, SetNeighbor


def wrong_neighbor(change: SetNeighbor | DelNeighbor) -> str | None:
    """In words; None: nothing. A kernel takes all of these."""
    try:
        address = ipaddress.ip_address(change.address)
    except ValueError:
        return f"neighbour {change.address!r} is no address"
    if address.is_multicast or address.is_unspecified:
        return f"neighbour {change.address}: not the address of a station"
    if isinstance(change, SetNeighbor) and not is_station(change.mac):
        return f"neighbour {change.address}: MAC address {change.mac.hex(':')}"
    return None


def is_station(mac: bytes) -> bool:
    """Not a group's address, and not 0."""
    return len(mac) == 6 and not mac[0] & 1 and any(mac)
