"""The examples of docs/model.md are true."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_examples_of_the_model_page_run() -> None:
    page = Path(__file__).parents[3] / "docs" / "model.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 8
    assert failed == 0
