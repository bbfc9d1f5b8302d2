"""What routing says of an FE: next hops, groups and prefixes, by the rows that they take.

An IPv4PrefixTable has the destinations of the configuration first, then the synthetic ones; those
that are added while running lie in its upper half.
"""

from __future__ import annotations

import ipaddress
import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ce.alternates import Group
from ce.config import CeConfig

FIRST_DESTINATION_ROW = 2
"""IPv4PrefixTable index of the first destination; BEACON_ROW is below it."""
FIRST_SYNTHETIC_ROW = 1000
FIRST_RUN_TIME_ROW = 0x80000000
MAX_DESTINATIONS = FIRST_SYNTHETIC_ROW - FIRST_DESTINATION_ROW
MAX_SYNTHETIC = 1_000_000  # 20.0.0.0/8 and a little more: far from every other range of the lab
SYNTHETIC_BASE = 0x14000000  # 20.0.0.0
SYNTHETIC_LENGTH = 24


@dataclass(frozen=True, slots=True)
class NextHop:
    port: int
    gateway: str


@dataclass(frozen=True, slots=True)
class Route:
    network: int
    """Address as an integer, host bits zero."""
    length: int
    selector: int
    """HopSelector: index of the next hop."""
    standby: int = 0
    """That of its loop-free alternate; 0: it has none."""

    @property
    def group(self) -> Group | None:
        """What the row points to, if it has an alternate."""
        return Group(self.selector, self.standby) if self.standby else None

    @property
    def prefix(self) -> str:
        return f"{ipaddress.IPv4Address(self.network)}/{self.length}"


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Rows from FIRST_SYNTHETIC_ROW on, all over one next hop: what a hundred thousand rows have in
    common."""

    count: int
    selector: int
    standby: int = 0

    def route(self, number: int) -> Route:
        return Route(synthetic_network(number), SYNTHETIC_LENGTH, self.selector, self.standby)

    @property
    def rows(self) -> range:
        return range(FIRST_SYNTHETIC_ROW, FIRST_SYNTHETIC_ROW + self.count)


def synthetic_network(number: int) -> int:
    return SYNTHETIC_BASE + (number << (32 - SYNTHETIC_LENGTH))


class Prefixes(Mapping[int, Route]):
    """Rows of one prefix table."""

    def __init__(self, own: Mapping[int, Route], synthetic: Synthetic | None) -> None:
        self.own = own
        """But the synthetic ones."""
        self.synthetic = synthetic

    def __getitem__(self, row: int) -> Route:
        if self.synthetic is not None and row in self.synthetic.rows:
            return self.synthetic.route(row - FIRST_SYNTHETIC_ROW)
        return self.own[row]

    def __iter__(self) -> Iterator[int]:
        return itertools.chain(self.own, self.synthetic.rows if self.synthetic else ())

    def __len__(self) -> int:
        return len(self.own) + (self.synthetic.count if self.synthetic else 0)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Prefixes):
            return self.synthetic == other.synthetic and self.own == other.own
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class FeRoutes:
    """One FE's rows by index."""

    next_hops: Mapping[int, NextHop]
    prefixes: Prefixes
    groups: Mapping[int, Group] = field(default_factory=dict)


def last_configured_row(config: CeConfig) -> int:
    """No row of the configuration's is behind it; those that are added while running are."""
    return FIRST_SYNTHETIC_ROW + config.extra_routes - 1


def run_time_row(prefix: str) -> int:
    """Row of a destination that was added while running: from the prefix alone, hence the same on
    every CE that was told of it."""
    return FIRST_RUN_TIME_ROW | zlib.crc32(prefix.encode()) & 0x7FFFFFFF
