"""A recording user, and pairs of transports to try: one suite for all back ends."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from forces.channels import Channel
from forces.events import LossCause
from forces.io.grouping import GroupedTml
from forces.io.select_tml import probe_transports
from forces.io.tml import TmlConfig
from forces.io.tml_memory import MemoryNetwork, MemoryTml
from forces.io.tml_sctp import SctpTml
from forces.io.tml_tcp import TcpTml
from forces.io.tml_usrsctp import UsrsctpTml

CE = 0x40000001
FE = 1
BUDGET_S = 20.0

_addresses = itertools.count(os.getpid() % 20000 * 8)


def loopback_address() -> str:
    """Unused by this process before, and by others at the same time, most likely."""
    number = next(_addresses)
    return f"127.{100 + (number >> 16) % 100}.{number >> 8 & 255}.{1 + number % 254}"


class Recorder:
    """A TmlUser that keeps everything in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.on_received: Callable[[int, Channel, bytes], None] = lambda *_: None

    def peer_up(self, peer: int) -> None:
        self.calls.append(("up", peer))

    def peer_lost(self, peer: int, cause: LossCause, detail: str) -> None:
        self.calls.append(("lost", peer, cause))

    def connect_failed(self, peer: int, cause: LossCause, detail: str) -> None:
        self.calls.append(("failed", peer, cause))

    def received(self, peer: int, channel: Channel, ppid: int, data: bytes) -> None:
        self.calls.append(("received", peer, channel, ppid, data))
        self.on_received(peer, channel, data)

    def writable(self, peer: int) -> None:
        self.calls.append(("writable", peer))

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == kind]


async def until(condition: Callable[[], Any], budget_s: float = BUDGET_S) -> None:
    """Poll; an AssertionError when the budget is used up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_s
    while not condition():
        assert loop.time() < deadline, f"not within {budget_s} s"
        await asyncio.sleep(0.001)


async def never(condition: Callable[[], Any], for_s: float) -> None:
    """The condition stays false for so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + for_s
    while loop.time() < deadline:
        assert not condition()
        await asyncio.sleep(0.002)


def message(size: int, fill: int = 0) -> bytes:
    """`size` octets with a ForCES version and length in front (what the TCP framing needs)."""
    assert size % 4 == 0
    return b"\x10\x0f" + (size // 4).to_bytes(2) + bytes([fill]) * (size - 4)


class Pair:
    """A CE and an FE of one back end, in this process."""

    def __init__(self, backend: str, **changes: Any) -> None:
        self.backend = backend
        self.network = MemoryNetwork()
        self.ce_address, self.fe_address = loopback_address(), loopback_address()
        self.changes = changes
        self.ce_user, self.fe_user = Recorder(), Recorder()
        self.ce = self.make_ce()
        self.fe = self.make_fe()

    def make(self, config: TmlConfig) -> GroupedTml:
        config = replace(config, **self.changes)
        if self.backend == "memory":
            return MemoryTml(self.network, config)
        if self.backend == "tcp":
            return TcpTml(config)
        if self.backend == "sctp":
            return SctpTml(config)
        return UsrsctpTml(config, udp=self.backend == "usrsctp-udp")

    def make_ce(self) -> GroupedTml:
        return self.make(TmlConfig(self.ce_address, {FE: self.fe_address}, listen=True))

    def make_fe(self, address: str = "") -> GroupedTml:
        own = address or self.fe_address
        return self.make(TmlConfig(own, {CE: self.ce_address}, listen=False))

    async def start(self, connect: bool = True) -> None:
        await self.ce.start(self.ce_user)
        await self.fe.start(self.fe_user)
        if connect:
            self.fe.connect(CE)
            await until(lambda: self.ce_user.all("up") and self.fe_user.all("up"))

    async def close(self) -> None:
        await self.fe.close()
        await self.ce.close()


def why_not(backend: str) -> str:
    """Why this back end cannot be tried in this process; empty: it can."""
    return probe_transports().get(backend, "")


def run(coroutine: Any) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))
