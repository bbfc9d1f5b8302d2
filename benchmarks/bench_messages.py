"""A small Config all the way: round trips a second of one core.

A CE's Config of one prefix row (RFC 6956 class 10) is encoded, crosses the in-memory transport's
channel to the FE, is decoded and checked as the driver does it, changes the FE's store, and its
ConfigResponse crosses back, is decoded and found by its correlator. The datapath is the fake,
called at once. `store only` is the same Config handed to the FE's core as a value: what the wire
costs is the difference. The reference is a Config of the same octets echoed over the same memory
transport by a peer that does nothing at all.

The value is for a second of one core: the time that the process was running (nothing here ever
waits). `wall` is by the clock on the wall, `best` the best round by it; on a machine that others
use too these tell how busy it was, and the ratio to the reference how much of it is ours.

    python -m benchmarks.bench_messages
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from ce.exchange import Answer, Exchange
from fe_datapath.config import CePeer, FeConfig, PortConfig
from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from forces.association import Association
from forces.channels import Channel
from forces.effects import Connect, Effect, Program, Send
from forces.events import MessageReceived, PeerUp, ProgramDone
from forces.header import MessageType
from forces.io.receiving import read_message
from forces.io.tml import TmlConfig
from forces.io.tml_memory import MemoryNetwork, MemoryTml
from forces.messages import LfbSelect, Message, Operation, OperType, SetupResult, flags_for
from forces.model import library
from forces.paths import FullData, PathData
from forces.wire import encode

CE, FE = 0x40000001, 1
ROUNDS = 7
TRIPS = 2_000
GOAL = 10_000
"""Round trips a second (issue 3)."""

CONFIG = FeConfig(
    id=FE,
    name="fe1",
    control_address="10.255.0.101",
    ces=(CePeer(CE, "ce1", "10.255.0.1"),),
    ports=(PortConfig(1, "fe1-eth1", "10.1.0.1/30"),),
)


def row(number: int, selector: int = 1) -> LfbSelect:
    """SET of one of 256 prefixes; every turn over them changes the next hop."""
    kind = library().cls("IPv4UcastLPM").resolve((1, 1)).type
    value = {
        "IPv4Address": bytes((20, 0, number & 255, 0)),
        "Prefixlen": 24,
        "ECMPFlag": False,
        "DefaultRouteFlag": False,
        "Reserved": 0,
        "HopSelector": selector,
    }
    path = PathData((1, 1 + (number & 255)), content=FullData(kind.pack(value)))
    return LfbSelect(10, 1, (Operation(OperType.SET, (path,)),))


def hop(number: int) -> LfbSelect:
    kind = library().cls("IPv4NextHop").resolve((1, 1)).type
    value = {
        "L3PortID": 1,
        "MTU": 1500,
        "NextHopIPAddr": bytes((10, 1, 0, 2)),
        "MediaEncapInfoIndex": 0,
        "LFBOutputSelectIndex": 0,
    }
    path = PathData((1, number), content=FullData(kind.pack(value)))
    return LfbSelect(12, 1, (Operation(OperType.SET, (path,)),))


class Element:
    """An FE core with the fake datapath, without a driver's loop around it."""

    def __init__(self) -> None:
        self.datapath = FakeDatapath(CONFIG.ports)
        self.core = ForwardingElement(CONFIG, self.datapath.ports())
        self.answers: list[Message] = []
        self.carry_out(self.core.start(1))
        self.carry_out(self.core.handle(PeerUp(CE), 1))
        kind = MessageType.ASSOCIATION_SETUP_RESPONSE
        header = self.answers.pop().header.reply(kind, flags_for(kind))
        self.receive(Message(header, result=SetupResult.SUCCESS), 32)
        self.answers.clear()

    def receive(self, message: Message, size: int) -> None:
        now = time.monotonic_ns()
        self.carry_out(self.core.handle(MessageReceived(CE, Channel.HP, message, size), now))

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.answers.append(effect.message)
            elif isinstance(effect, Program):
                failed = self.datapath.apply_now(effect.changes, effect.stop_on_failure)
                assert not failed
                done = ProgramDone(effect.token, {}, {})
                self.carry_out(self.core.handle(done, time.monotonic_ns()))
            else:
                assert not isinstance(effect, Connect) or effect.peer == CE


class Side:
    """A `TmlUser` that hands octets on."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self.up = asyncio.Event()

    def peer_up(self, peer: int) -> None:
        self.up.set()

    def received(self, peer: int, channel: Channel, ppid: int, data: bytes) -> None:
        if channel is Channel.HP:
            self._received(data)

    def peer_lost(self, peer: int, *_: Any) -> None:
        raise AssertionError("the memory transport lost its peer")

    connect_failed = peer_lost

    def writable(self, peer: int) -> None: ...


async def joined(fe: Side, ce: Side) -> tuple[MemoryTml, MemoryTml]:
    network = MemoryNetwork()
    far = MemoryTml(network, TmlConfig("10.255.0.1", {FE: "10.255.0.101"}, True))
    near = MemoryTml(network, TmlConfig("10.255.0.101", {CE: "10.255.0.1"}, False))
    await far.start(ce)
    await near.start(fe)
    near.connect(CE)
    await asyncio.gather(fe.up.wait(), ce.up.wait())
    return near, far


class Trips:
    """The CE's side: the next Config when the last one's answer has come."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = asyncio.Event()
        self.out: list[Effect] = []
        self.exchange = Exchange(Association(CE, FE, 0, None, None), self.out)
        self.send: Callable[[bytes], object]
        self._rows = itertools.cycle([row(n, 1 + (n >> 8)) for n in range(512)])

    def next(self) -> None:
        now = time.monotonic_ns()
        self.exchange.config((next(self._rows),), now, self._answered)
        effect = self.out.pop()
        assert isinstance(effect, Send)
        self.send(encode(effect.message))

    def received(self, data: bytes) -> None:
        message = read_message(data, Channel.HP, Channel.HP.ppid, FE, CE, True)
        self.exchange.received(message, time.monotonic_ns())

    def _answered(self, answer: Answer, now: int) -> None:
        assert answer.message is not None
        content = answer.message.lfbs[0].operations[0].paths[0].content
        assert content is not None
        assert getattr(content, "ok", False)
        self.left -= 1
        if self.left:
            self.next()
        else:
            self.done.set()


Spent = tuple[float, float]
"""ns of one round trip: of the core, and on the wall."""


def clocks() -> Spent:
    return time.process_time_ns(), time.perf_counter_ns()


def since(begin: Spent, count: int) -> Spent:
    core, wall = clocks()
    return (core - begin[0]) / count, (wall - begin[1]) / count


async def full_ns(count: int) -> Spent:
    """Of one round trip."""
    element, trips = Element(), Trips(count)
    for number in (1, 2):
        element.receive(_config(hop(number)), 64)
    element.answers.clear()

    def at_fe(data: bytes) -> None:
        message = read_message(data, Channel.HP, Channel.HP.ppid, CE, FE, True)
        element.receive(message, len(data))
        near.send(CE, Channel.HP, encode(element.answers.pop()))

    near, far = await joined(Side(at_fe), Side(trips.received))
    trips.send = lambda data: far.send(FE, Channel.HP, data)
    begin = clocks()
    trips.next()
    await trips.done.wait()
    spent = since(begin, count)
    assert element.core.applied >= count
    await near.close()
    await far.close()
    return spent


async def echo_ns(count: int) -> Spent:
    done, left = asyncio.Event(), count
    octets = encode(_config(row(1)))

    def back(data: bytes) -> None:
        nonlocal left
        left -= 1
        if left:
            far.send(FE, Channel.HP, octets)
        else:
            done.set()

    near, far = await joined(
        Side(lambda data: near.send(CE, Channel.HP, data) and None), Side(back)
    )
    begin = clocks()
    far.send(FE, Channel.HP, octets)
    await done.wait()
    spent = since(begin, count)
    await near.close()
    await far.close()
    return spent


def store_ns(count: int) -> Spent:
    element = Element()
    for number in (1, 2):
        element.receive(_config(hop(number)), 64)
    requests = [_config(row(n, 1 + (n >> 8 & 1))) for n in range(count)]
    begin = clocks()
    for request in requests:
        element.receive(request, 76)
    return since(begin, count)


def _config(select: LfbSelect) -> Message:
    out: list[Effect] = []
    exchange = Exchange(Association(CE, FE, 0, None, None), out)
    exchange.config((select,), 0, lambda answer, now: None)
    effect = out.pop()
    assert isinstance(effect, Send)
    return effect.message


def figures() -> Iterator[dict[str, Any]]:
    full, echo, store = [], [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            full.append(asyncio.run(full_ns(TRIPS)))
            echo.append(asyncio.run(echo_ns(TRIPS)))
            store.append(store_ns(TRIPS))
    finally:
        gc.enable()
    yield figure("messages_config_round_trips", full, "echo of the same octets", echo)
    yield figure("messages_config_store_only", store, "echo of the same octets", echo)


def figure(name: str, rounds: list[Spent], reference: str, others: list[Spent]) -> dict[str, Any]:
    """The goal is for the value."""
    value, wall = (1e9 / statistics.median(column) for column in zip(*rounds, strict=True))
    against = 1e9 / statistics.median(core for core, _ in others)
    return {
        "name": name,
        "value": round(value),
        "unit": "round trips/s of one core",
        "wall": round(wall),
        "best": round(1e9 / min(wall for _, wall in rounds)),
        "reference": reference,
        "reference_value": round(against),
        "ratio": round(value / against, 3),
        "goal": GOAL,
        "met": value >= GOAL,
    }


def main() -> None:
    for line in figures():
        print(json.dumps(line))


if __name__ == "__main__":
    main()
