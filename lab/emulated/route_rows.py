"""A route in one line, as `kernel-<fe>.json` has it: `prefix interface gateway`, and for a route
over a group `interface gateway` of the alternate behind it. Pure.
"""

from __future__ import annotations

import ipaddress
from typing import Any

NO_GATEWAY = "0.0.0.0"
_BEACON = ipaddress.IPv4Network("198.18.0.0/15")


def read_routes(routes: list[dict[str, Any]], nexthops: list[dict[str, Any]]) -> list[str]:
    """From what iproute2 says of both."""
    # with nexthop_compat_mode=0 a route over a nexthop object names nothing but its id
    by_id = {row["id"]: row for row in nexthops}
    shown = []
    for row in routes:
        prefix = row.get("dst", "")
        if not _is_beacon(prefix):
            via = by_id.get(row.get("nhid"), row)
            members = sorted(via.get("group", ()), key=lambda member: -member.get("weight", 1))
            over = [by_id.get(member["id"], {}) for member in members] or [via]
            hops = ((each.get("dev", "?"), each.get("gateway", NO_GATEWAY)) for each in over)
            shown.append(route_row(_network(prefix), *hops))
    return sorted(shown)


def _network(prefix: str) -> str:
    return "0.0.0.0/0" if prefix == "default" else str(ipaddress.IPv4Network(prefix))


def route_row(network: str, *hops: tuple[str, str]) -> str:
    """`hops`: (interface, gateway) of each."""
    return " ".join((network, *(f"{interface} {gateway}" for interface, gateway in hops)))


def expected_rows(fe: str, rows: list[dict[str, Any]]) -> list[str]:
    """The same of what a CE says of an FE that has acknowledged it (`routes` of its API)."""
    shown = []
    for row in rows:
        hops = [row, row["alternate"]] if "alternate" in row else [row]
        over = ((f"{fe}-eth{hop['port']}", hop["gateway"] or NO_GATEWAY) for hop in hops)
        if row["confirmed"]:
            shown.append(route_row(_network(row["prefix"]), *over))
    return sorted(shown)


def _is_beacon(prefix: str) -> bool:
    return prefix != "default" and ipaddress.IPv4Network(prefix).subnet_of(_BEACON)
