"""`ceha fault` and `ceha heal`."""

from __future__ import annotations

import json
from typing import Any

from lab.backend import LabError
from lab.emulated.control import Client, choose
from topologies.document import suggestion


def list_kinds(as_json: bool) -> None:
    from lab.emulated.faults.kinds import describe

    kinds = describe()
    if as_json:
        print(json.dumps(kinds, indent=1))
        return
    width = max(len(kind["kind"]) for kind in kinds)
    for kind in kinds:
        print(f"{kind['kind']:{width}}  {'|'.join(kind['targets'])}: {kind['summary']}")
        for argument, what in kind["arguments"].items():
            print(f"{'':{width}}    --with {argument}=...  {what}")


def strike(
    name: str | None, kind: str, target: str | None, given: list[str], heal: bool, as_json: bool
) -> None:
    from lab.emulated.faults.kinds import KINDS

    if kind not in KINDS:
        raise LabError(f"no fault kind {kind!r}{suggestion(kind, list(KINDS))}")
    lab = choose(name)
    if target is None:
        raise LabError(f"what is {kind} to strike? ceha fault {kind} TARGET")
    answer = Client(lab).ask(
        "fault", kind=kind, target=target, arguments=_arguments(given), heal=heal
    )
    if as_json:
        print(json.dumps(answer))
    elif heal:
        _print_healed(answer)
    else:
        print(f"{kind} of {answer['target']}: happened, the call took {answer['took_us']:g} us")


def heal_all(name: str | None, as_json: bool) -> None:
    answer = Client(choose(name)).ask("heal")
    if as_json:
        print(json.dumps(answer))
    else:
        _print_healed(answer)


def _print_healed(answer: dict[str, Any]) -> None:
    for fault in answer["healed"]:
        print(f"{fault['kind']} of {fault['target']}: healed")
    if not answer["healed"]:
        print("there is nothing to heal")


def _arguments(given: list[str]) -> dict[str, str]:
    arguments = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise LabError(f"--with {each}: it takes KEY=VALUE")
        arguments[key] = value
    return arguments
