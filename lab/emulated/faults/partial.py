"""Faults that take some of the frames: one direction, some peers, a share of them. DESIGN
section 9. All use the lab's own stage (lab/emulated/bpf_stage.py), on every kernel alike.

On a control link the stage sits at the control switch's end, on a data link at the ingress of the
two ends; an interface carries one stage at a time, and a second fault of this kind on it is
refused. What happened is witnessed by tokens sent both ways, never by asking the stage.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
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
)
from lab.emulated.faults.reach import Reach

LOSS_ROUNDS = 20
"""Tokens each way per look at random loss; looks add up within the schedule's budget."""
LOSS_PATIENCE_MS = 3.0
DEFAULT_PERCENT = 5.0


class _Stage:
    """A program at an interface, in one or both directions."""

    def __init__(
        self, pid: int, interface: str, instructions: bytes, ingress: bool, egress: bool
    ) -> None:
        self._socket = LinkSocket(pid)
        self._interface = interface
        self._instructions = instructions
        self._index = self._socket.state(interface).index
        self._hooks = [hook for hook, on in (("ingress", ingress), ("egress", egress)) if on]
        self._program: int | None = None
        self._messages: list[bytes] = []

    def prepare(self) -> None:
        self._program = bpf_stage.load(self._instructions)
        try:
            self._socket.execute(add_clsact(self._index))
        except OSError as error:
            if error.errno != errno.EEXIST:  # an impairment of this link hangs there already
                raise FaultFailed(f"{self._interface}: clsact: {error.strerror}") from None
        self._messages = [
            add_program(self._index, self._program, egress=hook == "egress") for hook in self._hooks
        ]

    def strike(self) -> None:
        for message in self._messages:
            self._socket.send(message)

    def confirm(self) -> None:
        try:
            for _ in self._messages:
                self._socket.confirm()
        except OSError as error:
            raise FaultFailed(f"{self._interface}: {error.strerror}") from None

    def heal(self) -> None:
        for hook in self._hooks:
            try:
                self._socket.execute(delete_programs(self._index, egress=hook == "egress"))
            except OSError as error:
                if not is_absent(error):
                    raise LabError(f"{self._interface}: {error.strerror}") from None

    def close(self) -> None:
        self._socket.close()
        if self._program is not None:
            os.close(self._program)
            self._program = None


class _StagedFault:
    """What all of them share; a subclass makes `_stages`, the `_cut` ways and a `_spared` one."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stages: list[_Stage] = []
        self._reaches: list[Reach] = []

    def _control_reach(self, a: str, b: str) -> Reach:
        reach = Reach(
            self._bench.network.node(a).pid,
            _control(self._bench, a),
            self._bench.network.node(b).pid,
            _control(self._bench, b),
            self._bench.network.allowance,
        )
        self._reaches.append(reach)
        return reach

    def _control_stage(self, node: str, instructions: bytes, ingress: bool, egress: bool) -> None:
        network = self._bench.network
        pid, port = network.control_switch_node.pid, network.control_port(node)
        self._stages.append(_Stage(pid, port, instructions, ingress, egress))

    def prepare(self) -> None:
        if not all(all(reach.passes(PASSING_MS)) for reach in self._reaches):
            raise FaultFailed("nothing passes before the fault")
        for stage in self._stages:
            stage.prepare()

    def strike(self) -> None:
        for stage in self._stages:
            stage.strike()

    def confirm(self) -> None:
        for stage in self._stages:
            stage.confirm()

    def heal(self) -> None:
        for stage in self._stages:
            stage.heal()

    def healed(self) -> bool:
        return all(all(reach.passes(PASSING_MS)) for reach in self._reaches)

    def close(self) -> None:
        for stage in self._stages:
            stage.close()
        for reach in self._reaches:
            reach.close()


class OneWayIsolation(_StagedFault):
    """What the node sends is lost, and what it is sent arrives; or the reverse."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench)
        self._direction = str(arguments.get("direction", "from"))
        if self._direction not in ("from", "to"):
            raise LabError(f"isolate-oneway: direction {self._direction!r} is not from or to")
        # What comes from the node enters the switch by its port.
        lost_from = self._direction == "from"
        self._control_stage(target, bpf_stage.program(), lost_from, not lost_from)
        kind = bench.topology.node(target).kind
        other = next(n.name for n in bench.topology.of_kind("fe" if kind == "ce" else "ce"))
        self._reach = self._control_reach(target, other)

    def happened(self) -> bool:
        sent, got = self._reach.passes(SILENCE_MS)
        return (sent, got) == ((False, True) if self._direction == "from" else (True, False))


class SomeIsolation(_StagedFault):
    """Nothing passes between the node and the peers that are named."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench)
        self._between(target, _named(bench, target, arguments.get("peers")))

    def _between(self, target: str, peers: Sequence[str]) -> None:
        addresses = [_control(self._bench, peer) for peer in peers]
        self._control_stage(target, bpf_stage.program(addresses), True, True)
        self._cut = [self._control_reach(target, peer) for peer in peers]
        spared = [
            node.name
            for node in self._bench.topology.nodes
            if node.control_address is not None and node.name not in (target, *peers)
        ]
        self._spared = [self._control_reach(target, name) for name in spared[:1]]

    def happened(self) -> bool:
        return all(all(reach.passes(PASSING_MS)) for reach in self._spared) and not any(
            any(reach.passes(SILENCE_MS)) for reach in self._cut
        )


class CeCut(SomeIsolation):
    """Nothing passes between the CE and all other CEs; the FEs are not touched."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        _StagedFault.__init__(self, bench)
        others = [ce.name for ce in bench.topology.of_kind("ce") if ce.name != target]
        if not others:
            raise LabError("ce-cut needs a second CE")
        self._between(target, others)


class _Lossy(_StagedFault):
    """Each frame is lost with the same probability, whatever became of the others."""

    def __init__(self, bench: Bench, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench)
        self._lost = self._passed = 0
        try:
            percent = float(arguments.get("percent", DEFAULT_PERCENT))
        except (TypeError, ValueError):
            raise LabError(f"percent {arguments['percent']!r} is not a number") from None
        if not 0 < percent < 100:
            raise LabError(f"percent {percent:g} is outside 0 to 100: a silence is another fault")
        self._program = bpf_stage.program(loss=percent / 100)

    def happened(self) -> bool:
        """Some were lost and some were not."""
        for _ in range(LOSS_ROUNDS):
            arrived = sum(self._reaches[0].passes(LOSS_PATIENCE_MS))
            self._passed += arrived
            self._lost += 2 - arrived
        return self._lost > 0 and self._passed > 0


class ControlLoss(_Lossy):
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, arguments)
        self._control_stage(target, self._program, True, True)
        kind = bench.topology.node(target).kind
        other = next(n.name for n in bench.topology.of_kind("fe" if kind == "ce" else "ce"))
        self._control_reach(target, other)


class LinkLoss(_Lossy):
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, arguments)
        link = bench.network.link(target)
        for end in (link.a, link.b):
            pid = bench.network.node(end.node).pid
            self._stages.append(_Stage(pid, end.interface, self._program, True, False))
        self._reaches.append(_link_reach(bench, target))


class LinkOneWay(_StagedFault):
    """Nothing arrives at one end of a data link; what that end sends passes."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench)
        link = bench.network.link(target)
        deaf = str(arguments.get("to", link.b.node))
        ends = {link.a.node: link.a, link.b.node: link.b}
        if deaf not in ends:
            raise LabError(f"{link.name} has no end at {deaf!r}")
        pid = bench.network.node(deaf).pid
        stage = _Stage(pid, ends[deaf].interface, bpf_stage.program(), True, False)
        self._stages.append(stage)
        self._reach = _link_reach(bench, target)
        self._reaches.append(self._reach)
        self._expected = (deaf != link.b.node, deaf != link.a.node)

    def happened(self) -> bool:
        return self._reach.passes(SILENCE_MS) == self._expected


def _link_reach(bench: Bench, target: str) -> Reach:
    link = bench.network.link(target)
    a, b = (end.addresses[0].split("/")[0] for end in (link.a, link.b))
    pids = [bench.network.node(end.node).pid for end in (link.a, link.b)]
    return Reach(pids[0], a, pids[1], b, bench.network.allowance)


def _named(bench: Bench, target: str, peers: Any) -> list[str]:
    """From a list (YAML) or a comma-separated text (command line)."""
    names = (
        [str(each).strip() for each in (peers.split(",") if isinstance(peers, str) else peers)]
        if peers
        else []
    )
    if not names:
        raise LabError("isolate-some needs peers: the nodes to be cut off from")
    for name in names:
        if bench.network.node(name).kind == "host" or name == target:
            raise LabError(f"isolate-some: {name!r} is not another CE or FE")
    return names


def _control(bench: Bench, node: str) -> str:
    address = bench.topology.node(node).control_address
    assert address is not None, "CEs and FEs have a control address"
    return address.split("/")[0]
