"""What a router's process reads of the kernel, and the beacon's messages."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from lab.emulated.meters.beacon_listener import beacon_changes
from lab.emulated.meters.beacon_record import BEACON_NETWORK
from lab.frr.beacon import NUMBERS, is_beat, message
from lab.frr.configuration import OSPF_PROTOCOL
from lab.frr.routes import parse
from lab.frr.tables import kernel_rows, zebra_rows

NEW, DELETE = 24, 25


def notice(kind: int, destination: str, bits: int, protocol: int) -> bytes:
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, bits, 0, 0, 254, protocol, 0, 1, 0)
    body += struct.pack("=HH", 8, 1) + socket.inet_aton(destination)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_only_what_zebra_did_for_ospf_counts() -> None:
    datagram = (
        notice(NEW, "10.102.1.0", 24, OSPF_PROTOCOL)
        + notice(NEW, "10.1.1.0", 30, 2)
        + notice(DELETE, "20.0.0.0", 24, OSPF_PROTOCOL)
    )
    assert list(parse(datagram)) == [(True, "10.102.1.0/24"), (False, "20.0.0.0/24")]


@given(st.binary(max_size=200))
def test_any_octets_are_read_without_an_exception(octets: bytes) -> None:
    list(parse(octets))
    beacon_changes(octets, OSPF_PROTOCOL)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_notice_that_is_cut_off_or_changed_is_read_without_an_exception(
    length: int, octet: int
) -> None:
    datagram = bytearray(notice(NEW, "198.18.0.1", 32, OSPF_PROTOCOL) * 3)
    datagram[length % len(datagram)] = octet
    for cut in (bytes(datagram), bytes(datagram[:length])):
        list(parse(cut))
        beacon_changes(cut, OSPF_PROTOCOL)


def test_the_listener_takes_the_beats_that_came_by_ospf_and_not_those_given_to_it() -> None:
    given_to_it = message(NEW, BEACON_NETWORK + 7)
    learnt = notice(NEW, "198.18.0.7", 32, OSPF_PROTOCOL)
    assert beacon_changes(given_to_it) == [(True, BEACON_NETWORK + 7)]
    assert beacon_changes(given_to_it, OSPF_PROTOCOL) == []
    assert beacon_changes(learnt, OSPF_PROTOCOL) == [(True, BEACON_NETWORK + 7)]


def test_the_numbers_of_both_sources_are_beats_of_one_hand() -> None:
    for number in (0, NUMBERS - 1, NUMBERS, 2 * NUMBERS - 1):
        destination = BEACON_NETWORK + number
        assert is_beat(socket.inet_ntoa(struct.pack("!I", destination)) + "/32")
        assert (destination >> 15) & 3 == 0  # experiments/measures/beacon.py: who made it
    assert not is_beat("20.0.0.0/24")


def test_a_route_over_two_next_hops_is_two_rows_on_both_sides() -> None:
    hops = [{"gateway": "10.1.1.2", "dev": "fe1-eth2"}, {"gateway": "10.1.2.2", "dev": "fe1-eth3"}]
    routes = [
        {"dst": "20.0.0.0/24", "nexthops": hops},
        {"dst": "10.1.4.0/30", "gateway": "10.1.1.2", "dev": "fe1-eth2"},
        {"dst": "198.18.0.9", "gateway": "10.1.1.2", "dev": "fe1-eth2"},
    ]
    grouped = [
        {"dst": "20.0.0.0/24", "nhid": 9},
        {"dst": "10.1.4.0/30", "nhid": 7},
    ]
    objects = [
        {"id": 9, "group": [{"id": 7}, {"id": 8}]},
        {"id": 7, **hops[0]},
        {"id": 8, **hops[1]},
    ]
    means = [{"ip": hop["gateway"], "interfaceName": hop["dev"], "fib": True} for hop in hops]
    shown = {
        "20.0.0.0/24": [
            {"selected": True, "nexthops": means},
            {"nexthops": [{"ip": "10.9.9.9", "interfaceName": "fe1-eth9", "fib": True}]},
        ],
        "10.1.4.0/30": [{"selected": True, "nexthops": [means[0], {"ip": "10.1.2.2"}]}],
        "198.18.0.9/32": [{"selected": True, "nexthops": [means[0]]}],
    }
    expected = [
        "10.1.4.0/30 fe1-eth2 10.1.1.2",
        "20.0.0.0/24 fe1-eth2 10.1.1.2",
        "20.0.0.0/24 fe1-eth3 10.1.2.2",
    ]
    assert kernel_rows(routes, []) == expected
    assert kernel_rows(grouped, objects) == expected
    assert zebra_rows(shown) == expected
