"""Values to contents and back: atomic types, structs, unions (RFC 5812 4.5, RFC 5810 7.1.8)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forces.errors import ProtocolError, ResultCode, UsageError
from forces.model import DataType, StructType, UnionType
from tests.forces.model.strategies import (
    QUICK,
    STEADY,
    component,
    reference,
    struct,
    type_def,
    type_of,
    values,
)

SIZES = {
    "char": 1,
    "uchar": 1,
    "boolean": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float32": 4,
    "float64": 8,
    "byte[6]": 6,
    "string": None,
    "string[40]": None,
    "octetstring[16]": None,
}


def refused(kind: DataType, value: object) -> ResultCode:
    with pytest.raises(ProtocolError) as caught:
        kind.check(value)
    return caught.value.code


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_rfc5812_4_5_atomic_types_have_these_sizes(name: str, size: int | None) -> None:
    assert type_of(reference(name)).fixed_size == size


@pytest.mark.parametrize("name", SIZES)
@QUICK
@given(data=st.data())
def test_every_value_of_an_atomic_type_survives_packing(name: str, data: st.DataObject) -> None:
    kind = type_of(reference(name))
    value = data.draw(values(kind))
    kind.check(value)
    assert kind.unpack(kind.pack(value)) == value


def test_rfc5812_4_5_a_string_keeps_octets_that_are_no_utf8() -> None:
    kind = type_of(reference("string"))
    assert kind.pack(kind.unpack(b"caf\xe9\xff")) == b"caf\xe9\xff"


def test_rfc5812_4_5_a_strings_limit_counts_octets_not_characters() -> None:
    kind = type_of(reference("string[4]"))
    kind.check("éé")
    assert refused(kind, "ééé") is ResultCode.CONTENTS_TOO_LONG
    assert refused(type_of(reference("octetstring[4]")), bytes(5)) is ResultCode.CONTENTS_TOO_LONG


def test_rfc5812_4_5_2_a_value_outside_the_ranges_is_refused_unless_it_is_special() -> None:
    kind = type_of(
        '<atomic><baseType>int16</baseType><rangeRestriction><allowedRange min="-3" max="-1"/>'
        '<allowedRange min="10" max="20"/></rangeRestriction><specialValues>'
        '<specialValue value="0x63"><name>all</name><synopsis>x</synopsis></specialValue>'
        "</specialValues></atomic>"
    )
    for value in (-3, -1, 10, 20, 99):
        kind.check(value)
    for value in (-4, 0, 9, 21, 98, 40000):
        assert refused(kind, value) is ResultCode.VALUE_OUT_OF_RANGE
    kind.check(kind.default())


def test_rfc5812_4_5_2_special_values_alone_restrict_nothing() -> None:
    kind = type_of(
        '<atomic><baseType>int32</baseType><specialValues><specialValue value="0">'
        "<name>NOMATCH</name><synopsis>x</synopsis></specialValue></specialValues></atomic>"
    )
    kind.check(17)


@pytest.mark.parametrize(
    ("name", "value"),
    [("uint32", "1"), ("uint32", 1.5), ("boolean", "x"), ("string", b"x"), ("byte[2]", "xx")],
)
def test_a_value_of_another_python_type_is_refused(name: str, value: object) -> None:
    assert refused(type_of(reference(name)), value) is ResultCode.INVALID_PARAMETERS
    with pytest.raises(UsageError):
        type_of(reference(name)).pack(value)


def test_rfc5812_4_5_a_boolean_octet_of_2_is_out_of_range() -> None:
    flag = type_of(reference("boolean"))
    row = type_of(
        struct(
            component(1, "a", reference("uchar")), component(2, "f", "<typeRef>boolean</typeRef>")
        )
    )
    for kind, contents in ((flag, b"\x02"), (row, b"\x02\x02")):
        with pytest.raises(ProtocolError) as caught:
            kind.unpack(contents)
        assert caught.value.code is ResultCode.VALUE_OUT_OF_RANGE
    assert row.unpack(b"\x02\x01") == {"a": 2, "f": True}


def test_contents_longer_or_shorter_than_the_type_are_refused() -> None:
    kind = type_of(reference("uint32"))
    for contents, code in (
        (bytes(5), ResultCode.CONTENTS_TOO_LONG),
        (bytes(3), ResultCode.INVALID_PARAMETERS),
    ):
        with pytest.raises(ProtocolError) as caught:
            kind.unpack(contents)
        assert caught.value.code is code


def test_rfc5810_appendix_c_example_1_fixed_fields_are_laid_end_to_end() -> None:
    kind = type_of(struct(*(component(i, n, reference("uint16")) for i, n in enumerate("abc", 1))))
    assert isinstance(kind, StructType)
    value = {"a": 1, "b": 2, "c": 3}
    assert kind.pack(value) == bytes.fromhex("000100020003")
    assert kind.pack_sparse({"c": 3, "a": 1}) == ((3, b"\0\3"), (1, b"\0\1"))
    assert kind.unpack_sparse([(1, b"\0\1"), (3, b"\0\3")]) == {"a": 1, "c": 3}


def test_rfc5810_appendix_c_example_3_a_variable_field_gets_a_fulldata_tlv() -> None:
    kind = type_of(
        struct(
            component(1, "a", reference("uint16")),
            component(2, "b", "<optional/>" + reference("string")),
            component(3, "c", "<optional/>" + reference("uint16")),
        )
    )
    assert isinstance(kind, StructType)
    value = {"a": 1, "b": "xyzzy", "c": 3}
    packed = bytes.fromhex("000101120009" + b"xyzzy".hex() + "0000000003")
    assert kind.pack(value) == packed
    assert kind.unpack(packed) == value
    # RFC 5810 7.1.8: padding MUST be ignored upon reception
    assert kind.unpack(packed.replace(b"y\0\0\0", b"y\7\7\7")) == value
    # the optional one that is absent: left out of SPARSEDATA, a default in FULLDATA
    assert kind.unpack(kind.pack({"a": 1, "b": ""})) == {"a": 1, "b": "", "c": 0}
    kind.check({"a": 1})
    assert refused(kind, {"b": "x"}) is ResultCode.INVALID_PARAMETERS


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        ("0001 0113 0004 0003", ResultCode.INVALID_TLV),
        ("0001 0112 0003 0003", ResultCode.INVALID_TLV),
        ("0001 0112 00ff 0003", ResultCode.INVALID_TLV),
        ("0001 0112", ResultCode.INVALID_PARAMETERS),
        ("0001 0112 0004", ResultCode.INVALID_PARAMETERS),
        ("0001 0112 0004 0003 00", ResultCode.CONTENTS_TOO_LONG),
    ],
)
def test_a_malformed_nested_tlv_is_refused_with_its_code(contents: str, code: ResultCode) -> None:
    kind = type_of(
        struct(
            component(1, "a", reference("uint16")),
            component(2, "b", reference("string")),
            component(3, "c", reference("uint16")),
        )
    )
    with pytest.raises(ProtocolError) as caught:
        kind.unpack(bytes.fromhex(contents))
    assert caught.value.code is code


def test_a_value_too_long_for_a_nested_tlv_is_the_callers_error() -> None:
    kind = type_of(struct(component(1, "a", reference("string"))))
    assert len(kind.pack({"a": "x" * 65531})) == 65536
    with pytest.raises(UsageError, match="65532 octets"):
        kind.pack({"a": "x" * 65532})


def test_a_struct_inside_a_struct_compiles_too() -> None:
    inner = type_def(
        "I",
        struct(component(7, "x", reference("byte[3]")), component(8, "f", reference("boolean"))),
    )
    kind = type_of(
        struct(component(1, "i", reference("I")), component(2, "n", reference("uint64"))), inner
    )
    value = {"i": {"x": b"abc", "f": True}, "n": 2}
    assert kind.fixed_size == 12
    assert kind.pack(value) == b"abc\x01" + (2).to_bytes(8)
    assert kind.unpack(kind.pack(value)) == value
    with pytest.raises(UsageError, match="4 octets, 3 needed"):
        kind.pack({"i": {"x": b"abcd", "f": True}, "n": 2})
    with pytest.raises(ProtocolError, match="boolean 9"):
        kind.unpack(b"abc\x09" + bytes(8))


@pytest.mark.parametrize(
    "value", [{"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}, [1, 2], {"a": 1, "b": 70000}]
)
def test_a_struct_with_missing_unknown_or_wrong_components_is_the_callers_error(
    value: object,
) -> None:
    kind = type_of(
        struct(component(1, "a", reference("uint16")), component(2, "b", reference("uint16")))
    )
    with pytest.raises(UsageError):
        kind.pack(value)
    with pytest.raises(ProtocolError):
        kind.check(value)


def test_rfc5812_4_5_5_a_unions_components_overlay_each_other() -> None:
    kind = type_of(
        f"<union>{component(1, 'word', reference('uint32'))}"
        f"{component(2, 'octets', reference('byte[6]'))}</union>"
    )
    assert isinstance(kind, UnionType)
    assert kind.pack({"word": 0x01020304}) == bytes.fromhex("010203040000")
    everything = kind.unpack(b"abcdef")
    assert everything == {"word": 0x61626364, "octets": b"abcdef"}
    assert kind.pack(everything) == b"abcdef"
    kind.check(everything)
    with pytest.raises(UsageError, match="agree"):
        kind.pack({"word": 1, "octets": bytes(6)})


@STEADY
@given(contents=st.binary(max_size=64))
def test_any_octets_give_a_value_or_a_protocol_error(contents: bytes) -> None:
    inner = type_def(
        "I", struct(component(1, "s", reference("string")), component(2, "b", reference("boolean")))
    )
    word, text = component(1, "w", reference("uint32")), component(2, "s", reference("string"))
    union = f"<union>{word}{text}</union>"
    kind = type_of(
        "<array>"
        + struct(
            component(1, "i", reference("I")),
            component(
                2, "rows", '<array type="fixed-size" length="2"><typeRef>uint16</typeRef></array>'
            ),
            component(3, "u", union),
        )
        + "</array>",
        inner,
    )
    for one in (kind, *(type_of(reference(name)) for name in SIZES)):
        try:
            value = one.unpack(contents)
        except ProtocolError:
            continue
        assert one.unpack(one.pack(value)) == value or value != value  # a NaN is not itself


@pytest.mark.parametrize("octets", [bytearray(b"abcd"), memoryview(b"abcd")])
def test_octets_may_be_given_as_any_bytes_like_value(octets: object) -> None:
    kind = type_of(
        struct(component(1, "a", reference("byte[4]")), component(2, "b", reference("uchar")))
    )
    assert kind.pack({"a": octets, "b": 1}) == b"abcd\x01"


@STEADY
@given(
    value=st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.floats(),
        lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", 1]), inner),
    )
)
def test_any_value_packs_or_is_the_callers_error_and_what_passes_check_packs(value: object) -> None:
    flat = struct(component(1, "a", reference("byte[2]")), component(2, "b", reference("uint16")))
    varies = struct(component(1, "a", reference("string")), component(2, "b", reference("float32")))
    for declaration in (
        *(reference(name) for name in SIZES),
        flat,
        varies,
        f"<array>{flat}</array>",
        f"<array>{varies}</array>",
        "<array><typeRef>uint32</typeRef></array>",
        f"<union>{component(1, 'a', reference('uint32'))}</union>",
    ):
        kind = type_of(declaration)
        try:
            kind.check(value)
        except ProtocolError:
            with contextlib.suppress(UsageError):
                kind.pack(value)
        else:
            kind.pack(value)
