"""The layout of every shipped class, as it stood when it was last compared with the RFCs.

`shipped_classes.txt` is reviewed as a diff; `CEHA_GOLDEN=write` rewrites it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forces.model import (
    ArrayType,
    AtomicType,
    DataType,
    FieldsType,
    LfbClass,
    OctetsType,
    StringType,
    library,
)

GOLDEN = Path(__file__).with_name("shipped_classes.txt")
LAST_RFC_CLASS = 17


def spelt(kind: DataType) -> str:
    if isinstance(kind, AtomicType):
        return kind.base + "".join(f" {low}..{high}" for low, high in kind.ranges)
    if isinstance(kind, (StringType, OctetsType)):
        name = "string" if isinstance(kind, StringType) else "octetstring"
        name = "byte" if kind.fixed_size is not None else name
        return name + (f"[{kind.maximum}]" if kind.maximum else "")
    if isinstance(kind, ArrayType):
        keys = "".join(f" key {number} {key.fields}" for number, key in kind.keys.items())
        return f"array of {spelt(kind.row)}{keys}"
    assert isinstance(kind, FieldsType)
    fields = (f"{f.id} {f.name}{'?' * f.optional} {spelt(f.type)}" for f in kind.fields)
    return "{" + ", ".join(fields) + "}"


def lines(cls: LfbClass) -> list[str]:
    found = [f"class {cls.id} {cls.name} {cls.version}"]
    for part in cls.components.values():
        kind = "capability" if part.capability else part.access
        default = "" if part.default is None else f" = {part.default}"
        mark = "?" * part.optional + " alias" * part.alias
        found.append(f"  {part.id} {part.name}{mark} {kind} {spelt(part.type)}{default}")
    for event in cls.events.values():
        way = ".".join(map(str, event.path))
        found.append(f"  event {way} {event.name} {event.condition} {event.target} {event.reports}")
    return found


def test_the_shipped_classes_are_as_they_were_compared_with_the_rfcs() -> None:
    classes = [cls for cls in library().classes if cls.id <= LAST_RFC_CLASS]
    text = "\n".join(line for cls in classes for line in lines(cls)) + "\n"
    if os.environ.get("CEHA_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("cls", "table", "octets"),
    [
        ("FEPO", "AllCEs", 4 + 8 * 8 + 1),
        ("FEObject", "LFBSelectors", 4 + 4),
        ("IPv4UcastLPM", "IPv4PrefixTable", 4 + 1 + 1 + 1 + 1 + 4),
        ("IPv6UcastLPM", "IPv6PrefixTable", 16 + 1 + 1 + 1 + 1 + 4),
        ("IPv4NextHop", "IPv4NextHopTable", 4 + 4 + 4 + 4 + 4),
        ("IPv6NextHop", "IPv6NextHopTable", 4 + 4 + 16 + 4 + 4),
        ("EtherEncap", "EncapTable", 6 + 6 + 2 + 2 + 4),
        ("EtherClassifier", "EtherDispatchTable", 4 + 2 + 2 + 4),
        ("EtherClassifier", "VlanInputTable", 4 + 2 + 2 + 4),
        ("BasicMetadataDispatch", "MetadataDispatchTable", 4 + 4),
    ],
)
def test_rfc6956_rows_have_these_sizes(cls: str, table: str, octets: int) -> None:
    kind = library().cls(cls).component(table).type
    assert isinstance(kind, ArrayType)
    assert kind.row.fixed_size == octets
