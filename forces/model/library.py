"""LFB libraries: the documents of `lfb/` and others, loaded together (RFC 5812 section 4.2).

A name of a data type is looked up in its own document, then in those that this one loads, to any
depth. `location` is not followed: a document that is not given is looked for among the shipped
ones, by the name that it provides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from forces.errors import ForcesError, UsageError
from forces.model import classparser, typeparser
from forces.model.array import ArrayType
from forces.model.classparser import MetadataDef
from forces.model.compound import FieldsType
from forces.model.document import Node, read
from forces.model.errors import ModelError
from forces.model.lfbclass import LFB_PROPERTIES_ID, Component, LfbClass, Target
from forces.model.types import DataType, OctetsType, StringType

PROPERTIES = "ForCESProperties"
"""Name of the shipped document with the property types (RFC 5812 section 4.8)."""

_Class = tuple["_Document", Node]


class _Document:
    """One document while it is being loaded: its data types, parsed when first asked for."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.provides = root.attribute("provides")
        self.loads: list[_Document] = []
        self._types: dict[str, DataType] = {}
        self._definitions: dict[str, Node] = {}
        self._open: set[str] = set()
        for node in self.section("dataTypeDefs", "dataTypeDef"):
            name = node.need_text("name")
            if name in self._definitions:
                raise node.error(f"data type {name} is there already")
            self._definitions[name] = node

    def section(self, outer: str, inner: str) -> Iterator[Node]:
        section = self.root.find(outer)
        return section.all(inner) if section else iter(())

    def lookup(self, name: str, node: Node) -> DataType:
        kind = typeparser.built_in(name, node)
        if kind is None:
            kind = self._find(name, {id(self)})
        if kind is None:
            raise node.error(f"no data type {name!r}")
        return kind

    def _find(self, name: str, visited: set[int]) -> DataType | None:
        if name in self._definitions:
            return self._own(name)
        for document in self.loads:
            if id(document) not in visited:
                visited.add(id(document))
                found = document._find(name, visited)
                if found is not None:
                    return found
        return None

    def _own(self, name: str) -> DataType:
        if name not in self._types:
            node = self._definitions[name]
            if name in self._open:
                raise node.error(f"data type {name} contains itself")
            self._open.add(name)
            kind = typeparser.variant(typeparser.declared_type(node, self.lookup, name), name)
            default = node.find("defaultValue")
            if default is not None:
                kind = typeparser.variant(kind, name, typeparser.default_value(kind, default))
            self._types[name] = kind
        return self._types[name]

    def types(self) -> dict[str, DataType]:
        return {name: self._own(name) for name in self._definitions}


class Library:
    """Data types, metadata and LFB classes of some documents."""

    def __init__(self, documents: tuple[tuple[str, bytes], ...], strict: bool = False) -> None:
        """`documents`: (name for messages, octets). Raises ModelError. `strict` refuses also
        what a lenient load only notes in `warnings`."""
        self._sources = documents
        self._strict = strict
        self._warnings: list[str] = []
        loaded = [_Document(read(name, octets)) for name, octets in documents]
        self._link(loaded)
        self.types: Mapping[str, DataType] = {}
        """By name; of several documents' types of one name, the last document's."""
        self.metadata: Mapping[int, MetadataDef] = {}
        self.frames: frozenset[str] = frozenset(
            node.need_text("name")
            for doc in loaded
            for node in doc.section("frameDefs", "frameDef")
        )
        types: dict[str, DataType] = {}
        metadata: dict[int, MetadataDef] = {}
        for document in loaded:
            types.update(document.types())
            for node in document.section("metadataDefs", "metadataDef"):
                entry = classparser.metadata(node, document.lookup)
                if entry.id in metadata:
                    raise node.error(f"metadataID {entry.id} is there already")
                metadata[entry.id] = entry
        self.types, self.metadata = types, metadata
        self._properties = _property_types()
        self._lfb_properties = Component(
            LFB_PROPERTIES_ID, "LFBProperties", self._properties["LFBProperties"], "read-only"
        )
        self._nodes: dict[tuple[str, str], _Class] = {}
        for document in loaded:
            for node in document.section("LFBClassDefs", "LFBClassDef"):
                key = (node.need_text("name"), node.need_text("version"))
                if key in self._nodes:
                    raise node.error(f"class {key[0]} {key[1]} is there already")
                self._nodes[key] = (document, node)
        self._classes: dict[tuple[str, str], LfbClass] = {}
        for key in self._nodes:
            self._class(key, ())
        self._by_id: dict[int, LfbClass] = {}
        self._by_name: dict[str, LfbClass] = {}
        for (name, version), lfb in sorted(
            self._classes.items(), key=lambda entry: _version(entry[0][1])
        ):
            other = self._by_id.get(lfb.id)
            if other is not None and other.name != name:
                node = self._nodes[name, version][1]
                raise node.error(f"LFBClassID {lfb.id} is {other.name}'s")
            self._by_id[lfb.id] = self._by_name[name] = lfb
        self.warnings = tuple(self._warnings)
        """What is wrong with the documents but could be worked around, a line each."""

    @classmethod
    def load(cls, *paths: str | Path, strict: bool = False) -> Library:
        """The library of these documents. Raises ModelError."""
        return cls(tuple(_file(Path(path)) for path in paths), strict)

    def extended(self, *paths: str | Path) -> Library:
        """This library's documents and these."""
        return Library(
            (*self._sources, *(_file(Path(path)) for path in paths)), strict=self._strict
        )

    @property
    def classes(self) -> tuple[LfbClass, ...]:
        """The newest version of each class, by ID."""
        return tuple(self._by_id[number] for number in sorted(self._by_id))

    def cls(self, id_or_name: int | str, version: str | None = None) -> LfbClass:
        """The class, in its newest version if none is named. Raises UsageError."""
        found = self._by_id.get(id_or_name) if isinstance(id_or_name, int) else None
        if isinstance(id_or_name, str):
            found = self._by_name.get(id_or_name)
        if found is not None and version is not None:
            found = self._classes.get((found.name, version))
        if found is None:
            suffix = f" {version}" if version else ""
            raise UsageError(f"no LFB class {id_or_name}{suffix} in the library")
        return found

    def find(self, class_id: int) -> LfbClass | None:
        """The class in its newest version; None: this library does not have it."""
        return self._by_id.get(class_id)

    def property_type(self, target: Target | DataType) -> FieldsType:
        """What GET-PROP of this target answers (RFC 5812 section 4.8)."""
        kind = target.type if isinstance(target, Target) else target
        if isinstance(target, Target) and target.alias:
            name = "aliasElementProperties"
        elif isinstance(kind, ArrayType):
            name = "arrayElementProperties"
        elif isinstance(kind, StringType):
            name = "stringElementProperties"
        elif isinstance(kind, OctetsType) and kind.fixed_size is None:
            name = "octetstringElementProperties"
        else:
            name = "baseElementProperties"
        return self._properties[name]

    @property
    def event_property_type(self) -> FieldsType:
        """What GET-PROP and SET-PROP of an event path carry (RFC 5812 section 4.8.5)."""
        return self._properties["eventElementProperties"]

    def _link(self, loaded: list[_Document]) -> None:
        """Tie each document to those it loads; shipped ones are fetched where needed."""
        known: dict[str, list[_Document]] = {}
        for document in loaded:
            known.setdefault(document.provides, []).append(document)
        waiting = list(loaded)
        while waiting:
            document = waiting.pop()
            for node in document.root.all("load"):
                name = node.attribute("library")
                if name not in known:
                    shipped = _shipped_documents().get(name)
                    if shipped is None:
                        self._report(node.error(f"no library {name!r} among those given"))
                        continue
                    fetched = _Document(read(*shipped))
                    known[name] = [fetched]
                    waiting.append(fetched)
                document.loads += known[name]

    def _class(self, key: tuple[str, str], children: tuple[tuple[str, str], ...]) -> LfbClass:
        """The class of this name and version; its ancestors first."""
        if key not in self._classes:
            document, node = self._nodes[key]
            derived = node.find("derivedFrom")
            parent = None
            if derived is not None:
                versions = [v for name, v in self._nodes if name == derived.text]
                if not versions:
                    raise derived.error(f"no LFB class {derived.text!r}")
                # RFC 7408 section 2.6: without a version the first one is meant
                wanted = derived.attributes.get("version") or min(versions, key=_version)
                if wanted not in versions:
                    raise derived.error(f"no version {wanted} of {derived.text}")
                if (derived.text, wanted) in (key, *children):
                    raise derived.error(f"{key[0]} is derived from itself")
                parent = self._class((derived.text, wanted), (key, *children))
            self._classes[key] = classparser.lfb_class(
                node, document.lookup, parent, self._lfb_properties, self._report
            )
        return self._classes[key]

    def _report(self, error: ModelError) -> None:
        if self._strict:
            raise error
        self._warnings.append(str(error))


def _version(text: str) -> tuple[int, ...]:
    """Versions in order: 1.10 is newer than 1.9."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))


def _file(path: Path) -> tuple[str, bytes]:
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ModelError(str(path), 1, "LFBLibrary", error.strerror or "unreadable") from None


@cache
def _shipped() -> tuple[tuple[str, bytes], ...]:
    folder = resources.files("forces.model") / "lfb"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".xml")), key=lambda f: f.name)
    return tuple((file.name, file.read_bytes()) for file in files)


@cache
def _shipped_documents() -> Mapping[str, tuple[str, bytes]]:
    """Shipped documents by the name that each provides."""
    return {read(*source).attribute("provides"): source for source in _shipped()}


@cache
def _property_types() -> Mapping[str, FieldsType]:
    document = _Document(read(*_shipped_documents()[PROPERTIES]))
    types = {name: kind for name, kind in document.types().items()}
    return {name: kind for name, kind in types.items() if isinstance(kind, FieldsType)}


@cache
def library() -> Library:
    """The shipped classes: every document in `forces/model/lfb/`."""
    if not _shipped():
        raise ForcesError("the package has no LFB libraries: forces/model/lfb/ is empty")
    return Library(_shipped(), strict=True)
