"""The loader of library documents: what it understands, and how it refuses (RFC 5812 4.2-4.9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from forces.errors import ProtocolError, UsageError
from forces.model import AtomicType, EventCondition, Library, ModelError, StructType, library
from forces.model.document import MAX_NESTING, MAX_OCTETS
from forces.model.types import MAX_DEPTH
from tests.forces.model.strategies import (
    component,
    document,
    parsed,
    reference,
    struct,
    type_def,
)


def lfb(number: int, name: str, body: str = "", version: str = "1.0", derived: str = "") -> str:
    return (
        f'<LFBClassDef LFBClassID="{number}"><name>{name}</name><synopsis>x</synopsis>'
        f"<version>{version}</version>{derived}{body}</LFBClassDef>"
    )


def components(*parts: str) -> str:
    return f"<components>{''.join(parts)}</components>"


def event(number: int, name: str, target: str, condition: str, *reports: str) -> str:
    wrapped = "".join(f"<eventReport>{report}</eventReport>" for report in reports)
    return (
        f'<event eventID="{number}"><name>{name}</name><synopsis>x</synopsis>'
        f"<eventTarget>{target}</eventTarget><{condition}/>"
        f"<eventReports>{wrapped}</eventReports></event>"
    )


def field(name: str) -> str:
    return f"<eventField>{name}</eventField>"


def subscript(name: str) -> str:
    return f"<eventSubscript>{name}</eventSubscript>"


U32 = reference("uint32")

GOLDEN = {
    "no xml": ("<LFBLibrary", "test0.xml:1: <LFBLibrary>: no well-formed XML: unclosed token"),
    "another root": ("<x/>", "test0.xml:1: <x>: the root must be LFBLibrary"),
    "provides": ("<LFBLibrary/>", "test0.xml:1: <LFBLibrary>: attribute provides is missing"),
    "doctype": (
        '<!DOCTYPE x [<!ENTITY a "b">]><LFBLibrary provides="x"/>',
        "test0.xml:1: <!DOCTYPE>: not allowed",
    ),
    "unknown type": (
        document(type_def("T", "<typeRef>uint33</typeRef>")),
        "test0.xml:2: <typeRef>: no data type 'uint33'",
    ),
    "no type": (
        document(type_def("T", "")),
        "test0.xml:2: <dataTypeDef>: one of typeRef, atomic, array, struct, union, alias "
        "expected, 0 found",
    ),
    "type twice": (
        document(type_def("T", U32) + type_def("T", U32)),
        "test0.xml:2: <dataTypeDef>: data type T is there already",
    ),
    "type of itself": (
        document(type_def("T", struct(component(1, "a", reference("T"))))),
        "test0.xml:2: <dataTypeDef>: data type T contains itself",
    ),
    "field id twice": (
        document(type_def("T", struct(component(1, "a", U32), component(1, "b", U32)))),
        "test0.xml:2: <component>: componentID 1 twice",
    ),
    "range of another type": (
        document(
            type_def(
                "T",
                "<atomic><baseType>uchar</baseType><rangeRestriction>"
                '<allowedRange min="0" max="256"/></rangeRestriction></atomic>',
            )
        ),
        "test0.xml:2: <allowedRange>: 0..256 is no range of uchar",
    ),
    "special value twice": (
        document(
            type_def(
                "T",
                "<atomic><baseType>uchar</baseType><specialValues>"
                '<specialValue value="1"><name>a</name></specialValue>'
                '<specialValue value="0x1"><name>b</name></specialValue></specialValues></atomic>',
            )
        ),
        "test0.xml:2: <specialValue>: value 1 twice",
    ),
    "key": (
        document(
            type_def(
                "T",
                f"<array>{struct(component(1, 'a', U32))}<contentKey contentKeyID='1'>"
                "<contentKeyField>b</contentKeyField></contentKey></array>",
            )
        ),
        "test0.xml:2: <contentKeyField>: no component 'b' there",
    ),
    "component 0": (
        document(classes=lfb(9, "C", components(component(0, "a", U32)))),
        "test0.xml:3: <component>: 0 is not in 1..4294967295",
    ),
    "component twice": (
        document(classes=lfb(9, "C", components(component(1, "a", U32), component(2, "a", U32)))),
        "test0.xml:3: <component>: component 2 a is there already",
    ),
    "access": (
        document(classes=lfb(9, "C", components(component(1, "a", U32, 'access="rw"')))),
        "test0.xml:3: <component>: access 'rw': one of read-only, read-write, write-only, "
        "read-reset, trigger-only expected",
    ),
    "default out of range": (
        document(
            classes=lfb(
                9, "C", components(component(1, "a", U32 + "<defaultValue>-1</defaultValue>"))
            )
        ),
        "test0.xml:3: <defaultValue>: -1 is no uint32",
    ),
    "class id twice": (
        document(classes=lfb(9, "C") + lfb(9, "D")),
        "test0.xml:3: <LFBClassDef>: LFBClassID 9 is C's",
    ),
    "class twice": (
        document(classes=lfb(9, "C") + lfb(9, "C")),
        "test0.xml:3: <LFBClassDef>: class C 1.0 is there already",
    ),
    "no version": (
        document(classes='<LFBClassDef LFBClassID="9"><name>C</name></LFBClassDef>'),
        "test0.xml:3: <LFBClassDef>: <version> is missing",
    ),
    "parent": (
        document(classes=lfb(9, "C", derived="<derivedFrom>B</derivedFrom>")),
        "test0.xml:3: <derivedFrom>: no LFB class 'B'",
    ),
    "own parent": (
        document(classes=lfb(9, "C", derived="<derivedFrom>C</derivedFrom>")),
        "test0.xml:3: <derivedFrom>: C is derived from itself",
    ),
    "base id": (
        document(
            classes=lfb(9, "C", components(component(1, "a", U32)) + '<events baseID="1"></events>')
        ),
        "test0.xml:3: <events>: baseID 1 is component a",
    ),
    "event target": (
        document(
            classes=lfb(
                9, "C", f'<events baseID="5">{event(1, "E", field("a"), "eventChanged")}</events>'
            )
        ),
        "test0.xml:3: <eventField>: no component 'a' there",
    ),
    "library": (
        document(loads="Nowhere"),
        "test0.xml:2: <load>: no library 'Nowhere' among those given",
    ),
}


@pytest.mark.parametrize(("text", "message"), GOLDEN.values(), ids=GOLDEN)
def test_a_bad_document_is_refused_in_one_line_with_file_line_and_element(
    text: str, message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        parsed(text)
    assert str(caught.value) == message


def test_a_document_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no-such\.xml.*No such file"):
        Library.load(tmp_path / "no-such.xml")


def test_documents_have_limits_on_size_and_nesting() -> None:
    with pytest.raises(ModelError, match="octets"):
        parsed("<LFBLibrary provides='x'>" + " " * MAX_OCTETS + "</LFBLibrary>")
    with pytest.raises(ModelError, match="nested deeper"):
        parsed("<a>" * (MAX_NESTING + 1) + "</a>" * (MAX_NESTING + 1))
    deep = "<array>" * MAX_DEPTH + "<typeRef>uchar</typeRef>" + "</array>" * MAX_DEPTH
    with pytest.raises(ModelError, match="types nest deeper"):
        parsed(document(type_def("T", deep)))


def test_a_class_in_a_file_needs_no_python(tmp_path: Path) -> None:
    row = struct(component(1, "Weight", U32), component(2, "Label", reference("string[8]")))
    path = tmp_path / "vendor.xml"
    path.write_text(
        document(
            type_def("Row", row),
            lfb(
                65600,
                "Vendor",
                components(component(1, "Table", "<array><typeRef>Row</typeRef></array>")),
            ),
            provides="Vendor",
        )
    )
    extended = library().extended(path)
    cls = extended.cls("Vendor")
    kind = cls.resolve(cls.path("Table")).type
    value = {3: {"Weight": 9, "Label": "left"}}
    assert kind.unpack(kind.pack(value)) == value
    assert extended.cls(10).name == "IPv4UcastLPM"
    assert library().find(65600) is None


def test_rfc5812_4_3_a_document_uses_the_types_of_those_it_loads() -> None:
    first = document(type_def("A", U32), provides="First")
    second = document(type_def("B", reference("A")), provides="Second", loads="First")
    third = document(type_def("C", struct(component(1, "x", reference("A")))), loads="Second")
    assert parsed(third, second, first).types["C"].fixed_size == 4
    with pytest.raises(ModelError, match="no data type 'A'"):
        parsed(document(type_def("B", reference("A"))), first)
    # a shipped document is found by its name
    assert parsed(document(type_def("M", reference("IEEEMAC")), loads="BaseTypeLibrary"))


def test_rfc5812_4_5_7_an_augmentation_adds_and_may_replace_with_an_augmentation() -> None:
    types = (
        type_def("Base", struct(component(1, "a", U32)))
        + type_def(
            "More", f"<struct><derivedFrom>Base</derivedFrom>{component(2, 'b', U32)}</struct>"
        )
        + type_def("Holder", struct(component(1, "h", reference("Base"))))
        + type_def(
            "Wider",
            "<struct><derivedFrom>Holder</derivedFrom>"
            f"{component(1, 'h', reference('More'))}</struct>",
        )
    )
    wider = parsed(document(types)).types["Wider"]
    assert wider.pack({"h": {"a": 1, "b": 2}}) == bytes.fromhex("0000000100000002")
    replaced = (
        f"<struct><derivedFrom>Base</derivedFrom>{component(1, 'a', reference('uchar'))}</struct>"
    )
    with pytest.raises(ModelError, match="uchar is no augmentation of uint32"):
        parsed(document(types + type_def("Bad", replaced)))
    clash = f"<struct><derivedFrom>Base</derivedFrom>{component(1, 'c', U32)}</struct>"
    with pytest.raises(ModelError, match="clashes with component 1 a"):
        parsed(document(types + type_def("Bad", clash)))


def test_rfc5812_4_7_1_a_derived_class_has_what_its_parent_has() -> None:
    a, b = component(1, "a", U32), component(2, "b", U32)
    events = event(1, "AChanged", field("a"), "eventChanged", field("a"))
    more = event(2, "BChanged", field("b"), "eventChanged", field("b"))
    lib = parsed(
        document(
            classes=lfb(
                8,
                "Child",
                components(b) + f"<events>{more}</events>",
                derived="<derivedFrom>Base</derivedFrom>",
            )
            + lfb(7, "Base", components(a) + f'<events baseID="60">{events}</events>')
        )
    )
    child = lib.cls("Child")
    assert child.derived_from is lib.cls("Base")
    assert list(child.components) == [1, 2]
    assert [one.path for one in child.events.values()] == [(60, 1), (60, 2)]


def test_rfc7408_2_6_without_a_version_the_first_version_of_the_parent_is_meant() -> None:
    old = lfb(7, "Base", components(component(1, "a", U32)))
    new = lfb(7, "Base", components(component(1, "a", U32), component(2, "b", U32)), version="1.10")
    for version, count in (("", 1), (' version="1.10"', 2)):
        child = lfb(8, "Child", derived=f"<derivedFrom{version}>Base</derivedFrom>")
        lib = parsed(document(classes=new + old + child))
        assert len(lib.cls("Child").components) == count
        assert lib.cls("Base").version == "1.10"  # newer than 1.9, and the default
        assert lib.cls("Base", "1.0").version == "1.0"


def test_rfc7408_2_2_defaults_of_data_types_and_who_overrides_them() -> None:
    types = (
        type_def("Zero", U32 + "<defaultValue>5</defaultValue>")
        + type_def("Other", reference("Zero") + "<defaultValue>0x7</defaultValue>")
        + type_def("Name", reference("string") + "<defaultValue>eth 0</defaultValue>")
        + type_def("Octets", reference("byte[2]") + "<defaultValue>0xfe01</defaultValue>")
        + type_def(
            "Row",
            struct(
                component(1, "z", reference("Zero")),
                component(2, "o", reference("Other")),
                component(3, "n", reference("Name")),
                component(4, "b", reference("Octets")),
            ),
        )
    )
    body = components(
        component(1, "row", reference("Row")),
        component(2, "z", reference("Zero") + "<defaultValue>9</defaultValue>"),
        component(3, "f", reference("boolean") + "<defaultValue>true</defaultValue>"),
        component(4, "r", reference("float32") + "<defaultValue>0.5</defaultValue>"),
    )
    cls = parsed(document(types, lfb(7, "C", body))).cls(7)
    assert cls.component("row").initial() == {"z": 5, "o": 7, "n": "eth 0", "b": b"\xfe\x01"}
    assert [cls.component(n).initial() for n in (2, 3, 4)] == [9, True, 0.5]


def test_rfc7408_2_3_access_of_a_struct_component_overrides_the_components() -> None:
    row = struct(component(1, "match", U32), component(2, "hits", U32, 'access="read-reset"'))
    body = components(component(1, "flows", f"<array>{row}</array>", 'access="read-write"'))
    capability = (
        '<capabilities><capability componentID="2"><name>cap</name><synopsis>x</synopsis>'
        f"{row}</capability></capabilities>"
    )
    cls = parsed(document(classes=lfb(7, "C", body + capability))).cls(7)
    assert cls.resolve((1, 5, 1)).access == "read-write"
    assert cls.resolve((1, 5, 2)).access == "read-reset"
    assert cls.resolve((2, 2)).access == "read-only"  # MUST be ignored in a capability


def test_rfc5812_4_7_6_events_with_subscripts_conditions_and_reports() -> None:
    row = struct(component(1, "field1", U32), component(2, "field2", reference("string")))
    body = components(
        component(1, "foo", U32), component(2, "bar", f"<array>{row}</array>")
    ) + '<events baseID="7">' + "".join(
        (
            event(9, "NewBar", field("bar") + subscript("_i_"), "eventCreated",
                  field("bar") + subscript("_i_"), field("foo")),
            event(10, "Bar11", field("bar") + subscript("11") + field("field1"), "eventGreaterThan",
                  field("bar") + subscript("11") + field("field2")),
            event(11, "Foo5", field("foo"), "eventBecomesEqualTo"),
            event(12, "AnyNew", field("bar"), "eventCreated"),
        )
    ) + "</events>"  # fmt: skip
    cls = parsed(document(classes=lfb(7, "C", body))).cls(7)
    new, eleven, equal, table = cls.events.values()
    assert new.target == (2, "_i_")
    assert new.subscripts == ("_i_",)
    assert new.reports == ((2, "_i_"), (1,))
    assert isinstance(new.report_type, StructType)
    assert [one.name for one in new.report_type.fields] == ["bar._i_", "foo"]
    assert eleven.target == (2, 11, 1)
    assert eleven.condition is EventCondition.GREATER_THAN
    assert eleven.condition.needs_threshold
    assert not new.condition.needs_threshold
    assert equal.condition is EventCondition.BECOMES_EQUAL_TO
    assert equal.report_type is None
    assert len(table.subscripts) == 1  # RFC 7729 writes it so; 4.7.6.2 wants the subscript
    assert cls.resolve_event((7, 9, 100)) == (new, (100,))
    assert cls.resolve_event((7, 9)) == (new, ())
    assert cls.path("NewBar", 100) == (7, 9, 100)
    with pytest.raises(ProtocolError):
        cls.resolve_event((7, 10, 11))


def test_a_lenient_load_notes_an_event_that_leads_nowhere_and_goes_on() -> None:
    body = components(component(1, "a", U32)) + (
        f'<events baseID="5">{event(1, "Lost", field("b"), "eventChanged")}'
        f"{event(2, 'Found', field('a'), 'eventChanged')}</events>"
    )
    lib = parsed(document(classes=lfb(7, "C", body)), strict=False)
    assert list(lib.cls(7).events) == [2]
    assert lib.warnings == ("test0.xml:3: <eventField>: no component 'b' there",)


def test_a_renaming_keeps_the_layout_under_the_new_name() -> None:
    kind = parsed(document(type_def("short", reference("int16")))).types["short"]
    assert isinstance(kind, AtomicType)
    assert (kind.name, kind.base, kind.fixed_size) == ("short", "int16", 2)


def test_what_a_class_has_not_is_the_callers_error() -> None:
    cls = library().cls(1)
    for call in (cls.component, cls.event):
        with pytest.raises(UsageError, match="FEObject has no"):
            call("nothing")
