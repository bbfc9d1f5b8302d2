"""What each router's kernel holds for OSPF at the end of a trial, beside what its zebra says.

The same record as an FE's (docs/seams.md, `kernel-<fe>.json`), the beacon left out; a route over
several next hops has a row for each.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.emulated.meters import last_look
from lab.emulated.meters.route_rows import comparison
from lab.emulated.network import NetNode
from lab.emulated.nodes import NetworkElement
from lab.frr.configuration import OSPF_PROTOCOL, RUN

PATIENCE_S = 6.0
"""When a link has come back, BFD and OSPF take seconds to use it again."""
PAUSE_S = 0.05
_TIMEOUT_S = 10.0
_BEACON = ipaddress.IPv4Network("198.18.0.0/15")


def kernel_rows(
    routes: Sequence[Mapping[str, Any]], nexthops: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Of `ip -json route show` and `ip -json nexthop show`."""
    by_id = {hop["id"]: hop for hop in nexthops}
    rows = []
    for route in routes:
        hops: Sequence[Mapping[str, Any]] = route.get("nexthops") or [route]
        if "nhid" in route and route["nhid"] in by_id:
            hop = by_id[route["nhid"]]
            hops = [by_id[each["id"]] for each in hop.get("group", ()) if each["id"] in by_id]
            hops = hops or [hop]
        rows += [
            _row(str(route["dst"]), each.get("dev", "?"), each.get("gateway")) for each in hops
        ]
    return sorted(row for row in rows if row)


def zebra_rows(shown: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Of `show ip route ospf json`: what zebra means to have programmed."""
    rows = [
        _row(prefix, hop.get("interfaceName", "?"), hop.get("ip"))
        for prefix, routes in shown.items()
        for route in routes
        if route.get("selected")
        for hop in route.get("nexthops", ())
        if hop.get("fib")
    ]
    return sorted(row for row in rows if row)


def _row(prefix: str, interface: str, gateway: str | None) -> str:
    """Empty for a beat."""
    whole = ipaddress.IPv4Network("0.0.0.0/0" if prefix == "default" else prefix)
    return "" if whole.subnet_of(_BEACON) else f"{whole} {interface} {gateway or '0.0.0.0'}"


def _json(node: NetNode, *argv: str) -> Any:
    try:
        return json.loads(node.run(*argv, timeout=_TIMEOUT_S).stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return None


def read(ne: NetworkElement, fe: str) -> dict[str, Any]:
    """One look at both."""
    node = ne.network.node(fe)
    routes = _json(node, "ip", "-json", "-4", "route", "show", "proto", str(OSPF_PROTOCOL))
    nexthops = _json(node, "ip", "-json", "nexthop", "show")
    vtysh = ("vtysh", "--config_dir", str(RUN), "-d", "zebra", "-c", "show ip route ospf json")
    shown = _json(node, *vtysh)
    held = kernel_rows(routes or (), nexthops or ())
    expected = None if shown is None else zebra_rows(shown)
    reason = "" if shown is not None else "zebra does not answer"
    return comparison(fe, fe, held, expected, reason)


def write(ne: NetworkElement, folder: Path, fes: Iterable[str]) -> list[str]:
    """`kernel-<fe>.json` for each router; returns those that did not agree."""

    def look(waiting: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {fe: read(ne, fe) for fe in waiting}

    return last_look.write(folder, fes, look, PATIENCE_S, PAUSE_S)
