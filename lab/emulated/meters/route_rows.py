"""A route in one line, `prefix interface gateway` and for a route over a group `interface gateway`
of the alternate behind it; and two tables of such lines side by side: what `kernel-<fe>.json` says
(docs/seams.md). Pure.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from socket import inet_ntoa
from typing import Any

import numpy as np

from lab.emulated.meters.beacon_record import BEACON_MASK, BEACON_NETWORK
from lab.emulated.meters.route_dump import Dump, Nexthop

NO_GATEWAY = "0.0.0.0"
NAMED = 20
"""Routes that are named where two tables differ, of each kind."""
KEPT = 2000
"""Rows of a table that is written down whole."""
_MAIN_TABLE, _UNICAST = 254, 1

PREFIX_ROW = np.dtype([("dst", ">u4"), ("length", "u1"), ("ecmp", "u1"), ("default", "u1"),
                       ("reserved", "u1"), ("selector", ">u4")])  # fmt: skip
"""A row of IPv4PrefixTable (RFC 6956) as it is on the wire."""


def route_row(network: str, *hops: tuple[str, str]) -> str:
    """`hops`: (interface, gateway) of each."""
    return " ".join((network, *(f"{interface} {gateway}" for interface, gateway in hops)))


def kernel_rows(dump: Dump) -> list[str]:
    """Of a kernel, the beacon left out; of a group the next hop in use first, and then the one
    that stands by."""
    routes = dump.routes[dump.routes["dst"] & BEACON_MASK != BEACON_NETWORK]
    first, of = _distinct(routes, "kind", "table", "oif", "gateway", "nexthop")
    texts = [_way(dump, route) for route in routes[first]]
    return _rows(routes["dst"], routes["length"], [texts[one] for one in of.tolist()])


def _distinct(rows: np.ndarray, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """The first row with each combination of these columns, and for each row which one it has."""
    which = np.zeros(len(rows), np.int64)
    first = np.zeros(min(1, len(rows)), np.int64)
    for name in names:  # one column after the other: numpy sorts numbers faster than structures
        values, column = np.unique(rows[name], return_inverse=True)
        if len(values) > 1:
            both = which * len(values) + column
            _, first, which = np.unique(both, return_index=True, return_inverse=True)
    return first, which


def _way(dump: Dump, route: np.void) -> str:
    # with nexthop_compat_mode=0 a route over a nexthop object names nothing but its id
    via = dump.nexthops.get(int(route["nexthop"]))
    if via is None:
        gateway = int(route["gateway"])
        via = Nexthop(int(route["oif"]), gateway.to_bytes(4, "big") if gateway else b"", ())
    members = sorted(via.members, key=lambda member: -member[1])
    over = [dump.nexthops.get(member) for member, _weight in members] if members else [via]
    hops = [
        f"{dump.interfaces.get(each.oif, '?')} {_address(each.gateway)}" if each else "? ?"
        for each in over
    ]
    odd = [f"table {route['table']}"] if route["table"] != _MAIN_TABLE else []
    odd += [f"type {route['kind']}"] if route["kind"] != _UNICAST else []
    return " ".join((*hops, *odd))


def _address(gateway: bytes) -> str:
    return inet_ntoa(gateway) if len(gateway) == 4 else NO_GATEWAY if not gateway else "?"


def committed_rows(fe: str, table: Mapping[str, Any]) -> list[str]:
    """The same of what an FE has acknowledged to its CE (`routes` of the CE's API, `packed`).
    ValueError or KeyError for what is none."""
    ways = {
        int(selector): f"{fe}-eth{hop['port']} {hop['gateway'] or NO_GATEWAY}"
        for selector, hop in table["next_hops"].items()
    }
    groups = {
        int(index): " ".join(ways.get(selector, "? ?") for selector in selectors)
        for index, selectors in table["groups"].items()
    }
    rows = np.frombuffer(base64.b64decode(table["prefixes"]), PREFIX_ROW)
    first, of = _distinct(rows, "ecmp", "selector")
    texts = [
        (groups if row["ecmp"] else ways).get(int(row["selector"]), "? ?") for row in rows[first]
    ]
    return _rows(rows["dst"], rows["length"], [texts[one] for one in of.tolist()])


def _rows(networks: np.ndarray, lengths: np.ndarray, ways: Sequence[str]) -> list[str]:
    octets = networks.astype(">u4").tobytes()
    addresses = (inet_ntoa(octets[at : at + 4]) for at in range(0, len(octets), 4))
    return [
        f"{address}/{length} {way}"
        for address, length, way in zip(addresses, lengths.tolist(), ways, strict=True)
    ]


def comparison(
    fe: str, master: str | None, held: Sequence[str], committed: Sequence[str] | None, reason: str
) -> dict[str, Any]:
    """What `kernel-<fe>.json` says. `committed` None: not known, and `reason` says why."""
    stray: list[str] = []
    lost: list[str] = []
    if committed is not None:
        has, wanted = Counter(held), Counter(committed)
        if dict(has) != dict(wanted):  # Counter's own comparison goes row by row
            stray, lost = sorted((has - wanted).elements()), sorted((wanted - has).elements())
    known = committed is not None
    return {
        "fe": fe,
        "master": master,
        "held": len(held),
        "committed": len(committed) if committed is not None else None,
        "stray": len(stray) if known else None,
        "lost": len(lost) if known else None,
        "differ": {"stray": stray[:NAMED], "lost": lost[:NAMED]},
        "stream": sum(map(_is_stream, held)),
        "routes": sorted(held) if len(held) <= KEPT else None,
        "not_known": reason,
        "agree": known and not stray and not lost,
    }


def _is_stream(row: str) -> bool:
    """100.64.0.0/10: a route of a stream of changes."""
    return row.startswith("100.") and 64 <= int(row.split(".", 2)[1]) < 128
