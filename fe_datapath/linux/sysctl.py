"""Settings of the network namespace that this process is in (/proc/sys/net shows the reader's
own), and of nothing else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NET = Path("/proc/sys/net")

_NAMESPACE = {
    # A replaced next hop does not rewrite and announce every route over it: 10 us instead of
    # 70-250 ms under 100,000 routes.
    "ipv4/nexthop_compat_mode": "0",
    # The larger of this and the interface's own counts.
    "ipv4/conf/all/rp_filter": "0",
}
_PORT = {
    # Paths through a router network need not be symmetric, least of all during a failover.
    "ipv4/conf/{}/rp_filter": "0",
    # Where the carrier is lost a connected route must not attract what another route can carry.
    "ipv4/conf/{}/ignore_routes_with_linkdown": "1",
    "ipv6/conf/{}/ignore_routes_with_linkdown": "1",
    # Otherwise admin down loses IPv6 addresses for good.
    "ipv6/conf/{}/keep_addr_on_down": "1",
    # Neighbours learn at once of a MAC address that a CE has set (EtherMACIn).
    "ipv4/conf/{}/arp_notify": "1",
    "ipv6/conf/{}/ndisc_notify": "1",
    # After a link comes back a neighbour is asked again after this time, not after 1 s.
    "ipv4/neigh/{}/retrans_time_ms": "50",
    "ipv6/neigh/{}/retrans_time_ms": "50",
}


@contextmanager
def _giving_way() -> Iterator[None]:
    """For this thread: without real-time priority. Some of these files (forwarding is one) take the
    kernel's RTNL lock by trying again and again without ever sleeping (rtnl_trylock,
    restart_syscall). Two such writers at SCHED_FIFO keep both cores from whoever has the lock: from
    an equal for ever, from an ordinary process (a kernel worker, somebody's `ip`) until the kernel
    throttles real-time tasks, 0.95 s later. Both were seen."""
    try:
        policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
        held = policy != os.SCHED_OTHER
        if held:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        held = False
    try:
        yield
    finally:
        if held:
            with suppress(OSError):
                os.sched_setscheduler(0, policy, parameter)


def _write(name: str, value: str) -> None:
    path = _NET / name
    try:
        if path.read_text().strip() == value:
            return
        with path.open("wb", buffering=0) as file, _giving_way():
            file.write(value.encode())
    except FileNotFoundError:
        if not name.startswith("ipv6/"):  # a kernel or namespace without IPv6 is no error
            raise


def prepare_namespace() -> None:
    for name, value in _NAMESPACE.items():
        _write(name, value)


def prepare_port(interface: str) -> None:
    if "/" in interface or interface in ("", ".", "..", "all", "default"):
        raise OSError(errno.EINVAL, f"{interface!r} is no interface name")
    for name, value in _PORT.items():
        _write(name.format(interface), value)


def prepare_tun(interface: str) -> None:
    """No address of its own, and so no word of its own."""
    _write(f"ipv6/conf/{interface}/addr_gen_mode", "1")


def forwarding() -> bool:
    """Whether IPv4 is forwarded, hence whether the last `set_forwarding` was for on: it goes off
    first and on first."""
    return (_NET / "ipv4/ip_forward").read_text().strip() == "1"


def set_forwarding(on: bool) -> None:
    """All ports at once. IPv4 and IPv6 are two writes, in the order that never leaves more
    forwarded than asked for."""
    value = "1" if on else "0"
    _write("ipv4/ip_forward", value)
    _write("ipv6/conf/all/forwarding", value)
