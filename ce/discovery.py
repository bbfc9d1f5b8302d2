"""What a CE asks an FE after the association, and what it understands of the answer.

RFC 5810 section 4.2.1 (Fig. 8) and RFC 7121 Fig. 2: the capability exchange. One Query asks for
the protocol object's view of the CEs, the FE object, every port's state, and the next hops (with
their groups, where alternates are wanted).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from ce.answers import answers, read_rows
from ce.fe_tables import Rows, Table, small_tables
from ce.lfbs import PORT_UP, component, table_get
from forces.errors import ProtocolError
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.paths import FullData

_FEPO = ("CEID", "LastCEID", "HAMode", "BackupCEs", "AllCEs")
_FE_OBJECT = ("FEState", "FEName", "LFBSelectors")
CE_ASSOCIATED = frozenset({2, 3})
"""FEPO CEStatusType: Associated, IsMaster (RFC 7121 section 3.1)."""


@dataclass(slots=True)
class Picture:
    """What an FE said of itself; None where it has not, or could not."""

    master: int | None = None
    """FEPO.CEID."""
    last: int | None = None
    """FEPO.LastCEID; 0: never had one."""
    ha_mode: int | None = None
    backups: tuple[int, ...] = ()
    """FEPO.BackupCEs."""
    associated_ces: frozenset[int] = frozenset()
    """From FEPO.AllCEs."""
    fe_state: int | None = None
    fe_name: str = ""
    lfbs: tuple[tuple[int, int], ...] = ()
    """FEObject.LFBSelectors: (class, instance)."""
    ports: dict[int, bool] = field(default_factory=dict)
    """PHYPortID -> EtherPHYCop.OperStatus is up."""
    rows: dict[Table, Rows] = field(default_factory=dict)
    """Of the tables that prefixes point to."""


def ports_get(ports: Iterable[int]) -> tuple[LfbSelect, ...]:
    """GET of every port's OperStatus."""
    status = component("EtherPHYCop", "OperStatus")
    return tuple(status.select(OperType.GET, status.get(), instance=port) for port in ports)


def fe_state_get() -> LfbSelect:
    return _get("FEObject", ("FEState",))


def _get(lfb: str, names: Iterable[str]) -> LfbSelect:
    components = [component(lfb, name) for name in names]
    paths = tuple(one.get() for one in components)
    return LfbSelect(components[0].class_id, 1, (Operation(OperType.GET, paths),))


def discovery_query(ports: Iterable[int], alternates: bool) -> tuple[LfbSelect, ...]:
    """Everything that a CE wants to know of a new FE."""
    return (
        _get("FEPO", _FEPO),
        _get("FEObject", _FE_OBJECT),
        *ports_get(ports),
        *map(table_get, small_tables(alternates)),
    )


def role_query(ports: Iterable[int]) -> tuple[LfbSelect, ...]:
    """What may have changed without our having been told: MP loses events (RFC 5811 4.2.1.3)."""
    return (_get("FEPO", ("CEID", "LastCEID", "AllCEs")), *ports_get(ports))


@cache
def _names(lfb: str, names: tuple[str, ...]) -> dict[tuple[int, ...], str]:
    """Path -> name."""
    return {component(lfb, name).ids: name for name in names}


def read(message: Message, picture: Picture) -> None:
    """Take over what a QueryResponse says. A component that the FE does not have, or that comes
    in contents of another type, stays as it was."""
    fields, objects = _names("FEPO", _FEPO), _names("FEObject", _FE_OBJECT)
    fepo = component("FEPO", "CEID").class_id
    fe_object = component("FEObject", "FEState").class_id
    status = component("EtherPHYCop", "OperStatus")
    for class_id, instance, ids, content in answers(message):
        if not isinstance(content, FullData):
            continue
        try:
            if class_id == fepo and ids in fields:
                _fepo(picture, fields[ids], content.value)
            elif class_id == fe_object and ids in objects:
                _fe_object(picture, objects[ids], content.value)
            elif class_id == status.class_id and ids == status.ids:
                picture.ports[instance] = status.unpack(content.value) == PORT_UP
        except ProtocolError:
            continue
    for which in small_tables(True):
        try:
            picture.rows.setdefault(which, {}).update(read_rows(which, message)[0])
        except ProtocolError:
            continue


def _fepo(picture: Picture, name: str, contents: bytes) -> None:
    value = component("FEPO", name).unpack(contents)
    if name == "CEID":
        picture.master = value
    elif name == "LastCEID":
        picture.last = value
    elif name == "HAMode":
        picture.ha_mode = value
    elif name == "BackupCEs":
        picture.backups = tuple(ce for _, ce in sorted(value.items()))
    else:
        picture.associated_ces = frozenset(
            entry["CEID"] for entry in value.values() if entry["CEStatus"] in CE_ASSOCIATED
        )


def _fe_object(picture: Picture, name: str, contents: bytes) -> None:
    value = component("FEObject", name).unpack(contents)
    if name == "FEState":
        picture.fe_state = value
    elif name == "FEName":
        picture.fe_name = value
    else:
        picture.lfbs = tuple(
            (entry["LFBClassID"], entry["LFBInstanceID"]) for entry in value.values()
        )
