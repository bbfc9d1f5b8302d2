"""CE cores and FE cores under their drivers, over the memory transport, on fake datapaths: the
whole route's and failover's way of DESIGN section 13, without a kernel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from ce.config import CeConfig
from ce.controller import Controller
from ce.fe_tables import Table
from ce.lfbs import row
from ce.main import main, other_ces
from fe_datapath.config import CePeer, FeConfig, PortConfig
from fe_datapath.datapath import PortState
from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from fe_datapath.lfbs.family import IPV4
from forces.events import LinkChanged
from forces.io.configured import read_config
from forces.io.driver import Driver
from forces.io.journal import JournalWriter, read_journal
from forces.io.tml import TmlConfig
from forces.io.tml_memory import MemoryNetwork, MemoryTml
from tests.ce.network import CE1, CE2, diamond

pytestmark = pytest.mark.realtime

BUDGET_S = 20.0
ROUTES = 40


async def until(condition: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + BUDGET_S
    while not condition():
        assert loop.time() < end, "not within the budget"
        await asyncio.sleep(0.005)


@dataclass
class Element:
    driver: Driver
    datapath: FakeDatapath


@dataclass
class Running:
    network: MemoryNetwork
    ces: dict[int, Driver]
    fes: dict[int, Element]
    folder: Path

    def core(self, ce: int) -> Controller:
        core = self.ces[ce].core
        assert isinstance(core, Controller)
        return core

    def all_ready(self, ce: int) -> bool:
        sessions = self.core(ce).sessions
        return len(sessions) == 4 and all(one.ready for one in sessions.values())

    def events(self, node: str, event: str) -> list[dict[str, Any]]:
        records = read_journal(self.folder / f"{node}.journal.jsonl")
        return [record for record in records if record["event"] == event]

    def obeyed(self, ce: int) -> bool:
        """The datapaths have what this CE intends, but for the beacon's route."""
        for fe, element in self.fes.items():
            tables = self.core(ce).ne.tables[fe]
            prefixes = map(row(Table.PREFIXES).unpack, tables.intended[Table.PREFIXES].values())
            wanted = {
                (each["IPv4Address"], each["Prefixlen"]): IPV4.target(each) for each in prefixes
            }
            real = {
                key: hop
                for key, hop in element.datapath.routes().items()
                if key[0][:2] not in (b"\xc6\x12", b"\xc6\x13")
            }
            hops = element.datapath.nexthops().keys()
            if real != wanted or hops != tables.intended[Table.NEXT_HOPS].keys():
                return False
            groups = {IPV4.group_id(index) for index in tables.intended[Table.GROUPS]}
            if element.datapath.groups().keys() != groups:
                return False
        return True


@asynccontextmanager
async def running(
    ha_mode: Literal[0, 1, 2], folder: Path, **changes: Any
) -> AsyncIterator[Running]:
    network = MemoryNetwork()
    base = diamond(ha_mode=ha_mode, **{"beacon_ms": 5, "extra_routes": ROUTES, **changes})
    closing: list[Callable[[], Awaitable[None]]] = []

    async def start(core: Any, own: Any, peers: dict[int, str], **more: Any) -> Driver:
        listen = isinstance(core, Controller)
        tml = MemoryTml(network, TmlConfig(own.address, peers, listen))
        journal = JournalWriter(folder / f"{own.name}.journal.jsonl", own.name)
        driver = Driver(core, tml, own_id=own.id, journal=journal, **more)
        await driver.start()
        closing.append(driver.close)
        return driver

    ces = {}
    for peer in base.ces:
        config = replace(base, id=peer.id, name=peer.name, control_address=peer.address)
        addresses = {each.id: each.address for each in (*base.fes, *other_ces(config))}
        ces[peer.id] = await start(Controller(config), peer, addresses)
    fes = {}
    for view, peer in zip(base.network, base.fes, strict=True):
        ports = tuple(
            PortConfig(port.id, f"{view.name}-eth{port.id}", port.address, port.neighbor_fe)
            for port in view.ports
        )
        known = tuple(CePeer(ce.id, ce.name, ce.address) for ce in base.ces)
        fe_config = FeConfig(
            view.id,
            view.name,
            peer.address,
            known,
            ports,
            ha_mode,
            cehdi_ms=base.fe_dead_ms,
        )
        datapath = FakeDatapath(ports)
        drivers: list[Driver] = []

        def on_link(state: PortState, at_ns: int, drivers: list[Driver] = drivers) -> None:
            up = state.admin_up and state.carrier
            for driver in drivers:
                driver.inject(LinkChanged(state.port, up, at_ns))

        await datapath.start(on_link)
        core = ForwardingElement(fe_config, datapath.ports())
        addresses = {ce.id: ce.address for ce in base.ces}
        drivers.append(await start(core, peer, addresses, program=datapath.apply))
        fes[view.id] = Element(drivers[0], datapath)
    try:
        yield Running(network, ces, fes, folder)
    finally:
        for close in reversed(closing):
            await close()


@pytest.mark.parametrize("alternates", [False, True])
@pytest.mark.parametrize(("ha_mode", "kind"), [(1, "cold"), (2, "hot")])
def test_a_killed_master_is_followed_by_one_that_every_fe_obeys(
    ha_mode: Literal[1, 2], kind: str, alternates: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running(ha_mode, tmp_path, alternates=alternates) as net:
            await until(lambda: net.all_ready(CE1))
            if ha_mode == 2:
                await until(lambda: len(net.core(CE2).sessions) == 4)
                await until(lambda: all(s.discovered for s in net.core(CE2).sessions.values()))
            assert net.obeyed(CE1)
            net.network.kill("10.255.0.1")
            await until(lambda: net.all_ready(CE2))
            assert net.obeyed(CE2)
            ready = net.events("ce2", "ready")
            assert {entry["kind"] for entry in ready} == {kind}
            assert all(entry["failed"] == 0 for entry in ready)
            if kind == "hot":
                assert all(entry["rows_written"] == 0 for entry in ready)

    asyncio.run(scenario())


@pytest.mark.parametrize("alternates", [False, True])
def test_a_cut_link_is_routed_around_and_back(alternates: bool, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(0, tmp_path, alternates=alternates) as net:
            await until(lambda: net.all_ready(CE1))
            rows = net.core(CE1).ne.tables[1].intended
            for up in (False, True):
                net.fes[2].datapath.set_carrier(2, up)
                await until(lambda up=up: net.core(CE1).ne.port(2, 2) is up)
                await until(lambda: net.obeyed(CE1))
                assert (net.core(CE1).ne.tables[1].intended == rows) is up

    asyncio.run(scenario())


def test_an_fe_with_an_alternate_goes_on_by_it_when_no_ce_is_left(tmp_path: Path) -> None:
    """RFC 5286: fe1 has two ways to h2, and loses the one that it uses."""

    def way_out(net: Running, prefix: bytes) -> int | None:
        return net.fes[1].datapath.fib.lookup((prefix, 24))

    async def scenario() -> None:
        async with running(0, tmp_path, alternates=True) as net:
            await until(lambda: net.all_ready(CE1))
            assert net.obeyed(CE1)
            net.network.kill("10.255.0.1")
            assert {way_out(net, bytes((10, 102, n, 0))) for n in (1, 2)} == {1, 2}
            net.fes[1].datapath.set_carrier(1, False)
            assert {way_out(net, bytes((10, 102, n, 0))) for n in (1, 2)} == {2}
            assert way_out(net, bytes((20, 0, 0, 0))) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("ha_mode", [1, 2])
def test_a_planned_switch_hands_every_fe_over(ha_mode: Literal[1, 2], tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(ha_mode, tmp_path) as net:
            await until(lambda: net.all_ready(CE1))
            if ha_mode == 2:
                await until(lambda: len(net.core(CE2).sessions) == 4)
            answer = await net.ces[CE1].command("switch", {"to": "ce2"})
            assert answer.error is None
            assert len(answer.value["switched"]) == 4
            await until(lambda: net.all_ready(CE2))
            assert net.obeyed(CE2)

    asyncio.run(scenario())


def test_a_configuration_file_is_read_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "ce1.json"
    file.write_text(json.dumps(asdict(diamond())))
    assert read_config(str(file), CeConfig) == diamond()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "No such file"),
        ("{", "ce1.json: not JSON: Expecting property name"),
        ('{"id": "x"}', "id: Input should be a valid integer"),
    ],
)
def test_a_wrong_configuration_file_is_one_line_and_exit_2(
    content: str | None, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ce1.json"
    if content is not None:
        file.write_text(content)
    assert main([str(file)]) == 2
    printed = capsys.readouterr().err
    assert error in printed
    assert printed.count("\n") == 1
    assert main([]) == 2


def test_a_network_that_cannot_be_routed_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ce1.json"
    config = diamond(destinations=(), extra_routes=5, tml="tcp")
    file.write_text(json.dumps(asdict(config)))
    assert main([str(file)]) == 2
    assert capsys.readouterr().err == "ce1: extra_routes needs a destination to follow\n"
