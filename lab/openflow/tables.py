"""What each switch holds at the end of a trial, beside what its master means it to hold.

The same record as a kernel's (docs/seams.md, `kernel-<fe>.json`): `prefix port gateway`, the
beacon left out. The switch is asked by ovs-ofctl, which shares nothing with the controller.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.emulated.meters import last_look
from lab.emulated.meters.route_rows import comparison
from lab.emulated.nodes import NetworkElement
from lab.openflow.answers import ask_tables
from lab.openflow.switch import management_socket

PATIENCE_S = 1.0
PAUSE_S = 0.02
OFCTL_TIMEOUT_S = 10.0
_BEACON = ipaddress.IPv4Network("198.18.0.0/15")
_DESTINATION = re.compile(r"\bnw_dst=([0-9./]+)")
_OUTPUT = re.compile(r"set_field:([0-9a-f:]{17})->eth_dst,output:\"?([^\s,\"]+)")


def parse_flows(text: str, gateways: Mapping[tuple[int, str], str]) -> list[str]:
    """`ovs-ofctl dump-flows` to rows; `gateways`: (port, MAC) -> address of the next hop."""
    rows = []
    for line in text.splitlines():
        found = _DESTINATION.search(line)
        if found is None:
            continue
        prefix = ipaddress.IPv4Network(found[1])
        if prefix.subnet_of(_BEACON):
            continue
        action = _OUTPUT.search(line)
        if action is None:
            rows.append(f"{prefix} ? ?")
            continue
        mac, port = action[1], int(action[2])
        rows.append(f"{prefix} {port} {gateways.get((port, mac), mac)}")
    return sorted(rows)


def installed(ne: NetworkElement, fe: str, gateways: Mapping[tuple[int, str], str]) -> list[str]:
    done = subprocess.run(
        ["ovs-ofctl", "-O", "OpenFlow13", "--no-names", "dump-flows",
         f"unix:{management_socket(fe)}"],
        capture_output=True, text=True, timeout=OFCTL_TIMEOUT_S, check=False,
    )  # fmt: skip
    return parse_flows(done.stdout, gateways)


def write(ne: NetworkElement, folder: Path, fes: Iterable[str]) -> list[str]:
    """`kernel-<fe>.json` for each FE; returns the FEs that did not agree."""
    names = list(fes)
    gateways = {fe: _gateways(ne, fe) for fe in names}

    def look(waiting: Sequence[str]) -> dict[str, dict[str, Any]]:
        masters = ne.masters()
        tables = {ce: ask_tables(ne.api_socket(ce)) for ce in {m for m in masters.values() if m}}
        return {fe: _compare(ne, fe, masters.get(fe), tables, gateways[fe]) for fe in waiting}

    return last_look.write(folder, names, look, PATIENCE_S, PAUSE_S)


def _compare(
    ne: NetworkElement,
    fe: str,
    master: str | None,
    tables: Mapping[str, Mapping[str, Any] | None],
    gateways: Mapping[tuple[int, str], str],
) -> dict[str, Any]:
    rows = (tables.get(master or "") or {}).get(fe)
    routes = installed(ne, fe, gateways)
    expected = None if rows is None else sorted(f"{p} {port} {hop}" for p, port, hop in rows)
    reason = "" if rows is not None else f"{master or 'no master'} does not answer"
    return comparison(fe, master, routes, expected, reason)


def _gateways(ne: NetworkElement, fe: str) -> dict[tuple[int, str], str]:
    """(port, the neighbour's MAC) -> its first address, from the topology and the interfaces."""
    found = {}
    for link in ne.topology.links:
        for end, other in ((link.a, link.b), (link.b, link.a)):
            if end.node == fe:
                mac = ne.network.node(other.node).mac_of(other.interface)
                found[end.port, mac] = other.addresses[0].split("/")[0]
    return found
