"""Queries, properties and what the LFBs show (RFC 5810 section 7.7, RFC 5812 section 4.8)."""

from __future__ import annotations

import pytest

from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from forces.errors import ResultCode as C
from forces.messages import OperType
from forces.paths import FullData, PathData, Result, SparseData, TableRange
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    CE3,
    LFBS,
    PREFIX_ROW,
    Rig,
    associated,
    codes,
    config,
    hop,
    prefix,
    rig,
    select,
    set_hop,
    set_prefixes,
    set_value,
)

LPM = "IPv4UcastLPM"


def filled() -> Rig:
    made = associated()
    rows = {i: prefix(i, 5) for i in range(10)}
    assert codes(made.config(set_hop(5, hop()), set_prefixes(rows))) == [C.SUCCESS] * 2
    return made


def answer(made: Rig, lfb: str, path: PathData, kind: OperType = OperType.GET) -> PathData:
    operation = made.query(select(lfb, kind, path)).lfbs[0].operations[0]
    assert operation.type is (
        OperType.GET_RESPONSE if kind is OperType.GET else OperType.GET_PROP_RESPONSE
    )
    return operation.paths[0]


def test_table_row_and_field() -> None:
    made = filled()
    assert made.get(LPM, "IPv4PrefixTable") == {i: prefix(i, 5) for i in range(10)}
    assert made.get(LPM, "IPv4PrefixTable", 3) == prefix(3, 5)
    assert made.get(LPM, "IPv4PrefixTable", 3, "HopSelector") == 5
    assert made.get(LPM, "IPv4PrefixTable", 77) is C.NOT_FOUND


def test_rfc7391_3_1_a_range_is_answered_with_sparsedata_of_rows() -> None:
    made = filled()
    found = answer(made, LPM, PathData((1,), TableRange(2, 4)))
    assert (found.ids, found.selector) == ((1,), None)
    assert isinstance(found.content, SparseData)
    assert PREFIX_ROW.unpack_sparse(found.content.items) == {i: prefix(i, 5) for i in (2, 3, 4)}
    assert answer(made, LPM, PathData((1,), TableRange(50, 60))).content == Result(C.EMPTY)
    on_row = answer(made, LPM, PathData((1, 2), TableRange(0, 1)))
    assert on_row.content == Result(C.INVALID_TFLAGS)


def test_rfc5810_use_case_7_nested_rows_are_answered_nested() -> None:
    made = filled()
    rows = tuple(PathData((i,)) for i in (0, 1, 99))
    found = answer(made, LPM, PathData((1,), children=rows))
    assert [child.ids for child in found.children] == [(0,), (1,), (99,)]
    assert found.children[0].content == FullData(PREFIX_ROW.row.pack(prefix(0, 5)))
    assert found.children[2].content == Result(C.NOT_FOUND)


def test_rfc5810_use_case_18_the_whole_fe_object() -> None:
    made = associated()
    found = answer(made, "FEObject", PathData(()))
    assert found.ids == ()
    assert isinstance(found.content, FullData)
    components = LFBS.cls("FEObject").components.values()
    rest, values = memoryview(found.content.value), {}
    at = 0
    for component in components:
        values[component.name], at = component.type.extract(rest, at)
    assert at == len(rest)
    assert (values["FEName"], values["FEID"], values["FEState"]) == ("fe1", 1, 2)


def test_a_whole_lfb_without_some_optional_components_is_sparse() -> None:
    found = answer(filled(), "EtherClassifier", PathData(()))
    assert isinstance(found.content, SparseData)
    assert [number for number, _ in found.content.items] == [1, 2]


def test_a_table_too_long_for_one_tlv_has_to_be_asked_for_in_ranges() -> None:
    made = associated()
    made.config(set_hop(5, hop()))
    for part in range(2):
        rows = {i: prefix(i, 5) for i in range(4000 * part, 4000 * (part + 1))}
        data = SparseData(PREFIX_ROW.pack_sparse(dict(list(rows.items())[:3000])))
        made.config(select(LPM, OperType.SET, PathData((1,), content=data)))
    both = (PathData((1,)), PathData((1,)))
    asked = select(LPM, OperType.GET, *both)
    answers = made.query(asked).lfbs[0].operations[0].paths
    assert [path.content for path in answers] == [Result(C.CONTENTS_TOO_LONG)] * 2
    assert isinstance(answer(made, LPM, PathData((1,), TableRange(0, 2999))).content, SparseData)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (PathData((99,)), C.COMPONENT_DOES_NOT_EXIST),
        (PathData((1, 2, 3, 4)), C.INVALID_PATH),
    ],
)
def test_result_code_of_a_query(path: PathData, code: C) -> None:
    assert answer(filled(), LPM, path).content == Result(code)


def test_unknown_lfbs_are_named_in_the_answer() -> None:
    made = associated()  # that is not configured to redirect
    lfb = select("RedirectIn", OperType.GET, PathData((1,)))
    assert codes(made.query(lfb)) == [C.LFB_UNKNOWN]


def test_rfc5812_4_8_properties_of_a_table_a_string_and_a_number() -> None:
    made = filled()
    kind = LFBS.property_type(LFBS.cls(LPM).resolve((1,)))
    found = answer(made, LPM, PathData((1,)), OperType.GET_PROP)
    assert isinstance(found.content, FullData)
    assert kind.unpack(found.content.value) == {
        "accessibility": 3,
        "entryCount": 10,
        "highestUsedSubscript": 9,
        "firstUnusedSubscript": 10,
    }
    found = answer(made, "FEPO", PathData((15,)), OperType.GET_PROP)
    assert isinstance(found.content, FullData)
    assert kind.unpack(found.content.value)["accessibility"] == 1
    found = answer(made, "FEObject", PathData((3,)), OperType.GET_PROP)
    assert isinstance(found.content, FullData)
    assert found.content.value[:5] == bytes((3, 0, 0, 0, 3))


@pytest.mark.parametrize(
    "path",
    [
        PathData((60, 1), content=FullData(b"\0\0\0\1")),
        PathData((60, 1), children=(PathData((2,), content=FullData(b"\0\0\0\1")),)),
        PathData((60, 1, 2), content=FullData(b"\0\0\0\1")),
        PathData((60, 1), content=SparseData(((2, b"\0\0\0\1"),))),
        PathData((60,), content=FullData(b"\0\0\0\1")),
    ],
    ids=["short", "nested", "flat", "sparse", "all events"],
)
def test_rfc5812_4_8_5_subscription_in_every_form(path: PathData) -> None:
    made = associated()
    assert codes(made.config(select("EtherPHYCop", OperType.SET_PROP, path))) == [C.SUCCESS]
    found = answer(made, "EtherPHYCop", PathData((60, 1)), OperType.GET_PROP)
    assert isinstance(found.content, FullData)
    assert LFBS.event_property_type.unpack(found.content.value)["registration"] == 1
    found = answer(made, "EtherPHYCop", PathData((60, 1, 2)), OperType.GET_PROP)
    assert found.content == FullData(b"\0\0\0\1")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (PathData((60, 9), content=FullData(bytes(4))), C.COMPONENT_DOES_NOT_EXIST),
        (PathData((60, 1, 1), content=FullData(bytes(4))), C.NOT_SUPPORTED),
        (PathData((60, 1, 3), content=FullData(bytes(4))), C.NOT_SUPPORTED),
        (PathData((60, 1, 5), content=FullData(bytes(3))), C.INVALID_PARAMETERS),
        (PathData((60, 1, 9), content=FullData(bytes(4))), C.COMPONENT_DOES_NOT_EXIST),
        (PathData((2,), content=FullData(bytes(4))), C.NOT_SUPPORTED),
        (PathData((60, 1)), C.INVALID_TLV),
    ],
)
def test_result_code_of_a_subscription(path: PathData, code: C) -> None:
    made = associated()
    assert codes(made.config(select("EtherPHYCop", OperType.SET_PROP, path))) == [code]


def test_a_failed_all_or_none_config_leaves_no_subscription() -> None:
    made = associated()
    path = PathData((60, 1), content=FullData(b"\0\0\0\1"))
    response = made.config(
        select("EtherPHYCop", OperType.SET_PROP, path), set_value("FEPO", "CEHDI", value=0)
    )
    assert codes(response) == [C.UNSPECIFIED_ERROR, C.VALUE_OUT_OF_RANGE]
    assert not made.core.phys[1].registered


def test_ports_show_the_kernel() -> None:
    made = rig(down=(2,))
    made.associate(CE1)

    def phy(name: str, number: int) -> object:
        return made.get("EtherPHYCop", name, instance=number)

    assert [phy("PHYPortID", n) for n in (1, 2)] == [1, 2]
    assert [phy("OperStatus", n) for n in (1, 2)] == [1, 2]
    assert [phy("CarrierStatus", n) for n in (1, 2)] == [True, False]
    assert [phy("OperLinkSpeed", n) for n in (1, 2)] == [4, 0]
    assert phy("OperDuplexMode", 1) == 3
    assert made.get("EtherMACIn", "LocalMACAddresses", instance=2) == {0: bytes((2, 0, 0, 0, 0, 2))}
    assert made.get("EtherMACOut", "MTU") == 1500


def test_read_reset_statistics_start_again_after_a_read() -> None:
    made = associated()
    first = made.get("EtherMACIn", "MACInStats", instance=2)
    assert first == {"NumPacketsReceived": 20, "NumPacketsDropped": 0}
    assert made.get("EtherMACIn", "MACInStats", instance=2)["NumPacketsReceived"] == 0


def test_fe_object_describes_the_fe() -> None:
    made = associated()
    selectors = made.get("FEObject", "LFBSelectors").values()
    pairs = {(s["LFBClassID"], s["LFBInstanceID"]) for s in selectors}
    per_port = {(cls, n) for cls in (3, 4, 7, 17) for n in (1, 2)}
    whole = {(cls, 1) for cls in (5, 6, 8, 9, 16)}
    sync = (LFBS.cls("Ext-FEStateSync").id, 1)
    unicast = {(10, 1), (11, 1), (12, 1), (13, 1)}
    ecmp = {(LFBS.cls("Ext-ECMP").id, n) for n in (1, 2)}  # one for each address family
    assert pairs == {(1, 1), (2, 1), sync} | unicast | ecmp | per_port | whole
    supported = made.get("FEObject", "SupportedLFBs").values()
    assert {s["LFBName"] for s in supported} >= {"FEPO", "IPv4UcastLPM", "EtherPHYCop"}
    for link in made.get("FEObject", "LFBTopology").values():
        for end in ("FromLFBID", "ToLFBID"):
            assert (link[end]["LFBClassID"], link[end]["LFBInstanceID"]) in pairs
    neighbors = list(made.get("FEObject", "FENeighbors").values())
    assert [(n["NeighborID"], n["InterfaceToNeighbor"]) for n in neighbors] == [(2, "fe1-eth1")]


def test_rfc7121_3_1_all_ces_has_status_and_statistics() -> None:
    made = associated()
    made.lose(CE3)
    rows = made.get("FEPO", "AllCEs")
    assert [row["CEID"] for row in rows.values()] == [CE1, CE2, CE3]
    assert [row["CEStatus"] for row in rows.values()] == [3, 2, 4]
    figures = rows[0]["Statistics"]
    assert figures["RecvPackets"] == 2
    assert figures["RecvBytes"] > 2 * 24
    assert figures["TxmitPackets"] >= 3
    assert made.get("FEPO", "BackupCEs") == {0: CE2, 1: CE3}


def test_a_reading_of_the_ports_by_the_driver_gives_fresh_counters() -> None:
    datapath = FakeDatapath(config().ports)
    made = Rig(ForwardingElement(config(), datapath.ports(), readings=datapath)).start()
    made.associate(CE1)
    datapath.count(1, rx_packets=99, rx_dropped=3)
    assert made.get("EtherMACIn", "MACInStats") == {
        "NumPacketsReceived": 99,
        "NumPacketsDropped": 3,
    }
