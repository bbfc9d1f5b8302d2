"""A class that is an XML file and nothing else, on the wire of an FE (RFC 5812)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fe_datapath.lfbs.unbound import Unbound
from forces.errors import ResultCode
from forces.messages import MessageType, OperType
from forces.model import DataType, LfbClass
from forces.paths import FullData, PathData, SparseData
from tests.conformance.fe_rig import CE1, CE2, FeRig, codes, leaves, lfb, operation, path
from tests.forces.model.strategies import QUICK, document, reference, rfc_documents, values

VENDOR = 65600
U32 = reference("uint32")
SUCCESS = ResultCode.SUCCESS


def component(number: int, name: str, body: str, access: str = "read-write") -> str:
    return (
        f'<component componentID="{number}" access="{access}"><name>{name}</name>'
        f"<synopsis>x</synopsis>{body}</component>"
    )


def event(number: int, name: str, condition: str) -> str:
    target = "<eventField>Level</eventField>"
    return (
        f'<event eventID="{number}"><name>{name}</name><synopsis>x</synopsis>'
        f"<eventTarget>{target}</eventTarget><{condition}/>"
        f"<eventReports><eventReport>{target}</eventReport></eventReports></event>"
    )


DOCUMENT = document(
    classes=f'<LFBClassDef LFBClassID="{VENDOR}"><name>Vendor</name><synopsis>x</synopsis>'
    "<version>1.0</version><components>"
    + component(1, "Level", U32 + "<defaultValue>5</defaultValue>")
    + component(2, "Serial", U32, "read-only")
    + component(
        3,
        "Table",
        "<array><struct>"
        + component(1, "Weight", U32)
        + component(2, "Label", reference("string[8]"))
        + "</struct></array>",
    )
    + '</components><events baseID="60">'
    + event(1, "LevelChanged", "eventChanged")
    + event(2, "LevelHigh", "eventGreaterThan")
    + "</events></LFBClassDef>",
    provides="Vendor",
)


@pytest.fixture
def rig(tmp_path: Path) -> FeRig:
    file = tmp_path / "vendor.xml"
    file.write_text(DOCUMENT)
    made = FeRig(lfb_documents=(str(file),))
    made.associate(CE1)
    made.associate(CE2)
    return made


def kind_of(rig: FeRig, *ids: int) -> DataType:
    return rig.core.store.library.cls(VENDOR).resolve(ids).type


def set_(rig: FeRig, *ids: int, value: Any) -> list[int]:
    data = kind_of(rig, *ids).pack(value)
    return codes(rig.config(lfb(VENDOR, operation(OperType.SET, path(*ids, data=data)))))


def get(rig: FeRig, *ids: int) -> Any:
    ((_, _, _, content),) = leaves(rig.query(lfb(VENDOR, operation(OperType.GET, path(*ids)))))
    return kind_of(rig, *ids).unpack(content.value) if isinstance(content, FullData) else content


def subscribe(rig: FeRig, number: int, **properties: int) -> list[int]:
    numbers = {"registration": 2, "threshold": 3, "count": 5}
    items = tuple((numbers[name], value.to_bytes(4)) for name, value in properties.items())
    to = PathData((60, number), content=SparseData(items))
    return codes(rig.config(lfb(VENDOR, operation(OperType.SET_PROP, to))))


def told(rig: FeRig, value: int) -> list[tuple[int, tuple[int, ...], bytes]]:
    """(CE, event path, report) of what setting Level brought about."""
    at = len(rig.effects)
    assert set_(rig, 1, value=value) == [SUCCESS]
    found = []
    for ce in (CE1, CE2):
        for message in rig.sent(ce, at):
            if message.type is MessageType.EVENT_NOTIFICATION:
                assert message.lfbs[0].class_id == VENDOR
                report = message.lfbs[0].operations[0].paths[0]
                assert isinstance(report.content, FullData)
                found.append((ce, report.ids, report.content.value))
    return found


def test_rfc5812_5_3_the_fe_names_a_class_that_came_as_xml(rig: FeRig) -> None:
    selectors = rig.get("FEObject", "LFBSelectors").values()
    assert (VENDOR, 1) in {(s["LFBClassID"], s["LFBInstanceID"]) for s in selectors}


def test_a_class_in_a_file_is_set_and_read_on_the_wire_with_no_python(rig: FeRig) -> None:
    assert get(rig, 1) == 5
    assert set_(rig, 1, value=7) == [SUCCESS]
    assert set_(rig, 3, 4, value={"Weight": 9, "Label": "left"}) == [SUCCESS]
    assert set_(rig, 3, 4, 2, value="right") == [SUCCESS]
    assert (get(rig, 1), get(rig, 3)) == (7, {4: {"Weight": 9, "Label": "right"}})
    assert set_(rig, 2, value=1) == [ResultCode.READ_ONLY]
    gone = rig.config(lfb(VENDOR, operation(OperType.DEL, path(3, 4))))
    assert (codes(gone), get(rig, 3)) == ([SUCCESS], {})


def test_rfc5812_4_7_6_its_events_come_by_condition_and_filter(rig: FeRig) -> None:
    assert told(rig, 8) == []
    assert subscribe(rig, 1, registration=1) == [SUCCESS]
    nine = (9).to_bytes(4)
    assert told(rig, 9) == [(ce, (60, 1), nine) for ce in (CE1, CE2)]
    assert told(rig, 9) == []
    assert subscribe(rig, 1, registration=0) == [SUCCESS]
    assert subscribe(rig, 2, registration=1, threshold=100) == [SUCCESS]
    answers = [len(told(rig, value)) for value in (50, 101, 150, 100, 200)]
    assert answers == [0, 2, 0, 0, 2]


def test_a_config_that_is_rolled_back_tells_of_nothing(rig: FeRig) -> None:
    subscribe(rig, 1, registration=1)
    at = len(rig.effects)
    both = (path(1, data=bytes(4)), path(2, data=bytes(4)))
    assert SUCCESS not in codes(rig.config(lfb(VENDOR, operation(OperType.SET, *both))))
    assert get(rig, 1) == 5
    kinds = {message.type for message in rig.sent(CE2, at)}
    assert MessageType.EVENT_NOTIFICATION not in kinds


SHIPPED = ("rfc5810", "rfc5812", "rfc6956", "rfc7121", "rfc7391")
MISPRINTED = ("rfc7409",)
"""Its event InvalidMergesCounter leads nowhere: an FE does not take it."""
OTHERS = tuple(
    str(file) for file in rfc_documents() if not file.stem.endswith((*SHIPPED, *MISPRINTED))
)


@cache
def rfc_rig() -> FeRig:
    made = FeRig(lfb_documents=OTHERS)
    made.associate(CE1)
    return made


UNBOUND: list[LfbClass] = [one.cls for one in rfc_rig().core.unbound]


@pytest.mark.skipif(not UNBOUND, reason="the RFCs' LFB XML is not on this machine")
@pytest.mark.parametrize("cls", UNBOUND, ids=lambda cls: cls.name)
@QUICK
@given(data=st.data())
def test_the_rfcs_other_classes_keep_random_values_that_came_over_the_wire(
    cls: LfbClass, data: st.DataObject
) -> None:
    rig = rfc_rig()
    instance = rig.core.store.instances[cls.id, 1]
    assert isinstance(instance, Unbound)
    for number, part in cls.components.items():
        value = data.draw(values(part.type))
        request = operation(OperType.SET, path(number, data=part.type.pack(value)))
        answered = codes(rig.config(lfb(cls.id, request)))
        writable = part.access in ("read-write", "write-only") and not part.capability
        assert (answered == [SUCCESS]) == writable, part.name
        if not writable:
            continue
        reply = rig.query(lfb(cls.id, operation(OperType.GET, path(number))))
        ((_, _, _, content),) = leaves(reply)
        if part.access == "write-only":
            assert not isinstance(content, FullData)
            assert instance.read(part.name) == value
            continue
        assert isinstance(content, FullData)
        assert part.type.unpack(content.value) == value
