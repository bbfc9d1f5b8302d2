"""docs/examples: an FE and a CE of 30 lines each, on one socket instead of SCTP's three channels,
talk to each other and nothing else of ours is imported."""

from __future__ import annotations

import ast
import runpy
import socket
import threading
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_the_two_examples_talk_to_each_other() -> None:
    fe = runpy.run_path(str(EXAMPLES / "fe.py"))
    ce = runpy.run_path(str(EXAMPLES / "ce.py"))
    reasons: list[int | None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        port = server.getsockname()[1]
        thread = threading.Thread(target=lambda: reasons.append(fe["run"](port)), daemon=True)
        thread.start()
        assert ce["run"](server) == fe["FE"]
        thread.join(timeout=5)
    assert reasons == [0]


@pytest.mark.parametrize("name", ["fe.py", "ce.py"])
def test_an_example_is_30_lines_of_code_and_imports_forces_only(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 30
    imports = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert {alias.name for one in imports for alias in one.names} == {"socket", "forces"}
