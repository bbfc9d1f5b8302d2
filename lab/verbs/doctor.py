"""`ceha doctor`."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from lab.cli import EXIT_USAGE
from lab.machine import examine

STYLE = {"ok": "green", "absent": "yellow", "broken": "bold red"}


def show(as_json: bool) -> int:
    """Print what was found; the exit code: 2 if the lab cannot work here."""
    findings = list(examine())
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for finding in findings:
            level = f"[{STYLE[finding.level]}]{finding.level}[/]"
            table.add_row(finding.subject, level, finding.detail)
        Console().print(table)
    return EXIT_USAGE if any(finding.level == "broken" for finding in findings) else 0
