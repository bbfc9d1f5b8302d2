"""Faults in virtual time: the emulated lab's kinds (DESIGN section 9) and their arguments, done to
a `NetworkElement`.

A kind strikes and gives back how to heal it; FaultFailed where the target is not in the state
that the fault is to end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forces.effects import Deliver
from lab.backend import FaultFailed, FaultSpec, LabError
from lab.simulated.element import NetworkElement

Heal = Callable[[], None]
Happened = Callable[[], bool]
Strike = Callable[[NetworkElement, str, Mapping[str, Any]], tuple[Heal, Happened]]
"""Called with the target and the arguments. `Happened` may raise FaultFailed; polled until true."""
Target = Literal["master", "ce", "fe", "link"]

DEFAULT_PERCENT = 5.0
_PROCESS: tuple[Target, ...] = ("master", "ce", "fe")


@dataclass(frozen=True, slots=True)
class SimulatedKind:
    targets: tuple[Target, ...]
    strike: Strike
    arguments: frozenset[str] = frozenset()


def _nothing() -> None:
    """For what needs no undo."""


def _at_once() -> bool:
    return True


def _crash(ne: NetworkElement, target: str, arguments: Mapping[str, Any]) -> tuple[Heal, Happened]:
    state = arguments.get("state", "keep")
    if state not in ("keep", "clean"):
        raise LabError(f"crash: state is keep or clean, not {state!r}")
    process = ne.processes[target]
    if state == "clean" and process.datapath is None:
        raise LabError(f"crash: only an FE has state to clean, {target} is none")
    _needs_process(ne, target)
    ne.crash(target)

    def heal() -> None:
        if not process.alive and state == "clean":
            ne.empty(target)
        ne.restart(target)

    return heal, lambda: not process.alive


def _hang(ne: NetworkElement, target: str, arguments: Mapping[str, Any]) -> tuple[Heal, Happened]:
    _needs_process(ne, target)
    process = ne.processes[target]
    process.freeze()
    return process.thaw, lambda: process.frozen


def _needs_process(ne: NetworkElement, target: str) -> None:
    if not ne.processes[target].alive:
        raise FaultFailed(f"{target} has no process to strike")


def _control(ways: Sequence[tuple[str, str]], ne: NetworkElement) -> tuple[Heal, Happened]:
    """Nothing passes on these ways of the control network."""
    pairs = [(ne.processes[a].id, ne.processes[b].id) for a, b in ways]
    if not any(ne.network.passes(*pair) for pair in pairs):
        raise FaultFailed("nothing passes before the fault")
    for pair in pairs:
        ne.network.block(*pair)

    def heal() -> None:
        for pair in pairs:
            ne.network.unblock(*pair)

    return heal, lambda: not any(ne.network.passes(*pair) for pair in pairs)


def _both(target: str, others: Sequence[str]) -> list[tuple[str, str]]:
    return [way for other in others for way in ((target, other), (other, target))]


def _others(ne: NetworkElement, target: str) -> list[str]:
    return [name for name in ne.processes if name != target]


def _isolate(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    """By carrier or in silence: no FE or CE looks at its control interface's carrier."""
    return _control(_both(target, _others(ne, target)), ne)


def _one_way(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    direction = arguments.get("direction", "from")
    if direction not in ("from", "to"):
        raise LabError(f"isolate-oneway: direction {direction!r} is not from or to")
    others = _others(ne, target)
    ways = [(target, o) if direction == "from" else (o, target) for o in others]
    return _control(ways, ne)


def _some(ne: NetworkElement, target: str, arguments: Mapping[str, Any]) -> tuple[Heal, Happened]:
    peers = arguments.get("peers") or ()
    names = [str(each).strip() for each in (peers.split(",") if isinstance(peers, str) else peers)]
    if not names:
        raise LabError("isolate-some needs peers: the nodes to be cut off from")
    for name in names:
        if name not in ne.processes or name == target:
            raise LabError(f"isolate-some: {name!r} is not another CE or FE")
    return _control(_both(target, names), ne)


def _ce_cut(ne: NetworkElement, target: str, arguments: Mapping[str, Any]) -> tuple[Heal, Happened]:
    others = [ce.name for ce in ne.ces if ce.name != target]
    if not others:
        raise LabError("ce-cut needs a second CE")
    return _control(_both(target, others), ne)


def _share(arguments: Mapping[str, Any]) -> float:
    try:
        percent = float(arguments.get("percent", DEFAULT_PERCENT))
    except (TypeError, ValueError):
        raise LabError(f"percent {arguments['percent']!r} is not a number") from None
    if not 0 < percent < 100:
        raise LabError(f"percent {percent:g} is outside 0 to 100: a silence is another fault")
    return percent / 100


def _control_loss(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    identifier = ne.processes[target].id
    ne.network.lossy[identifier] = _share(arguments)
    return lambda: ne.network.lossy.pop(identifier, None) and None, _at_once


def _planned(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    """The CE agrees, and every FE has the new master."""
    names = [ce.name for ce in ne.ces]
    if len(names) < 2:
        raise LabError("planned-switch needs a second CE")
    to = str(arguments.get("to", names[(names.index(target) + 1) % len(names)]))
    if to not in names or to == target:
        others = ", ".join(name for name in names if name != target)
        raise LabError(f"planned-switch from {target} to {to!r}: not one of {others}")
    answers: list[Deliver] = []
    ne.processes[target].command("switch", {"to": to}, answers.append)

    def happened() -> bool:
        if answers and answers[0].error is not None:
            raise FaultFailed(f"{target} refused the switch: {answers[0].error}")
        return bool(answers) and all(ne.master_of(fe.name) == to for fe in ne.fes)

    return _nothing, happened


def _teardown(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    """The CE agreed: its FEs have lost their master by then, and may have it again."""
    answers: list[Deliver] = []
    ne.processes[target].command("teardown", {}, answers.append)

    def happened() -> bool:
        if answers and answers[0].error is not None:
            raise FaultFailed(f"{target} refused the teardown: {answers[0].error}")
        return bool(answers)

    return _nothing, happened


def _cut(ne: NetworkElement, target: str, arguments: Mapping[str, Any]) -> tuple[Heal, Happened]:
    _needs_link(ne, target)
    _end(ne, target, arguments.get("end"))
    ne.cut_link(target)
    return lambda: ne.mend_link(target), lambda: bool(ne.data.down[target])


def _deaf(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any], both: bool
) -> tuple[Heal, Happened]:
    """Nothing arrives at one end, or at both."""
    _needs_link(ne, target)
    link = ne.link(target)
    ends = [link.a.node, link.b.node] if both else [_end(ne, target, arguments.get("to"))]
    for end in ends:
        ne.data.deaf[target, end] += 1

    def heal() -> None:
        for end in ends:
            ne.data.deaf[target, end] -= 1

    return heal, lambda: all(ne.data.deaf[target, end] for end in ends)


def _link_loss(
    ne: NetworkElement, target: str, arguments: Mapping[str, Any]
) -> tuple[Heal, Happened]:
    share = _share(arguments)
    _needs_link(ne, target)
    ne.data.lossy[target] = share
    return lambda: ne.data.lossy.pop(target, None) and None, _at_once


def _needs_link(ne: NetworkElement, target: str) -> None:
    if ne.data.down[ne.link(target).name]:
        raise FaultFailed(f"{target} is cut already: nothing passes before the fault")


def _end(ne: NetworkElement, target: str, name: object) -> str:
    """The named end, or the second one."""
    link = ne.link(target)
    if name is not None and name not in (link.a.node, link.b.node):
        raise LabError(f"{link.name} has no end at {name!r}")
    return link.b.node if name is None else str(name)


KINDS: Mapping[str, SimulatedKind] = {
    "crash": SimulatedKind(_PROCESS, _crash, frozenset({"state"})),
    "hang": SimulatedKind(_PROCESS, _hang),
    "isolate-carrier": SimulatedKind(_PROCESS, _isolate),
    "isolate-silent": SimulatedKind(_PROCESS, _isolate),
    "isolate-oneway": SimulatedKind(_PROCESS, _one_way, frozenset({"direction"})),
    "isolate-some": SimulatedKind(_PROCESS, _some, frozenset({"peers"})),
    "ce-cut": SimulatedKind(("master", "ce"), _ce_cut),
    "control-loss": SimulatedKind(_PROCESS, _control_loss, frozenset({"percent"})),
    "planned-switch": SimulatedKind(("master", "ce"), _planned, frozenset({"to"})),
    "teardown": SimulatedKind(("master", "ce"), _teardown),
    "link-cut": SimulatedKind(("link",), _cut, frozenset({"end"})),
    "link-silent": SimulatedKind(("link",), lambda ne, t, a: _deaf(ne, t, a, both=True)),
    "link-oneway": SimulatedKind(
        ("link",), lambda ne, t, a: _deaf(ne, t, a, both=False), frozenset({"to"})
    ),
    "link-loss": SimulatedKind(("link",), _link_loss, frozenset({"percent"})),
}


def check(ne: NetworkElement, spec: FaultSpec) -> SimulatedKind:
    """Everything about a fault that can be wrong before it strikes: LabError."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise LabError(f"{spec.kind} cannot be simulated (what can: {', '.join(KINDS)})")
    unknown = sorted(set(spec.arguments) - kind.arguments)
    if unknown:
        raise LabError(f"{spec.kind} with {unknown[0]!r} cannot be simulated")
    if spec.at_ms < 0 or (spec.heal_after_ms is not None and spec.heal_after_ms < 0):
        raise LabError(f"{spec.kind}: a fault strikes and heals at or after 0 ms")
    if spec.target != "master":
        if "link" in kind.targets:
            ne.link(spec.target)
        elif spec.target not in ne.processes:
            raise LabError(f"{spec.target} takes no part in mode {ne.settings.mode}")
        elif ne.topology.node(spec.target).kind not in kind.targets:
            raise LabError(f"{spec.kind} does not strike {spec.target}")
    elif "master" not in kind.targets:
        raise LabError(f"{spec.kind} does not strike the master")
    return kind


def resolve(ne: NetworkElement, target: str) -> str:
    """The node behind "master" at this moment; FaultFailed where there is not exactly one."""
    if target != "master":
        return target
    masters = {fe.name: ne.master_of(fe.name) for fe in ne.fes}
    distinct = set(masters.values())
    if len(distinct) == 1 and (master := distinct.pop()) is not None:
        return master
    found = ", ".join(f"{fe} has {ce or 'none'}" for fe, ce in masters.items())
    raise FaultFailed(f"there is no single master to strike: {found}")
