"""What an FE leaves in its kernel when its process ends, and how the lab takes it away."""

from __future__ import annotations

import subprocess

from fe_datapath.config import ROUTE_PROTOCOL
from lab.backend import LabError
from lab.emulated.network import NetNode

_FORWARDING_OFF = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}


def clean(fe: NetNode) -> None:
    """As after a reboot of the FE's machine: no routes and next hops of ours, no forwarding."""
    with fe.network():
        for what in ("nexthop", "route"):
            _flush(what)
        _flush("-6", "route")
    fe.write_sysctls(_FORWARDING_OFF)


def _flush(*what: str) -> None:
    done = subprocess.run(
        ["ip", *what, "flush", "proto", str(ROUTE_PROTOCOL)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise LabError(f"ip {' '.join(what)} flush: {done.stderr.strip()}")
