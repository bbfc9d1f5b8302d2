"""A YAML file that a person wrote: read with line numbers, checked against a pydantic model.

Whatever is wrong with it becomes one `DocumentError`, whose text is one line
`file:line: field: message`. Topologies and scenarios are both read here.
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

ModelT = TypeVar("ModelT", bound=BaseModel)
Location = tuple[int | str, ...]

MAX_OCTETS = 1 << 20
"""A file for people is a few kilobytes; a megabyte is somebody's mistake."""

MAX_DEPTH = 32
"""Deeper than any model of ours, far below the interpreter's recursion limit."""


class DocumentError(Exception):
    """What is wrong, and where. `str()` is one line."""

    def __init__(self, file: Path | str, line: int, field: str, message: str) -> None:
        self.file = _short(Path(file))
        self.line = line
        self.field = field
        self.message = " ".join(message.split())
        parts = [f"{self.file}:{line}" if line else self.file, field, self.message]
        super().__init__(": ".join(part for part in parts if part))


def _short(path: Path) -> str:
    """Relative where that is the shorter way to say it."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def _field(location: Location) -> str:
    """`links[2].ends` of `("links", 2, "ends")`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True)
class Document:
    """A file's value, and the line of each part of it."""

    path: Path
    value: Any
    root: yaml.Node | None

    def line_of(self, location: Location = ()) -> int:
        """Line of the deepest part of `location` that the file has; the key's line for a key. 0
        for a value that no person wrote."""
        node, line = self.root, 0 if self.root is None else 1
        for step in location:
            key = _child(node, step)
            if key is None:
                break
            line, node = key
        return line

    def error(self, location: Location, message: str) -> DocumentError:
        """For what a model cannot check: two parts that contradict each other."""
        return DocumentError(self.path, self.line_of(location), _field(location), message)

    def validate(self, model: type[ModelT]) -> ModelT:
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            # A misspelt key is also a missing one; it is the misspelt one that helps.
            first = min(
                error.errors(),
                key=lambda detail: (detail["type"] == "missing", self.line_of(detail["loc"])),
            )
            location = tuple(
                step for step in first["loc"] if _is_in_file(self.root, first["loc"], step)
            )
            raise DocumentError(
                self.path, self.line_of(location), _field(location), _message(first, model)
            ) from None


def read(path: Path | str) -> Document:
    """DocumentError where the file cannot be read or is not YAML."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise DocumentError(path, 0, "", error.strerror or str(error)) from None
    if len(octets) > MAX_OCTETS:
        raise DocumentError(path, 0, "", f"longer than {MAX_OCTETS} octets")
    try:
        loader = yaml.SafeLoader(octets.decode())
        root = loader.get_single_node()
        if root is None:
            raise DocumentError(path, 1, "", "the file is empty")
        _check_keys(path, root, 0)
        return Document(path, loader.construct_document(root), root)
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise DocumentError(path, line, "", "not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(
            path, mark.line + 1 if mark else 1, "", f"not YAML: {error.problem or error}"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(path, 1, "", f"not YAML: {error}") from None


def load(path: Path | str, model: type[ModelT]) -> ModelT:
    """Read and check in one go. Keep a `Document` from `read` to report more errors later."""
    return read(path).validate(model)


def _check_keys(path: Path, node: yaml.Node, depth: int) -> None:
    """YAML would let the last of two equal keys win, silently."""
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        raise DocumentError(path, line, "", f"nested deeper than {MAX_DEPTH}")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(path, item, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise DocumentError(path, key.start_mark.line + 1, "", "a key must be a word")
            if key.value in seen:
                line = key.start_mark.line + 1
                raise DocumentError(path, line, key.value, "given twice")
            seen.add(key.value)
            _check_keys(path, value, depth + 1)


def _child(node: yaml.Node | None, step: int | str) -> tuple[int, yaml.Node] | None:
    """Line of a part (of its key, in a mapping) and its node."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    return None


def _is_in_file(root: yaml.Node | None, location: Location, step: int | str) -> bool:
    """pydantic adds steps that a reader has not written (which member of a union it tried)."""
    node = root
    for each in location:
        key = _child(node, each)
        if each is step:
            return key is not None or each is location[-1]
        node = key[1] if key else node
    return False


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
}


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    text = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return text + suggestion(str(location[-1]), sorted(_keys_at(model, location[:-1])))
    if detail["type"] == "literal_error":
        given = detail["input"]
        expected = detail.get("ctx", {}).get("expected", "")
        words = [word.strip().strip("'") for word in expected.replace(" or ", ",").split(",")]
        return f"{given!r} is not one of {expected}" + _close(str(given), words)
    if detail["type"] in ("missing", "model_type", "list_type", "dict_type", "tuple_type"):
        return text
    given = detail["input"]
    if isinstance(given, str | int | float | bool) and repr(given) not in text:
        text += f" (is {given!r})"
    return text[0].lower() + text[1:]


def _close(given: str, words: list[str]) -> str:
    match = difflib.get_close_matches(given, words, n=1, cutoff=0.6)
    return f": did you mean {match[0]!r}?" if match else ""


def suggestion(given: str, keys: list[str]) -> str:
    return _close(given, keys) or (f" (known: {', '.join(keys)})" if keys else "")


def _keys_at(model: type[BaseModel], location: Location) -> set[str]:
    """Keys that the model allows in the mapping at `location`."""
    at: list[Any] = [model]
    for step in location:
        deeper = [inner for each in at for inner in _inside(each, step)]
        at = deeper or at  # a step that only names a union's member leads nowhere new
    return {
        field.alias or name
        for each in at
        for member in _members(each)
        if _is_model(member)
        for name, field in member.model_fields.items()
    }


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> Iterator[Any]:
    """The annotation without Annotated, and each member of a union."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _inside(annotation: Any, step: int | str) -> Iterator[Any]:
    for member in _members(annotation):
        arguments = typing.get_args(member)
        origin = typing.get_origin(member)
        if _is_model(member):
            for name, field in member.model_fields.items():
                if step in (name, field.alias):
                    yield field.annotation
        elif isinstance(step, int) and origin in (list, tuple):
            yield arguments[0]
        elif isinstance(step, str) and origin in (dict, Mapping) and len(arguments) == 2:
            yield arguments[1]
