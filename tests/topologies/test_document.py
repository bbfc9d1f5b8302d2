"""Files that people write: every mistake is one line that names file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from topologies.document import MAX_OCTETS, DocumentError, load, read


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Dog(Strict):
    kind: Literal["dog"]
    barks: bool = True


class Cat(Strict):
    kind: Literal["cat"]
    lives: int = Field(9, ge=1, le=9)


class Farm(Strict):
    title: str
    size: Literal["small", "large"] = "small"
    animals: list[Annotated[Dog | Cat, Field(discriminator="kind")]] = []
    fields: dict[str, Cat] = {}


GOLDEN = {
    "unknown_key": ("title: x\nsiez: small\n", "2: siez: is not a known key: did you mean 'size'?"),
    "unlike_any_key": (
        "title: x\nqqq: 1\n",
        "2: qqq: is not a known key (known: animals, fields, size, title)",
    ),
    "missing": ("size: small\n", "1: title: is missing"),
    "literal": (
        "title: x\nsize: smal\n",
        "2: size: 'smal' is not one of 'small' or 'large': did you mean 'small'?",
    ),
    "in_a_list": (
        "title: x\nanimals:\n  - kind: dog\n  - kind: cat\n    livs: 3\n",
        "5: animals[1].livs: is not a known key: did you mean 'lives'?",
    ),
    "in_a_mapping": (
        "title: x\nfields:\n  north:\n    kind: cat\n    lives: 10\n",
        "5: fields.north.lives: input should be less than or equal to 9 (is 10)",
    ),
    "wrong_kind_of_thing": ("title: x\nanimals: none\n", "2: animals: must be a list"),
    "not_a_mapping": ("- a\n", "1: must be a mapping"),
    "syntax": (
        "title: x\nsize: [small\n",
        "3: not YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "tab": (
        "title: x\n\tsize: small\n",
        "2: not YAML: found character '\\t' that cannot start any token",
    ),
    "twice": ("title: x\nsize: small\ntitle: y\n", "3: title: given twice"),
    "empty": ("# nothing\n", "1: the file is empty"),
    "two_documents": ("title: x\n---\ntitle: y\n", "2: not YAML: but found another document"),
    "python_object": (
        "title: !!python/object/apply:os.system [ls]\n",
        "1: not YAML: could not determine a constructor for the tag"
        " 'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_a_mistake_is_one_line_with_file_line_and_field(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, line = GOLDEN[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "farm.yaml").write_text(text)
    with pytest.raises(DocumentError) as raised:
        load("farm.yaml", Farm)
    assert str(raised.value) == f"farm.yaml:{line}"


def test_a_file_that_is_not_there_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"none\.yaml: No such file or directory$"):
        load(tmp_path / "none.yaml", Farm)


def test_octets_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "farm.yaml"
    path.write_bytes(b"title: x\nsize: \xff\n")
    with pytest.raises(DocumentError, match=r"farm\.yaml:2: not UTF-8 text"):
        load(path, Farm)


def test_a_file_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "farm.yaml"
    path.write_bytes(b"#" * (MAX_OCTETS + 1))
    with pytest.raises(DocumentError, match="longer than"):
        load(path, Farm)


def test_nesting_beyond_the_limit_is_refused_and_does_not_recurse_without_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "farm.yaml"
    path.write_text("title: " + "[" * 100 + "]" * 100)
    with pytest.raises(DocumentError, match="nested deeper"):
        load(path, Farm)


def test_lines_of_parts_can_be_asked_for_after_reading(tmp_path: Path) -> None:
    path = tmp_path / "farm.yaml"
    path.write_text("title: x\nanimals:\n  - kind: dog\n    barks: false\n  - {kind: cat}\n")
    document = read(path)
    assert document.line_of(("animals", 0, "barks")) == 4
    assert document.line_of(("animals", 1)) == 5
    assert document.line_of(("animals", 7)) == 2, "the deepest part that is there"
    assert "5: animals[1].kind: bites" in str(document.error(("animals", 1, "kind"), "bites"))


def outcome(path: Path) -> str:
    try:
        load(path, Farm)
    except DocumentError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200))
def test_any_octets_give_a_farm_or_a_document_error_of_one_line(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(octets)
    assert "\n" not in outcome(path)


@given(st.text(alphabet="title: x\n-[]{}'\"&*!#|>%@,?\tabc0", max_size=60))
def test_any_text_like_yaml_gives_a_farm_or_a_document_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    assert "\n" not in outcome(path)
