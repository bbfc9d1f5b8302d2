"""The simulated control network: what a transport promises, and how it tells of a loss."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from forces.events import ConnectFailed, Event, LossCause, MessageReceived, PeerLost, PeerUp
from forces.header import Header, MessageType
from forces.messages import Message, TeardownReason, flags_for
from lab.simulated.honesty import Honesty
from lab.simulated.network import Manners, Network
from lab.simulated.world import World

CE1, CE2 = 0x40000001, 0x40000002
MANNERS = Manners(delay_ms=1.0, jitter_ms=0.5)


@dataclass
class Node:
    id: int
    network: Network
    alive: bool = True
    frozen: bool = False
    listens: bool = True
    seen: list[Event] = field(default_factory=list)

    def inject(self, event: Event) -> None:
        self.seen.append(event)

    def knows(self, peer: int) -> bool:
        return True


class Pair:
    """Two CEs that talk to each other (Fr): the network does not ask who is what."""

    def __init__(self, manners: Manners = MANNERS, seed: int = 1) -> None:
        self.world = World(seed)
        self.network = Network(self.world, manners, Honesty(self.world.rng, 1.0))
        self.one, self.other = (Node(ce, self.network) for ce in (CE1, CE2))
        self.network.nodes |= {CE1: self.one, CE2: self.other}

    def join(self) -> None:
        self.network.connect(CE2, CE1)
        self.world.run_ms(20)
        assert self.one.seen == [PeerUp(CE2)]
        assert self.other.seen == [PeerUp(CE1)]
        self.one.seen.clear()
        self.other.seen.clear()

    def say(self, number: int, kind: MessageType = MessageType.ASSOCIATION_TEARDOWN) -> None:
        header = Header(kind, CE2, CE1, number, flags_for(kind))
        reason = None if kind is MessageType.HEARTBEAT else TeardownReason.NORMAL
        self.network.send(CE2, CE1, Message(header, reason=reason))


def _numbers(node: Node) -> list[int]:
    received = [e for e in node.seen if isinstance(e, MessageReceived)]
    return [e.message.header.correlator for e in received]


def test_hp_is_reliable_and_in_order_whatever_is_lost() -> None:
    pair = Pair(replace(MANNERS, loss=0.5, jitter_ms=5.0))
    pair.join()
    for number in range(1, 101):
        pair.say(number)
    pair.world.run_ms(200)
    assert _numbers(pair.one) == list(range(1, 101))


def test_lp_loses() -> None:
    pair = Pair(replace(MANNERS, loss=0.5))
    pair.join()
    for number in range(1, 101):
        pair.say(number, MessageType.HEARTBEAT)
    pair.world.run_ms(200)
    assert 20 < len(_numbers(pair.one)) < 80


@pytest.mark.parametrize(
    ("kernel_closes", "cause"), [(True, LossCause.ABORT), (False, LossCause.ICMP)]
)
def test_a_dead_process_is_told_of_as_its_transport_would(
    kernel_closes: bool, cause: LossCause
) -> None:
    pair = Pair(replace(MANNERS, kernel_closes=kernel_closes))
    pair.join()
    pair.one.alive = False
    pair.network.killed(CE1)
    pair.world.run_ms(20)
    assert pair.other.seen == ([PeerLost(CE1, cause)] if kernel_closes else [])
    pair.say(1)
    pair.world.run_ms(20)
    assert pair.other.seen == [PeerLost(CE1, cause)]


def test_silence_ends_at_the_retransmission_limit() -> None:
    pair = Pair()
    pair.join()
    pair.network.block(CE2, CE1)
    pair.say(1)
    pair.world.run_ms(MANNERS.retransmission_limit_ms - 50)
    assert pair.other.seen == []
    pair.world.run_ms(100)
    assert pair.other.seen == [PeerLost(CE1, LossCause.RETRANSMISSION)]


def test_a_short_cut_only_delays_hp() -> None:
    pair = Pair()
    pair.join()
    pair.network.block(CE2, CE1)
    pair.say(1)
    pair.world.run_ms(300)
    assert _numbers(pair.one) == []
    pair.network.unblock(CE2, CE1)
    pair.world.run_ms(1000)
    assert _numbers(pair.one) == [1]
    assert not [e for e in pair.other.seen if isinstance(e, PeerLost)]


def test_what_is_sent_after_a_cut_does_not_overtake_what_waits() -> None:
    """Seed 202142: a Config of before overtaken by one of after."""
    for seed in range(20):
        pair = Pair(seed=seed)
        pair.join()
        pair.network.block(CE2, CE1)
        pair.say(1)
        pair.say(2)
        pair.world.run_ms(20)
        pair.network.unblock(CE2, CE1)
        for number in range(3, 9):
            pair.say(number)
            pair.world.run_ms(40)
        pair.world.run_ms(300)
        assert _numbers(pair.one) == list(range(1, 9))


def test_a_heartbeat_after_a_cut_waits_for_nothing() -> None:
    pair = Pair()
    pair.join()
    pair.network.block(CE2, CE1)
    pair.say(1, MessageType.HEARTBEAT)
    pair.world.run_ms(20)
    pair.network.unblock(CE2, CE1)
    pair.say(2, MessageType.HEARTBEAT)
    pair.world.run_ms(300)
    assert _numbers(pair.one) == [2]


def test_nobody_answers_a_call_into_silence() -> None:
    pair = Pair()
    pair.network.block(CE1, CE2)
    pair.network.connect(CE2, CE1)
    pair.world.run_ms(MANNERS.connect_timeout_ms + 20)
    assert pair.other.seen == [ConnectFailed(CE1, LossCause.TIMEOUT)]
