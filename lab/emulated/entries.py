"""What the fork server calls in a node's namespaces: a configuration's JSON values to a running
FE or CE."""

from __future__ import annotations

import sys
from typing import Any

from fe_datapath.main import run_fe
from pydantic import TypeAdapter, ValidationError

from ce.config import CeConfig
from ce.main import run_ce
from fe_datapath.config import FeConfig

_FE = TypeAdapter(FeConfig)
_CE = TypeAdapter(CeConfig)

EXIT_USAGE = 2


def fe(config: dict[str, Any]) -> int:
    """Until SIGTERM; the FE's exit code."""
    try:
        checked = _FE.validate_python(config)
    except ValidationError as error:
        return _refuse(error)
    return run_fe(checked)


def ce(config: dict[str, Any]) -> int:
    """Until SIGTERM; the CE's exit code."""
    try:
        checked = _CE.validate_python(config)
    except ValidationError as error:
        return _refuse(error)
    return run_ce(checked)


def _refuse(error: ValidationError) -> int:
    first = error.errors()[0]
    print(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", file=sys.stderr)
    return EXIT_USAGE
