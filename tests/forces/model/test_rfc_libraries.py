"""Ours against the RFCs' own XML, where that is present."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forces.errors import ProtocolError
from forces.model import (
    ArrayType,
    AtomicType,
    Component,
    DataType,
    FieldsType,
    LfbClass,
    Library,
    OctetsType,
    StringType,
    UnionType,
    library,
)
from tests.forces.model.strategies import QUICK, rfc_documents, values

DOCUMENTS = rfc_documents()
pytestmark = pytest.mark.skipif(not DOCUMENTS, reason="the RFCs' LFB XML is not on this machine")

RFC = Library.load(*DOCUMENTS) if DOCUMENTS else library()
SHARED = [cls for cls in library().classes if RFC.find(cls.id) is not None]
EVERY = [(cls, part) for cls in RFC.classes for part in cls.components.values()]

ACCESS_CORRECTED = {("FEObject", "FEState"): "read-write"}
"""RFC errata: ours differs from the print, on purpose."""


def shape(kind: DataType) -> object:
    """What must be equal of two types: everything but synopses, ranges and defaults."""
    if isinstance(kind, AtomicType):
        return kind.base, {name: entry.value for name, entry in kind.special.items()}
    if isinstance(kind, StringType):
        return "string", kind.maximum
    if isinstance(kind, OctetsType):
        return "octets", kind.maximum, kind.fixed_size
    if isinstance(kind, ArrayType):
        keys = {number: key.fields for number, key in kind.keys.items()}
        return "array", shape(kind.row), kind.maximum, kind.length, keys
    assert isinstance(kind, FieldsType)
    fields = [(f.id, f.name, f.optional, f.access, f.alias, shape(f.type)) for f in kind.fields]
    return isinstance(kind, UnionType), fields


def ranges(kind: DataType) -> list[AtomicType]:
    """The atomic types inside, in order."""
    if isinstance(kind, AtomicType):
        return [kind]
    if isinstance(kind, ArrayType):
        return ranges(kind.row)
    if isinstance(kind, FieldsType):
        return [leaf for field in kind.fields for leaf in ranges(field.type)]
    return []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_document_loads_alone(path: Path) -> None:
    Library.load(path)


def test_all_documents_load_together_with_one_known_misprint() -> None:
    assert len(RFC.warnings) == 1
    assert "InvalidCounter" in RFC.warnings[0]  # RFC 7409 means InvalidMergesCounter
    assert [RFC.cls("FEPO", version).id for version in ("1.0", "1.1", "1.2")] == [2, 2, 2]
    assert RFC.cls("FEPO").version == "1.2"


def test_the_rfcs_have_no_base_class_that_we_lack() -> None:
    assert {cls.id for cls in RFC.classes if cls.id <= 17} <= {cls.id for cls in library().classes}
    assert len(SHARED) >= 17


@pytest.mark.parametrize("ours", SHARED, ids=lambda cls: cls.name)
def test_our_class_is_the_rfcs_class(ours: LfbClass) -> None:
    theirs = RFC.cls(ours.id)
    assert (ours.name, ours.version) == (theirs.name, theirs.version)
    assert ours.components.keys() == theirs.components.keys()
    for number, component in ours.components.items():
        compare(ours, component, theirs.components[number])
    assert ours.event_base == theirs.event_base
    assert ours.events.keys() == theirs.events.keys()
    for number, event in ours.events.items():
        other = theirs.events[number]
        assert (event.name, event.path, event.condition, event.target, event.reports) == (
            other.name,
            other.path,
            other.condition,
            other.target,
            other.reports,
        )
    for mine, printed in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
        assert [(p.name, p.group, p.frames, p.metadata) for p in mine] == [
            (p.name, p.group, p.frames, p.metadata) for p in printed
        ]


def compare(cls: LfbClass, ours: Component, theirs: Component) -> None:
    assert ours.name == theirs.name
    assert shape(ours.type) == shape(theirs.type), ours.name
    expected = ACCESS_CORRECTED.get((cls.name, ours.name), theirs.access)
    assert ours.access == expected, ours.name
    assert (ours.optional, ours.capability, ours.alias) == (
        theirs.optional,
        theirs.capability,
        theirs.alias,
    )
    assert theirs.default in (None, ours.default), ours.name
    for mine, printed in zip(ranges(ours.type), ranges(theirs.type), strict=True):
        if mine.ranges != printed.ranges:
            # only ever: an enumeration whose range the RFC leaves out
            numbers = sorted(int(entry.value) for entry in mine.special.values())
            assert not printed.ranges
            assert mine.ranges == ((numbers[0], numbers[-1]),)
            assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_our_data_types_and_metadata_are_the_rfcs() -> None:
    for name, kind in library().types.items():
        if name in RFC.types:
            assert shape(kind) == shape(RFC.types[name]), name
    base = Library.load(*(path for path in DOCUMENTS if "rfc6956" in path.name))
    assert base.types.keys() <= library().types.keys()
    assert base.frames <= library().frames
    assert {(m.id, m.name, repr(shape(m.type))) for m in base.metadata.values()} == {
        (m.id, m.name, repr(shape(m.type))) for m in library().metadata.values()
    }


@pytest.mark.parametrize(
    ("cls", "part"), EVERY, ids=[f"{cls.name}.{part.name}" for cls, part in EVERY]
)
@QUICK
@given(data=st.data())
def test_every_component_of_the_rfcs_round_trips_random_values(
    cls: LfbClass, part: Component, data: st.DataObject
) -> None:
    value = data.draw(values(part.type))
    part.type.check(value)
    assert part.type.unpack(part.type.pack(value)) == value


@pytest.mark.parametrize("cls", RFC.classes, ids=lambda cls: cls.name)
@QUICK
@given(contents=st.binary(max_size=96))
def test_any_octets_give_every_component_a_value_or_a_protocol_error(
    cls: LfbClass, contents: bytes
) -> None:
    for part in cls.components.values():
        try:
            value = part.type.unpack(contents)
        except ProtocolError:
            continue
        assert part.type.unpack(part.type.pack(value)) == value
