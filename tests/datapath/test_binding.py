"""Ports, neighbours, counters and queues, as any `Datapath` has them: on the fake and a kernel."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    Found,
    Media,
    SetForwarding,
    SetNeighbor,
    SetPort,
    SetRoute,
)
from fe_datapath.punting import checksum
from forces.errors import ResultCode
from tests.datapath.rigs import FakeRig, KernelRig, Rig, Session
from tests.datapath.test_datapath import HOP1, HOP2, NET, done, failed
from tests.fe_datapath import frames

MAC, OTHER = bytes.fromhex("020000000042"), bytes.fromhex("020000000043")
FOUR, SIX = SetNeighbor(1, "10.1.0.2", MAC), SetNeighbor(1, "fd00::2", MAC)
SIX_NET = bytes.fromhex("20010db8") + bytes(12)


def known(session: Session, *neighbors: SetNeighbor) -> bool:
    found = session.datapath.neighbors()
    return all(found.get((n.port, n.address)) == n.mac for n in neighbors)


def test_a_neighbour_is_what_it_was_set_to_until_it_is_deleted(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, FOUR, SIX)
        assert known(session, FOUR, SIX)
        await done(session, replace(FOUR, mac=OTHER))
        assert known(session, replace(FOUR, mac=OTHER), SIX)
        await done(session, DelNeighbor(1, "10.1.0.2"), DelNeighbor(1, "10.1.0.2"))
        assert (1, "10.1.0.2") not in session.datapath.neighbors()
        assert known(session, SIX)
        await done(session, DelNeighbor(9, "10.1.0.2"))

    rig.play(scenario)


def test_what_is_no_neighbour_is_refused(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        for wrong in (
            replace(FOUR, port=9),
            replace(FOUR, address="10.1.0"),
            replace(FOUR, address="224.0.0.5"),
            replace(FOUR, address="0.0.0.0"),
            replace(SIX, address="ff02::5"),
            replace(FOUR, mac=bytes(6)),
            replace(FOUR, mac=b"\1" + MAC[1:]),
            replace(FOUR, mac=MAC[1:]),
        ):
            assert await failed(session, [wrong, SIX], False) == {0: ResultCode.INVALID_PARAMETERS}
        assert known(session, SIX)

    rig.play(scenario)


def test_a_neighbour_outlives_the_carrier_and_not_the_port(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, FOUR, SetNeighbor(2, "10.1.0.6", MAC))
        await session.cut(1)
        assert known(session, FOUR)
        await done(session, SIX)
        await done(session, SetPort(1, admin_up=False))
        assert not {key for key in session.datapath.neighbors() if key[0] == 1}
        await done(session, FOUR)
        assert known(session, FOUR, SetNeighbor(2, "10.1.0.6", MAC))

    rig.play(scenario)


def test_the_next_process_finds_neighbours(rig: Rig) -> None:
    async def first(session: Session) -> None:
        await done(session, FOUR, SIX)

    async def second(session: Session) -> None:
        keys = frozenset({(1, "10.1.0.2"), (1, "fd00::2")})
        assert session.datapath.found() == Found(False, neighbors=keys)

    rig.play(first)
    rig.play(second)


def test_a_neighbour_of_somebody_else_is_not_found(kernel: KernelRig) -> None:
    kernel.namespace.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:07 dev fe-eth1 nud permanent")

    async def scenario(session: Session) -> None:
        assert session.datapath.found() == Found()
        assert known(session, replace(FOUR, mac=bytes.fromhex("020000000007")))

    kernel.play(scenario)


def test_the_mac_address_of_a_port(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, SetPort(1, mac=MAC))
        assert session.datapath.ports()[1].mac == MAC
        await session.until(lambda: any(s.port == 1 and s.mac == MAC for s, _ in session.links))
        for wrong in (bytes(6), b"\1" + MAC[1:], MAC[1:]):
            refused = await failed(session, [SetPort(1, mac=wrong)])
            assert refused == {0: ResultCode.VALUE_OUT_OF_RANGE}
        assert await failed(session, [SetPort(9, mac=MAC)]) == {0: ResultCode.NOT_FOUND}
        assert session.datapath.ports()[1].mac == MAC

    rig.play(scenario)


def test_a_port_whose_media_are_fixed_can_only_be_told_so(rig: Rig) -> None:
    """A veth: it has a speed and nothing to choose from."""

    async def scenario(session: Session) -> None:
        before = session.datapath.ports()[1]
        assert before.media == ()
        assert before.speed_mbit == 10_000
        assert before.full_duplex is True
        await done(session, SetPort(1, media=Media()))
        for media in (Media(100, True), Media(speed_mbit=100), Media(full_duplex=False)):
            refused = await failed(session, [SetPort(1, media=media)])
            assert refused == {0: ResultCode.NOT_SUPPORTED}, media
        assert session.datapath.ports()[1].speed_mbit == 10_000

    rig.play(scenario)


def test_speed_and_duplex_of_a_port_that_can_be_set(kernel: KernelRig) -> None:
    """A tap; a real card has the same calls."""
    kernel.namespace.ip("link del fe-eth1")
    kernel.namespace.ip("tuntap add fe-eth1 mode tap", "link set fe-eth1 up")

    async def scenario(session: Session) -> None:
        await done(session, SetPort(1, media=Media(100, False)))
        port = session.datapath.ports()[1]
        assert (port.speed_mbit, port.full_duplex) == (100, False)
        await done(session, SetPort(1, media=Media(speed_mbit=100_000)))
        port = session.datapath.ports()[1]
        assert (port.speed_mbit, port.full_duplex) == (100_000, False)

    kernel.play(scenario)


# Counters

_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20


class Arriving:
    """Frames come in by port 1, in the thread that is in its namespace."""

    def __init__(self, rig: Rig) -> None:
        self._fake = rig.fake if isinstance(rig, FakeRig) else None
        if self._fake is None:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            # A port that has just come up gets its queueing discipline up to a second later.
            self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            self._socket.bind(("far1", 0))

    def __call__(self, frame: bytes) -> None:
        if self._fake is not None:
            self._fake.arrive(1, frame)
        else:
            self._socket.send(frame)


def ipv4(to: str, ttl: int = 64) -> bytes:
    return frames.ipv4(to, protocol=17, ttl=ttl, body=bytes(40))


def ipv6(to: bytes, hops: int = 64, length: int = 40) -> bytes:
    source = bytes.fromhex("fd00") + bytes(13) + b"\2"
    head = bytes.fromhex("60000000") + length.to_bytes(2) + bytes((59, hops)) + source + to
    return frames.ether(0x86DD, head + bytes(40))


def changed(frame: bytes, offset: int, value: int, repair: bool = False) -> bytes:
    """With another octet in its IPv4 header; `repair`: and the checksum for it."""
    octets = bytearray(frame)
    octets[14 + offset] = value
    if repair:
        octets[24:26] = bytes(2)
        octets[24:26] = checksum(bytes(octets[14:34])).to_bytes(2)
    return bytes(octets)


ROUTED, UNROUTED, OWN, GROUP = "20.0.0.9", "21.0.0.9", "10.1.0.5", "239.1.1.1"
CASES: Sequence[tuple[str, int, bytes, dict[str, int]]] = [
    ("routed", 4, ipv4(ROUTED), {"OutForwDatagrams": 1}),
    ("no route", 4, ipv4(UNROUTED), {"InNoRoutes": 1}),
    ("own", 4, ipv4(OWN), {}),
    ("group", 4, ipv4(GROUP), {}),
    ("ttl 1", 4, ipv4(ROUTED, 1), {"InHdrErrors": 1, "OutTimeExcds": 1}),
    ("ttl 1, no route", 4, ipv4(UNROUTED, 1), {"InNoRoutes": 1}),
    ("ttl 1, own", 4, ipv4(OWN, 1), {}),
    ("checksum", 4, changed(ipv4(ROUTED), 8, 63), {"InCsumErrors": 1, "InHdrErrors": 1}),
    ("version", 4, changed(ipv4(ROUTED), 0, 0x55, True), {"InHdrErrors": 1}),
    ("header", 4, changed(ipv4(ROUTED), 0, 0x44, True), {"InHdrErrors": 1}),
    ("too short", 4, changed(ipv4(ROUTED), 3, 200, True), {"InTruncatedPkts": 1}),
    ("no length", 4, changed(ipv4(ROUTED), 3, 19, True), {"InHdrErrors": 1}),
    ("routed", 6, ipv6(SIX_NET), {"OutForwDatagrams": 1}),
    ("no route", 6, ipv6(b"\x21" + SIX_NET[1:]), {"InNoRoutes": 1}),
    ("hops 1", 6, ipv6(SIX_NET, 1), {"InHdrErrors": 1, "OutTimeExcds": 1}),
    ("version", 6, changed(ipv6(SIX_NET), 0, 0x50), {"InHdrErrors": 1}),
    ("too short", 6, ipv6(SIX_NET, length=200), {"InTruncatedPkts": 1}),
]


@pytest.mark.parametrize(
    ("version", "frame", "expected"),
    [case[1:] for case in CASES],
    ids=[f"ipv{version} {name}" for name, version, *_ in CASES],
)
def test_every_packet_is_counted_as_what_became_of_it(
    rig: Rig, version: int, frame: bytes, expected: dict[str, int]
) -> None:
    if isinstance(rig, KernelRig):
        rig.namespace.ip(
            f"link set fe-eth1 address {frames.PORT_MAC.hex(':')}",
            "addr add fd00::1/64 dev fe-eth1 nodad",
        )
        for far in ("far1", "far2"):  # what these ends say to each other is no packet of ours
            quiet = Path(f"/proc/sys/net/ipv6/conf/{far}/disable_ipv6")
            rig.namespace.run(quiet.write_text, "1")

    async def scenario(session: Session) -> None:
        hop6 = replace(HOP2, id=6, gateway="fe80::6")
        routes: list[Change] = [SetRoute(NET, 24, 2), SetRoute(SIX_NET, 32, 6)]
        await done(session, HOP1, HOP2, hop6, *routes, SetForwarding(True))
        arrives = Arriving(rig)

        def passes() -> bool:
            arrives(ipv4(ROUTED))
            return session.datapath.counters()[4].get("OutForwDatagrams", 0) > 0

        await session.until(passes)
        before = figures(session, version)
        for _ in range(3):
            arrives(frame)
        wanted = {name: before[name] + 3 * n for name, n in expected.items()}
        await session.until(lambda: has(session, version, wanted))
        after = figures(session, version)
        others = {"InNoRoutes", "InTruncatedPkts", "InCsumErrors", "OutForwDatagrams"}
        for name in others - expected.keys():
            assert after[name] == before[name], name

    rig.play(scenario)


def figures(session: Session, version: int) -> dict[str, int]:
    counted = session.datapath.counters()[version]
    names = ("InReceives", "InHdrErrors", "InNoRoutes", "InTruncatedPkts", "InCsumErrors")
    return {name: counted.get(name, 0) for name in (*names, "OutTimeExcds", "OutForwDatagrams")}


def has(session: Session, version: int, wanted: dict[str, int]) -> bool:
    now = figures(session, version)
    return all(now[name] >= value for name, value in wanted.items())


# Queues


def test_on_a_veth_packets_do_not_wait(rig: Rig) -> None:
    async def scenario(session: Session) -> None:
        assert list(session.datapath.queues(1)) == []

    rig.play(scenario)


def queues_with(kernel: KernelRig, *commands: str) -> list[tuple[int, int, int]]:
    """Packets, octets and limit of each queue, after these tc commands and 5 packets that wait."""
    found: list[tuple[int, int, int]] = []

    async def scenario(session: Session) -> None:
        for command in commands:
            subprocess.run(["tc", *command.split()], check=True)
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind(("fe-eth1", 0))
        for _ in range(7):
            sender.send(bytes(12) + b"\x88\xb5" + bytes(986))
        found.extend((q.packets, q.octets, q.limit) for q in session.datapath.queues(1))

    kernel.play(scenario)
    return found


def test_the_queues_are_those_of_the_kernels_disciplines(kernel: KernelRig) -> None:
    """An htb so slow that packets wait: the first goes, or two, at once."""
    found = queues_with(
        kernel,
        "qdisc add dev fe-eth1 root handle 1: htb default 2",
        "class add dev fe-eth1 parent 1: classid 1:1 htb rate 8kbit",
        "class add dev fe-eth1 parent 1: classid 1:2 htb rate 8kbit burst 1000 cburst 1000",
        "qdisc add dev fe-eth1 parent 1:1 pfifo limit 10",
        "qdisc add dev fe-eth1 parent 1:2 bfifo limit 9000",
    )
    assert [limit for *_, limit in found] == [10 * 1514, 9000]
    assert found[0][:2] == (0, 0)
    assert 3 <= found[1][0] <= 7
    assert found[1][1] == 1000 * found[1][0]


def test_a_fifo_is_one_queue(kernel: KernelRig) -> None:
    assert queues_with(kernel, "qdisc add dev fe-eth1 root pfifo limit 20") == [(0, 0, 20 * 1514)]
