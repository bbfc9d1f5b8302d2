"""Mode hot+sync with CE and FE cores under their drivers (docs/ce-ce-sync.md)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ce.controller import Controller
from forces.channels import Channel
from forces.effects import Send, SetTimer
from forces.events import MessageReceived, PeerUp, TimerFired
from forces.header import Header, MessageType
from forces.messages import Message, SetupResult, flags_for
from tests.ce.network import CE1, CE2, diamond
from tests.ce.test_with_elements import Running, running, until

pytestmark = pytest.mark.realtime


def follows(net: Running, ce: int) -> bool:
    fr = net.core(ce).fr
    assert fr is not None
    return all(replica.complete and replica.following for replica in fr.replicas.values())


def settings(sync: str) -> dict[str, Any]:
    """Patient: a busy machine is not what is tested."""
    return {"sync": sync, "fr_heartbeat_ms": 20, "fr_dead_ms": 5000, "fe_dead_ms": 5000}


@pytest.mark.parametrize("alternates", [False, True])
@pytest.mark.parametrize("sync", ["async", "semi"])
def test_a_killed_master_is_followed_without_reading_the_tables(
    sync: str, alternates: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running(2, tmp_path, alternates=alternates, **settings(sync)) as net:
            await until(lambda: net.all_ready(CE1))
            await until(lambda: follows(net, CE2))
            net.network.kill("10.255.0.1")
            await until(lambda: net.all_ready(CE2))
            assert net.obeyed(CE2)
            ready = net.events("ce2", "ready")
            assert {entry["kind"] for entry in ready} == {"sync"}
            assert all(entry["rows_written"] == 0 for entry in ready)
            assert not net.events("ce2", "discovered")

    asyncio.run(scenario())


def test_a_planned_switch_finds_a_replica_that_has_everything_and_goes_back(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with running(2, tmp_path, **settings("async")) as net:
            await until(lambda: net.all_ready(CE1))
            for old, new, name in ((CE1, CE2, "ce2"), (CE2, CE1, "ce1")):
                await until(lambda new=new: follows(net, new))
                answer = await net.ces[old].command("switch", {"to": name})
                assert answer.error is None
                await until(lambda new=new: net.all_ready(new))
                assert net.obeyed(new)
                ready = net.events(name, "ready")[-4:]
                assert {(e["kind"], e["how"]) for e in ready} == {("sync", "handed-over")}
            assert not net.events("ce1", "replica_reset")
            assert not net.events("ce2", "replica_reset")

    asyncio.run(scenario())


def test_a_ce_that_is_not_in_the_list_gets_no_association(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(2, tmp_path, **settings("async")) as net:
            await until(lambda: net.all_ready(CE1))
            stranger = 0x40000007
            kind = MessageType.ASSOCIATION_SETUP
            setup = Message(Header(kind, stranger, CE1, 1, flags_for(kind)))
            core = net.core(CE1)
            effects = core.handle(MessageReceived(stranger, Channel.HP, setup, 24), 0)
            assert [e.message.result for e in effects if isinstance(e, Send)] == [
                SetupResult.PERMISSION_DENIED
            ]
            assert core.fr is not None
            assert set(core.fr.peers) == {CE2}

    asyncio.run(scenario())


def test_a_setup_that_is_never_answered_is_sent_again_and_no_timer_runs_hot() -> None:
    """A timer that is set into the past would keep a CE busy with nothing else."""
    core = Controller(replace(diamond(ha_mode=2, **settings("async")), id=CE2, name="ce2"))
    core.start(0)
    now, setups, fired = 1, 0, 0
    effects = core.handle(PeerUp(CE1), now)
    while now < 4_000_000_000:
        setups += sum(
            isinstance(e, Send) and e.message.type is MessageType.ASSOCIATION_SETUP for e in effects
        )
        due = [e.at_ns for e in effects if isinstance(e, SetTimer) and e.key == ("fr", CE1)]
        assert due, "the association is watched"
        now = max(due[-1], now)
        fired += 1
        assert fired < 1000
        effects = core.handle(TimerFired(("fr", CE1)), now)
    assert setups > 10


def test_a_route_that_was_added_to_a_killed_master_is_wanted_by_the_next_one(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with running(2, tmp_path, **settings("async")) as net:
            await until(lambda: net.all_ready(CE1))
            await until(lambda: follows(net, CE2))
            own = net.core(CE1).config.destinations[-1]
            route = {"prefix": "30.0.0.0/24", "fe": own.fe, "port": own.port}
            answer = await net.ces[CE1].command("routes", {**route, "gateway": own.gateway})
            assert answer.error is None
            await until(lambda: net.obeyed(CE1))
            await until(lambda: "30.0.0.0/24" in net.core(CE2).ne.routing.run_time)
            net.network.kill("10.255.0.1")
            await until(lambda: net.all_ready(CE2))
            assert net.obeyed(CE2)
            assert {e["kind"] for e in net.events("ce2", "ready")} == {"sync"}
            for element in net.fes.values():
                assert any(key[0] == bytes((30, 0, 0, 0)) for key in element.datapath.routes())

    asyncio.run(scenario())
