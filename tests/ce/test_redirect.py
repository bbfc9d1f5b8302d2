"""Redirect on a CE: images of ports, packets, and the daemons' routes (RFC 6984 scenario 4)."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ce.config import CeConfig
from ce.controller import Controller
from ce.kernel_routes import Interrupted, read_routes
from ce.session import Role
from forces.association import Association
from forces.effects import Effect, FollowPort, InjectPacket, Journal, Send
from forces.events import KernelRoutesRead, PacketPunted
from forces.header import MessageType
from forces.messages import Message
from tests.ce.network import CE1, diamond


def prefixes(core: Controller, fe: int) -> set[str]:
    return {route.prefix for route in core.ne.routes[fe].prefixes.values()}


def test_the_daemons_routes_become_destinations_of_every_fe_and_cease_to_be() -> None:
    core = Controller(replace(diamond(), redirect=True))
    learnt = {"10.50.0.0/24": (4, 3, "10.102.1.77"), "0.0.0.0/0": (1, 3, "10.101.1.66")}
    core.handle(KernelRoutesRead(learnt), 0)
    for fe in (1, 2, 3, 4):
        assert learnt.keys() <= prefixes(core, fe)
    moved = {"10.50.0.0/24": (1, 3, "10.101.1.66")}
    core.handle(KernelRoutesRead(moved), 1)
    for fe in (1, 2, 3, 4):
        assert "0.0.0.0/0" not in prefixes(core, fe)
    hops = core.ne.routes[1]
    (row,) = [r for r in hops.prefixes.values() if r.prefix == "10.50.0.0/24"]
    assert hops.next_hops[row.selector].gateway == "10.101.1.66"
    core.handle(KernelRoutesRead({}), 2)
    assert not prefixes(core, 2) & learnt.keys()


def test_a_route_that_the_configuration_has_is_refused_and_said() -> None:
    core = Controller(replace(diamond(), redirect=True))
    effects = core.handle(KernelRoutesRead({"10.101.1.0/24": (4, 3, "10.102.1.77")}), 0)
    (said,) = [e for e in effects if isinstance(e, Journal)]
    assert said.event == "route_refused"
    assert core.handle(KernelRoutesRead({}), 1) == []


def test_packets_go_down_only_where_the_cable_is_in() -> None:
    core = Controller(replace(diamond(), redirect=True, redirect_burst=5, redirect_pps=10))
    effects: list[Effect] = core.handle(KernelRoutesRead({}), 0)
    followed = {(e.fe, e.port): e.up for e in effects if isinstance(e, FollowPort)}
    assert followed == {(1, 3): False, (4, 3): False}, "edge ports alone"
    assert core.handle(PacketPunted(3, b"x" * 60, 1), 0) == []

    class Stand:
        """What the core asks of a session here."""

        fe, role = 1, Role.MASTER
        association = Association(CE1, 1, 0, None, None)

    core.redirect._sessions = {1: Stand()}  # type: ignore[dict-item]
    core.redirect._followed[1, 3] = True
    sent = []
    for _ in range(100):
        core.redirect.written(PacketPunted(3, b"x" * 60, 1), 0)
    sent = [e for e in core._take() if isinstance(e, Send)]
    assert len(sent) == 5, "the limit"
    message: Message = sent[0].message
    assert (sent[0].peer, message.type) == (1, MessageType.PACKET_REDIRECT)
    assert dict(message.redirects[0].metadata) == {1: b"\0\0\0\3", 14: b"\0\0\0\3"}
    core.redirect.from_fe(1, message)
    assert core._take() == [InjectPacket(3, b"x" * 60, 1)]
    core.redirect.from_fe(4, message)
    assert core._take() == [], "not its master"


def test_a_ce_without_redirect_has_no_images() -> None:
    config: CeConfig = diamond()
    core = Controller(config)
    assert core.handle(KernelRoutesRead({}), 0) == []


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def route(
    prefix: str, *attributes: bytes, protocol: int = 188, table: int = 254, kind: int = 1
) -> bytes:
    address, _, length = prefix.partition("/")
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, table, protocol, 0, kind, 0)
    if int(length):
        body += attribute(1, socket.inet_aton(address))
    body += b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 24, 2, 1, 7) + body


VIA = attribute(4, struct.pack("=i", 9)) + attribute(5, socket.inet_aton("10.1.1.2"))
DONE = struct.pack("=IHHIII", 20, 3, 2, 1, 7, 0)


def test_the_daemons_routes_are_read_from_a_dump() -> None:
    routes: dict[str, tuple[int, str]] = {}
    inner = attribute(5, socket.inet_aton("10.9.9.9"))
    paths = struct.pack("=HBBi", 8 + len(inner), 0, 0, 4) + inner
    assert not read_routes(
        route("10.50.0.0/24", VIA)
        + route("0.0.0.0/0", VIA, protocol=186)
        + route("10.60.0.0/16", attribute(9, paths + paths))
        + route("10.1.0.0/24", VIA, protocol=2)  # the kernel's own
        + route("10.2.0.0/24", VIA, protocol=200)  # an FE's
        + route("10.3.0.0/24", VIA, table=255)
        + route("10.4.0.0/24", VIA, kind=6)
        + route("10.5.0.0/24", attribute(4, struct.pack("=i", 9))),  # connected
        routes,
    )
    assert read_routes(DONE, routes)
    via = (9, "10.1.1.2")
    assert routes == {"10.50.0.0/24": via, "0.0.0.0/0": via, "10.60.0.0/16": (4, "10.9.9.9")}


@pytest.mark.parametrize(
    "datagram",
    [
        struct.pack("=IHHIIi", 20, 2, 0, 1, 7, -16),
        struct.pack("=IHHII", 16, 24, 0x12, 1, 7),
        struct.pack("=IHHII", 8, 24, 2, 1, 7),
        struct.pack("=IHHII", 400, 24, 2, 1, 7),
    ],
)
def test_a_dump_that_is_not_whole_is_told(datagram: bytes) -> None:
    with pytest.raises(Interrupted):
        read_routes(datagram, {})


@given(st.binary(max_size=200))
def test_any_octets_give_routes_or_the_one_error(octets: bytes) -> None:
    for datagram in (octets, struct.pack("=IHHII", 16 + len(octets), 24, 2, 1, 7) + octets):
        try:
            read_routes(datagram, {})
        except Interrupted:
            continue
