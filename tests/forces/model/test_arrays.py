"""Tables: rows, indices, content keys, bulk (RFC 5812 4.5.3, RFC 5810 Appendix D)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model import ArrayType, library
from tests.forces.model.strategies import (
    STEADY,
    component,
    reference,
    struct,
    type_def,
    type_of,
    values,
)


def table(declaration: str, more: str = "") -> ArrayType:
    kind = type_of(declaration, more)
    assert isinstance(kind, ArrayType)
    return kind


def prefixes() -> ArrayType:
    kind = library().cls("IPv4UcastLPM").component("IPv4PrefixTable").type
    assert isinstance(kind, ArrayType)
    return kind


def refusal(kind: ArrayType, value: object) -> ResultCode:
    with pytest.raises(ProtocolError) as caught:
        kind.check(value)
    return caught.value.code


ROW = {
    "IPv4Address": bytes((192, 0, 2, 0)),
    "Prefixlen": 24,
    "ECMPFlag": False,
    "DefaultRouteFlag": True,
    "Reserved": 0,
    "HopSelector": 258,
}


def test_rfc6956_a_prefix_row_is_these_12_octets_and_the_table_puts_the_index_before_it() -> None:
    kind = prefixes()
    assert kind.row.pack(ROW) == bytes.fromhex("c0000200 18 00 01 00 00000102")
    assert kind.pack({7: ROW}) == bytes.fromhex("00000007 c0000200 18 00 01 00 00000102")
    assert kind.unpack(kind.pack({7: ROW, 2: ROW})) == {7: ROW, 2: ROW}


def test_rfc5810_use_case_12_a_row_with_a_variable_column_nests_only_that_column() -> None:
    row = struct(
        component(1, "someid", reference("uint32")), component(2, "name", reference("string"))
    )
    kind = table(f"<array>{row}</array>")
    value = {4: {"someid": 1, "name": "ab"}, 9: {"someid": 2, "name": ""}}
    assert kind.pack(value) == bytes.fromhex(
        "00000004 00000001 0112 0006 61620000 00000009 00000002 0112 0004"
    )
    assert kind.unpack(kind.pack(value)) == value


def test_an_array_inside_a_row_is_a_nested_tlv_of_index_and_value() -> None:
    kind = table("<array><array><typeRef>uint16</typeRef></array></array>")
    assert kind.pack({1: {5: 6}}) == bytes.fromhex("00000001 0112 000a 00000005 0006 0000")
    assert kind.unpack(kind.pack({1: {5: 6}, 2: {}})) == {1: {5: 6}, 2: {}}


@pytest.mark.parametrize("contents", [bytes(15), bytes(17), bytes(32)])
def test_a_torn_row_and_a_row_index_twice_are_refused(contents: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        prefixes().unpack(contents)
    assert caught.value.code is ResultCode.INVALID_PARAMETERS


def test_rfc5812_4_5_3_a_maximum_length_limits_the_rows() -> None:
    kind = table('<array maxlength="2"><typeRef>uchar</typeRef></array>')
    kind.check({5: 1, 9: 2})
    assert refusal(kind, {1: 1, 2: 2, 3: 3}) is ResultCode.CONTENTS_TOO_LONG
    assert table('<array maxLength="1"><typeRef>uchar</typeRef></array>').maximum == 1


def test_rfc5812_4_5_3_a_fixed_size_array_has_all_its_rows_and_no_others() -> None:
    kind = table('<array type="fixed-size" length="3"><typeRef>uint16</typeRef></array>')
    assert kind.default() == {0: 0, 1: 0, 2: 0}
    assert kind.fixed_size == 18
    assert refusal(kind, {0: 1, 1: 1}) is ResultCode.INVALID_PARAMETERS
    assert refusal(kind, {0: 1, 1: 1, 3: 1}) is ResultCode.INVALID_ARRAY_CREATION
    inside = type_of(
        struct(
            component(
                1, "a", '<array type="fixed-size" length="1"><typeRef>uchar</typeRef></array>'
            ),
            component(2, "b", reference("uchar")),
        )
    )
    assert inside.pack({"a": {0: 5}, "b": 6}) == bytes.fromhex("00000000 05 06")
    assert inside.unpack(inside.pack({"a": {0: 5}, "b": 6})) == {"a": {0: 5}, "b": 6}


KEYED = (
    "<array>"
    + struct(component(1, "prefix", reference("P")), component(2, "source", reference("uint16")))
    + '<contentKey contentKeyID="1"><contentKeyField> prefix . addr </contentKeyField>'
    "<contentKeyField>source</contentKeyField></contentKey>"
    '<contentKey contentKeyID="2"><contentKeyField>prefix</contentKeyField></contentKey></array>'
)
PREFIX = type_def(
    "P", struct(component(1, "addr", reference("byte[4]")), component(2, "len", reference("uchar")))
)


def keyed_row(addr: bytes, length: int, source: int) -> dict[str, object]:
    return {"prefix": {"addr": addr, "len": length}, "source": source}


def test_rfc5812_4_5_3_1_a_key_is_the_combination_of_its_fields() -> None:
    kind = table(KEYED, PREFIX)
    row = keyed_row(b"abcd", 24, 7)
    assert kind.key_of(1, row) == {"prefix.addr": b"abcd", "source": 7}
    assert kind.keys[1].type.pack(kind.key_of(1, row)) == b"abcd\x00\x07"
    assert kind.key_of(2, row) == {"addr": b"abcd", "len": 24}
    with pytest.raises(ProtocolError) as caught:
        kind.key_of(3, row)
    assert caught.value.code is ResultCode.INVALID_PATH


def test_rfc5812_4_5_3_two_rows_with_the_same_key_are_refused() -> None:
    kind = table(KEYED, PREFIX)
    kind.check({1: keyed_row(b"abcd", 24, 7), 2: keyed_row(b"abcd", 25, 8)})
    same = {1: keyed_row(b"abcd", 24, 7), 2: keyed_row(b"abcd", 25, 7)}
    assert refusal(kind, same) is ResultCode.EXISTS


def test_rfc5812_4_5_3_1_a_star_makes_the_row_its_own_key() -> None:
    kind = table(
        '<array><typeRef>uint16</typeRef><contentKey contentKeyID="4">'
        "<contentKeyField>*</contentKeyField></contentKey></array>"
    )
    assert kind.key_of(4, 99) == 99
    assert refusal(kind, {1: 5, 2: 5}) is ResultCode.EXISTS


def test_rfc7391_sparse_rows_carry_their_index_as_ilv_id() -> None:
    kind = prefixes()
    sparse = kind.pack_sparse({9: ROW, 4: ROW})
    assert [index for index, _ in sparse] == [9, 4]
    assert kind.unpack_sparse(sparse) == {9: ROW, 4: ROW}


@STEADY
@given(rows=values(prefixes()))
def test_bulk_and_generic_codec_agree(rows: dict[int, dict[str, object]]) -> None:
    kind = prefixes()
    contents = kind.pack(rows)
    bulk = kind.unpack_bulk(contents)
    kind.check_bulk(bulk)
    assert kind.pack_bulk(bulk) == contents
    assert bulk["index"].tolist() == list(rows)
    assert bulk["row"]["HopSelector"].tolist() == [row["HopSelector"] for row in rows.values()]
    assert [bytes(a) for a in bulk["row"]["IPv4Address"]] == [
        row["IPv4Address"] for row in rows.values()
    ]


def test_every_table_of_fixed_rows_has_a_dtype_of_the_rows_size() -> None:
    seen = 0
    for cls in library().classes:
        for one in cls.components.values():
            if isinstance(one.type, ArrayType) and one.type.row.fixed_size is not None:
                assert one.type.dtype is not None
                assert one.type.dtype.itemsize == 4 + one.type.row.fixed_size
                seen += 1
    assert seen > 12
    supported = library().cls("FEObject").component("SupportedLFBs").type
    assert isinstance(supported, ArrayType)
    assert supported.dtype is None
    with pytest.raises(UsageError):
        supported.unpack_bulk(b"")


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("Prefixlen", 33, ResultCode.VALUE_OUT_OF_RANGE),
        ("ECMPFlag", 2, ResultCode.VALUE_OUT_OF_RANGE),
        ("index", 1, ResultCode.INVALID_PARAMETERS),
    ],
)
def test_check_bulk_finds_one_bad_row_among_good_ones(
    column: str, value: int, code: ResultCode
) -> None:
    kind = prefixes()
    contents = kind.pack({index: ROW for index in range(1, 100)})
    bulk = kind.unpack_bulk(contents).copy()
    kind.check_bulk(bulk)
    where = bulk if column == "index" else bulk["row"]
    where[column].view("u1" if column == "ECMPFlag" else where[column].dtype)[50] = value
    with pytest.raises(ProtocolError) as caught:
        kind.check_bulk(bulk)
    assert caught.value.code is code


def test_bulk_refuses_torn_contents_and_arrays_of_another_layout() -> None:
    kind = prefixes()
    assert len(kind.unpack_bulk(b"")) == 0
    with pytest.raises(ProtocolError):
        kind.unpack_bulk(bytes(17))
    with pytest.raises(UsageError):
        kind.pack_bulk(np.zeros(3, "u4"))
