"""Paths, targets, access, events and properties of the shipped classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forces.errors import ForcesError, ProtocolError, ResultCode, UsageError
from forces.model import ArrayType, EventCondition, LfbClass, StructType, library
from tests.forces.model.strategies import QUICK, STEADY, values

CLASSES = library().classes
COMPONENTS = [(cls, part) for cls in CLASSES for part in cls.components.values()]


def refused(cls: LfbClass, *ids: int) -> ResultCode:
    with pytest.raises(ProtocolError) as caught:
        cls.resolve(ids)
    return caught.value.code


def test_the_shipped_classes_are_fe_object_fepo_and_rfc6956() -> None:
    assert [cls.id for cls in CLASSES][:17] == list(range(1, 18))
    assert library().cls(2) is library().cls("FEPO") is library().find(2)
    assert library().cls(2).version == "1.2"
    assert library().find(999) is None
    for name in (999, "Nothing"):
        with pytest.raises(UsageError, match=f"no LFB class {name} in the library"):
            library().cls(name)
    with pytest.raises(UsageError, match=r"no LFB class FEPO 1\.1"):
        library().cls("FEPO", "1.1")


def test_rfc5812_9_2_names_of_classes_above_65535_begin_with_ext() -> None:
    ours = {cls.id: cls.name for cls in CLASSES if cls.id > 65535}
    assert sorted(ours) == [65552, 65553, 131073]
    assert all(name.startswith("Ext-") for name in ours.values())


@pytest.mark.parametrize(
    ("cls", "part"), COMPONENTS, ids=[f"{cls.name}.{part.name}" for cls, part in COMPONENTS]
)
@QUICK
@given(data=st.data())
def test_every_component_round_trips_random_values(
    cls: LfbClass, part: object, data: st.DataObject
) -> None:
    component = cls.component(part.name)  # type: ignore[attr-defined]
    value = data.draw(values(component.type))
    component.type.check(value)
    assert component.type.unpack(component.type.pack(value)) == value


def test_every_components_initial_value_is_valid_and_encodes() -> None:
    for _, part in COMPONENTS:
        part.type.check(part.initial())
        assert part.type.unpack(part.type.pack(part.initial())) == part.initial()


def test_paths_are_written_with_names_or_numbers() -> None:
    fepo = library().cls("FEPO")
    assert fepo.path("AllCEs", 3, "CEStatus") == (15, 3, 3)
    assert fepo.path(15, 3, 3) == (15, 3, 3)
    assert fepo.path("AllCEs", 3, "Statistics", "TxmitBytes") == (15, 3, 2, 7)
    assert fepo.path("PrimaryCEDown") == (61, 1)
    assert fepo.path("HACapabilities", 0) == (31, 0)
    assert fepo.path() == ()


@pytest.mark.parametrize(
    "steps",
    [
        ("Nope",),
        ("CEID", 1),
        ("AllCEs", "CEStatus"),
        ("AllCEs", 1, "x"),
        (15, 1, 9),
        ("AllCEs", -1),
    ],
)
def test_a_path_to_nowhere_is_the_callers_error(steps: tuple[int | str, ...]) -> None:
    fepo = library().cls("FEPO")
    with pytest.raises(ForcesError):
        fepo.resolve(fepo.path(*steps))


def test_targets_say_type_access_and_whether_they_are_a_row() -> None:
    fepo = library().cls("FEPO")
    whole, row, status = (fepo.resolve(ids) for ids in ((15,), (15, 3), (15, 3, 3)))
    assert (whole.row, row.row, status.row) == (False, True, False)
    assert isinstance(whole.type, ArrayType)
    assert row.type is whole.type.row
    assert row.array is whole.type
    assert status.type.name == "CEStatusType"
    assert whole.access == row.access == status.access == "read-only"
    assert status.component.name == "AllCEs"
    assert status.ids == (15, 3, 3)
    assert fepo.resolve((8,)).access == "read-write"
    assert fepo.resolve((31,)).component.capability
    assert fepo.resolve((31, 0)).access == "read-only"


def test_rfc5810_7_1_7_a_path_that_the_class_has_not_gets_its_code() -> None:
    fepo = library().cls("FEPO")
    assert refused(fepo, 99) is ResultCode.COMPONENT_DOES_NOT_EXIST
    assert refused(fepo, 15, 3, 9) is ResultCode.COMPONENT_DOES_NOT_EXIST
    assert refused(fepo, 8, 1) is ResultCode.INVALID_PATH
    assert refused(fepo, 15, 3, 3, 1) is ResultCode.INVALID_PATH
    assert refused(fepo) is ResultCode.INVALID_PATH
    assert refused(fepo, 61, 1) is ResultCode.INVALID_PATH


@STEADY
@given(ids=st.lists(st.integers(0, 0xFFFFFFFF) | st.integers(0, 62), max_size=6))
def test_any_path_gives_a_target_or_a_protocol_error(ids: list[int]) -> None:
    for cls in CLASSES:
        try:
            assert cls.resolve(ids).ids == tuple(ids)
        except ProtocolError:
            pass
        try:
            cls.resolve_event(ids)
        except ProtocolError:
            pass


def test_rfc7408_2_5_component_0_is_the_lfbs_properties() -> None:
    for cls in CLASSES:
        target = cls.resolve((0, 8))
        assert target.access == "read-only"
        assert target.type.fixed_size == 4
        assert cls.resolve((0,)).type.fixed_size == 32


def test_erratum_3487_fe_state_is_read_write() -> None:
    assert library().cls("FEObject").component("FEState").access == "read-write"


def test_rfc7121_the_ha_events_of_fepo() -> None:
    fepo = library().cls("FEPO")
    assert fepo.event_base == 61
    down, changed = fepo.event("PrimaryCEDown"), fepo.events[2]
    assert (down.path, changed.path) == ((61, 1), (61, 2))
    assert down.condition is changed.condition is EventCondition.CHANGED
    assert (down.target, changed.target) == ((13,), (8,))
    assert down.report_type is not None
    assert down.report_type.pack({"LastCEID": 0x40000001}) == bytes.fromhex("40000001")
    assert fepo.resolve_event((61, 2)) == (changed, ())
    for ids in ((61,), (61, 3), (60, 1), (61, 1, 5)):
        with pytest.raises(ProtocolError):
            fepo.resolve_event(ids)


def test_rfc6956_events_of_ether_phy_cop() -> None:
    cls = library().cls("EtherPHYCop")
    assert [event.path for event in cls.events.values()] == [(60, 1), (60, 2), (60, 3)]
    assert cls.event("LinkSpeedChanged").reports == ((5,),)


def test_rfc5810_7_3_1_defaults_of_the_heartbeat_and_failover_components() -> None:
    fepo = library().cls("FEPO")
    defaults = {part.name: part.default for part in fepo.components.values()}
    assert defaults["CEHDI"] == 30_000
    assert defaults["FEHI"] == 500
    assert defaults["CEFTI"] == 300_000
    assert defaults["CEHBPolicy"] == defaults["FEHBPolicy"] == defaults["CEFailoverPolicy"] == 0
    assert defaults["EResultAdmin"] == 1
    assert library().cls("EtherPHYCop").component("AdminLinkSpeed").default == 10


def test_an_enumeration_refuses_other_values() -> None:
    for cls, name, value in (("FEPO", "HAMode", 3), ("FEObject", "FEState", 3)):
        with pytest.raises(ProtocolError) as caught:
            library().cls(cls).component(name).type.check(value)
        assert caught.value.code is ResultCode.VALUE_OUT_OF_RANGE


def test_rfc5812_4_8_properties_follow_from_the_target() -> None:
    lib = library()
    fepo, feo, mac = lib.cls("FEPO"), lib.cls("FEObject"), lib.cls("EtherMACOut")
    for target, name in (
        (fepo.resolve((15,)), "arrayElementProperties"),
        (fepo.resolve((15, 1)), "baseElementProperties"),
        (feo.resolve((3,)), "stringElementProperties"),
        (mac.resolve((1,)), "aliasElementProperties"),
        (lib.cls("EtherMACIn").resolve((2, 0)), "baseElementProperties"),
    ):
        assert lib.property_type(target).name == name
    array = lib.property_type(fepo.resolve((15,)))
    assert [field.id for field in array.fields] == [1, 2, 3, 4]
    assert array.fixed_size == 13
    event = lib.event_property_type
    assert isinstance(event, StructType)
    assert [field.name for field in event.fields][1:] == [
        "registration",
        "threshold",
        "eventHysteresis",
        "eventCount",
        "eventInterval",
    ]


def test_rfc5812_4_5_6_an_alias_has_its_targets_type() -> None:
    component = library().cls("EtherMACOut").component("AdminStatus")
    assert component.alias
    assert component.type is library().types["PortStatusType"]


def test_metadata_have_rfc6956_ids() -> None:
    assert {entry.name: number for number, entry in library().metadata.items()} | {
        "PHYPortID": 1,
        "HopSelector": 10,
        "RedirectIndex": 14,
        "MediaEncapInfoIndex": 15,
    } == {entry.name: number for number, entry in library().metadata.items()}
