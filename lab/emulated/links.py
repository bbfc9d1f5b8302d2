"""The lab's own kinds of Mininet parts: created in one batch, with nothing left to chance.

Why not the stock ones: their veth ends often get equal interface indexes in both namespaces, and
then the kernel reports a carrier loss up to a second late (linkwatch takes a device with
ifindex == iflink as not urgent); and they spend five shell round trips per link.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

from mininet.link import Intf, Link
from mininet.node import Host
from mininet.nodelib import LinuxBridge

from lab.backend import LabError
from lab.emulated.namespaces import network_of

BATCH_TIMEOUT_S = 30


def ip_batch(lines: list[str], pid: int | None = None) -> None:
    """Run `ip` commands in one process, in the network namespace of `pid`; the first one that
    fails is a LabError."""
    if pid is not None:
        with network_of(pid):
            ip_batch(lines)
        return
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=BATCH_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        failed = [int(word) for word in done.stderr.replace(":", " ").split() if word.isdigit()]
        line = lines[failed[-1] - 1] if failed and 0 < failed[-1] <= len(lines) else ""
        raise LabError(f"ip {line}: {done.stderr.strip().splitlines()[0]}")


class LabInterface(Intf):  # type: ignore[misc]
    """Configured later, with all others of its node."""

    def config(self, **_parameters: Any) -> dict[str, Any]:
        return {}


class LabLink(Link):  # type: ignore[misc]
    """A veth pair whose ends have different indexes. It is only noted in `batch`, and made with
    all others."""

    def __init__(
        self, node1: Any, node2: Any, *, batch: list[str], indexes: Iterator[int], **options: Any
    ) -> None:
        self._batch = batch
        self._indexes = indexes
        options["intf"] = LabInterface
        super().__init__(node1, node2, **options)

    def makeIntfPair(
        self,
        intfname1: str,
        intfname2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: Any = None,
        node2: Any = None,
        deleteIntfs: bool = False,
    ) -> None:
        assert None not in (addr1, addr2), "LabTopo gives every interface a MAC address"
        self._batch.append(
            f"link add name {intfname1} index {next(self._indexes)} address {addr1} "
            f"netns {node1.pid} type veth peer "
            f"name {intfname2} index {next(self._indexes)} address {addr2} netns {node2.pid}"
        )


class LabHost(Host):  # type: ignore[misc]
    """Configured by `Network`, not by ifconfig."""

    def config(self, **_parameters: Any) -> dict[str, Any]:
        return {}


class ControlSwitch(LinuxBridge):  # type: ignore[misc]
    """A Linux bridge in a namespace of its own."""

    def start(self, _controllers: Any) -> None:
        # Ports come up before they join: a port that is operational when it joins forwards at
        # once. No multicast snooping: its queries are packets nobody asked for.
        ports = [str(port) for port in self.intfList() if str(port) != "lo"]
        lines = ["link set lo up"]
        lines += [f"link add {self.name} type bridge forward_delay 0 mcast_snooping 0"]
        lines += [f"link set {port} up" for port in ports]
        lines += [f"link set {port} master {self.name}" for port in ports]
        lines += [f"link set {self.name} up"]
        ip_batch(lines, self.pid)
