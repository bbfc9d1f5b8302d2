"""One suite for every transport: what `forces.io.tml` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from forces.channels import Channel
from forces.errors import UsageError
from forces.events import LossCause
from forces.header import MAX_MESSAGE_LENGTH
from forces.io.tml import TmlConfig
from forces.io.tml_memory import MemoryTml
from tests.forces.io.tmlkit import (
    CE,
    FE,
    Pair,
    Recorder,
    loopback_address,
    message,
    never,
    run,
    until,
    why_not,
)

pytestmark = pytest.mark.realtime

Backend = str
SCTP = ("usrsctp", "usrsctp-udp", "sctp")


def skip_unless(backend: Backend) -> Any:
    reason = why_not(backend)
    return pytest.param(backend, marks=pytest.mark.skip(reason=reason) if reason else ())


every_backend = pytest.mark.parametrize(
    "backend", [skip_unless(name) for name in ("memory", "tcp", *SCTP)]
)
every_sctp = pytest.mark.parametrize("backend", [skip_unless(name) for name in SCTP])


def with_pair(
    backend: Backend,
    body: Callable[[Pair], Coroutine[Any, Any, None]],
    connect: bool = True,
    **changes: Any,
) -> None:
    async def main() -> None:
        pair = Pair(backend, **changes)
        await pair.start(connect)
        try:
            await body(pair)
        finally:
            await pair.close()

    run(main())


@every_backend
def test_rfc5811_4_2_the_peer_is_up_once_when_all_three_channels_are(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        await never(lambda: len(pair.ce_user.calls) + len(pair.fe_user.calls) > 2, 0.02)
        assert pair.ce_user.calls == [("up", FE)]
        assert pair.fe_user.calls == [("up", CE)]

    with_pair(backend, body)


@every_backend
@pytest.mark.parametrize("size", [24, 1200, 65536, MAX_MESSAGE_LENGTH])
def test_messages_of_every_size_come_whole_and_unchanged_both_ways(
    backend: Backend, size: int
) -> None:
    async def body(pair: Pair) -> None:
        for channel in Channel:
            assert pair.fe.send(CE, channel, message(size, 1 + channel))
            assert pair.ce.send(FE, channel, message(size, 101 + channel))
        await until(
            lambda: len(pair.ce_user.all("received")) == len(pair.fe_user.all("received")) == 3
        )
        for user, peer, base in ((pair.ce_user, FE, 1), (pair.fe_user, CE, 101)):
            got = sorted(user.all("received"), key=lambda call: call[2])
            assert got == [
                ("received", peer, channel, channel.ppid, message(size, base + channel))
                for channel in Channel
            ]

    # The lifetimes are not what is tested here, and the machine may be busy.
    with_pair(backend, body, mp_lifetime_ms=5000, lp_lifetime_ms=5000)


@every_backend
def test_a_channel_keeps_the_order_of_its_messages(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        sent = [message(24 + 4 * n) for n in range(300)]
        for data in sent:
            assert pair.ce.send(FE, Channel.HP, data)
        await until(lambda: len(pair.fe_user.all("received")) == len(sent))
        assert [call[4] for call in pair.fe_user.all("received")] == sent

    with_pair(backend, body)


@every_backend
def test_rfc5811_4_2_1_what_came_in_one_turn_is_delivered_hp_before_mp_before_lp(
    backend: Backend,
) -> None:
    async def body(pair: Pair) -> None:
        # The worst order on the wire; all of it is there before the loop reads again.
        for channel in (Channel.LP, Channel.MP, Channel.HP) * 3:
            pair.fe.send(CE, channel, message(24))
        await until(lambda: len(pair.ce_user.all("received")) == 9)
        got = [call[2] for call in pair.ce_user.all("received")]
        assert got == sorted(got)

    with_pair(backend, body)


@every_backend
def test_an_ordered_end_delivers_what_was_sent_before_it(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        for channel in Channel:
            pair.fe.send(CE, channel, message(4000, channel))
        pair.fe.disconnect(CE, abort=False)
        await until(lambda: pair.ce_user.all("lost"))
        assert pair.ce_user.calls[-1] == ("lost", FE, LossCause.SHUTDOWN)
        assert ("received", FE, Channel.HP, 21, message(4000, 0)) in pair.ce_user.calls

    with_pair(backend, body)


@every_backend
def test_an_abort_is_told_as_one_and_once(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        pair.ce.disconnect(FE, abort=True)
        await until(lambda: pair.fe_user.all("lost"))
        await never(lambda: len(pair.fe_user.all("lost")) > 1, 0.02)
        assert pair.fe_user.all("lost") == [("lost", CE, LossCause.ABORT)]

    with_pair(backend, body)


@every_backend
def test_disconnect_is_silent_for_the_one_who_asked(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        pair.fe.disconnect(CE, abort=False)
        await until(lambda: pair.ce_user.all("lost"))
        await never(lambda: pair.fe_user.all("lost"), 0.02)
        assert pair.fe.send(CE, Channel.HP, message(24))  # not an error: dropped and counted
        assert pair.fe.counters["sent_to_nobody"] == 1

    with_pair(backend, body)


@every_backend
def test_a_peer_can_come_again_after_a_disconnect(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        for round_number in range(2, 5):
            pair.fe.disconnect(CE, abort=round_number % 2 == 0)
            pair.fe.connect(CE)
            await until(lambda n=round_number: len(pair.fe_user.all("up")) == n)
            await until(lambda n=round_number: len(pair.ce_user.all("up")) == n)
        assert len(pair.ce_user.all("lost")) == 3
        kinds = [call[0] for call in pair.ce_user.calls]
        assert kinds == ["up", "lost"] * 3 + ["up"]
        assert not pair.fe_user.all("lost")

    with_pair(backend, body)


@every_backend
def test_a_new_incarnation_of_a_known_peer_replaces_the_old_one(backend: Backend) -> None:
    """The old process is gone without a word; the new one dials: lost (abort) first, then up."""

    async def body(pair: Pair) -> None:
        # Cut the old incarnation's voice off, so that nothing of its end reaches the CE.
        old = pair.fe
        mute(pair, old)
        pair.fe = pair.make_fe()
        await pair.fe.start(pair.fe_user)
        pair.fe.connect(CE)
        await until(lambda: len(pair.ce_user.all("up")) == 2)
        assert pair.ce_user.calls == [("up", FE), ("lost", FE, LossCause.ABORT), ("up", FE)]
        assert pair.ce.send(FE, Channel.HP, message(24, 7))
        await until(lambda: pair.fe_user.all("received"))

    with_pair(backend, body, connect_timeout_ms=2000)


def mute(pair: Pair, tml: Any) -> None:
    """Take a transport's sockets away without a word to its peers."""
    if pair.backend == "memory":
        pair.network.nodes.pop(pair.fe_address)
        tml.killed = True
    elif pair.backend == "tcp":
        pass  # its old connections simply stay open
    elif pair.backend == "sctp":
        pass
    else:
        asyncio.get_running_loop().remove_reader(tml._packets.fileno())
        tml._packets.close()


@every_backend
def test_a_stranger_is_refused_counted_and_does_not_disturb(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        stranger, user = pair.make_fe(loopback_address()), Recorder()
        await stranger.start(user)
        try:
            stranger.connect(CE)
            await until(lambda: user.all("failed"))
            assert user.all("failed")[0][1] == CE
            assert not user.all("up")
            assert pair.ce.counters["strangers"] >= 1
            assert pair.ce_user.calls == [("up", FE)]
            assert pair.ce.send(FE, Channel.LP, message(24))
            await until(lambda: pair.fe_user.all("received"))
        finally:
            await stranger.close()

    with_pair(backend, body, connect_timeout_ms=100)


@every_backend
def test_a_connect_to_a_host_without_the_process_fails_at_once(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        await pair.ce.close()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        pair.fe.connect(CE)
        await until(lambda: pair.fe_user.all("failed"))
        assert loop.time() - begin < 1.0  # the timeout is 5 s
        cause = pair.fe_user.all("failed")[0][2]
        assert cause in (LossCause.ICMP, LossCause.REFUSED)
        await never(lambda: len(pair.fe_user.calls) > 1, 0.02)

    with_pair(backend, body, connect=False, connect_timeout_ms=5000)


@every_backend
def test_disconnect_ends_a_connect_in_progress_silently(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        pair.fe.connect(CE)
        pair.fe.disconnect(CE, abort=True)
        await never(lambda: pair.fe_user.calls or pair.ce_user.calls, 0.05)

    with_pair(backend, body, connect=False)


@every_backend
def test_a_full_queue_says_false_then_writable(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        data = message(100_000)
        sent = 0
        while pair.ce.send(FE, Channel.HP, data):
            sent += 1
            assert sent < 1000, "no back-pressure"
        assert sent >= 4  # at least two of the longest messages fit
        assert not pair.ce_user.all("writable")
        # Room for something need not be room for this one; then `writable` is said again.
        told = pair.ce_user.all("writable")
        while not pair.ce.send(FE, Channel.HP, data):
            await until(lambda told=told: pair.ce_user.all("writable") != told)
            told = pair.ce_user.all("writable")
        await until(lambda: len(pair.fe_user.all("received")) == sent + 1)
        assert all(call[4] == data for call in pair.fe_user.all("received"))

    with_pair(backend, body, queue_limit=1 << 20)


@every_backend
def test_connect_to_a_peer_without_an_address_is_our_own_mistake(backend: Backend) -> None:
    async def body(pair: Pair) -> None:
        with pytest.raises(UsageError, match="0x00000063"):
            pair.fe.connect(99)

    with_pair(backend, body, connect=False)


@every_backend
def test_a_second_process_at_the_same_address_is_told_so_or_takes_no_harm(
    backend: Backend,
) -> None:
    if backend == "usrsctp":
        pytest.skip("raw sockets do not exclude each other")

    async def body(pair: Pair) -> None:
        with pytest.raises(OSError, match=r"in use|[Aa]ddress"):
            await pair.make_ce().start(Recorder())

    with_pair(backend, body, connect=False)


@every_sctp
def test_rfc5811_4_2_1_4_a_message_that_waits_longer_than_its_lifetime_is_not_delivered(
    backend: Backend,
) -> None:
    """LP and MP are SCTP-PR: hold the peer's packets back, and only HP survives."""
    if backend == "sctp":
        pytest.skip("the kernel's packets cannot be held back from here")

    async def body(pair: Pair) -> None:
        packets = pair.ce._packets  # type: ignore[attr-defined]
        drop, packets.send = packets.send, lambda address, packet: 0
        for channel in Channel:
            pair.ce.send(FE, channel, message(24, 1))
        await asyncio.sleep(0.15)  # the lifetimes of 40 and 80 ms pass: time is what is tested
        packets.send = drop
        for channel in Channel:
            pair.ce.send(FE, channel, message(24, 2))
        await until(lambda: len(pair.fe_user.all("received")) >= 4)
        got = sorted((call[2], call[4][-1]) for call in pair.fe_user.all("received"))
        assert got == [(Channel.HP, 1), (Channel.HP, 2), (Channel.MP, 2), (Channel.LP, 2)]

    with_pair(
        backend, body, lp_lifetime_ms=40, mp_lifetime_ms=80, max_retransmissions=20, rto_max_ms=50
    )


@every_sctp
def test_a_silent_peer_is_lost_by_the_retransmission_limit(backend: Backend) -> None:
    if backend == "sctp":
        pytest.skip("the kernel's packets cannot be held back from here")

    async def body(pair: Pair) -> None:
        pair.fe._packets.send = lambda address, packet: 0  # type: ignore[attr-defined]
        pair.ce.send(FE, Channel.HP, message(24))
        await until(lambda: pair.ce_user.all("lost"))
        assert pair.ce_user.all("lost") == [("lost", FE, LossCause.RETRANSMISSION)]

    with_pair(backend, body, max_retransmissions=2, rto_max_ms=50)


@every_sctp
def test_icmp_ends_an_established_peer_at_once(backend: Backend) -> None:
    """The peer's socket is gone without a word; the next packet brings the host's answer."""
    if backend == "sctp":
        pytest.skip("the kernel closes its associations itself")

    async def body(pair: Pair) -> None:
        mute(pair, pair.fe)
        pair.ce.send(FE, Channel.LP, message(24))
        await until(lambda: pair.ce_user.all("lost"), 1.0)
        assert pair.ce_user.all("lost") == [("lost", FE, LossCause.ICMP)]
        pair.fe = pair.make_fe()
        await pair.fe.start(pair.fe_user)
        pair.fe.connect(CE)
        await until(lambda: len(pair.ce_user.all("up")) == 2)

    with_pair(backend, body, rto_max_ms=2000, max_retransmissions=10, heartbeat_ms=5000)


@every_sctp
def test_rfc9260_5_2_2_a_restart_on_the_same_ports_is_a_loss_and_a_new_peer(
    backend: Backend,
) -> None:
    """The new process happens to use the old one's ports: no new accept, but RESTART."""
    if backend == "sctp":
        pytest.skip("needs a source port of our choice")

    async def body(pair: Pair) -> None:
        old = pair.fe
        ports = {
            channel: link.assoc.ports[0]  # type: ignore[attr-defined]
            for channel, link in old._groups[CE].links.items()
        }
        mute(pair, old)
        for link in list(old._groups[CE].links.values()):
            link.assoc.stack.forget(link.assoc, link.assoc.so)  # type: ignore[attr-defined]
        pair.fe = pair.make_fe()
        await pair.fe.start(pair.fe_user)
        fresh = pair.fe._stack  # type: ignore[attr-defined]
        dial = fresh.dial
        fresh.dial = lambda key, channel, config: dial(key, channel, config, ports[channel])
        try:
            pair.fe.connect(CE)
            await until(lambda: len(pair.ce_user.all("up")) == 2)
        finally:
            del fresh.dial
        assert pair.ce_user.calls == [("up", FE), ("lost", FE, LossCause.ABORT), ("up", FE)]
        pair.fe.send(CE, Channel.MP, message(24, 5))
        await until(lambda: pair.ce_user.all("received"))

    with_pair(backend, body, connect_timeout_ms=3000, mp_lifetime_ms=5000)


def test_tcp_a_length_field_that_cannot_be_ends_the_peer() -> None:
    async def body(pair: Pair) -> None:
        pair.fe.send(CE, Channel.HP, message(24) + b"\x10\x0f\0\2" + bytes(40))
        await until(lambda: pair.ce_user.all("lost"))
        assert [call[0] for call in pair.ce_user.calls] == ["up", "received", "lost"]
        assert pair.ce_user.calls[-1][2] is LossCause.LOCAL

    with_pair("tcp", body)


def test_memory_kill_refuse_drop_and_heal() -> None:
    async def body(pair: Pair) -> None:
        network = pair.network
        network.drop(pair.ce_address, pair.fe_address)
        pair.ce.send(FE, Channel.HP, message(24))
        await never(lambda: pair.fe_user.all("received"), 0.02)
        network.heal(pair.ce_address, pair.fe_address)
        pair.ce.send(FE, Channel.HP, message(24))
        await until(lambda: pair.fe_user.all("received"))
        network.kill(pair.ce_address)
        await until(lambda: pair.fe_user.all("lost"))
        assert pair.fe_user.all("lost") == [("lost", CE, LossCause.ICMP)]
        pair.ce = pair.make_ce()
        await pair.ce.start(pair.ce_user)
        network.refuse(pair.ce_address)
        pair.fe.connect(CE)
        await until(lambda: pair.fe_user.all("failed"))
        assert pair.fe_user.all("failed")[-1][2] is LossCause.REFUSED
        network.refuse(pair.ce_address, False)
        network.drop(pair.ce_address, pair.fe_address)
        pair.fe.connect(CE)
        await until(lambda: len(pair.fe_user.all("failed")) == 2)
        assert pair.fe_user.all("failed")[-1][2] is LossCause.TIMEOUT

    with_pair("memory", body, connect_timeout_ms=50)


def test_two_peers_with_one_address_are_a_wrong_configuration() -> None:
    from forces.io.tml_tcp import TcpTml

    with pytest.raises(UsageError, match="same control address"):
        TcpTml(TmlConfig("127.0.0.1", {1: "127.0.0.2", 2: "127.0.0.2"}, listen=True))


def test_three_channels_over_a_long_way_have_the_patience_of_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    knock = MemoryTml._knock

    def late(tml: MemoryTml, link: Any) -> None:
        tml.loop.call_later(0.04, knock, tml, link)

    monkeypatch.setattr(MemoryTml, "_knock", late)

    async def body(pair: Pair) -> None:
        pair.fe.connect(CE)
        await until(lambda: pair.fe_user.all("up") or pair.fe_user.all("failed"))
        assert pair.fe_user.calls == [("up", CE)]

    with_pair("memory", body, connect=False, connect_timeout_ms=100)
