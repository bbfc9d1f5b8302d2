"""Rows of the tables that a CE programs, as octets: routing's are packed, and what comes from
elsewhere is held to their size.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from itertools import chain

from ce.alternates import Group
from ce.fe_tables import INDEX_OCTETS, Rows, Table
from ce.lfbs import row, table
from ce.routes import FeRoutes, NextHop, Route, Synthetic, synthetic_network
from forces.errors import ProtocolError, ResultCode

NEXT_HOP_MTU = 1500
MAX_PACKED = 65_536
MAX_SYNTHETIC_PACKED = 16
"""Tables; one for every next hop that an FE of ours may send them all to."""


@lru_cache(maxsize=4096)
def pack_next_hop(hop: NextHop) -> bytes:
    return row(Table.NEXT_HOPS).pack(
        {
            "L3PortID": hop.port,
            "MTU": NEXT_HOP_MTU,
            "NextHopIPAddr": bytes(int(part) for part in hop.gateway.split(".")),
            "MediaEncapInfoIndex": 0,
            "LFBOutputSelectIndex": 0,
        }
    )


def pack_group(group: Group) -> bytes:
    members = {
        0: {"HopSelector": group.primary, "Weight": 1, "Backup": False},
        1: {"HopSelector": group.standby, "Weight": 1, "Backup": True},
    }
    return row(Table.GROUPS).pack({"Members": members})


def pack_route(route: Route) -> bytes:
    group = route.group
    return row(Table.PREFIXES).pack(
        {
            "IPv4Address": route.network.to_bytes(4, "big"),
            "Prefixlen": route.length,
            "ECMPFlag": group is not None,
            "DefaultRouteFlag": route.length == 0,
            "Reserved": 0,
            "HopSelector": route.selector if group is None else group.index,
        }
    )


def hop_selector(contents: bytes) -> int:
    """Of an IPv4PrefixTable row."""
    return int(row(Table.PREFIXES).unpack(contents)["HopSelector"])


def pack_synthetic(synthetic: Synthetic) -> Rows:
    """All of them: they differ in their networks alone."""
    size, count = len(pack_route(synthetic.route(0))), synthetic.count
    octets = bytearray(pack_route(synthetic.route(0)) * count)
    networks = struct.pack(f"!{count}I", *map(synthetic_network, range(count)))
    for place in range(4):  # IPv4Address is a row's first field
        octets[place::size] = networks[place::4]
    rows = chain.from_iterable(struct.iter_unpack(f"{size}s", octets))
    return dict(zip(synthetic.rows, rows, strict=True))


class RowPacker:
    """Packs routing's rows and remembers them: most are the same after a link event."""

    def __init__(self) -> None:
        self._pack_route = lru_cache(MAX_PACKED)(pack_route)
        self._pack_synthetic = lru_cache(MAX_SYNTHETIC_PACKED)(pack_synthetic)

    def pack(self, routes: FeRoutes) -> dict[Table, Rows]:
        synthetic, own = routes.prefixes.synthetic, routes.prefixes.own
        prefixes = {} if synthetic is None else self._pack_synthetic(synthetic).copy()
        prefixes.update((index, self._pack_route(route)) for index, route in own.items())
        next_hops = {index: pack_next_hop(hop) for index, hop in routes.next_hops.items()}
        groups = {index: pack_group(group) for index, group in routes.groups.items()}
        return {Table.NEXT_HOPS: next_hops, Table.GROUPS: groups, Table.PREFIXES: prefixes}


def split_rows(which: Table, contents: bytes) -> Rows:
    """The rows in the contents of a whole table. ProtocolError if they are none."""
    size = row_octets(which)
    if size is None:
        pack = row(which).pack
        return {index: pack(one) for index, one in table(which).unpack(contents).items()}
    if len(contents) % (size + INDEX_OCTETS):
        raise ProtocolError(ResultCode.LENGTH_MISMATCH, f"{table(which).ids}: no whole rows")
    return dict(struct.iter_unpack(f"!I{size}s", contents))


def is_row(which: Table, contents: bytes) -> bool:
    size = row_octets(which)
    if size is not None:
        return len(contents) == size
    try:
        row(which).unpack(contents)
    except ProtocolError:
        return False
    return True


@cache
def row_octets(which: Table) -> int | None:
    """None: rows vary in size."""
    match which:
        case Table.NEXT_HOPS:
            return len(pack_next_hop(NextHop(0, "0.0.0.0")))
        case Table.PREFIXES:
            return len(pack_route(Route(0, 0, 0)))
        case Table.GROUPS:
            return None
