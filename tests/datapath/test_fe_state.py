"""FEState on a real kernel (RFC 5812 section 5.1): it stops both address families at once, and they
come back the same way. A packet that is sent after the FE's answer does not pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from fe_datapath.linux.datapath import LinuxDatapath
from forces.errors import ResultCode as C
from forces.events import LossCause
from tests.datapath.chain import CHAIN_PORTS, Chain, Traffic
from tests.datapath.rigs import Session
from tests.datapath.test_fe_on_kernel import KernelFe
from tests.fe_datapath.rig import CE1, CE2, CE3, hop, set_value

pytestmark = pytest.mark.kernel

ADMIN_DISABLE, OPER_ENABLE = 0, 2
COUNT = 60
"""Packets of each family that are looked at."""


@pytest.fixture
def chain() -> Iterator[Chain]:
    made = Chain()
    yield made
    made.close()


def rows() -> list[object]:
    six = bytes.fromhex("fd01") + bytes(13) + b"\2"
    hops = [("IPv4NextHop", "IPv4NextHopTable", bytes((10, 1, 0, 2)))]
    hops.append(("IPv6NextHop", "IPv6NextHopTable", six))
    prefixes = [("IPv4UcastLPM", "IPv4PrefixTable", "IPv4Address", bytes((10, 3, 0, 10)))]
    far = bytes.fromhex("fd03") + bytes(13) + b"\x10"
    prefixes.append(("IPv6UcastLPM", "IPv6PrefixTable", "IPv6Address", far))
    made: list[object] = [
        set_value(lfb, table, 1, value=hop(1) | {"NextHopIPAddr": gateway})
        for lfb, table, gateway in hops
    ]
    for lfb, table, name, address in prefixes:
        row = {
            name: address,
            "Prefixlen": 8 * len(address),
            "ECMPFlag": False,
            "DefaultRouteFlag": False,
            "Reserved": 0,
            "HopSelector": 1,
        }
        made.append(set_value(lfb, table, 1, value=row))
    return made


Scenario = Callable[[KernelFe, tuple[Traffic, Traffic]], Awaitable[None]]


def play(chain: Chain, scenario: Scenario) -> tuple[Traffic, Traffic]:
    """Traffic of both families, when it has ended."""
    traffic = Traffic(chain), Traffic(chain, "fd03::10")

    async def all_of_it() -> None:
        session = Session(LinuxDatapath(CHAIN_PORTS), lambda port, up: None)
        await session.datapath.start(session.heard)
        try:
            fe = KernelFe(session)
            await fe.follow()
            fe.rig.associate(CE1)
            await fe.follow()
            assert set(await fe.config(*rows())) == {C.SUCCESS}  # type: ignore[arg-type]
            for each in traffic:
                await each.flows()
            await scenario(fe, traffic)
        finally:
            await session.datapath.close()

    try:
        chain.fe.run(lambda: asyncio.run(all_of_it()))
    finally:
        for each in traffic:
            each.end(patience_s=0.3)
    return traffic


def passed(traffic: Traffic, first: int, count: int) -> int:
    return len(traffic.got & set(range(first, first + count)))


async def sent(traffic: tuple[Traffic, Traffic]) -> list[int]:
    """The first of `COUNT` packets of each, sent from now on."""
    return [await each.after(COUNT) for each in traffic]


def test_rfc5812_5_1_admin_disable_stops_both_families_and_oper_enable_starts_both(
    chain: Chain,
) -> None:
    off: list[list[int]] = []
    on: list[list[int]] = []

    async def scenario(fe: KernelFe, traffic: tuple[Traffic, Traffic]) -> None:
        before = dict(fe.datapath.routes())
        for _ in range(3):
            assert await fe.config(set_value("FEObject", "FEState", value=ADMIN_DISABLE)) == [
                C.SUCCESS
            ]
            off.append(await sent(traffic))
            assert fe.datapath.routes() == before, "only forwarding is switched"
            assert await fe.config(set_value("FEObject", "FEState", value=OPER_ENABLE)) == [
                C.SUCCESS
            ]
            on.append(await sent(traffic))

    for number, each in enumerate(play(chain, scenario)):
        for first in off:
            assert passed(each, first[number] + 1, COUNT - 1) == 0  # that one may be on its way
        for first in on:
            assert passed(each, first[number] + 1, COUNT - 1) == COUNT - 1


def test_rfc7121_2_1_1_oper_disable_stops_both_families_and_takes_the_routes_away(
    chain: Chain,
) -> None:
    """CEFailoverPolicy 0: the last CE is lost."""
    on: list[int] = []
    off: list[int] = []

    async def scenario(fe: KernelFe, traffic: tuple[Traffic, Traffic]) -> None:
        on.extend(await sent(traffic))
        assert await fe.config(set_value("FEPO", "CEFailoverPolicy", value=0)) == [C.SUCCESS]
        for ce in (CE1, CE2, CE3):
            fe.rig.lose(ce, LossCause.ABORT)
        await fe.follow()
        off.extend(await sent(traffic))
        assert fe.datapath.routes() == {}
        assert fe.datapath.nexthops() == {}

    for number, each in enumerate(play(chain, scenario)):
        assert passed(each, on[number], COUNT) == COUNT
        assert passed(each, off[number] + 1, COUNT - 1) == 0
