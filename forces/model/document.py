"""An LFB library document as plain nodes with line numbers (RFC 5812 section 4.2).

Read with expat directly: ElementTree forgets the lines that error messages need. Namespaces are
dropped (RFC 5812 has `...lfbmodel:1.0`, RFC 7408 `1.1`; the elements are the same).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from forces.model.errors import ModelError

MAX_OCTETS = 4 << 20
"""The largest document of the RFCs has 53 kB."""
MAX_NESTING = 64
"""XML elements inside one another; two per nested data type, and some around them."""


@dataclass(slots=True)
class Node:
    source: str
    line: int
    tag: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Character data with whitespace collapsed: the RFCs break lines inside values."""
        return " ".join("".join(self.raw).split())

    def find(self, tag: str) -> Node | None:
        return next(self.all(tag), None)

    def all(self, *tags: str) -> Iterator[Node]:
        return (child for child in self.children if child.tag in tags)

    def need(self, tag: str) -> Node:
        found = self.find(tag)
        if found is None:
            raise self.error(f"<{tag}> is missing")
        return found

    def child_text(self, tag: str, default: str = "") -> str:
        found = self.find(tag)
        return default if found is None else found.text

    def need_text(self, tag: str) -> str:
        found = self.need(tag)
        if not found.text:
            raise found.error("is empty")
        return found.text

    def attribute(self, *names: str) -> str:
        """The first of these attributes that is there."""
        for name in names:
            if name in self.attributes:
                return self.attributes[name].strip()
        raise self.error(f"attribute {names[0]} is missing")

    def number(self, text: str, low: int = 0, high: int = 0xFFFFFFFF) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise self.error(f"{text!r} is no number") from None
        if not low <= value <= high:
            raise self.error(f"{value} is not in {low}..{high}")
        return value

    def error(self, reason: str) -> ModelError:
        return ModelError(self.source, self.line, self.tag, reason)


def read(source: str, octets: bytes) -> Node:
    """The root node. Raises ModelError."""
    if len(octets) > MAX_OCTETS:
        raise ModelError(source, 1, "LFBLibrary", f"more than {MAX_OCTETS} octets")
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    stack: list[Node] = []
    roots: list[Node] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        node = Node(source, parser.CurrentLineNumber, tag, attributes)
        if len(stack) >= MAX_NESTING:
            raise node.error(f"nested deeper than {MAX_NESTING} elements")
        (stack[-1].children if stack else roots).append(node)
        stack.append(node)

    def end(_name: str) -> None:
        stack.pop()

    def characters(text: str) -> None:
        stack[-1].raw.append(text)

    def doctype(*_arguments: object) -> None:
        # entities can grow without bound, and no LFB library has any
        raise ModelError(source, parser.CurrentLineNumber, "!DOCTYPE", "not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(octets, True)
    except expat.ExpatError as error:
        tag = stack[-1].tag if stack else "LFBLibrary"
        reason = f"no well-formed XML: {expat.ErrorString(error.code)}"
        raise ModelError(source, error.lineno, tag, reason) from None
    if roots[0].tag != "LFBLibrary":
        raise roots[0].error("the root must be LFBLibrary")
    return roots[0]
