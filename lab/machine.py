"""What this machine has and lacks for the lab: each check asks the machine, none guesses.

Used by `ceha doctor`, by the skips of tests, and by the environment that every report states.
Nothing of the host is changed: what must be tried out is tried in a namespace of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forces.io.select_tml import probe_transports

TOOLS = {
    "mnexec": "mininet",
    "unshare": "util-linux",
    "ip": "iproute2",
    "tcpdump": "tcpdump",
    "ethtool": "ethtool",
    "brctl": "bridge-utils",
    "ping": "iputils-ping",
    "nft": "nftables",
}
"""Program -> Debian package."""
PACKAGES = ("mininet", "ryu", "pyroute2", "pytest", "matplotlib")
NO_TRANSPORT_SECURITY = "no transport security: the RFCs' IPsec is not in place"

Level = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `absent`: the lab works without it, and `detail` says how;
    `broken`: the lab cannot work."""

    subject: str
    level: Level
    detail: str


def has_netem() -> bool:
    """Mininet's delay= and loss= fail silently without it (docs of PLATFORM): so try it."""
    return _in_new_namespace("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")


def has_nexthop_objects() -> bool:
    return _in_new_namespace("sh", "-c", "ip link set lo up && ip nexthop add id 1 blackhole")


def has_namespaces() -> bool:
    return _succeeds("unshare", "--net", "--mount", "--pid", "--fork", "true")


def has_realtime() -> bool:
    """SCHED_FIFO for the probes: without it they see stalls of up to 300 ms on a busy machine."""
    return _succeeds(
        sys.executable,
        "-c",
        "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))",
    )


def open_vswitch() -> Literal["kernel", "userspace", ""]:
    """Which Open vSwitch datapath there is; empty: the package is not installed."""
    if shutil.which("ovs-vswitchd") is None:
        return ""
    return "kernel" if Path("/sys/module/openvswitch").exists() else "userspace"


def examine() -> Iterator[Finding]:
    """Every check, in the order in which `ceha doctor` shows them."""
    yield Finding("system", "ok", f"{_distribution()}, kernel {platform.release()}")
    yield Finding("cores", *_cores())
    yield Finding("Python", "ok", platform.python_version())
    for name in PACKAGES:
        yield _package(name)
    for tool, package in TOOLS.items():
        found = shutil.which(tool)
        yield Finding(
            tool,
            "ok" if found else "broken",
            found or f"missing: apt-get install --no-install-recommends {package}",
        )
    namespaces = has_namespaces()
    yield Finding(
        "namespaces",
        "ok" if namespaces else "broken",
        "net, mount and pid" if namespaces else "the lab's sandbox needs them",
    )
    if not namespaces:
        return
    nexthops = has_nexthop_objects()
    yield Finding(
        "nexthop objects",
        "ok" if nexthops else "broken",
        "routes point to them" if nexthops else "the FE needs Linux 5.3 or newer",
    )
    yield from _transports()
    yield _either("netem", has_netem(), "delay and loss by the kernel", "no delayed links yet")
    switch = open_vswitch()
    yield _either(
        "Open vSwitch", bool(switch), f"{switch} datapath", "only the OpenFlow baseline needs it"
    )
    yield _either(
        "SCHED_FIFO",
        has_realtime(),
        "probes run undisturbed",
        "probes may be disturbed: more trials become invalid",
    )
    yield Finding("security", "absent", NO_TRANSPORT_SECURITY)


def lacking_transport(name: str) -> str:
    """Why this machine cannot do a transport that is asked for by name; empty: it can."""
    reason = probe_transports().get(name, "")
    return f"{name}: {reason}" if reason else ""


def _transports() -> Iterator[Finding]:
    usable = probe_transports()
    for name, reason in usable.items():
        yield Finding(f"transport {name}", "absent" if reason else "ok", reason or "usable")
    chosen = next((n for n in ("sctp", "usrsctp") if usable.get(n) == ""), "")
    yield Finding(
        "transport auto",
        "ok" if chosen else "broken",
        f"takes {chosen}" if chosen else "no SCTP: TCP only, by name (tml: tcp)",
    )


def _either(subject: str, there: bool, then: str, otherwise: str) -> Finding:
    return Finding(subject, "ok" if there else "absent", then if there else otherwise)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "broken", "not in this environment: start the lab with ./ceha")


def _cores() -> tuple[Level, str]:
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    text = f"{cores}, load {load:.1f}"
    return ("ok", text) if cores >= 2 else ("absent", f"{text}: two or more give steadier figures")


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _in_new_namespace(*argv: str) -> bool:
    return _succeeds("unshare", "--net", *argv)


def _succeeds(*argv: str) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
