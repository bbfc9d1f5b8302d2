"""A running lab's door: `/run/ceha/<name>/`, with a lock that tells that the lab lives and a Unix
socket that takes requests from a second shell.

One JSON object a line each way: `{"do": "status"}` -> `{"value": ...}` or
`{"error": "one line", "exit_code": 2}`. The lock is the kernel's (flock): it goes with the last
process of the lab, so what a killed lab left behind is no obstacle.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.backend import LabError

HOME = Path("/run/ceha")

MAX_LINE = 1 << 20
"""Of a request or an answer; the status of 350 nodes is a tenth of it."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

REQUEST_TIMEOUT_S = 30.0
"""A fault is verified and healed within 5 s each; a loaded machine takes longer."""

POLL_S = 0.02

Handler = Callable[[Mapping[str, Any]], Any]
"""A request to its value; LabError for the one who asked."""


def folder_of(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab (small letters, digits, -; at most 32)")
    return HOME / name


class Claim:
    """A lab's name, held from before the lab starts until its last process has ended."""

    def __init__(self, name: str) -> None:
        """LabError if a lab of this name runs."""
        self.folder = folder_of(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LabError(f"{self.folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LabError(
                f"a lab named {name} is running already: ceha down --name {name}, "
                "or choose another --name"
            ) from None
        self.socket.unlink(missing_ok=True)

    @property
    def socket(self) -> Path:
        return self.folder / "control"

    @property
    def nodes(self) -> Path:
        """Journals and logs of the lab's processes; they stay until the name is used again."""
        return self.folder / "nodes"

    def release(self) -> None:
        """Only for who ends without having started the lab."""
        self.socket.unlink(missing_ok=True)
        os.close(self._lock)


def is_running(name: str) -> bool:
    try:
        lock = os.open(folder_of(name) / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def running() -> list[str]:
    """Names of the labs that run."""
    try:
        names = sorted(path.name for path in HOME.iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []
    return [name for name in names if is_running(name)]


def choose(name: str | None) -> str:
    """The lab that was named, or the only one. LabError otherwise."""
    labs = running()
    if name is not None:
        folder_of(name)
        if name not in labs:
            known = f" (running: {', '.join(labs)})" if labs else ""
            raise LabError(f"no lab named {name} is running{known}")
        return name
    if not labs:
        raise LabError("no lab is running: start one with ceha up")
    if len(labs) > 1:
        raise LabError(f"several labs are running, say which by --name: {', '.join(labs)}")
    return labs[0]


class Server:
    """Answers requests, each in a thread of its own."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        class Connection(socketserver.StreamRequestHandler):
            timeout = REQUEST_TIMEOUT_S

            def handle(self) -> None:
                try:
                    line = self.rfile.readline(MAX_LINE)
                    if line:
                        self.wfile.write(_encode(_answer(handlers, line)))
                except OSError:
                    pass  # whoever asked has gone

        class Listener(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Listener(str(path), Connection)
        os.chmod(path, 0o600)
        self._path = path
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


def _answer(handlers: Mapping[str, Handler], line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        handler = handlers[request["do"]]
    except (ValueError, KeyError, TypeError):
        return {"error": "not a request that this lab knows", "exit_code": 2}
    try:
        return {"value": handler(request)}
    except LabError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        return {"error": f"bug in the lab: {error!r}", "exit_code": 70}


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


class Client:
    """One request to a running lab."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(REQUEST_TIMEOUT_S)
        try:
            self._socket.connect(str(folder_of(name) / "control"))
        except OSError:
            self._socket.close()
            raise LabError(f"the lab {name} is starting or ending: try again") from None

    def ask(self, do: str, **arguments: Any) -> Any:
        """The answer's value; LabError (with the lab's exit code) where it says no."""
        with self._socket:
            try:
                self._socket.sendall(_encode({"do": do, **arguments}))
                with self._socket.makefile("rb") as answers:
                    line = answers.readline(MAX_LINE)
                answer = json.loads(line)
            except (OSError, ValueError):
                raise LabError(f"the lab {self._name} broke off without an answer") from None
        if "error" in answer:
            error = LabError(answer["error"])
            error.exit_code = answer.get("exit_code", LabError.exit_code)
            raise error
        return answer["value"]

    @property
    def lab_pid(self) -> int:
        """pid of the lab's process as this process sees it."""
        size = struct.calcsize("3i")
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", credentials)[0])


def await_end(name: str, budget_s: float) -> None:
    """Until the last process of the lab has gone."""
    deadline = time.monotonic() + budget_s
    while is_running(name):
        if time.monotonic() > deadline:
            raise LabError(f"the lab {name} still runs after {budget_s:g} s")
        time.sleep(POLL_S)
