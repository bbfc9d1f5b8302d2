"""Random values of a type, and small library documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from forces.model import (
    ArrayType,
    AtomicType,
    DataType,
    Library,
    OctetsType,
    StringType,
    StructType,
    UnionType,
)
from forces.model.types import BASES

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For a test that runs once for each component of each class."""
STEADY = settings(max_examples=100, deadline=None)
"""No deadline: the machine is shared."""
SMALL = 12
"""Longest random string, octetstring, and rows of a table."""


def values(kind: DataType) -> st.SearchStrategy[Any]:
    """Values of this type that `check` must accept."""
    if isinstance(kind, AtomicType):
        return _numbers(kind)
    if isinstance(kind, StringType):
        limit = SMALL if kind.maximum is None else kind.maximum
        return st.text(max_size=SMALL).filter(lambda text: len(text.encode()) <= limit)
    if isinstance(kind, OctetsType):
        if kind.fixed_size is not None:
            return st.binary(min_size=kind.fixed_size, max_size=kind.fixed_size)
        return st.binary(max_size=min(SMALL, kind.maximum or SMALL))
    if isinstance(kind, StructType):
        return st.fixed_dictionaries({field.name: values(field.type) for field in kind.fields})
    if isinstance(kind, UnionType):
        return st.one_of([values(f.type).map(lambda v, f=f: {f.name: v}) for f in kind.fields])
    assert isinstance(kind, ArrayType)
    if kind.length is not None:
        return st.fixed_dictionaries({index: values(kind.row) for index in range(kind.length)})
    most = SMALL if kind.maximum is None else min(SMALL, kind.maximum)
    tables = st.dictionaries(st.integers(0, 0xFFFFFFFF), values(kind.row), max_size=most // 4)
    return tables.map(lambda rows: _distinct(kind, rows))


def _numbers(kind: AtomicType) -> st.SearchStrategy[Any]:
    if kind.boolean:
        return st.booleans()
    base = BASES[kind.base]
    if not base.integer:
        return st.floats(width=32 if kind.base == "float32" else 64, allow_nan=False)
    ranges = kind.ranges or ((int(base.minimum), int(base.maximum)),)
    return st.one_of([st.integers(low, high) for low, high in ranges])


def _distinct(kind: ArrayType, rows: dict[int, Any]) -> dict[int, Any]:
    """Without the rows whose content key another row has."""
    for key_id, key in kind.keys.items():
        seen: dict[bytes, int] = {}
        for index, row in rows.items():
            seen.setdefault(key.type.pack(kind.key_of(key_id, row)), index)
        rows = {index: row for index, row in rows.items() if index in seen.values()}
    return rows


def document(
    types: str = "", classes: str = "", provides: str = "Test", loads: str = "", more: str = ""
) -> str:
    loaded = "".join(f'<load library="{name}"/>' for name in loads.split())
    return (
        f'<LFBLibrary xmlns="urn:ietf:params:xml:ns:forces:lfbmodel:1.1" provides="{provides}">\n'
        f"{loaded}{more}<dataTypeDefs>{types}</dataTypeDefs>\n"
        f"<LFBClassDefs>{classes}</LFBClassDefs></LFBLibrary>"
    )


def parsed(*documents: str, strict: bool = True) -> Library:
    named = [(f"test{number}.xml", text.encode()) for number, text in enumerate(documents)]
    return Library(tuple(named), strict=strict)


def type_of(declaration: str, more_types: str = "") -> DataType:
    """The type that this element declares."""
    text = f"<dataTypeDef><name>T</name><synopsis>x</synopsis>{declaration}</dataTypeDef>"
    return parsed(document(more_types + text)).types["T"]


def type_def(name: str, declaration: str) -> str:
    return f"<dataTypeDef><name>{name}</name><synopsis>x</synopsis>{declaration}</dataTypeDef>"


def component(number: int, name: str, declaration: str, attributes: str = "") -> str:
    return (
        f'<component componentID="{number}" {attributes}><name>{name}</name>'
        f"<synopsis>x</synopsis>{declaration}</component>"
    )


def struct(*components: str) -> str:
    return f"<struct>{''.join(components)}</struct>"


def reference(name: str) -> str:
    return f"<typeRef>{name}</typeRef>"


def rfc_documents() -> list[Path]:
    """The RFCs' own XML, which is not part of this repository."""
    folder = Path(__file__).parents[4] / "shared" / "refs" / "lfb-xml"
    return sorted(folder.glob("*.xml"))
