"""The driver: effects in order, timers, checks on receipt, back-pressure, failing fast."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from forces.channels import Channel
from forces.effects import (
    CancelTimer,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    Journal,
    Program,
    Send,
    SetTimer,
)
from forces.errors import ResultCode
from forces.events import (
    BadMessage,
    Command,
    ConnectFailed,
    Event,
    LinkChanged,
    LossCause,
    MessageReceived,
    PeerLost,
    PeerUp,
    ProgramDone,
    TimerFired,
)
from forces.header import ALL_CES, ALL_ELEMENTS, ALL_FES, MULTICAST_FIRST, Flags, MessageType
from forces.io.driver import EXIT_SOFTWARE
from forces.io.journal import read_journal
from forces.messages import Redirect
from forces.wire import encode
from tests.forces.io.driverkit import Rig, heartbeat, query
from tests.forces.io.tmlkit import CE, FE, Pair, run, until

pytestmark = pytest.mark.realtime


def test_effects_are_carried_out_in_order_and_events_stamped_with_the_clock(tmp_path: Path) -> None:
    def script(event: Event) -> list[Effect]:
        return [
            Connect(CE),
            Send(CE, query(1)),
            Journal("state", {"to": "associated"}),
            Send(CE, heartbeat(FE, CE)),
            Disconnect(CE, abort=True),
        ]

    async def main() -> None:
        rig = Rig(script, tmp_path / "j", clock=lambda: 77)
        await rig.driver.start()
        rig.driver.inject(LinkChanged(1, True, 5))
        assert rig.tml.calls == [("connect", CE), ("disconnect", CE, True)]
        assert rig.tml.sent == [
            (CE, Channel.HP, encode(query(1))),
            (CE, Channel.LP, encode(heartbeat(FE, CE))),
        ]
        assert rig.core.times == [77]
        await rig.driver.close()
        assert rig.tml.calls[-1] == ("close",)

    run(main())
    journal = read_journal(tmp_path / "j")
    assert [line["event"] for line in journal] == ["start", "state", "stop"]
    assert journal[0]["tml"] == "fake"
    assert journal[1] == {"t": 77, "node": "fe1", "event": "state", "to": "associated"}


def test_a_core_that_has_a_start_begins_when_the_transport_is_open() -> None:
    async def main() -> None:
        rig = Rig()
        rig.core.start = lambda now: [Connect(CE)]  # type: ignore[attr-defined]
        await rig.driver.start()
        assert rig.tml.calls == [("connect", CE)]

    run(main())


def test_what_happens_while_the_core_works_waits_its_turn() -> None:
    def script(event: Event) -> list[Effect]:
        return [Send(CE, query(1)), Send(CE, query(2))] if isinstance(event, PeerUp) else []

    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()
        rig.tml.on_send = lambda: rig.driver.peer_lost(CE, LossCause.ICMP, "")
        rig.driver.peer_up(CE)  # ScriptedCore asserts that it is not re-entered
        assert [type(event) for event in rig.core.events] == [PeerUp, PeerLost, PeerLost]
        assert len(rig.tml.sent) == 2

    run(main())


def test_no_event_of_a_peer_follows_its_disconnect_not_even_a_waiting_one() -> None:
    def script(event: Event) -> list[Effect]:
        if isinstance(event, LinkChanged):
            return [Send(CE, query(1)), Disconnect(CE), Connect(CE)]
        return []

    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()

        def meanwhile() -> None:
            rig.driver.peer_lost(CE, LossCause.ICMP, "")
            rig.driver.connect_failed(2, LossCause.TIMEOUT, "")

        rig.tml.on_send = meanwhile
        rig.driver.inject(LinkChanged(1, True, 5))
        assert [type(event) for event in rig.core.events] == [LinkChanged, ConnectFailed]

    run(main())


# Timers


def test_a_timer_fires_once_never_early_and_soon_after_its_time() -> None:
    async def main() -> None:
        at = time.monotonic_ns() + 20_000_000
        rig = Rig(lambda e: [SetTimer("t", at)] if isinstance(e, PeerUp) else [])
        await rig.driver.start()
        rig.driver.peer_up(CE)
        await until(lambda: rig.core.of(TimerFired))
        assert at <= rig.core.times[-1] < at + 500_000_000
        assert rig.core.of(TimerFired) == [TimerFired("t")]

    run(main())


def test_a_timer_is_replaced_by_its_key_and_can_be_cancelled() -> None:
    def script(event: Event) -> list[Effect]:
        if not isinstance(event, PeerUp):
            return []
        now = time.monotonic_ns()
        return [
            SetTimer("replaced", now),
            SetTimer("replaced", now + 10_000_000),
            SetTimer(("cancelled", 1), now),
            CancelTimer(("cancelled", 1)),
            CancelTimer("there is none"),
            SetTimer("in the past", 0),
        ]

    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()
        rig.driver.peer_up(CE)
        await until(lambda: TimerFired("replaced") in rig.core.events)
        fired = [event.key for event in rig.core.of(TimerFired)]
        assert fired == ["in the past", "replaced"]

    run(main())


def test_work_that_a_core_puts_off_lets_other_processes_have_the_core_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slices = 5

    async def main() -> None:
        done: list[Event] = []
        yielded: list[int] = []
        monkeypatch.setattr("os.sched_yield", lambda: yielded.append(len(done)))

        def work(event: Event) -> list[Effect]:
            if isinstance(event, TimerFired) and event.key == "work":
                done.append(event)
            if len(done) == slices:
                return []
            return [SetTimer("work", 0), SetTimer("later", time.monotonic_ns() + 10**12)]

        rig = Rig(work)
        await rig.driver.start()
        rig.driver.inject(LinkChanged(1, True, 5))
        await until(lambda: len(done) == slices)
        assert yielded == list(range(slices)), "before each slice, once"
        await rig.driver.close()

    run(main())


def test_a_timer_cancelled_in_the_turn_in_which_it_is_due_does_not_fire() -> None:
    def script(event: Event) -> list[Effect]:
        if isinstance(event, PeerUp):
            return [SetTimer("one", 0), SetTimer("two", 0)]
        return [CancelTimer("two")] if event == TimerFired("one") else []

    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()
        rig.driver.peer_up(CE)
        await until(lambda: rig.core.of(TimerFired))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.core.of(TimerFired) == [TimerFired("one")]

    run(main())


# Receipt


def received(data: bytes, channel: Channel = Channel.LP, ppid: int = 0, **options: Any) -> Event:
    events: list[Event] = []

    async def main() -> None:
        rig = Rig(**options)
        await rig.driver.start()
        rig.driver.received(CE, channel, ppid or channel.ppid, data)
        events.extend(rig.core.events)

    run(main())
    assert len(events) == 1
    return events[0]


def test_a_good_message_is_handed_over_with_its_size() -> None:
    assert received(encode(heartbeat())) == MessageReceived(CE, Channel.LP, heartbeat(), 24)


@pytest.mark.parametrize("destination", [FE, ALL_FES, ALL_ELEMENTS, MULTICAST_FIRST + 9])
def test_rfc5810_6_1_destinations_that_mean_this_fe(destination: int) -> None:
    event = received(encode(heartbeat(destination=destination)))
    assert isinstance(event, MessageReceived)


@pytest.mark.parametrize("destination", [0, 2, CE, ALL_CES, 0xFFFFFFF5])
def test_rfc5810_6_1_other_destinations_are_refused(destination: int) -> None:
    event = received(encode(heartbeat(destination=destination)))
    assert isinstance(event, BadMessage)
    assert event.error.code is ResultCode.INVALID_DESTINATION_PID


def test_rfc5810_6_1_a_source_that_is_not_the_peer_is_refused() -> None:
    event = received(encode(heartbeat(source=CE + 1)))
    assert isinstance(event, BadMessage)
    assert event.error.code is ResultCode.INVALID_HEADER


@pytest.mark.parametrize(
    ("data", "channel", "ppid", "code"),
    [
        (encode(heartbeat()), Channel.LP, 22, ResultCode.INVALID_HEADER),
        (encode(heartbeat()), Channel.HP, 0, ResultCode.INVALID_MESSAGE_TYPE),
        (encode(heartbeat(priority=3)), Channel.LP, 0, ResultCode.INVALID_FLAGS),
        (encode(query(1, CE, FE)), Channel.LP, 0, ResultCode.INVALID_MESSAGE_TYPE),
    ],
)
def test_rfc5811_4_2_1_a_wrong_channel_ppid_or_priority_is_refused_unless_lenient(
    data: bytes, channel: Channel, ppid: int, code: ResultCode
) -> None:
    event = received(data, channel, ppid)
    assert isinstance(event, BadMessage)
    assert (event.error.code, event.size, event.channel) == (code, len(data), channel)
    assert isinstance(received(data, channel, ppid, strict=False), MessageReceived)


@pytest.mark.parametrize("data", [b"", b"\x10", bytes(24), b"\x10\x0f\xff\xff" + bytes(20)])
def test_octets_that_are_no_message_are_a_bad_message(data: bytes) -> None:
    assert isinstance(received(data), BadMessage)


def test_rfc6984_4_3_the_transport_learns_whose_messages_go_first_when_that_changes() -> None:
    async def main() -> None:
        master: list[int | None] = [None, CE, CE, CE + 1]
        rig = Rig(preferred=lambda: master[min(len(rig.core.events), 3)])
        await rig.driver.start()
        for _ in range(4):
            rig.driver.inject(PeerUp(CE))
        assert rig.tml.calls == [("prefer", CE), ("prefer", CE + 1)]

    run(main())


# Sending


def sending(count: int) -> Any:
    return lambda e: (
        [Send(CE, query(n)) for n in range(1, count + 1)] if isinstance(e, PeerUp) else []
    )


def test_refused_messages_wait_in_order_and_go_when_there_is_room() -> None:
    async def main() -> None:
        rig = Rig(sending(5))
        await rig.driver.start()
        rig.tml.open = False
        rig.driver.peer_up(CE)
        assert rig.tml.sent == []
        rig.tml.open = True
        rig.core.script = lambda _: [Send(CE, query(6)), Send(CE, heartbeat(FE, CE))]
        rig.driver.inject(LinkChanged(1, True, 5))  # a later one does not overtake its channel
        assert [channel for _, channel, _ in rig.tml.sent] == [Channel.LP]
        rig.driver.writable(CE)
        assert [data for _, channel, data in rig.tml.sent if channel is Channel.HP] == [
            encode(query(n)) for n in range(1, 7)
        ]

    run(main())


def test_beyond_the_queue_limit_the_peer_is_disconnected_and_lost(tmp_path: Path) -> None:
    async def main() -> None:
        rig = Rig(sending(5), tmp_path / "j", outbox_limit=100)
        await rig.driver.start()
        rig.tml.open = False
        rig.driver.peer_up(CE)
        assert ("disconnect", CE, True) in rig.tml.calls
        losses = rig.core.of(PeerLost)
        assert [loss.cause for loss in losses] == [LossCause.LOCAL]
        assert "queue limit" in losses[0].detail

    run(main())
    assert "send_failed" in [line["event"] for line in read_journal(tmp_path / "j")]


def test_a_storm_on_lp_abandons_its_oldest_and_costs_neither_hp_nor_the_peer() -> None:
    beats = [heartbeat(FE, CE + n) for n in range(100)]  # 24 octets each, told apart

    async def main() -> None:
        rig = Rig(sending(5), outbox_limit=16 * 24 * 10)
        await rig.driver.start()
        rig.tml.open = False
        rig.driver.peer_up(CE)
        rig.core.script = lambda _: [Send(CE, beat) for beat in beats]
        rig.driver.inject(LinkChanged(1, True, 5))
        assert rig.core.of(PeerLost) == []
        assert rig.driver.counters["abandoned"] == 90
        rig.tml.open = True
        rig.driver.writable(CE)
        assert rig.tml.sent == [
            *((CE, Channel.HP, encode(query(n))) for n in range(1, 6)),
            *((CE, Channel.LP, encode(beat)) for beat in beats[90:]),
        ]
        rig.tml.sent.clear()
        rig.driver.writable(CE)
        assert rig.tml.sent == []

    run(main())


def test_what_waits_for_a_lost_peer_is_not_sent_to_its_successor() -> None:
    async def main() -> None:
        rig = Rig(sending(3))
        await rig.driver.start()
        rig.tml.open = False
        rig.driver.peer_up(CE)
        rig.driver.peer_lost(CE, LossCause.ICMP, "")
        rig.tml.open, rig.core.script = True, lambda _: []
        rig.driver.peer_up(CE)
        rig.driver.writable(CE)
        assert rig.tml.sent == []

    run(main())


def test_a_reliable_message_that_cannot_be_encoded_ends_the_peer_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(query(1), header=replace(query(1).header, source=-1))
    packet = heartbeat(FE, CE)
    redirect = replace(
        packet,
        header=replace(packet.header, type=MessageType.PACKET_REDIRECT, flags=Flags(priority=2)),
        redirects=(Redirect((), bytes(70_000)),) * 4,
    )

    async def main() -> None:
        rig = Rig(lambda e: [Send(CE, redirect)] if isinstance(e, PeerUp) else [], tmp_path / "j")
        await rig.driver.start()
        with caplog.at_level(logging.CRITICAL):
            rig.driver.peer_up(CE)
            assert rig.core.of(PeerLost) == []  # LP promises nothing
            rig.core.script = lambda e: [Send(CE, broken)] if isinstance(e, LinkChanged) else []
            rig.driver.inject(LinkChanged(1, True, 5))
        assert [loss.cause for loss in rig.core.of(PeerLost)] == [LossCause.LOCAL]
        assert rig.driver.counters["unsendable"] == 2
        assert rig.exits == []

    run(main())
    failed = [line for line in read_journal(tmp_path / "j") if line["event"] == "send_failed"]
    assert ["PACKET_REDIRECT" in failed[0]["detail"], "QUERY" in failed[1]["detail"]] == [True] * 2


# Programs


@dataclass(frozen=True)
class Failure:
    index: int
    code: ResultCode
    reason: str


def test_programs_run_one_after_the_other_and_their_failures_come_back() -> None:
    running = 0
    order: list[tuple[Any, ...]] = []

    async def program(changes: Sequence[Any], stop_on_failure: bool) -> Sequence[Failure]:
        nonlocal running
        running += 1
        assert running == 1, "two programs at once"
        await asyncio.sleep(0)
        order.append((*changes, stop_on_failure))
        running -= 1
        return [Failure(1, ResultCode.EXISTS, "is there")] if "b" in changes else []

    def script(event: Event) -> list[Effect]:
        if not isinstance(event, PeerUp):
            return []
        return [Program(7, ("a", "b")), Program(8, ("c",), stop_on_failure=False)]

    async def main() -> None:
        rig = Rig(script, program=program)
        await rig.driver.start()
        rig.driver.peer_up(CE)
        await until(lambda: len(rig.core.of(ProgramDone)) == 2)
        assert rig.core.of(ProgramDone) == [
            ProgramDone(7, {1: "is there"}, {1: ResultCode.EXISTS}),
            ProgramDone(8, {}),
        ]

    run(main())
    assert order == [("a", "b", True), ("c", False)]


# Failing fast


def test_an_exception_of_the_core_is_journalled_with_its_traceback_and_ends_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(event: Event) -> list[Effect]:
        raise KeyError("the bug")

    async def main() -> None:
        rig = Rig(script, tmp_path / "j")
        await rig.driver.start()
        with caplog.at_level(logging.CRITICAL):
            rig.driver.peer_up(CE)
        assert rig.exits == [EXIT_SOFTWARE] == [70]
        rig.driver.peer_up(CE)
        assert len(rig.core.events) == 1, "it went on after a fatal error"

    run(main())
    last = read_journal(tmp_path / "j")[-1]
    assert last["event"] == "internal_error"
    assert "the bug" in last["traceback"]
    assert "the bug" in caplog.text


def test_an_exception_of_the_datapath_ends_the_process_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def program(changes: Sequence[Any], stop_on_failure: bool) -> Sequence[Failure]:
        raise ZeroDivisionError

    async def main() -> None:
        rig = Rig(lambda _: [Program(1, ())], program=program)
        await rig.driver.start()
        rig.driver.peer_up(CE)
        await until(lambda: rig.exits)

    run(main())
    assert "ZeroDivisionError" in caplog.text


# Commands, and the whole of it over a transport


def test_a_command_gets_its_delivery_or_times_out() -> None:
    def script(event: Event) -> list[Effect]:
        assert isinstance(event, Command)
        if event.name == "silent":
            return []
        return [Deliver(event.token, value=dict(event.arguments))]

    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()
        answers = await asyncio.gather(*(rig.driver.command("x", {"n": n}) for n in range(3)))
        assert [answer.value for answer in answers] == [{"n": 0}, {"n": 1}, {"n": 2}]
        with pytest.raises(TimeoutError):
            await rig.driver.command("silent", {}, timeout_s=0.01)

    run(main())


def test_two_drivers_talk_over_the_memory_transport() -> None:
    async def main() -> None:
        pair = Pair("memory")
        ce, fe = Rig(), Rig()
        ce.driver.own_id, ce.driver.tml, fe.driver.tml = CE, pair.ce, pair.fe
        fe.core.start = lambda now: [Connect(CE)]  # type: ignore[attr-defined]
        fe.core.script = lambda e: [Send(CE, heartbeat(FE, CE))] if isinstance(e, PeerUp) else []
        await ce.driver.start()
        await fe.driver.start()
        await until(lambda: ce.core.of(MessageReceived))
        assert ce.core.events == [
            PeerUp(FE),
            MessageReceived(FE, Channel.LP, heartbeat(FE, CE), 24),
        ]
        await fe.driver.close()
        await until(lambda: ce.core.of(PeerLost))
        assert ce.core.of(PeerLost)[0].cause is LossCause.SHUTDOWN
        await ce.driver.close()

    run(main())
