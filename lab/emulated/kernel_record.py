"""What each FE's kernel holds at the end of a trial, beside what its master believes it holds.

The raw material of invariant 2 (DESIGN section 8): after quiescence the kernel's routes with our
protocol number are the master's committed table. Judged elsewhere; here both are only read, again
and again until they agree or the patience ends, since "after quiescence" is part of the sentence.
"""

from __future__ import annotations

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
from lab.emulated.route_rows import expected_rows, read_routes

PATIENCE_S = 1.0
PAUSE_S = 0.02
MAX_ROUTES = 10_000
"""As many as a CE's API shows; above, the table is not compared."""
_IP_TIMEOUT_S = 10.0


def kernel_routes(node: NetNode) -> list[str]:
    """`prefix dev gateway` of each route with our protocol number, the beacon left out; of one over
    a group the next hop in use first, and then the one that stands by."""
    with node.network():
        routes, nexthops = _show("-4", "route"), _show("nexthop")
    return read_routes(routes, nexthops)


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
    return expected_rows(fe, rows), ""


def read(ne: NetworkElement, fe: str, master: str | None) -> dict[str, Any]:
    """One look at both."""
    if ne.settings.routes >= MAX_ROUTES:
        # Nor is the kernel asked: ip takes seconds of a core for so many.
        reason = f"tables of {MAX_ROUTES} routes and more are not compared"
        return {
            "fe": fe, "master": master, "routes": None, "expected": None, "not_known": reason,
            "agree": False,
        }  # fmt: skip
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
