"""Faults as values (DESIGN section 9): the registry of kinds, and what each kind must bring.

A fault goes through the same steps whatever its kind: *arm* opens the sockets it needs and
changes nothing; its undo is recorded; *prepare* may change what no packet notices; *strike* is
the one call that t_fault is taken around; *happened* is polled until a witness says so; *heal*
and *healed* take it back. A kind can be armed again from the recorded undo alone, so anything
outstanding can be healed in any order, also by a process that did not make it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lab.backend import FaultFailed, FaultSpec, LabError
from lab.emulated.faults import (
    isolation,
    link,
    partial,
    planned,
    process,
    starve,
    stream,
)
from lab.emulated.faults.bench import Bench, Fault

Target = Literal["master", "ce", "fe", "link"]


class Arm(Protocol):
    """Makes a fault of a kind ready."""

    def __call__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> Fault: ...


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault."""

    name: str
    summary: str
    targets: tuple[Target, ...]
    arm: Arm
    arguments: Mapping[str, str]
    """Optional arguments, with a line of help each."""


_PROCESS: tuple[Target, ...] = ("master", "ce", "fe")
_DAEMON = "of a router's: zebra, bfdd or ospfd (system frr); its supervisor starts it again"

KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "crash",
            "SIGKILL of the process; healed by starting it again with the same configuration",
            _PROCESS,
            process.Crash,
            {
                "state": "of an FE's kernel: keep (default), or clean as after a reboot",
                "daemon": _DAEMON,
            },
        ),
        FaultKind(
            "hang",
            "SIGSTOP of the process; healed by SIGCONT (the old master thaws)",
            _PROCESS,
            process.Hang,
            {"daemon": _DAEMON},
        ),
        FaultKind(
            "isolate-carrier",
            "the node's control link goes down: it sees its carrier lost",
            _PROCESS,
            isolation.CarrierIsolation,
            {},
        ),
        FaultKind(
            "isolate-silent",
            "the node's control link drops everything both ways, carriers stay up",
            _PROCESS,
            isolation.SilentIsolation,
            {},
        ),
        FaultKind(
            "planned-switch",
            "the master CE is asked to hand all FEs over (SET of FEPO.CEID)",
            ("master", "ce"),
            planned.PlannedSwitch,
            {"to": "name of the CE to hand over to (default: the next one in order)"},
        ),
        FaultKind(
            "teardown",
            "the CE ends its associations with all FEs (Association Teardown), and lives on",
            ("master", "ce"),
            planned.Teardown,
            {},
        ),
        FaultKind(
            "starve",
            "the process gets a small share of a core: stopped and continued every 10 ms",
            _PROCESS,
            starve.Starvation,
            {"percent": f"of a core (default {starve.DEFAULT_PERCENT:g})"},
        ),
        FaultKind(
            "stream",
            "the CE is asked for one route after the other, each when every FE has the last",
            ("master", "ce"),
            stream.Stream,
            {"changes": f"how many (default {stream.DEFAULT_CHANGES})"},
        ),
        FaultKind(
            "link-cut",
            "a data link goes down: one end administratively, so the other loses its carrier",
            ("link",),
            link.LinkCut,
            {"end": "node whose end goes down (default: a host's end, else the second one)"},
        ),
        FaultKind(
            "link-silent",
            "a data link drops everything both ways, carriers stay up",
            ("link",),
            link.LinkSilence,
            {},
        ),
        FaultKind(
            "isolate-oneway",
            "the node's control link drops everything in one direction, carriers stay up",
            _PROCESS,
            partial.OneWayIsolation,
            {"direction": "from: what the node sends is lost (default); to: what it is sent"},
        ),
        FaultKind(
            "isolate-some",
            "nothing passes on the control network between the node and some others",
            _PROCESS,
            partial.SomeIsolation,
            {"peers": "the nodes to be cut off from, e.g. fe1,fe2"},
        ),
        FaultKind(
            "ce-cut",
            "nothing passes between the CE and the other CEs; the FEs are not touched",
            ("master", "ce"),
            partial.CeCut,
            {},
        ),
        FaultKind(
            "control-loss",
            "frames of the node's control link are lost at random, in both directions",
            _PROCESS,
            partial.ControlLoss,
            {"percent": f"of frames (default {partial.DEFAULT_PERCENT:g})"},
        ),
        FaultKind(
            "link-loss",
            "frames of a data link are lost at random, in both directions",
            ("link",),
            partial.LinkLoss,
            {"percent": f"of frames (default {partial.DEFAULT_PERCENT:g})"},
        ),
        FaultKind(
            "link-oneway",
            "a data link drops everything in one direction, carriers stay up",
            ("link",),
            partial.LinkOneWay,
            {"to": "node that nothing arrives at (default: the second end)"},
        ),
    )
}


def describe() -> list[dict[str, Any]]:
    """Name, summary, legal targets and arguments of every kind: for help texts and schemas."""
    return [
        {
            "kind": kind.name,
            "summary": kind.summary,
            "targets": list(kind.targets),
            "arguments": dict(kind.arguments),
        }
        for kind in KINDS.values()
    ]


def kind_of(spec: FaultSpec) -> FaultKind:
    """LabError naming the valid ones."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise LabError(f"no fault kind {spec.kind!r} (kinds: {', '.join(KINDS)})")
    unknown = sorted(set(spec.arguments) - set(kind.arguments))
    if unknown:
        valid = ", ".join(kind.arguments) or "none"
        raise LabError(f"{spec.kind} takes no argument {unknown[0]!r} (arguments: {valid})")
    return kind


def check(bench: Bench, spec: FaultSpec) -> FaultKind:
    """Everything about a fault that can be wrong before it strikes: LabError."""
    kind = kind_of(spec)
    if spec.at_ms < 0 or (spec.heal_after_ms is not None and spec.heal_after_ms < 0):
        raise LabError(f"{spec.kind}: a fault strikes and heals at or after 0 ms")
    if spec.target == "master":
        if "master" not in kind.targets:
            raise LabError(f"{spec.kind} strikes a {_listed(kind.targets)}, not the master")
        return kind
    if "link" in kind.targets:
        bench.network.link(spec.target)
        return kind
    node = bench.network.node(spec.target)
    if node.kind not in kind.targets:
        raise LabError(
            f"{spec.kind} strikes {_listed(kind.targets)}; {spec.target} is a {node.kind}"
        )
    return kind


def resolve(bench: Bench, target: str) -> str:
    """The node behind "master" at this moment; FaultFailed where there is not exactly one."""
    if target != "master":
        return target
    bench.journals.poll()
    masters = {fe.name: bench.journals.master_of(fe.name) for fe in bench.topology.of_kind("fe")}
    distinct = set(masters.values())
    if len(distinct) == 1 and (master := distinct.pop()) is not None:
        return master
    found = ", ".join(f"{fe} has {ce or 'none'}" for fe, ce in masters.items())
    raise FaultFailed(f"there is no single master to strike: {found}")


def arm(bench: Bench, spec: FaultSpec, target: str) -> Fault:
    """Open what the fault needs; `target` as `resolve` gave it."""
    return check(bench, spec).arm(bench, target, spec.arguments)


def _listed(targets: Sequence[str]) -> str:
    return " or ".join(targets)
