"""Routes of an FE as OpenFlow 1.3 FlowMods: what a router does to a packet, in four actions.

One flow for each prefix: TTL minus one, both MAC addresses, output. Priorities are prefix
lengths, so that the longest match wins. Messages that are sent again and again are built once and
patched, as one would in a controller whose reaction time matters.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ce.config import CeConfig, beacon_prefix
from ce.routing import Routing
from ce.shortest_paths import PortKey

IPV4 = 0x0800
PRIORITY_BASE = 100
BEACON_NETWORK = ("198.18.0.0", "255.254.0.0")
ROUTE_COOKIE = 0x524F
BEACON_COOKIE = 0x42450000
_PLACEHOLDER = "198.18.85.170"

Row = tuple[int, str]
"""(output port, next hop's address)."""
Rows = Mapping[str, Row]
"""Prefix -> where to."""


class Paths:
    """The same shortest paths as the CE's: its own routing, and a row for what an FE's kernel
    reaches by a connected route."""

    def __init__(self, config: CeConfig) -> None:
        self._routing = Routing(config)
        self._config = config
        self._ports = {(fe.id, port.id): port for fe in config.network for port in fe.ports}

    def compute(self, down: frozenset[PortKey]) -> dict[int, Rows]:
        """FE ID -> rows while these ports are down."""
        all_rows: dict[int, Rows] = {}
        for fe, routes in self._routing.compute(down).items():
            rows: dict[str, Row] = {}
            for route in routes.prefixes.values():
                hop = routes.next_hops.get(route.selector)
                if hop is not None:
                    rows[route.prefix] = (hop.port, hop.gateway)
            for each in self._config.destinations:
                if each.fe == fe and each.gateway is None and (fe, each.port) not in down:
                    address = self._ports[fe, each.port].neighbor_address
                    rows[each.prefix] = (each.port, address)
            all_rows[fe] = rows
        return all_rows


class FlowWriter:
    """FlowMods for one switch, as octets."""

    def __init__(self, datapath: Any, macs: Mapping[str, tuple[str, str]], number: int) -> None:
        """`number`: of the controller, it stands in the beacon."""
        self._datapath = datapath
        self._parser, self._ofproto = datapath.ofproto_parser, datapath.ofproto
        self._macs = macs
        self._number = number
        self._sequence = 0
        self._add, self._delete = self._beacon_templates()

    def changes(self, old: Rows, new: Rows) -> Iterator[bytes]:
        """From one table to another; a changed row is replaced in one step."""
        for prefix, row in new.items():
            if old.get(prefix) != row:
                yield self._route(prefix, row)
        for prefix in old:
            if prefix not in new:
                yield self._octets(
                    command=self._ofproto.OFPFC_DELETE_STRICT,
                    priority=_priority(prefix),
                    match=self._match(prefix),
                    out_port=self._ofproto.OFPP_ANY,
                    out_group=self._ofproto.OFPG_ANY,
                )

    def beat(self) -> bytes:
        """The next beacon row, and away with the one before: two changes, one write."""
        destination = struct.pack("!I", beacon_prefix(self._number, self._sequence))
        last = struct.pack("!I", beacon_prefix(self._number, self._sequence - 1))
        first = self._sequence == 0
        self._sequence += 1
        return self._filled(self._add, destination) + (
            b"" if first else self._filled(self._delete, last)
        )

    def forget_beacon(self, of_number: int) -> bytes:
        """Whatever beacon row another controller left."""
        return self._octets(
            command=self._ofproto.OFPFC_DELETE,
            cookie=BEACON_COOKIE | of_number,
            cookie_mask=0xFFFFFFFF,
            match=self._parser.OFPMatch(eth_type=IPV4, ipv4_dst=BEACON_NETWORK),
            out_port=self._ofproto.OFPP_ANY,
            out_group=self._ofproto.OFPG_ANY,
        )

    def barrier(self) -> bytes:
        message = self._parser.OFPBarrierRequest(self._datapath)
        message.serialize()
        return bytes(message.buf)

    def role(self, is_master: bool, generation_id: int) -> bytes:
        wanted = self._ofproto.OFPCR_ROLE_MASTER if is_master else self._ofproto.OFPCR_ROLE_SLAVE
        message = self._parser.OFPRoleRequest(self._datapath, wanted, generation_id)
        message.serialize()
        return bytes(message.buf)

    def _route(self, prefix: str, row: Row) -> bytes:
        return self._octets(
            cookie=ROUTE_COOKIE,
            priority=_priority(prefix),
            match=self._match(prefix),
            instructions=self._forward(row[0]),
        )

    def _forward(self, port: int) -> list[Any]:
        own, neighbour = self._macs[str(port)]
        actions = [
            self._parser.OFPActionDecNwTtl(),
            self._parser.OFPActionSetField(eth_src=own),
            self._parser.OFPActionSetField(eth_dst=neighbour),
            self._parser.OFPActionOutput(port),
        ]
        return [self._parser.OFPInstructionActions(self._ofproto.OFPIT_APPLY_ACTIONS, actions)]

    def _match(self, prefix: str) -> Any:
        network = ipaddress.IPv4Network(prefix)
        if network.prefixlen == 32:
            return self._parser.OFPMatch(eth_type=IPV4, ipv4_dst=str(network.network_address))
        address = (str(network.network_address), str(network.netmask))
        return self._parser.OFPMatch(eth_type=IPV4, ipv4_dst=address)

    def _beacon_templates(self) -> tuple[bytes, bytes]:
        match = self._match(f"{_PLACEHOLDER}/32")
        port = min(map(int, self._macs))
        cookie = BEACON_COOKIE | self._number
        priority = _priority("0.0.0.0/32")
        add = self._octets(
            cookie=cookie, priority=priority, match=match, instructions=self._forward(port)
        )
        delete = self._octets(
            command=self._ofproto.OFPFC_DELETE_STRICT,
            priority=priority,
            match=match,
            out_port=self._ofproto.OFPP_ANY,
            out_group=self._ofproto.OFPG_ANY,
        )
        return add, delete

    @staticmethod
    def _filled(template: bytes, destination: bytes) -> bytes:
        placeholder = ipaddress.IPv4Address(_PLACEHOLDER).packed
        assert template.count(placeholder) == 1, "the address stands once in a template"
        return template.replace(placeholder, destination)

    def _octets(self, **fields: Any) -> bytes:
        message = self._parser.OFPFlowMod(datapath=self._datapath, **fields)
        message.serialize()
        return bytes(message.buf)


def _priority(prefix: str) -> int:
    return PRIORITY_BASE + int(prefix.rpartition("/")[2])
