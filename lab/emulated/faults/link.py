"""Faults of a data link: cut, and silent. DESIGN section 9.

A veth has no carrier of its own: it is there while both ends are administratively up, so a cut
always takes one end down. The other end sees exactly what a pulled cable gives: admin up,
carrier lost. The end that was taken down loses more (its kernel forgets the connected routes and
the neighbours too, and it is admin down to its FE), so at a host's link it is the host's end, and
between FEs the second one in the topology file, unless `end` names another. The heal puts back
what the kernel forgot.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from lab.backend import FaultFailed, LabError
from lab.emulated import bpf_stage
from lab.emulated.faults.bench import Bench
from lab.emulated.faults.isolation import PASSING_MS, SILENCE_MS
from lab.emulated.faults.netlink import (
    LinkSocket,
    add_clsact,
    add_program,
    delete_programs,
    is_absent,
    set_admin,
)
from lab.emulated.faults.reach import Reach
from topologies.model import Endpoint, Link


class _LinkFault:
    """Sockets at both ends, and a witness between them."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        self._network = bench.network
        self._link: Link = bench.network.link(target)
        ends = (self._link.a, self._link.b)
        pids = [bench.network.node(end.node).pid for end in ends]
        self._sockets = {end.node: LinkSocket(pid) for end, pid in zip(ends, pids, strict=True)}
        self._index = {end.node: self._state(end).index for end in ends}
        addresses = [end.addresses[0].split("/")[0] for end in ends]
        self._pids_and_addresses = (pids[0], addresses[0], pids[1], addresses[1])
        self._allowance = bench.network.allowance
        self._reach: Reach | None = None

    def _state(self, end: Endpoint) -> Any:
        return self._sockets[end.node].state(end.interface)

    def prepare(self) -> None:
        if not all(self._witness().passes(PASSING_MS)):
            raise FaultFailed(f"{self._link.name} is cut already: nothing passes before the fault")

    def _witness(self) -> Reach:
        """Opened late: an end that is down has no address to bind to."""
        if self._reach is None:
            self._reach = Reach(*self._pids_and_addresses, self._allowance)
        return self._reach

    def _passes(self) -> bool:
        try:
            return all(self._witness().passes(PASSING_MS))
        except OSError:
            return False

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        if self._reach is not None:
            self._reach.close()


class LinkCut(_LinkFault):
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, target, arguments)
        a, b = self._link.a, self._link.b
        chosen = arguments.get("end")
        if chosen is None:
            chosen = a.node if bench.topology.node(a.node).kind == "host" else b.node
        if chosen not in (a.node, b.node):
            self.close()
            raise LabError(f"{self._link.name} has no end at {chosen!r}")
        self._end, self._other = (a, b) if chosen == a.node else (b, a)
        self._down = set_admin(self._index[self._end.node], up=False)

    def strike(self) -> None:
        self._sockets[self._end.node].send(self._down)

    def confirm(self) -> None:
        try:
            self._sockets[self._end.node].confirm()
        except OSError as error:
            raise FaultFailed(f"{self._end.interface}: {error.strerror}") from None

    def happened(self) -> bool:
        near, far = self._state(self._end), self._state(self._other)
        return not near.admin_up and not near.carrier and far.admin_up and not far.carrier

    def heal(self) -> None:
        if not self._state(self._end).admin_up:
            self._network.configure(self._end.node, self._end.interface)

    def healed(self) -> bool:
        ends = (self._state(self._end), self._state(self._other))
        return all(end.admin_up and end.carrier for end in ends) and self._passes()


class LinkSilence(_LinkFault):
    """A BPF program of two instructions at the ingress of both ends throws every frame away."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, target, arguments)
        self._program: int | None = None
        self._messages: dict[str, bytes] = {}

    def prepare(self) -> None:
        super().prepare()
        self._program = bpf_stage.load(bpf_stage.program())
        for node, index in self._index.items():
            try:
                self._sockets[node].execute(add_clsact(index))
            except OSError as error:
                if error.errno != errno.EEXIST:  # an impairment of this link hangs there already
                    raise FaultFailed(f"{self._link.name}: clsact: {error.strerror}") from None
            self._messages[node] = add_program(index, self._program, egress=False)

    def strike(self) -> None:
        for node, message in self._messages.items():
            self._sockets[node].send(message)

    def confirm(self) -> None:
        for node in self._messages:
            try:
                self._sockets[node].confirm()
            except OSError as error:
                raise FaultFailed(f"{self._link.name} at {node}: {error.strerror}") from None

    def happened(self) -> bool:
        carriers = all(self._state(end).carrier for end in (self._link.a, self._link.b))
        return carriers and not any(self._witness().passes(SILENCE_MS))

    def heal(self) -> None:
        for node, index in self._index.items():
            try:
                self._sockets[node].execute(delete_programs(index, egress=False))
            except OSError as error:
                if not is_absent(error):
                    raise LabError(f"{self._link.name} at {node}: {error.strerror}") from None

    def healed(self) -> bool:
        ends = (self._link.a, self._link.b)
        if not all(self._state(end).carrier for end in ends):
            return True  # cut by another fault, which has its own heal
        return self._passes()

    def close(self) -> None:
        super().close()
        if self._program is not None:
            os.close(self._program)
            self._program = None
