"""The FE model: LFB classes read from RFC 5812 XML, and codecs that follow from them."""

from forces.model.array import ArrayType, ContentKey
from forces.model.classparser import MetadataDef
from forces.model.compound import Field, FieldsType, StructType
from forces.model.errors import ModelError
from forces.model.event_filter import EventFilter
from forces.model.lfbclass import (
    Access,
    Component,
    EventCondition,
    EventDef,
    LfbClass,
    Port,
    Target,
)
from forces.model.library import Library, library
from forces.model.types import AtomicType, DataType, OctetsType, SpecialValue, StringType
from forces.model.union import UnionType

__all__ = [
    "Access",
    "ArrayType",
    "AtomicType",
    "Component",
    "ContentKey",
    "DataType",
    "EventCondition",
    "EventDef",
    "EventFilter",
    "Field",
    "FieldsType",
    "LfbClass",
    "Library",
    "MetadataDef",
    "ModelError",
    "OctetsType",
    "Port",
    "SpecialValue",
    "StringType",
    "StructType",
    "Target",
    "UnionType",
    "library",
]
