"""RFC 6984 section 4.1: the 36 LFB operations of the second interoperability test, by number.

Against a live FE core; what is read is compared with what the datapath has, what is set is read
back and looked up in the datapath. Three things have another name in RFC 6956 than in the draft
of 2011 that was tested:

* tests 23-25, LFB "ARP", PortV4AddrInfoTable: the table of neighbours became EtherEncap.EncapTable
  (RFC 6956 section 5.1.4: destination and source MAC by MediaEncapInfoIndex).
* test 27, EtherMACIn.MTU: RFC 6956 has MTU in EtherMACOut only.
* tests 35-36, "EtherEncapsulator".VlanOutputTable: VlanID and L2PortID are columns of EncapTable.

EtherClassifier and EtherEncap are not in our Linux FE: VLANs and neighbours are not its tables.
Tests 23-25 and 33-36 run on the same core with instances of these classes added, made from the
shipped XML alone: that is what a class without Python of its own gives.
"""

from __future__ import annotations

from typing import Any

import pytest

from fe_datapath.lfbs.instance import Instance
from forces.errors import ResultCode
from forces.header import Ack
from forces.messages import LfbSelect, OperType
from forces.model import library
from forces.paths import PathData, Result, SparseData
from tests.conformance.fe_rig import (
    FEO,
    HOPS,
    LPM,
    FeRig,
    codes,
    lfb,
    next_hop,
    operation,
    packed,
    path,
    prefix,
    set_hop,
    set_prefix,
)

CLASSIFIER, ENCAP = 5, 6
PORT = 1


@pytest.fixture
def rig() -> FeRig:
    rig = FeRig()
    rig.associate()
    from_xml(rig, CLASSIFIER)
    return rig


def from_xml(rig: FeRig, number: int) -> None:
    """An instance that is bound to nothing, in place of the FE's own."""
    rig.core.store.instances[number, 1] = Instance(library().cls(number), 1)


def test_rfc6984_1_get_lfb_topology(rig: FeRig) -> None:
    links = rig.get("FEObject", "LFBTopology").values()
    ends = {(link["FromLFBID"]["LFBClassID"], link["ToLFBID"]["LFBClassID"]) for link in links}
    assert ends >= {(3, 4), (10, 12), (7, 3)}


def test_rfc6984_2_get_lfb_selectors(rig: FeRig) -> None:
    selectors = rig.get("FEObject", "LFBSelectors").values()
    found = {(s["LFBClassID"], s["LFBInstanceID"]) for s in selectors}
    assert found >= {(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (7, 1), (10, 1), (12, 1)}


READS = [
    (3, "EtherPHYCop", "PHYPortID", PORT),
    (4, "EtherPHYCop", "AdminStatus", 1),
    (5, "EtherPHYCop", "OperStatus", 1),
    (6, "EtherPHYCop", "AdminLinkSpeed", 0xA),
    (7, "EtherPHYCop", "OperLinkSpeed", 4),
    (8, "EtherPHYCop", "AdminDuplexMode", 1),
    (9, "EtherPHYCop", "OperDuplexMode", 3),
    (10, "EtherPHYCop", "CarrierStatus", True),
    (11, "EtherMACIn", "AdminStatus", 1),
    (12, "EtherMACIn", "LocalMACAddresses", {0: bytes((2, 0, 0, 0, 0, 1))}),
    (13, "EtherMACIn", "L2BridgingPathEnable", False),
    (14, "EtherMACIn", "PromiscuousMode", False),
    (15, "EtherMACIn", "TxFlowControl", False),
    (16, "EtherMACIn", "RxFlowControl", False),
    (17, "EtherMACIn", "MACInStats", {"NumPacketsReceived": 0, "NumPacketsDropped": 0}),
    (18, "EtherMACOut", "AdminStatus", 1),
    (19, "EtherMACOut", "MTU", 1500),
    (20, "EtherMACOut", "TxFlowControl", False),
    (21, "EtherMACOut", "RxFlowControl", False),  # the table says TxFlowControl twice
    (22, "EtherMACOut", "MACOutStats", {"NumPacketsTransmitted": 0, "NumPacketsDropped": 0}),
]


@pytest.mark.parametrize(("number", "lfb_class", "component", "expected"), READS)
def test_rfc6984_3_to_22_get(
    rig: FeRig, number: int, lfb_class: str, component: str, expected: Any
) -> None:
    assert rig.get(lfb_class, component, instance=PORT) == expected


def carried_out(rig: FeRig, *selects: LfbSelect) -> None:
    response = rig.config(*selects)
    assert response is not None
    assert set(codes(response)) == {ResultCode.SUCCESS}


def encap(destination: bytes, vlan: int = 0, port: int = PORT) -> dict[str, Any]:
    return {
        "DstMac": destination,
        "SrcMac": bytes((2, 0, 0, 0, 0, 1)),
        "VlanID": vlan,
        "Reserved": 0,
        "L2PortID": port,
    }


def set_row(class_id: int, table: str, index: int, value: dict[str, Any]) -> LfbSelect:
    row = packed(library().cls(class_id).name, table, index, value=value)
    return lfb(class_id, operation(OperType.SET, row))


def delete_row(class_id: int, component: int, index: int) -> LfbSelect:
    return lfb(class_id, operation(OperType.DEL, path(component, index)))


def test_rfc6984_23_get_the_table_of_neighbours(rig: FeRig) -> None:
    assert rig.get("EtherEncap", "EncapTable") == {}


def test_rfc6984_24_set_the_table_of_neighbours(rig: FeRig) -> None:
    row = encap(b"\2\0\0\0\0\x99")
    carried_out(rig, set_row(ENCAP, "EncapTable", 4, row))
    assert rig.get("EtherEncap", "EncapTable") == {4: row}


def test_rfc6984_25_del_the_table_of_neighbours(rig: FeRig) -> None:
    carried_out(rig, set_row(ENCAP, "EncapTable", 4, encap(b"\2\0\0\0\0\x99")))
    carried_out(rig, delete_row(ENCAP, 1, 4))
    assert rig.get("EtherEncap", "EncapTable") == {}


def test_rfc6984_26_set_local_mac_addresses(rig: FeRig) -> None:
    row = packed("EtherMACIn", "LocalMACAddresses", 0, value=b"\2\0\0\0\0\x77")
    carried_out(rig, lfb(4, operation(OperType.SET, row), instance=PORT))
    assert rig.get("EtherMACIn", "LocalMACAddresses", instance=PORT) == {0: b"\2\0\0\0\0\x77"}
    assert rig.datapath.ports()[PORT].mac == b"\2\0\0\0\0\x77"


def test_rfc6984_27_set_mtu(rig: FeRig) -> None:
    mtu = packed("EtherMACOut", "MTU", value=9000)
    carried_out(rig, lfb(7, operation(OperType.SET, mtu), instance=PORT))
    assert rig.get("EtherMACOut", "MTU", instance=PORT) == 9000
    assert rig.datapath.ports()[PORT].mtu == 9000


def test_rfc6984_28_set_ipv4_next_hop_table(rig: FeRig) -> None:
    carried_out(rig, set_hop(1))
    assert rig.get("IPv4NextHop", "IPv4NextHopTable") == {1: next_hop()}
    assert rig.datapath.nexthops() == {1: (1, "10.1.0.2")}


def test_rfc6984_29_set_ipv4_prefix_table(rig: FeRig) -> None:
    carried_out(rig, set_hop(1), set_prefix(7, "20.0.0.0"))
    assert rig.get("IPv4UcastLPM", "IPv4PrefixTable") == {7: prefix("20.0.0.0")}
    assert rig.datapath.routes() == {(bytes((20, 0, 0, 0)), 24): 1}


def test_rfc6984_30_del_ipv4_next_hop_table(rig: FeRig) -> None:
    carried_out(rig, set_hop(1))
    carried_out(rig, delete_row(HOPS, 1, 1))
    assert rig.get("IPv4NextHop", "IPv4NextHopTable") == {}
    assert rig.datapath.nexthops() == {}


def test_rfc6984_31_del_ipv4_prefix_table(rig: FeRig) -> None:
    carried_out(rig, set_hop(1), set_prefix(7, "20.0.0.0"))
    carried_out(rig, delete_row(LPM, 1, 7))
    assert rig.get("IPv4UcastLPM", "IPv4PrefixTable") == {}
    assert rig.datapath.routes() == {}


@pytest.mark.parametrize("status", [2, 1])
def test_rfc6984_32_set_admin_status(rig: FeRig, status: int) -> None:
    value = packed("EtherPHYCop", "AdminStatus", value=status)
    carried_out(rig, lfb(3, operation(OperType.SET, value), instance=PORT))
    assert rig.get("EtherPHYCop", "AdminStatus", instance=PORT) == status
    assert rig.datapath.ports()[PORT].admin_up is (status == 1)


VLAN = {"IncomingPortID": PORT, "VlanID": 100, "Reserved": 0, "LogicalPortID": 3}


def test_rfc6984_33_set_vlan_input_table(rig: FeRig) -> None:
    carried_out(rig, set_row(CLASSIFIER, "VlanInputTable", 2, VLAN))
    assert rig.get("EtherClassifier", "VlanInputTable") == {2: VLAN}


def test_rfc6984_34_del_vlan_input_table(rig: FeRig) -> None:
    carried_out(rig, set_row(CLASSIFIER, "VlanInputTable", 2, VLAN))
    carried_out(rig, delete_row(CLASSIFIER, 2, 2))
    assert rig.get("EtherClassifier", "VlanInputTable") == {}


def test_rfc6984_35_set_vlan_output_table(rig: FeRig) -> None:
    from_xml(rig, ENCAP)
    row = encap(b"\2\0\0\0\0\x99", vlan=100)
    carried_out(rig, set_row(ENCAP, "EncapTable", 5, row))
    assert rig.get("EtherEncap", "EncapTable", 5)["VlanID"] == 100


def test_rfc6984_36_del_vlan_output_table(rig: FeRig) -> None:
    from_xml(rig, ENCAP)
    carried_out(rig, set_row(ENCAP, "EncapTable", 5, encap(b"\2\0\0\0\0\x99", vlan=100)))
    carried_out(rig, delete_row(ENCAP, 1, 5))
    assert isinstance(rig.get("EtherEncap", "EncapTable", 5), Result)


def test_rfc6984_5_1_every_legal_form_of_a_row_is_taken_and_answered_in_its_own_form(
    rig: FeRig,
) -> None:
    """By row path, field by field below it, as a whole table with the index, nested, as SPARSEDATA:
    the same rows, and each answer in the form of its request."""
    cls = library().cls("EtherClassifier")
    kind = cls.resolve((2, 9)).type
    fields = [path(f.id, data=f.type.pack(VLAN[f.name])) for f in kind.fields]
    octets = kind.pack(VLAN)
    forms = [
        path(2, 9, data=octets),
        path(2, children=(path(9, data=octets),)),
        path(2, 9, children=tuple(fields)),
        path(2, data=b"\0\0\0\x09" + octets),
        PathData((2,), content=SparseData(((9, octets),))),
        PathData((2, 9), content=SparseData(tuple((f.ids[0], f.content.value) for f in fields))),
    ]
    for form in forms:
        response = rig.config(lfb(CLASSIFIER, operation(OperType.SET, form)))
        assert response is not None
        (answer,) = response.lfbs[0].operations[0].paths
        assert shape(answer) == shape(form)
        assert rig.get("EtherClassifier", "VlanInputTable") == {9: VLAN}, form
        carried_out(rig, delete_row(CLASSIFIER, 2, 9))


def shape(one: Any) -> Any:
    return (one.ids, [shape(child) for child in one.children])


def test_rfc6984_note_on_tests_1_and_2_the_array_is_full_data_with_indexes(rig: FeRig) -> None:
    """Section 4.1: FULLDATA with the index in front of each row was the form all could read."""
    response = rig.query(lfb(FEO, operation(OperType.GET, path(2))))
    content = response.lfbs[0].operations[0].paths[0].content
    assert content.value[:12] == bytes.fromhex("00000000" + "00000001" + "00000001")
    assert response.header.flags.ack is Ack.NO_ACK
