"""Three channels make one peer: the corners that a well-behaved peer never reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from forces.channels import Channel
from forces.events import LossCause
from forces.io import grouping
from forces.io.tml import TmlConfig
from forces.io.tml_memory import MemoryNetwork, MemoryTml
from forces.io.usrsctp_stack import stack
from tests.forces.io.tmlkit import CE, FE, Pair, Recorder, message, never, run, until, why_not


async def raw_channel(pair: Pair, channel: Channel) -> asyncio.StreamWriter:
    """One channel of the FE, opened by hand."""
    _, writer = await asyncio.open_connection(
        pair.ce_address, channel.port, local_addr=(pair.fe_address, 0)
    )
    return writer


def with_ce(body: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        pair = Pair("tcp")
        await pair.ce.start(pair.ce_user)
        try:
            await body(pair)
        finally:
            await pair.ce.close()

    run(main())


@pytest.mark.parametrize(
    "order",
    [
        (Channel.LP, Channel.MP, Channel.HP),
        (Channel.HP, Channel.LP, Channel.MP),
        (Channel.MP, Channel.HP, Channel.LP),
    ],
)
def test_rfc5811_4_2_2_a_ce_takes_the_channels_in_any_order(order: tuple[Channel, ...]) -> None:
    async def body(pair: Pair) -> None:
        writers = []
        for channel in order:
            assert not pair.ce_user.calls
            writers.append(await raw_channel(pair, channel))
        await until(lambda: pair.ce_user.calls == [("up", FE)])
        writers[0].close()
        await until(lambda: pair.ce_user.all("lost"))
        await never(lambda: len(pair.ce_user.calls) != 2, 0.02)
        for writer in writers:
            writer.close()

    with_ce(body)


def test_what_comes_before_the_third_channel_waits_for_peer_up() -> None:
    async def body(pair: Pair) -> None:
        writers = []
        for channel in (Channel.LP, Channel.MP):
            writer = await raw_channel(pair, channel)
            writer.write(message(24, channel))
            writers.append(writer)
        await never(lambda: pair.ce_user.calls, 0.02)
        writers.append(await raw_channel(pair, Channel.HP))
        await until(lambda: len(pair.ce_user.calls) == 3)
        assert [call[0] for call in pair.ce_user.calls] == ["up", "received", "received"]
        assert [call[2] for call in pair.ce_user.calls[1:]] == [Channel.MP, Channel.LP]
        for writer in writers:
            writer.close()

    with_ce(body)


def test_too_much_before_the_third_channel_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "HELD_LIMIT", 1000)

    async def body(pair: Pair) -> None:
        writer = await raw_channel(pair, Channel.LP)
        writer.write(message(600) * 2)
        await until(lambda: not pair.ce._groups and writer.transport.is_closing())
        assert not pair.ce_user.calls

    with_ce(body)


def test_a_peer_that_opens_only_one_channel_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "HALF_OPEN_S", 0.03)

    async def body(pair: Pair) -> None:
        writer = await raw_channel(pair, Channel.LP)
        await until(lambda: pair.ce.counters["half_open"] == 1)
        await until(lambda: writer.transport.is_closing())
        assert not pair.ce_user.calls

    with_ce(body)


def test_a_half_open_peer_that_starts_anew_is_taken_with_its_new_channels_only() -> None:
    async def body(pair: Pair) -> None:
        old = [await raw_channel(pair, channel) for channel in (Channel.LP, Channel.MP)]
        new = [await raw_channel(pair, channel) for channel in (Channel.LP, Channel.HP)]
        await never(lambda: pair.ce_user.calls, 0.02)  # the old MP is not the new peer's
        new.append(await raw_channel(pair, Channel.MP))
        await until(lambda: pair.ce_user.calls == [("up", FE)])
        for writer in old + new:
            writer.close()

    with_ce(body)


def test_a_thousand_sends_to_a_peer_that_ended_in_this_turn_disturb_nothing() -> None:
    async def main() -> None:
        pair = Pair("memory")
        await pair.start()
        pair.network.kill(pair.ce_address)
        for _ in range(1000):
            assert pair.fe.send(CE, Channel.HP, message(24))
        await until(lambda: pair.fe_user.calls == [("up", CE), ("lost", CE, LossCause.ICMP)])
        await pair.fe.close()

    run(main())


@pytest.mark.skipif(bool(why_not("usrsctp-udp")), reason=why_not("usrsctp-udp"))
def test_a_hundred_reconnections_leave_nothing_behind() -> None:
    async def main() -> None:
        before = len(stack().associations)
        pair = Pair("usrsctp-udp")
        await pair.start()
        for number in range(100):
            pair.fe.disconnect(CE, abort=number % 2 == 0)
            pair.fe.connect(CE)
            await until(lambda n=number: len(pair.ce_user.all("up")) == n + 2)
        await until(lambda: not pair.fe.leaving and not pair.ce.leaving)  # type: ignore[attr-defined]
        assert len(stack().associations) == before + 6
        assert len(pair.ce_user.all("lost")) == 100
        assert not pair.fe_user.all("lost")
        await pair.close()
        assert len(stack().associations) == before

    run(main())


@pytest.mark.parametrize("preferred", [None, CE, CE + 1])
def test_rfc6984_4_3_of_one_turn_the_masters_messages_come_first_on_all_channels(
    preferred: int | None,
) -> None:
    async def main() -> None:
        network, config = MemoryNetwork(), TmlConfig("10.0.0.1", {}, listen=True)
        addresses = {CE: "10.0.0.1", CE + 1: "10.0.0.2"}
        fe = MemoryTml(network, replace(config, local_address="10.0.1.1", peers=addresses))
        ces = [
            MemoryTml(network, replace(config, local_address=address, peers={FE: "10.0.1.1"}))
            for address in addresses.values()
        ]
        user = Recorder()
        await fe.start(user)
        for ce, peer in zip(ces, addresses, strict=True):
            await ce.start(Recorder())
            fe.connect(peer)
        await until(lambda: len(user.all("up")) == 2)
        fe.prefer(preferred)
        for fill in range(2):
            for channel in (Channel.LP, Channel.MP, Channel.HP):
                for ce in ces:
                    ce.send(FE, channel, message(24, fill))
        await until(lambda: len(user.all("received")) == 12)
        got = [(call[1], call[2], call[4][-1]) for call in user.all("received")]
        if preferred is None:
            assert [channel for _, channel, _ in got] == [c for c in Channel for _ in range(4)]
        else:
            assert got == sorted(got, key=lambda one: (one[0] != preferred, one[1], one[2]))
        for tml in (fe, *ces):
            await tml.close()

    run(main())
