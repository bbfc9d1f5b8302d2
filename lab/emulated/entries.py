"""What the fork server calls in a node's namespaces: a configuration's JSON values to a running
FE or CE.

Each imports its own kind only, so that neither is held up by the other's mistakes.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import TypeAdapter, ValidationError

EXIT_USAGE = 2


def fe(config: dict[str, Any]) -> int:
    """Until SIGTERM; the FE's exit code."""
    from fe_datapath.config import FeConfig
    from fe_datapath.main import run_fe

    try:
        checked = TypeAdapter(FeConfig).validate_python(config)
    except ValidationError as error:
        return _refuse(error)
    return run_fe(checked)


def ce(config: dict[str, Any]) -> int:
    """Until SIGTERM; the CE's exit code."""
    from ce.config import CeConfig
    from ce.main import run_ce

    try:
        checked = TypeAdapter(CeConfig).validate_python(config)
    except ValidationError as error:
        return _refuse(error)
    return run_ce(checked)


def _refuse(error: ValidationError) -> int:
    first = error.errors()[0]
    print(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", file=sys.stderr)
    return EXIT_USAGE
