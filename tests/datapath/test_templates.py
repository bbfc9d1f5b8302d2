"""Patched templates are what pyroute2 encodes, octet for octet."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fe_datapath.datapath import (
    DelRoute,
    DelRoutes,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    SetRoutes,
)
from fe_datapath.linux import messages
from fe_datapath.linux.messages import MessageType
from fe_datapath.linux.templates import (
    MAX_ID,
    GroupEncoder,
    NexthopEncoder,
    RouteEncoder,
    wrong_rows,
)

PROTOCOL = 200
ROUTES = RouteEncoder(PROTOCOL)
NEXTHOPS = NexthopEncoder(PROTOCOL)
GROUPS = GroupEncoder(PROTOCOL)

identifiers = st.integers(1, MAX_ID)


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[bytes, int]:
    octets = draw(st.sampled_from((4, 16)))
    length = draw(st.integers(0, 8 * octets))
    network = draw(st.integers(0, (1 << length) - 1)) << 8 * octets - length
    return network.to_bytes(octets), length


@given(prefixes(), identifiers, identifiers)
def test_a_route_message(prefix: tuple[bytes, int], nexthop: int, sequence: int) -> None:
    packed, refused = ROUTES.encode([SetRoute(*prefix, nexthop)], sequence, True)
    assert not refused
    assert packed == [messages.route(MessageType.NEWROUTE, sequence, PROTOCOL, *prefix, nexthop)]
    packed, refused = ROUTES.encode([DelRoute(*prefix)], sequence, True)
    assert not refused
    assert packed == [messages.route(MessageType.DELROUTE, sequence, PROTOCOL, *prefix, None)]


@given(prefixes(), st.integers(0, 127))
def test_host_bits_are_refused_whichever_they_are(prefix: tuple[bytes, int], bit: int) -> None:
    octets, length = prefix
    host_bits = 8 * len(octets) - length
    if bit < host_bits:
        wrong = (int.from_bytes(octets) | 1 << bit).to_bytes(len(octets))
        for change in (SetRoute(wrong, length, 1), DelRoute(wrong, length)):
            packed, refused = ROUTES.encode([change], 1, False)
            assert not packed
            assert "host bits" in refused[0].reason


@given(
    st.one_of(st.ip_addresses(), st.sampled_from(["0.0.0.0", "::"])).map(str),
    identifiers,
    st.integers(1, (1 << 31) - 1),
    identifiers,
)
def test_a_next_hop_message(gateway: str, identifier: int, ifindex: int, sequence: int) -> None:
    change = SetNextHop(identifier, 1, gateway)
    assert NEXTHOPS.encode(change, sequence, ifindex) == messages.set_nexthop(
        sequence, PROTOCOL, identifier, ifindex, gateway
    )


@given(st.lists(prefixes(), min_size=1, max_size=20), identifiers, st.integers(1, 1 << 31))
def test_bulk_route_messages(
    networks: list[tuple[bytes, int]], nexthop: int, sequence: int
) -> None:
    octets = len(networks[0][0])
    networks = [network for network in networks if len(network[0]) == octets]
    columns = (
        np.array([list(prefix) for prefix, _ in networks], np.uint8),
        np.array([length for _, length in networks], np.uint8),
    )
    setting = SetRoutes(*columns, np.full(len(networks), nexthop, np.uint32))
    for bulk in (setting, DelRoutes(*columns)):
        assert not wrong_rows(bulk).any()
        one_by_one, _ = ROUTES.encode(list(bulk.singles()), sequence, True)
        assert ROUTES.encode_bulk(bulk, sequence).tobytes() == b"".join(one_by_one)


@given(
    st.lists(st.tuples(identifiers, st.integers(1, 256)), min_size=1, max_size=40),
    st.integers(0, MAX_ID),
    identifiers,
    identifiers,
)
def test_a_group_message(
    members: list[tuple[int, int]], standby: int, identifier: int, sequence: int
) -> None:
    change = SetNextHopGroup(identifier, tuple(members), standby)
    assert GROUPS.encode(change, sequence) == messages.set_group(
        sequence, PROTOCOL, identifier, members, standby
    )
