"""The two forwarding planes that the suite runs on, each with its far ends in the test's hand.

Ports: 1 = fe-eth1 10.1.0.1/30 (far end 10.1.0.2), 2 = fe-eth2 10.1.0.5/30 (far end 10.1.0.6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from fe_datapath.config import PortConfig
from fe_datapath.datapath import Datapath, PortState
from fe_datapath.fake import FakeDatapath
from fe_datapath.linux.datapath import LinuxDatapath
from tests.datapath.namespaces import Namespace, ip_batch

PORTS = (
    PortConfig(id=1, interface="fe-eth1", address="10.1.0.1/30"),
    PortConfig(id=2, interface="fe-eth2", address="10.1.0.5/30"),
)
GATEWAYS = {1: "10.1.0.2", 2: "10.1.0.6"}
BUDGET_S = 20.0

Links = list[tuple[PortState, int]]
Scenario = Callable[["Session"], Awaitable[None]]


class Session:
    """A started datapath, and what its listener was told."""

    def __init__(self, datapath: Datapath, set_far_end: Callable[[int, bool], None]) -> None:
        self.datapath = datapath
        self.set_far_end = set_far_end
        self.links: Links = []

    def heard(self, state: PortState, at_ns: int) -> None:
        self.links.append((state, at_ns))

    async def until(self, condition: Callable[[], bool], budget_s: float = BUDGET_S) -> None:
        """Let the event loop run until something is so."""
        deadline = time.monotonic() + budget_s
        while not condition():
            assert time.monotonic() < deadline, f"not so within {budget_s} s"
            await asyncio.sleep(0.001)

    async def cut(self, port: int) -> None:
        """Take the carrier away, and wait until the datapath knows."""
        await self._carrier(port, False)

    async def mend(self, port: int) -> None:
        await self._carrier(port, True)

    async def _carrier(self, port: int, up: bool) -> None:
        seen = len(self.links)
        self.set_far_end(port, up)
        await self.until(
            lambda: any(s.port == port and s.carrier is up for s, _ in self.links[seen:])
        )


class Rig(Protocol):
    """One forwarding plane. `play` starts a datapath on it and lets it end afterwards."""

    def play(self, scenario: Scenario) -> None: ...

    def close(self) -> None: ...


class FakeRig:
    def __init__(self) -> None:
        self.fake = FakeDatapath(PORTS)

    def play(self, scenario: Scenario) -> None:
        session = Session(self.fake, lambda port, up: self.fake.set_carrier(port, up))
        asyncio.run(_play(session, scenario))

    def close(self) -> None:
        pass


class KernelRig:
    """fe-eth1 <-> far1 and fe-eth2 <-> far2, all in one namespace."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        commands = []
        for port in PORTS:
            commands += [
                f"link add {port.interface} type veth peer name far{port.id}",
                f"addr add {port.address} dev {port.interface}",
                f"link set far{port.id} up",
                f"link set {port.interface} up",
            ]
        self.namespace.ip(*commands)

    def play(self, scenario: Scenario) -> None:
        def there() -> None:
            session = Session(LinuxDatapath(PORTS), self._set_far_end)
            asyncio.run(_play(session, scenario))

        self.namespace.run(there)

    @staticmethod
    def _set_far_end(port: int, up: bool) -> None:
        """In the namespace's own thread, where the scenario runs."""
        ip_batch(f"link set far{port} {'up' if up else 'down'}")

    def close(self) -> None:
        self.namespace.close()


async def _play(session: Session, scenario: Scenario) -> None:
    await session.datapath.start(session.heard)
    try:
        await scenario(session)
    finally:
        await session.datapath.close()
