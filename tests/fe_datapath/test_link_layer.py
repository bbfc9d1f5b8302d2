"""The LFBs of the link layer and the IP layer's counters (RFC 6956 sections 5.1, 5.2 and 5.5), on
the fake datapath."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fe_datapath.config import RedirectConfig
from fe_datapath.datapath import Found, SetForwarding, SetNeighbor, SetPort
from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from forces.errors import ResultCode as C
from forces.events import LinkChanged, LossCause, PeerLost
from forces.header import ExecMode
from forces.messages import LfbSelect, OperType
from forces.model import library
from forces.paths import FullData, Result
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    CONFIG,
    FeRig,
    codes,
    leaves,
    lfb,
    next_hop,
    operation,
    packed,
    path,
    prefix,
)
from tests.datapath.test_binding import CASES
from tests.fe_datapath import frames

MAC, OTHER = bytes.fromhex("020000000042"), bytes.fromhex("020000000043")
GATEWAY = {1: "10.1.0.2", 2: "10.1.1.2"}


def fe(**changes: Any) -> FeRig:
    made = FeRig(**changes)
    made.associate()
    return made


def put(name: str, *steps: int | str, value: Any, instance: int = 1) -> LfbSelect:
    data = packed(name, *steps, value=value)
    return lfb(library().cls(name).id, operation(OperType.SET, data), instance=instance)


def drop(name: str, *ids: int, instance: int = 1) -> LfbSelect:
    return lfb(library().cls(name).id, operation(OperType.DEL, path(*ids)), instance=instance)


def set_hop(selector: int, index: int, port: int = 1, gateway: str = "") -> LfbSelect:
    row = next_hop(port, gateway or GATEWAY[port]) | {"MediaEncapInfoIndex": index}
    return put("IPv4NextHop", "IPv4NextHopTable", selector, value=row)


def encap(mac: bytes = MAC, port: int = 1, **changes: Any) -> dict[str, Any]:
    row = {"DstMac": mac, "SrcMac": bytes(6), "VlanID": 0, "Reserved": 0, "L2PortID": port}
    return row | changes


def set_encap(index: int, row: dict[str, Any] | None = None) -> LfbSelect:
    return put("EtherEncap", "EncapTable", index, value=row or encap())


def answered(made: FeRig, *selects: LfbSelect, mode: ExecMode = ExecMode.ALL_OR_NONE) -> list[int]:
    response = made.config(*selects, mode=mode)
    assert response is not None
    return codes(response)


# EtherEncap


def test_rfc6956_5_1_4_a_neighbour_is_made_of_a_next_hop_and_a_row_of_its_index() -> None:
    made = fe()
    assert answered(made, set_hop(1, index=7)) == [C.SUCCESS]
    assert made.datapath.neighbors() == {}
    assert answered(made, set_encap(7)) == [C.SUCCESS]
    assert made.datapath.neighbors() == {(1, "10.1.0.2"): MAC}
    assert answered(made, set_encap(7, encap(OTHER))) == [C.SUCCESS]
    assert made.datapath.neighbors() == {(1, "10.1.0.2"): OTHER}
    assert answered(made, set_hop(1, index=0)) == [C.SUCCESS]
    assert made.datapath.neighbors() == {}
    assert answered(made, set_hop(1, index=7)) == [C.SUCCESS]
    assert answered(made, drop("EtherEncap", 1, 7)) == [C.SUCCESS]
    assert made.datapath.neighbors() == {}


def test_an_ipv6_next_hop_has_its_neighbour_likewise() -> None:
    made = fe()
    gateway = bytes.fromhex("fe80") + bytes(13) + b"\2"
    row = next_hop() | {"NextHopIPAddr": gateway, "MediaEncapInfoIndex": 3}
    hop = put("IPv6NextHop", "IPv6NextHopTable", 1, value=row)
    assert answered(made, set_encap(3), hop) == [C.SUCCESS] * 2
    assert made.datapath.neighbors() == {(1, "fe80::2"): MAC}


def test_rfc6956_5_1_4_1_what_the_kernel_resolves_is_read_in_the_table() -> None:
    made = fe()
    answered(made, set_hop(1, index=7), set_hop(2, index=8, port=2), set_hop(3, index=0, port=2))
    assert made.get("EtherEncap", "EncapTable") == {}
    made.datapath.resolve(1, "10.1.0.2", OTHER)
    resolved = encap(OTHER, SrcMac=bytes((2, 0, 0, 0, 0, 1)))
    assert made.get("EtherEncap", "EncapTable") == {7: resolved}
    assert made.get("EtherEncap", "EncapTable", 7, "DstMac") == OTHER
    assert answered(made, set_encap(7)) == [C.SUCCESS]
    assert made.get("EtherEncap", "EncapTable") == {7: encap()}, "the CE's goes first"
    whole = put("EtherEncap", "EncapTable", value={9: encap()})
    assert answered(made, whole) == [C.SUCCESS]
    assert made.get("EtherEncap", "EncapTable") == {9: encap()}
    assert made.datapath.neighbors() == {}
    made.datapath.resolve(1, "10.1.0.2", OTHER)
    assert made.get("EtherEncap", "EncapTable") == {9: encap(), 7: resolved}


@pytest.mark.parametrize(
    ("index", "row", "code"),
    [
        (0, encap(), C.INVALID_ARRAY_CREATION),
        (7, encap(port=9), C.VALUE_OUT_OF_RANGE),
        (7, encap(bytes(6)), C.VALUE_OUT_OF_RANGE),
        (7, encap(b"\1" + MAC[1:]), C.VALUE_OUT_OF_RANGE),
        (7, encap(VlanID=5), C.NOT_SUPPORTED),
        (7, encap(SrcMac=OTHER), C.NOT_SUPPORTED),
        (7, encap(port=2), C.INVALID_PARAMETERS),
        (8, encap(OTHER), C.INVALID_PARAMETERS),
    ],
)
@pytest.mark.parametrize("mode", [ExecMode.ALL_OR_NONE, ExecMode.CONTINUE_ON_FAILURE])
def test_a_row_that_linux_cannot_have_is_refused(
    index: int, row: dict[str, Any], code: C, mode: ExecMode
) -> None:
    """Index 8 leads to the same neighbour as 7, whose MAC address is known to be another one."""
    made = fe()
    answered(made, set_hop(1, index=7), set_hop(2, index=8), set_encap(7))
    before = made.picture()
    assert answered(made, set_encap(index, row), mode=mode) == [code]
    assert made.picture() == before


def test_a_next_hop_that_does_not_go_with_the_table_is_refused() -> None:
    made = fe()
    answered(made, set_encap(7))
    assert answered(made, set_hop(1, index=7, port=2)) == [C.INVALID_PARAMETERS]
    assert answered(made, set_hop(1, index=7)) == [C.SUCCESS]


def test_a_refused_neighbour_takes_its_config_back() -> None:
    made = fe()
    answered(made, set_hop(1, index=7), set_encap(7))
    made.datapath.fail_next(SetNeighbor, C.MEMORY_ERROR)
    both = set_hop(2, index=0, port=2), set_encap(7, encap(OTHER))
    assert answered(made, *both) == [C.UNSPECIFIED_ERROR, C.MEMORY_ERROR]
    assert made.datapath.neighbors() == {(1, "10.1.0.2"): MAC}
    assert made.get("EtherEncap", "EncapTable") == {7: encap()}
    assert answered(made, *both) == [C.SUCCESS] * 2
    assert made.datapath.neighbors() == {(1, "10.1.0.2"): OTHER}


def test_neighbours_come_back_with_a_port_that_was_set_down() -> None:
    made = fe()
    answered(made, set_hop(1, index=7), set_encap(7))
    down = {"admin_up": False}
    made.datapath.apply_now([SetPort(1, admin_up=False)], False)
    made.event(LinkChanged(1, False, made.now, down))
    assert made.datapath.neighbors() == {}
    made.datapath.apply_now([SetPort(1, admin_up=True)], False)
    made.event(LinkChanged(1, True, made.now, {"admin_up": True}))
    assert made.datapath.neighbors() == {(1, "10.1.0.2"): MAC}


def test_an_fe_that_stops_keeps_no_neighbour() -> None:
    made = fe(failover_policy=0)
    answered(made, set_hop(1, index=7), set_encap(7))
    made.event(PeerLost(CE1, LossCause.ABORT))
    made.event(PeerLost(CE2, LossCause.ABORT))
    assert made.datapath.neighbors() == {}
    assert made.datapath.nexthops() == {}


def test_a_restarted_fe_sweeps_the_neighbours_that_nobody_wants() -> None:
    datapath = FakeDatapath(CONFIG.ports)
    keys = [(1, "10.1.0.2"), (2, "10.1.1.2")]
    datapath.apply_now([SetNeighbor(*key, MAC) for key in keys], True)
    found = Found(True, neighbors=frozenset(keys))
    core = ForwardingElement(CONFIG, datapath.ports(), readings=datapath, found=found)
    made = FeRig(core=core)
    made.datapath = datapath
    made.associate()
    answered(made, set_hop(1, index=7), set_encap(7))
    assert len(datapath.neighbors()) == 2
    answered(made, put("FEObject", "FEState", value=2))
    assert datapath.neighbors() == {(1, "10.1.0.2"): MAC}


macs = st.sampled_from([MAC, OTHER])
edits = st.one_of(
    st.builds(set_hop, st.integers(1, 3), st.integers(0, 3), st.integers(1, 2)),
    st.builds(
        lambda index, mac, port: set_encap(index, encap(mac, port)),
        st.integers(1, 3),
        macs,
        st.integers(1, 2),
    ),
    st.builds(lambda n: drop("IPv4NextHop", 1, n), st.integers(1, 3)),
    st.builds(lambda n: drop("EtherEncap", 1, n), st.integers(1, 3)),
)


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.lists(edits, min_size=1, max_size=5),
            st.sampled_from([m for m in ExecMode if m is not ExecMode.RESERVED]),
            st.booleans(),
        ),
        max_size=6,
    )
)
@example(
    [([set_hop(1, 1), set_hop(2, 2), set_hop(3, 1, 2), set_encap(2)], ExecMode.ALL_OR_NONE, False)]
)
def test_the_kernels_neighbours_are_what_both_tables_say(steps: list[Any]) -> None:
    """Whatever is asked for, in whatever mode, and where the kernel refuses one of them."""
    made = fe()
    for selects, mode, refusal in steps:
        if refusal:
            made.datapath.fail_next(SetNeighbor, C.MEMORY_ERROR)
        made.config(*selects, mode=mode)
        made.datapath._injected.clear()
        table = made.get("EtherEncap", "EncapTable")
        wanted: dict[tuple[int, str], bytes] = {}
        for row in made.get("IPv4NextHop", "IPv4NextHopTable").values():
            mine = table.get(row["MediaEncapInfoIndex"])
            if mine is not None:
                key = (row["L3PortID"], GATEWAY[row["L3PortID"]])
                assert mine["L2PortID"] == key[0]
                assert wanted.setdefault(key, mine["DstMac"]) == mine["DstMac"]
        assert made.datapath.neighbors() == wanted


# Ports


def test_rfc6956_5_1_2_the_mac_address_can_be_set() -> None:
    made = fe()
    table = ("EtherMACIn", "LocalMACAddresses")
    assert answered(made, put(*table, 0, value=MAC)) == [C.SUCCESS]
    assert answered(made, put(*table, value={0: OTHER}, instance=2)) == [C.SUCCESS]
    assert [made.datapath.ports()[port].mac for port in (1, 2)] == [MAC, OTHER]
    before = made.picture()
    for wrong, code in (
        (put(*table, 1, value=MAC), C.INVALID_ARRAY_CREATION),
        (put(*table, value={}), C.INVALID_PARAMETERS),
        (put(*table, value={0: MAC, 1: OTHER}), C.INVALID_ARRAY_CREATION),
        (drop("EtherMACIn", 2, 0), C.INVALID_PARAMETERS),
        (put(*table, 0, value=bytes(6)), C.VALUE_OUT_OF_RANGE),
        (put(*table, 0, value=b"\1" + MAC[1:]), C.VALUE_OUT_OF_RANGE),
    ):
        assert answered(made, wrong) == [code]
        assert made.picture() == before


def test_a_mac_address_that_the_kernel_changes_is_shown_and_can_be_set_back() -> None:
    made = fe()
    first = made.datapath.ports()[1].mac
    made.datapath.apply_now([SetPort(1, mac=OTHER)], True)
    made.event(LinkChanged(1, True, made.now, {"mac": OTHER}))
    assert made.get("EtherMACIn", "LocalMACAddresses") == {0: OTHER}
    assert answered(made, put("EtherMACIn", "LocalMACAddresses", 0, value=first)) == [C.SUCCESS]
    assert made.datapath.ports()[1].mac == first


def test_a_speed_that_the_port_cannot_have_is_refused_by_the_kernel() -> None:
    made = fe()
    before = made.picture()
    for name, value in (("AdminLinkSpeed", 2), ("AdminDuplexMode", 2)):
        assert answered(made, put("EtherPHYCop", name, value=value)) == [C.NOT_SUPPORTED]
        assert made.picture() == before
    assert answered(made, put("EtherPHYCop", "AdminLinkSpeed", value=9)) == [C.VALUE_OUT_OF_RANGE]
    assert made.get("EtherPHYCop", "SupportedLinkSpeed") == {0: 0xA}


# Counters


def test_rfc6956_5_2_and_5_3_counters_of_the_ip_layer() -> None:
    made = fe()
    answered(made, set_hop(1, index=0, port=2))
    answered(made, put("IPv4UcastLPM", "IPv4PrefixTable", 1, value=prefix("20.0.0.0")))
    made.datapath.apply_now([SetForwarding(True)], True)
    count: Counter[str] = Counter()
    for name, version, frame, _ in CASES:
        if version == 4:
            made.datapath.arrive(1, frame)
            count[name] += 1
    stats = made.get("IPv4Validator", "IPv4ValidatorStats")
    assert stats == {
        "badHeaderPkts": count["version"] + count["header"] + count["no length"],
        "badTotalLengthPkts": count["too short"],
        "badTTLPkts": count["ttl 1"],
        "badChecksumPkts": count["checksum"],
    }
    assert all(stats.values())
    lookups = made.get("IPv4UcastLPM", "IPv4UcastLPMStats")
    missed = count["no route"] + count["ttl 1, no route"]
    missed += count["own"] + count["ttl 1, own"]  # no address of this FE
    assert lookups == {"InRcvdPkts": count.total(), "FwdPkts": 1, "NoRoutePkts": missed}
    assert set(made.get("IPv4UcastLPM", "IPv4UcastLPMStats").values()) == {0}, "read-reset"
    assert made.get("IPv4Validator", "IPv4ValidatorStats") == stats
    cleared = put("IPv4Validator", "IPv4ValidatorStats", value=dict.fromkeys(stats, 0))
    assert answered(made, cleared) == [C.SUCCESS]
    made.datapath.arrive(1, frames.ipv4("20.0.0.1", ttl=1))
    stats = made.get("IPv4Validator", "IPv4ValidatorStats")
    assert stats == dict.fromkeys(stats, 0) | {"badTTLPkts": 1}


def test_rfc6956_5_2_2_counters_of_ipv6() -> None:
    made = fe()
    made.datapath.apply_now([SetForwarding(True)], True)
    for name, version, frame, _ in CASES:
        if version == 6 and name != "hops 1":  # for want of a route
            made.datapath.arrive(1, frame)
    stats = made.get("IPv6Validator", "IPv6ValidatorStats")
    assert stats == {"badHeaderPkts": 1, "badTotalLengthPkts": 1, "badHopLimitPkts": 0}
    lookups = made.get("IPv6UcastLPM", "IPv6UcastLPMStats")
    assert lookups == {"InRcvdPkts": 4, "FwdPkts": 0, "NoRoutePkts": 2}


# What cannot be changed


@pytest.mark.parametrize(
    ("name", "component", "value"),
    [
        ("EtherClassifier", "VlanInputTable", {}),
        ("EtherClassifier", "EtherDispatchTable", {}),
        ("BasicMetadataDispatch", "MetadataID", 4),
        ("BasicMetadataDispatch", "MetadataDispatchTable", {}),
        ("EtherMACIn", "L2BridgingPathEnable", True),
        ("FEObject", "LFBTopology", {}),
    ],
)
def test_what_a_linux_router_does_in_one_way_is_read_only(
    name: str, component: str, value: Any
) -> None:
    made = fe()
    before = made.picture()
    assert answered(made, put(name, component, value=value)) == [C.READ_ONLY]
    ids = library().cls(name).path(component)
    asked = lfb(library().cls(name).id, operation(OperType.GET_PROP, path(*ids)))
    ((_, _, _, content),) = leaves(made.query(asked))
    assert isinstance(content, FullData)
    assert content.value[0] == 1, "accessibility: read"
    assert made.picture() == before


def test_rows_of_it_likewise() -> None:
    made = fe()
    row = made.get("EtherClassifier", "VlanInputTable", 1)
    assert row == {"IncomingPortID": 1, "VlanID": 0, "Reserved": 0, "LogicalPortID": 65537}
    changed = put("EtherClassifier", "VlanInputTable", 1, value=row | {"VlanID": 5})
    assert answered(made, changed) == [C.READ_ONLY]
    assert answered(made, drop("EtherClassifier", 2, 1)) == [C.READ_ONLY]


def test_frames_of_a_port_are_sorted_by_its_logical_port() -> None:
    made = fe()
    logical = {
        row["LogicalPortID"] for row in made.get("EtherClassifier", "VlanInputTable").values()
    }
    assert not logical & {1, 2}, "RFC 6956 section 5.1.3.2: separate number spaces"
    rows = made.get("EtherClassifier", "EtherDispatchTable").values()
    ways = {(r["LogicalPortID"], r["EtherType"]): r["LFBOutputSelectIndex"] for r in rows}
    assert ways == {(p, kind): n for p in logical for n, kind in enumerate((0x0800, 0x86DD))}
    assert isinstance(made.get("EtherClassifier", "EtherClassifyStats"), Result)


# FEObject


def test_rfc5812_5_3_3_the_topology_is_a_graph_of_what_there_is() -> None:
    made = fe(redirect=RedirectConfig())
    selectors = made.get("FEObject", "LFBSelectors").values()
    there = {(s["LFBClassID"], s["LFBInstanceID"]) for s in selectors}
    outputs: Counter[tuple[Any, ...]] = Counter()
    linked = set()
    for link in made.get("FEObject", "LFBTopology").values():
        ends = []
        for end, side in (("From", "outputs"), ("To", "inputs")):
            number, instance = link[f"{end}LFBID"].values()
            assert (number, instance) in there
            linked.add((number, instance))
            cls = library().cls(number)
            (port,) = (p for p in getattr(cls, side) if p.name == link[f"{end}PortGroup"])
            assert port.group or link[f"{end}PortIndex"] == 0
            ends.append((number, instance, link[f"{end}PortGroup"], link[f"{end}PortIndex"]))
        outputs[ends[0]] += 1
    objects = {
        (number, instance) for number, instance in there if number in (1, 2) or number > 65536
    }
    assert linked >= there - objects - {(17, 1)}
    assert max(outputs.values()) == 1, "a packet leaves an output by one link"
