"""Packets between ports and CE: the fake and a kernel let the same frames by."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import subprocess
import sys
import time

import pytest

from fe_datapath.config import RedirectConfig
from fe_datapath.datapath import Change, SetForwarding, SetNextHop, SetPort, SetRoute
from fe_datapath.fake import FakeDatapath
from fe_datapath.linux.datapath import LinuxDatapath
from fe_datapath.punting import ExceptionId, rules_of
from tests.datapath.rigs import PORTS, FakeRig, KernelRig, Rig, Session
from tests.fe_datapath import frames

CONFIGS = [
    RedirectConfig(),
    RedirectConfig(protocols=(89, 88, 103)),
    RedirectConfig(protocols=(), ttl_expired=True),
    RedirectConfig(protocols=(89,), for_us=True, ttl_expired=True),
]
FRAMES = [
    frames.ipv4(to, protocol, ttl, body=bytes((number,)) * 20)
    for number, (to, protocol, ttl) in enumerate(
        (to, protocol, ttl)
        for to in ("224.0.0.5", "224.0.1.5", "239.0.0.1", "10.1.0.1", "10.1.0.5", "10.9.9.9")
        for protocol in (89, 88, 17, 103)
        for ttl in (0, 1, 2, 64)
    )
] + [frames.arp(1), frames.arp(2), frames.ether(0x86DD, bytes(60)), frames.ether(0x88CC, b"x" * 50)]
SET_MAC = f"link set fe-eth1 address {frames.PORT_MAC.hex(':')}"
LAST = frames.arp(2, sender="10.1.0.99")
reasons: dict[bytes, int | None] = {}
"""Frame -> the exception that the datapath of the latest `play` named with it."""


class FarEnd:
    """Sends and hears at far1, in the thread that is in its namespace."""

    def __init__(self, rig: Rig) -> None:
        self._fake = rig.fake if isinstance(rig, FakeRig) else None
        if self._fake is None:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.bind(("far1", 0))
            self._socket.setblocking(False)

    def send(self, frame: bytes) -> None:
        if self._fake is not None:
            self._fake.arrive(1, frame)
        else:
            self._socket.send(frame)

    def heard(self, frame: bytes) -> bool:
        if self._fake is not None:
            return (1, frame) in self._fake.injected
        try:
            while True:
                if self._socket.recv(2000) == frame:
                    return True
        except BlockingIOError:
            return False


def redirecting(rig: Rig, config: RedirectConfig) -> FakeDatapath | LinuxDatapath:
    if isinstance(rig, FakeRig):
        rig.fake = FakeDatapath(PORTS, redirect=config)
        return rig.fake
    return LinuxDatapath(PORTS, redirect=config)


def play(rig: Rig, config: RedirectConfig, scenario: object) -> None:
    datapath = redirecting(rig, config)

    async def run() -> None:
        punted: list[tuple[int, bytes]] = []
        session = Session(datapath, lambda port, up: None)

        def heard(port: int, frame: bytes, why: int | None) -> None:
            punted.append((port, frame))
            reasons[frame] = why

        reasons.clear()
        if isinstance(rig, KernelRig):
            session.set_far_end = rig._set_far_end
        await datapath.start(session.heard, heard)
        try:
            await scenario(session, punted, FarEnd(rig))  # type: ignore[operator]
        finally:
            await datapath.close()

    if isinstance(rig, KernelRig):
        rig.namespace.ip(SET_MAC)
        rig.namespace.run(lambda: asyncio.run(run()))
    else:
        asyncio.run(run())


@pytest.mark.parametrize("config", CONFIGS, ids=["ospf", "three", "ttl", "all"])
def test_exactly_what_is_chosen_comes_up(rig: Rig, config: RedirectConfig) -> None:
    rules = rules_of(config, PORTS)[1]

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        for frame in (*FRAMES, LAST):
            far.send(frame)
        await session.until(lambda: (1, LAST) in punted)
        mine = [frame for _, frame in punted if frame in FRAMES]
        assert mine == [frame for frame in FRAMES if rules.exception(frame) is not None]
        assert {port for port, _ in punted} == {1}

    play(rig, config, scenario)


def test_a_packet_of_the_ce_leaves_by_its_port_and_does_not_come_back(rig: Rig) -> None:
    frame = frames.ipv4("224.0.0.5", source="10.1.0.1")

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        session.datapath.inject(1, frame)
        await session.until(lambda: far.heard(frame))
        session.datapath.inject(7, frame)  # no such port
        session.datapath.inject(2, bytes(9000))  # longer than the MTU
        far.send(LAST)
        await session.until(lambda: (1, LAST) in punted)
        assert (1, frame) not in punted

    play(rig, RedirectConfig(), scenario)


def six(to: str, hops: int = 64) -> bytes:
    head = bytes.fromhex("60000000") + (8).to_bytes(2) + bytes((59, hops))
    ends = [ipaddress.IPv6Address(each).packed for each in ("fd00::99", to)]
    return frames.ether(0x86DD, head + b"".join(ends) + bytes(8))


def test_rfc6956_5_3_1_1_what_has_no_route_comes_up_with_its_port(rig: Rig) -> None:
    """As it came in, but for the sender's MAC address; and nothing else."""
    lost = [frames.ipv4("21.0.0.9", 17, ttl) for ttl in (2, 64)] + [six("2001:db9::1")]
    others = [
        frames.ipv4("20.0.0.9", 17, 64),
        frames.ipv4("21.0.0.9", 17, 1),
        frames.ipv4("10.1.0.5", 17, 64),
        frames.ipv4("239.0.0.1", 17, 64),
        six("2001:db8::1"),
        six("2001:db9::1", 1),
        six("ff0e::1"),
    ]
    wanted = [frame[:6] + bytes(6) + frame[12:] for frame in lost]
    config = RedirectConfig(protocols=(), no_route=True)

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        hop, hop6 = SetNextHop(2, 2, "10.1.0.6"), SetNextHop(6, 2, "fe80::6")
        routes: list[Change] = [SetRoute(bytes((20, 0, 0, 0)), 24, 2)]
        routes.append(SetRoute(bytes.fromhex("20010db8") + bytes(12), 32, 6))
        own = SetPort(1, mac=frames.PORT_MAC)
        changes = [own, hop, hop6, *routes, SetForwarding(True)]
        assert await session.datapath.apply(changes, True) == []

        def passes() -> bool:
            far.send(lost[0])
            return bool(punted)

        await session.until(passes)
        for frame in (*others, *lost, LAST):
            far.send(frame)
        await session.until(lambda: {frame for _, frame in punted} >= {*wanted, LAST})
        assert {frame for _, frame in punted} == {*wanted, LAST}
        assert {port for port, _ in punted} == {1}
        assert {reasons[frame] for frame in wanted} == {ExceptionId.LPMLookupFailed}
        # With a route for all that, none of it comes up any more.
        for length in (4, 16):
            default = SetRoute(bytes(length), 0, 2 if length == 4 else 6)
            assert await session.datapath.apply([default], True) == []
        punted.clear()
        for frame in (*others, *lost, LAST):
            far.send(frame)
        await session.until(lambda: (1, LAST) in punted)
        assert punted == [(1, LAST)]

    play(rig, config, scenario)


@pytest.mark.kernel
def test_no_rule_stays_and_only_ours_are_touched(kernel: KernelRig) -> None:
    """Neither of this process, nor of one that was killed."""
    left = [f"{f} rule add iif fe-eth1 lookup 5 pref 40000 proto 200" for f in ("", "-6")]
    kernel.namespace.ip("rule add pref 50 lookup 77 proto 201")
    for one in left:
        subprocess_in(kernel, f"ip {one}")

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        for family in ("-4", "-6"):
            shown = subprocess.run(["ip", family, "rule"], capture_output=True, text=True).stdout
            assert shown.count("proto 200") == len(PORTS)
            assert "lookup 5 " not in shown

    play(kernel, RedirectConfig(no_route=True), scenario)
    for family in ("-4", "-6"):
        assert "proto 200" not in subprocess_in(kernel, f"ip {family} rule")
    assert "lookup 77" in subprocess_in(kernel, "ip rule")


def subprocess_in(kernel: KernelRig, command: str) -> str:
    def run() -> str:
        return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout

    return kernel.namespace.run(run)


@pytest.mark.kernel
def test_ports_that_went_away_and_came_back_are_heard_again(kernel: KernelRig) -> None:
    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        await session.cut(1)
        await session.mend(1)
        FarEnd(kernel).send(LAST)
        await session.until(lambda: (1, LAST) in punted)
        seen = len(session.links)
        subprocess.run(
            ["ip", "-batch", "-"],
            input="link del fe-eth1\nlink add fe-eth1 type veth peer name far1\n" + SET_MAC + "\n"
            "link set far1 up\nlink set fe-eth1 up\n",
            text=True,
            check=True,
        )
        await session.until(
            lambda: (
                any(not state.carrier for state, _ in session.links[seen:])
                and session.links[-1][0].carrier
            )
        )
        again = FarEnd(kernel)
        punted.clear()
        again.send(LAST)
        await session.until(lambda: (1, LAST) in punted)

    play(kernel, RedirectConfig(), scenario)


@pytest.mark.kernel
def test_the_kernel_does_not_answer_a_chosen_protocol_in_the_ces_place(kernel: KernelRig) -> None:
    """Without the silencer it says "protocol unreachable"; one that is not chosen still gets it."""

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        subprocess.run(
            ["ip", "neigh", "replace", "10.1.0.2", "lladdr", frames.NEIGHBOUR.hex(":"), "dev",
             "fe-eth1"], check=True,
        )  # fmt: skip
        answers = []
        for protocol in (89, 88):
            far.send(frames.ipv4("10.1.0.1", protocol, 64))
        deadline = time.monotonic() + 5
        while not answers and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
            try:
                frame = far._socket.recv(2000)
            except BlockingIOError:
                continue
            if frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34:36] == b"\x03\x02":
                answers.append(frame[42 + 9])
        assert answers == [88]

    play(kernel, RedirectConfig(), scenario)


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("far1", 0))
frame = bytes.fromhex(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])
sent = 0
while time.monotonic() < end:
    for _ in range(100):
        try:
            s.send(frame)
            sent += 1
        except OSError:
            pass
print(sent)
"""


@pytest.mark.kernel
@pytest.mark.parametrize("to", ["224.0.0.5", "21.0.0.9"], ids=["protocol", "no route"])
def test_a_storm_is_limited_and_the_event_loop_stays_free(kernel: KernelRig, to: str) -> None:
    config = RedirectConfig(rate_pps=500, burst=50, no_route=True)
    frame = frames.ipv4(to, ttl=64, body=bytes(1000))

    async def scenario(session: Session, punted: list[tuple[int, bytes]], far: FarEnd) -> None:
        assert await session.datapath.apply([SetForwarding(True)], True) == []
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FLOOD, frame.hex(), "1.0", stdout=subprocess.PIPE
        )
        begin, spent = time.monotonic(), time.thread_time()
        sent = int((await flood.communicate())[0])
        lasted, spent = time.monotonic() - begin, time.thread_time() - spent
        assert sent > 20_000, "a storm"
        # The datapath reads ahead of the core's limit by a factor of 2.
        assert len(punted) <= 2 * 500 * lasted + 50 + 1
        assert len(punted) >= 2 * 500 * 0.5, "and is not shut either"
        assert spent < 0.3 * lasted, "most of the FE's time is left for heartbeats and Configs"

    play(kernel, config, scenario)
