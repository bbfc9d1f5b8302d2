"""Impaired links in virtual time (topologies/impairments.py): rate, delay, jitter and loss, each
direction alone. A direction's loss comes first, then its delay, then its rate, as in the emulated
lab. A message crosses two control links: its sender's, towards the control network, and its
receiver's, from there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.backend import CellSettings
from lab.simulated.world import NS_PER_MS
from topologies.impairments import CONTROL_SWITCH, Direction, expand
from topologies.model import Impairment, Topology

RATE_LATENCY_MS = 100.0
"""A frame waits this long at most for its turn at a limited rate; then it is dropped."""
PACKET_OCTETS = 80
"""Of Ethernet, IP and transport headers around a message."""
PROBE_OCTETS = 110
"""A probe's frame."""


def impairments_of(topology: Topology, settings: CellSettings) -> Mapping[Direction, Impairment]:
    """What the topology says, and the cell beside it and in its place."""
    return expand(topology, (*topology.impairments, *settings.impairments))


@dataclass(slots=True)
class _Hop:
    what: Impairment
    free_ns: int = 0
    """When what was sent before will have left."""


class ControlLinks:
    """The impaired ones among the control network's links."""

    def __init__(self, topology: Topology, settings: CellSettings) -> None:
        ids = {node.name: node.id for node in topology.nodes}
        self._out: dict[int, _Hop] = {}
        self._in: dict[int, _Hop] = {}
        for (start, end), what in impairments_of(topology, settings).items():
            if end == CONTROL_SWITCH:
                self._out[ids[start]] = _Hop(what)
            elif start == CONTROL_SWITCH:
                self._in[ids[end]] = _Hop(what)

    def __bool__(self) -> bool:
        return bool(self._out or self._in)

    def _hops(self, sender: int, receiver: int) -> Iterator[_Hop]:
        for hop in (self._out.get(sender), self._in.get(receiver)):
            if hop is not None:
                yield hop

    def loss(self, sender: int, receiver: int) -> float:
        """Share of packets that do not get through."""
        passed = 1.0
        for hop in self._hops(sender, receiver):
            passed *= 1.0 - hop.what.loss_percent / 100
        return 1.0 - passed

    def round_trip_ms(self, sender: int, receiver: int) -> float:
        """The longest."""
        ways = (*self._hops(sender, receiver), *self._hops(receiver, sender))
        return sum(hop.what.delay_ms + hop.what.jitter_ms for hop in ways)

    def delay_ns(self, sender: int, receiver: int, rng: random.Random) -> int:
        """Of a packet that is small."""
        delay_ms = 0.0
        for hop in self._hops(sender, receiver):
            what = hop.what
            delay_ms += what.delay_ms + what.jitter_ms * rng.uniform(-1, 1)
        return round(delay_ms * NS_PER_MS)

    def queue(self, sender: int, receiver: int, octets: int, at_ns: int) -> int | None:
        """When a message that comes to the links at `at_ns` has passed their rates; None: dropped,
        for it would have waited too long."""
        for hop in self._hops(sender, receiver):
            rate = hop.what.rate_mbit
            if rate is None:
                continue
            if hop.free_ns - at_ns > RATE_LATENCY_MS * NS_PER_MS:
                return None
            hop.free_ns = max(at_ns, hop.free_ns)
            hop.free_ns += round((octets + PACKET_OCTETS) * 8_000 / rate)
            at_ns = hop.free_ns
        return at_ns


def probe_delays(
    topology: Topology, settings: CellSettings
) -> dict[Direction, tuple[float, float]]:
    """Data link's direction, as names of nodes -> (delay, jitter) of a probe, in us."""
    delays = {}
    for direction, what in impairments_of(topology, settings).items():
        if CONTROL_SWITCH not in direction:
            sending_us = PROBE_OCTETS * 8 / what.rate_mbit if what.rate_mbit else 0.0
            delays[direction] = (what.delay_ms * 1000 + sending_us, what.jitter_ms * 1000)
    return delays
