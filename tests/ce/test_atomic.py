"""The command `transaction`: routes on three FEs at once or on none, over the memory transport,
live FE cores and their datapaths included (RFC 5810 section 4.3.1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fe_datapath.datapath import SetRoute
from forces.errors import ResultCode
from tests.ce.network import CE1, CE2, diamond
from tests.ce.test_with_elements import Running, running, until

pytestmark = pytest.mark.realtime

PATIENT_MS = 10_000
"""However slow the machine is, no association is lost by silence."""
FES = ("fe1", "fe2", "fe4")
ROUTES = [
    {"prefix": "10.77.0.0/24", "fe": "fe4", "port": 3, "gateway": "10.102.1.10"},
    {"prefix": "10.78.0.0/24", "fe": "fe1", "port": 3, "gateway": "10.101.1.99"},
]
NEW = {(bytes((10, 77, 0, 0)), 24), (bytes((10, 78, 0, 0)), 24)}


def three_fes() -> dict[str, Any]:
    """The diamond without fe3: a line fe1 - fe2 - fe4."""
    base = diamond()
    network = tuple(
        replace(view, ports=tuple(port for port in view.ports if port.neighbor_fe != 3))
        for view in base.network
        if view.id != 3
    )
    fes = tuple(peer for peer in base.fes if peer.id != 3)
    return {"network": network, "fes": fes, "beacon_ms": 0, "fe_dead_ms": PATIENT_MS}


def play(folder: Path, scenario: Callable[[Running], Awaitable[None]], ha_mode: Any = 0) -> None:
    async def run() -> None:
        async with running(ha_mode, folder, **three_fes()) as net:
            await until(lambda: ready(net))
            await scenario(net)

    asyncio.run(run())


def ready(net: Running) -> bool:
    sessions = net.core(CE1).sessions
    return len(sessions) == len(FES) and all(one.ready for one in sessions.values())


def holding(net: Running) -> set[int]:
    """FEs whose datapath has the new routes."""
    have = {fe: NEW & element.datapath.routes().keys() for fe, element in net.fes.items()}
    return {fe for fe, some in have.items() if some}


def nothing_open(net: Running) -> bool:
    return all(len(element.driver.core.configs.two_phase) == 0 for element in net.fes.values())


async def as_before(net: Running) -> None:
    await until(lambda: ready(net) and net.obeyed(CE1))
    assert holding(net) == set()
    assert not net.core(CE1).ne.routing.run_time


def ask(net: Running, **arguments: Any) -> Awaitable[Any]:
    return net.ces[CE1].command("transaction", {"routes": ROUTES, **arguments})


def hold_program(net: Running, fe: int) -> asyncio.Event:
    """This FE's datapath does nothing until the event is set."""
    go, programs = asyncio.Event(), net.fes[fe].driver._programs
    carry_out = programs._program
    assert carry_out is not None

    async def later(*arguments: Any) -> Any:
        await go.wait()
        return await carry_out(*arguments)

    programs._program = later
    return go


def test_rfc5810_4_3_1_2_2_the_command_commits_on_three_fes(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        answer = await ask(net)
        assert answer.error is None
        assert answer.value == {"fes": list(FES), "routes": ["10.77.0.0/24", "10.78.0.0/24"]}
        assert holding(net) == {1, 2, 4}
        assert net.obeyed(CE1)
        await until(lambda: nothing_open(net))  # TRCOMP
        shown = await net.ces[CE1].command("routes", {"fe": "fe2"})
        confirmed = {row["prefix"]: row["confirmed"] for row in shown.value["fe2"]}
        assert confirmed["10.77.0.0/24"] is confirmed["10.78.0.0/24"] is True
        again = await ask(net)
        assert again.error == "route not added: 10.77.0.0/24 is there already"
        assert [e["what"] for e in net.events("ce1", "transaction")] == ["begin", "committed"]

    play(tmp_path, scenario)


@pytest.mark.parametrize("fe", [1, 2, 4])
def test_rfc5810_4_3_1_2_2_what_one_datapath_refuses_no_fe_gets(fe: int, tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        before = net.core(CE1).ne.tables[fe].intended
        net.fes[fe].datapath.fail_next(SetRoute, ResultCode.MEMORY_ERROR)
        answer = await ask(net)
        assert answer.error is not None
        assert answer.error.startswith(f"aborted: fe{fe}: ")
        assert answer.value["unconfirmed"] == []
        assert holding(net) == set()
        await as_before(net)
        assert net.core(CE1).ne.tables[fe].intended == before, "nor a next hop is left"
        assert (await ask(net)).error is None

    play(tmp_path, scenario)


def test_rfc5810_4_3_1_2_2_a_datapath_that_is_not_done_in_time_aborts_it(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        go = hold_program(net, 2)
        answer = await ask(net, timeout_ms=100)
        assert answer.error == "aborted: fe2: no answer in time; not confirmed by fe2"
        assert not holding(net) & {1, 4}
        assert (await ask(net)).error is not None, "fe2 is being taken over anew"
        go.set()
        await as_before(net)
        assert (await ask(net)).error is None

    play(tmp_path, scenario)


def test_rfc5810_4_3_1_2_3_an_fe_that_is_lost_meanwhile_aborts_it(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        hold_program(net, 2)
        asked = asyncio.ensure_future(ask(net))
        await until(lambda: holding(net) == {1, 4})
        net.network.kill("10.255.0.102")
        answer = await asked
        assert answer.error == "aborted: fe2: lost; not confirmed by fe2"
        assert not holding(net) & {1, 4}
        assert not net.core(CE1).ne.routing.run_time

    play(tmp_path, scenario)


def test_a_repair_does_not_wait_for_a_transaction(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        go = hold_program(net, 2)
        asked = asyncio.ensure_future(ask(net, timeout_ms=1500))
        await until(lambda: holding(net) == {1, 4})
        net.fes[4].datapath.set_carrier(1, False)  # fe2 - fe4
        await until(lambda: net.core(CE1).ne.port(4, 1) is False)
        await until(lambda: holding(net) == set())
        assert not asked.done(), "fe2 has not answered"
        go.set()
        answer = await asked
        assert "the network has changed meanwhile" in answer.error
        await as_before(net)

    play(tmp_path, scenario)


def test_only_one_at_a_time_and_no_switch_meanwhile(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        go = hold_program(net, 2)
        first = asyncio.ensure_future(ask(net))
        await until(lambda: holding(net) == {1, 4})
        second = [{**ROUTES[0], "prefix": "10.79.0.0/24"}]
        assert (await ask(net, routes=second)).error == "another transaction is under way"
        switch = await net.ces[CE1].command("switch", {"to": "ce2"})
        assert switch.error == "a transaction is under way"
        go.set()
        assert (await first).error is None

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"routes": None}, "transaction needs routes: a list of objects as `routes` takes them"),
        ({"routes": [1]}, "transaction needs routes: a list of objects as `routes` takes them"),
        ({"routes": []}, "a transaction has 1 to 1000 routes"),
        ({"routes": [{**ROUTES[0], "fe": "fe9"}]}, "unknown FE fe9"),
        (
            {"routes": [{**ROUTES[0], "prefix": "10.77.0.1/24"}]},
            "transaction not begun: 10.77.0.1/24 has host bits set",
        ),
        (
            {"routes": [ROUTES[0], {**ROUTES[1], "port": 9}]},
            "route not added: 10.78.0.0/24: FE 1 has no port 9",
        ),
        ({"timeout_ms": 1501}, "timeout_ms is 10 to 1500"),
        ({"timeout_ms": "x"}, "transaction not begun: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_what_is_not_begun_changes_nothing(
    arguments: dict[str, Any], error: str, tmp_path: Path
) -> None:
    async def scenario(net: Running) -> None:
        before = {fe: tables.intended for fe, tables in net.core(CE1).ne.tables.items()}
        assert (await ask(net, **arguments)).error == error
        assert {fe: t.intended for fe, t in net.core(CE1).ne.tables.items()} == before
        assert net.events("ce1", "transaction") == []

    play(tmp_path, scenario)


def test_a_backup_begins_none(tmp_path: Path) -> None:
    async def scenario(net: Running) -> None:
        await until(lambda: len(net.core(CE2).sessions) == len(FES))
        await until(lambda: all(s.discovered for s in net.core(CE2).sessions.values()))
        answer = await net.ces[CE2].command("transaction", {"routes": ROUTES})
        why = "does not have this CE as its master"
        assert answer.error == "; ".join(f"{fe} {why}" for fe in FES)
        assert not net.core(CE2).ne.routing.run_time

    play(tmp_path, scenario, ha_mode=2)
