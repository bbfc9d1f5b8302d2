"""The command line of a core's process: `python -m ce.main CONFIG.json`, `fe_datapath.main`
likewise. The configuration is a dataclass, and the file must say what it has, of the right types.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from forces.io.process import EXIT_USAGE

C = TypeVar("C")


def read_config(path: str, kind: type[C]) -> C:
    """OSError or ValueError, with one line."""
    with open(path, encoding="utf-8") as file:
        try:
            mapping = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}") from None
    try:
        return TypeAdapter(kind).validate_python(mapping)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ValueError(f"{path}: {where}: {first['msg']}") from None


def run_configured(
    module: str, kind: type[C], run: Callable[[C], int], argv: Sequence[str] | None
) -> int:
    """`run` with what the one argument names; its exit code, or 2 and a line on stderr. `argv`
    None: this process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1:
        print(f"usage: python -m {module} CONFIG.json", file=sys.stderr)
        return EXIT_USAGE
    try:
        config = read_config(arguments[0], kind)
    except (OSError, ValueError) as error:
        print(f"{module}: {error}", file=sys.stderr)
        return EXIT_USAGE
    return run(config)
