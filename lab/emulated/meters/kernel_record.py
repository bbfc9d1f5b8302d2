"""What each FE's kernel holds at the end of a trial, beside what its master believes it holds.

The raw material of invariant 2 (DESIGN section 8): after quiescence the kernel's routes with our
protocol number are the master's committed table. Judged elsewhere; here both are only read, again
and again until they agree or the patience ends, since "after quiescence" is part of the sentence.
Every route of any table takes part: 100,000 cost some 0.3 s of a core.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fe_datapath.config import ROUTE_PROTOCOL
from lab.emulated.interactive import ask_api
from lab.emulated.meters import last_look
from lab.emulated.meters.route_dump import DumpFailed, dump
from lab.emulated.meters.route_rows import committed_rows, comparison, kernel_rows
from lab.emulated.network import NetNode
from lab.emulated.nodes import NetworkElement

PATIENCE_S = 1.0
PAUSE_S = 0.02
ANSWER_S = 2.0
"""A CE that has just taken over a large table may have other things to do for a moment."""


def kernel_routes(node: NetNode) -> list[str]:
    """A line for each route with our protocol number, the beacon left out. DumpFailed where the
    kernel does not tell them."""
    with node.network():
        found = dump(ROUTE_PROTOCOL)
    return kernel_rows(found)


def _committed(ne: NetworkElement, fe: str, master: str | None) -> tuple[list[str] | None, str]:
    """The committed rows of the master, or why they are not known."""
    if master is None:
        return None, "no master"
    answer = ask_api(ne.api_socket(master), f"routes?fe={fe}&packed=1", ANSWER_S)
    if not isinstance(answer, dict) or fe not in answer:
        return None, f"{master} does not answer"
    return committed_rows(fe, answer[fe]), ""


def read(ne: NetworkElement, fe: str, master: str | None) -> dict[str, Any]:
    """One look at both."""
    committed, reason = _committed(ne, fe, master)
    try:
        held = kernel_routes(ne.network.node(fe))
    except DumpFailed as error:
        return comparison(fe, master, (), None, str(error))
    return comparison(fe, master, held, committed, reason)


def write(ne: NetworkElement, folder: Path, fes: Iterable[str]) -> list[str]:
    """`kernel-<fe>.json` for each FE; returns the FEs that did not agree."""

    def look(waiting: Sequence[str]) -> dict[str, dict[str, Any]]:
        masters = ne.masters()
        return {fe: read(ne, fe, masters.get(fe)) for fe in waiting}

    return last_look.write(folder, fes, look, PATIENCE_S, PAUSE_S)
