"""Userland SCTP's packets, sorted by channel (forces/io/lanes.py)."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from forces.channels import Channel
from forces.io.lanes import SHARES, Lanes, lane_of
from forces.io.packet_socket import PacketSocket
from tests.forces.io.tmlkit import loopback_address

DATA, SACK, ABORT, SHUTDOWN = 0, 3, 6, 7
FE_PORT = 50000


def packet(channel: Channel, *chunks: int, from_ce: bool = True, number: int = 0) -> bytes:
    ports = (channel.port, FE_PORT) if from_ce else (FE_PORT, channel.port)
    body = b"".join(struct.pack("!BBHI", kind, 0, 8, number) for kind in chunks)
    return struct.pack("!HHII", *ports, 1, 0) + body


@pytest.mark.parametrize("from_ce", [True, False])
@pytest.mark.parametrize("channel", list(Channel))
def test_a_packet_is_of_the_channel_that_either_port_names(channel: Channel, from_ce: bool) -> None:
    assert lane_of(packet(channel, SACK, DATA, from_ce=from_ce)) is channel


@pytest.mark.parametrize("chunks", [(ABORT,), (SHUTDOWN,), (SACK, SHUTDOWN)])
def test_rfc5811_a_3_the_end_of_a_channel_does_not_overtake_what_came_on_hp(
    chunks: tuple[int, ...],
) -> None:
    lanes = Lanes()
    before = [packet(Channel.HP, DATA, number=n) for n in range(2 * SHARES[Channel.HP])]
    end = packet(Channel.LP, *chunks)
    for each in (*before, end):
        lanes.put("10.0.0.1", each)
    taken = []
    while lanes:
        taken += [each for _, each in lanes.turn()]
    assert taken == [*before, end]


@pytest.mark.parametrize("octets", [b"", bytes(11), bytes(12), packet(Channel.LP) + b"\3\0\0\0"])
def test_any_octets_have_a_lane(octets: bytes) -> None:
    assert lane_of(octets) in Channel


def test_a_backlog_on_hp_keeps_no_other_channel_waiting_and_each_keeps_its_order() -> None:
    lanes = Lanes()
    for number in range(1000):
        lanes.put("10.0.0.1", packet(Channel.HP, DATA, number=number))
    for number in range(3):
        lanes.put("10.0.0.1", packet(Channel.LP, DATA, number=number))
    turn = [(lane_of(each), each[-1]) for _, each in lanes.turn()]
    assert Counter(lane for lane, _ in turn) == {Channel.LP: 3, Channel.HP: SHARES[Channel.HP]}
    for channel, count in ((Channel.LP, 3), (Channel.HP, SHARES[Channel.HP])):
        assert [number for lane, number in turn if lane is channel] == list(range(count))
    assert len(lanes) == 1003 - len(turn)


def test_the_socket_gives_some_of_each_channel_a_turn_until_none_are_left() -> None:
    address = loopback_address()
    here, there = PacketSocket(loopback_address(), udp=True), PacketSocket(address, udp=True)
    sent = [packet(Channel.HP, DATA, number=n) for n in range(300)]
    sent.append(packet(Channel.LP, DATA))
    for each in sent:
        assert here.send(address, each) == 0
    turns: list[list[bytes]] = []
    left = True
    while left:
        turns.append([])
        left = there.receive(lambda address, each: turns[-1].append(each))
    here.close()
    there.close()
    assert sent[-1] in turns[0]
    assert max(map(len, turns)) <= sum(SHARES.values())
    assert sorted(each for turn in turns for each in turn) == sorted(sent)
