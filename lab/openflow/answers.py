"""A controller's Unix socket: the table that it means its switches to hold, one line of JSON for
each connection. For the comparison at the end of a trial.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ASK_TIMEOUT_S = 0.5
MAX_ANSWER = 1 << 22


def serve_tables(hub: Any, path: Path, tables: Callable[[], dict[str, Any]]) -> None:
    """From within the hub."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)

    def serve() -> None:
        while True:
            link, _ = listener.accept()
            with link, suppress(OSError):
                link.sendall(json.dumps(tables()).encode() + b"\n")

    hub.spawn(serve)


def ask_tables(path: str) -> dict[str, list[list[Any]]] | None:
    """None: it does not answer."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ASK_TIMEOUT_S)
        octets = b""
        try:
            link.connect(path)
            while len(octets) < MAX_ANSWER and (more := link.recv(1 << 16)):
                octets += more
            tables = json.loads(octets)
        except (OSError, ValueError):
            return None
    return tables if isinstance(tables, dict) else None
