"""`ceha status`."""

from __future__ import annotations

import json
from typing import Any

from lab.emulated.control import Client, choose

EXIT_READY = 0
EXIT_NOT_READY = 1


def show(name: str | None, as_json: bool) -> int:
    status = Client(choose(name)).ask("status")
    if as_json:
        print(json.dumps(status, indent=1))
    else:
        _print(status)
    return EXIT_READY if status["ready"] else EXIT_NOT_READY


def _print(status: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{status['name']}: {status['topology']} in mode {status['mode']}, "
                        f"policy {status['policy']}")  # fmt: skip
    for heading in ("node", "id", "control address", "pid", "process", "master", "ready"):
        table.add_column(heading)
    missing = {line.split()[0] if line.endswith("no master") else line.split()[-1]
               for line in status["missing"]}  # fmt: skip
    for node in status["nodes"]:
        is_fe = node["kind"] == "fe"
        table.add_row(
            node["name"],
            f"{node['id']:#x}" if node["kind"] == "ce" else str(node["id"] or ""),
            node["control_address"] or "",
            str(node["process"] or ""),
            node["state"] if node["kind"] != "host" else "",
            (status["masters"].get(node["name"]) or "none") if is_fe else "",
            ("no" if node["name"] in missing else "yes") if is_fe else "",
        )
    console.print(table)
    for fault in status["faults"]:
        console.print(f"fault: {fault['kind']} of {fault['target']}")
    console.print(status["security"])
    for line in status["missing"]:
        console.print(f"not ready: {line}")
