"""What each FE's kernel holds at the end of a trial, beside what its master believes it holds.

The raw material of invariant 2 (DESIGN section 8): after quiescence the kernel's routes with our
protocol number are the master's committed table. Judged elsewhere; here both are only read, again
and again until they agree or the patience ends, since "after quiescence" is part of the sentence.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fe_datapath.config import ROUTE_PROTOCOL
from lab.emulated.interactive import ask_api
from lab.emulated.network import NetNode
from lab.emulated.nodes import NetworkElement

PATIENCE_S = 1.0
PAUSE_S = 0.02
MAX_ROUTES = 10_000
"""As many as a CE's API shows; above, the table is not compared."""
_IP_TIMEOUT_S = 10.0
_BEACON = ipaddress.IPv4Network("198.18.0.0/15")


def kernel_routes(node: NetNode) -> list[str]:
    """`prefix dev gateway` of each route with our protocol number, the beacon left out."""
    with node.network():
        routes, nexthops = _show("-4", "route"), _show("nexthop")
    # with nexthop_compat_mode=0 a route over a nexthop object names nothing but its id
    by_id = {row["id"]: row for row in nexthops}
    shown = []
    for row in routes:
        prefix = row.get("dst", "")
        if not _is_beacon(prefix):
            via = by_id.get(row.get("nhid"), row)
            shown.append(_row(prefix, via.get("dev", "?"), via.get("gateway")))
    return sorted(shown)


def _show(*what: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["ip", "-json", *what, "show", "proto", str(ROUTE_PROTOCOL)],
        capture_output=True,
        text=True,
        timeout=_IP_TIMEOUT_S,
        check=False,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return rows


def _row(prefix: str, interface: str, gateway: str | None) -> str:
    whole = "0.0.0.0/0" if prefix == "default" else str(ipaddress.IPv4Network(prefix))
    return f"{whole} {interface} {gateway or '0.0.0.0'}"


def _is_beacon(prefix: str) -> bool:
    return prefix != "default" and ipaddress.IPv4Network(prefix).subnet_of(_BEACON)


def _expected(ne: NetworkElement, fe: str, master: str | None) -> tuple[list[str] | None, str]:
    """The committed rows of the master, or why they are not known."""
    if master is None:
        return None, "no master"
    answer = ask_api(ne.api_socket(master), f"routes?fe={fe}")
    rows = answer.get(fe) if isinstance(answer, dict) else None
    if rows is None:
        return None, f"{master} does not answer"
    if len(rows) >= MAX_ROUTES:
        return None, f"{master} shows {MAX_ROUTES} routes at most"
    return sorted(
        _row(row["prefix"], f"{fe}-eth{row['port']}", row["gateway"])
        for row in rows
        if row["confirmed"]
    ), ""


def read(ne: NetworkElement, fe: str, master: str | None) -> dict[str, Any]:
    """One look at both."""
    expected, reason = _expected(ne, fe, master)
    routes = kernel_routes(ne.network.node(fe))
    return {
        "fe": fe,
        "master": master,
        "routes": routes,
        "expected": expected,
        "not_known": reason,
        "agree": expected is not None and routes == expected,
    }


def write(ne: NetworkElement, folder: Path, fes: Iterable[str]) -> list[str]:
    """`kernel-<fe>.json` for each FE; returns the FEs that did not agree."""
    waiting = list(fes)
    records: dict[str, dict[str, Any]] = {}
    comparable = ne.settings.routes < MAX_ROUTES
    deadline = time.monotonic() + (PATIENCE_S if comparable else 0)
    while waiting:
        masters = ne.masters()
        for fe in waiting:
            records[fe] = read(ne, fe, masters.get(fe))
        waiting = [fe for fe in waiting if not records[fe]["agree"]]
        if time.monotonic() > deadline:
            break
        if waiting:
            time.sleep(PAUSE_S)
    for fe, record in records.items():
        (folder / f"kernel-{fe}.json").write_text(json.dumps(record) + "\n")
    return waiting
