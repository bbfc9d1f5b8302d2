"""Impairments of links: rate, delay, jitter, loss, in both directions or one. The same words in
topology files and in scenario files; what they may say is checked here, how it is done is the
lab's (lab/emulated/impairments.py).

A data link must not lose packets by itself: the data probe could not tell that from what a fault
costs (docs/measuring.md). Random loss of a data link is a fault, `link-loss`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from topologies.model import Impairment, Topology

CONTROL_SWITCH = "ctl"
"""The control network's end of a CE's or FE's control link."""

GROUPS: Mapping[str, str] = {"ces": "ce", "fes": "fe"}
"""Words for the control links of all of a kind."""

MAX_CONTROL_DELAY_MS = 500.0
MAX_DATA_DELAY_MS = 20.0
"""A link's delay and jitter together: packets under way when a fault strikes are lost with it."""

Direction = tuple[str, str]
"""(from, to): names of the ends; `ctl` for the control network."""


class ImpairmentDocument(BaseModel):
    """One entry of `impairments`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    link: Annotated[str, Field(min_length=1, max_length=64)]
    """A data link (fe1-fe2), a CE or FE (its control link), `ces` or `fes` (all of theirs)."""
    towards: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """One end, for one direction only; `ctl` is the control network."""
    rate_mbit: Annotated[float, Field(ge=0.05, le=10_000)] | None = None
    delay_ms: Annotated[float, Field(ge=0, le=MAX_CONTROL_DELAY_MS)] = 0.0
    jitter_ms: Annotated[float, Field(ge=0, le=MAX_CONTROL_DELAY_MS)] = 0.0
    loss_percent: Annotated[float, Field(ge=0, lt=100)] = 0.0

    def value(self) -> Impairment:
        return Impairment(**self.model_dump())


def mistakes(
    topology: Topology, written: Sequence[ImpairmentDocument]
) -> Iterator[tuple[int, str, str]]:
    """(row, field, what is wrong with it), for what a schema cannot know."""
    seen: dict[Direction, int] = {}
    data = {link.name for link in topology.links}
    for row, each in enumerate(written):
        known = [*data, *GROUPS, *(n.name for n in topology.nodes if n.control_address)]
        if each.link not in known:
            yield row, "link", f"topology {topology.name} has no data link, CE or FE {each.link!r}"
            continue
        directions = list(expand(topology, [each.value()]))
        if not directions:
            yield row, "towards", f"{each.link} has no end {each.towards!r}"
        if not (each.rate_mbit or each.delay_ms or each.jitter_ms or each.loss_percent):
            yield row, "link", "impairs nothing: give a rate, a delay, a jitter or a loss"
        if each.jitter_ms > each.delay_ms:
            yield row, "jitter_ms", "is more than delay_ms: nothing arrives before it was sent"
        if each.link in data and each.loss_percent:
            yield (
                row,
                "loss_percent",
                "a data link must not lose packets by itself: the meter could not tell it from"
                " what a fault costs (see the fault link-loss)",
            )
        if each.link in data and each.delay_ms + each.jitter_ms > MAX_DATA_DELAY_MS:
            yield row, "delay_ms", f"a data link has at most {MAX_DATA_DELAY_MS:g} ms with jitter"
        for direction in directions:
            if direction in seen:
                yield row, "link", f"{direction[0]} to {direction[1]} is impaired twice"
            seen[direction] = row


def expand(topology: Topology, impairments: Sequence[Impairment]) -> dict[Direction, Impairment]:
    """Each impaired direction with what impairs it; a later one replaces an earlier one."""
    found: dict[Direction, Impairment] = {}
    for each in impairments:
        for a, b in _links(topology, each.link):
            for direction in ((a, b), (b, a)):
                if each.towards in (None, direction[1]):
                    found[direction] = each
    return found


def _links(topology: Topology, on: str) -> Iterator[Direction]:
    for link in topology.links:
        if link.name == on:
            yield link.a.node, link.b.node
    for node in topology.nodes:
        if node.control_address and on in (node.name, f"{node.kind}s"):
            yield node.name, CONTROL_SWITCH


def one_way_ms(topology: Topology, impairments: Sequence[Impairment], control: bool) -> float:
    """The longest that a frame can be under way for delay and jitter between two elements of the
    control network, or along all data links together."""
    delays = sorted(
        each.delay_ms + each.jitter_ms
        for direction, each in expand(topology, impairments).items()
        if (CONTROL_SWITCH in direction) is control
    )
    return sum(delays[-2:]) if control else sum(delays)
