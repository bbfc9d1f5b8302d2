"""The IP counters of this thread's network namespace: /proc/net/snmp, netstat and snmp6
(RFC 4293's names; Linux Documentation/networking/snmp_counter.rst).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_NET = Path("/proc/thread-self/net")
"""Not /proc/net: that is the namespace of the process' first thread."""
_IPV4 = {
    "InReceives": ("Ip", "InReceives"),
    "InHdrErrors": ("Ip", "InHdrErrors"),
    "OutForwDatagrams": ("Ip", "ForwDatagrams"),
    "InNoRoutes": ("IpExt", "InNoRoutes"),
    "InTruncatedPkts": ("IpExt", "InTruncatedPkts"),
    "InCsumErrors": ("IpExt", "InCsumErrors"),
    "OutTimeExcds": ("Icmp", "OutTimeExcds"),
}
_IPV6 = {
    "InReceives": "Ip6InReceives",
    "InHdrErrors": "Ip6InHdrErrors",
    "OutForwDatagrams": "Ip6OutForwDatagrams",
    "InNoRoutes": "Ip6InNoRoutes",
    "InTruncatedPkts": "Ip6InTruncatedPkts",
    "OutTimeExcds": "Icmp6OutTimeExcds",
}


def read_counters() -> Mapping[int, Mapping[str, int]]:
    """4 and 6 -> name -> count."""
    four = _pairs("snmp") | _pairs("netstat")
    six = _lines("snmp6")
    return {
        4: {name: four.get(place, 0) for name, place in _IPV4.items()},
        6: {name: six.get(place, 0) for name, place in _IPV6.items()} | {"InCsumErrors": 0},
    }


def _pairs(file: str) -> dict[tuple[str, str], int]:
    """A line of names and a line of values for each group."""
    found = {}
    lines = (_NET / file).read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, *titles = names.split()
        for title, value in zip(titles, values.split()[1:], strict=True):
            found[group.rstrip(":"), title] = int(value)
    return found


def _lines(file: str) -> dict[str, int]:
    try:
        text = (_NET / file).read_text()
    except FileNotFoundError:  # a kernel without IPv6
        return {}
    return {name: int(value) for name, value in map(str.split, text.splitlines())}
