"""What a CE is asked to do to its FEs: hand them over (RFC 7121 section 2.1: it SETs FEPO.CEID), or
end their associations (RFC 5810 section 4.4.2). Asked over the CE's local HTTP API; the FEs'
journals are the witness."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from lab.backend import FaultFailed, LabError
from lab.emulated.faults.bench import Bench

_CONNECT_TIMEOUT_S = 1.0
_MAX_ANSWER_OCTETS = 1 << 20


class _AnswerSoFar:
    """What http.client wants of a socket, over octets that were read already."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._octets)


class _Asked:
    """A request that a CE answers. It has no undo: what comes of it is a legal state, no damage."""

    what: str

    def __init__(self, bench: Bench, target: str, command: str, body: Mapping[str, Any]) -> None:
        self._bench = bench
        self._target = target
        self._socket: socket.socket | None = None
        self._answer = b""
        self._answered = False
        self._struck_ns = 0
        octets = json.dumps(body).encode()
        self._request = (
            b"POST /%s HTTP/1.1\r\nHost: ceha\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (command.encode(), len(octets), octets)
        )

    def prepare(self) -> None:
        path = self._bench.api_socket(self._target)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_CONNECT_TIMEOUT_S)
        try:
            self._socket.connect(path)
        except OSError as error:
            reason = error.strerror or "no answer"
            raise FaultFailed(f"the API of {self._target} cannot be reached: {reason}") from None
        self._socket.setblocking(False)

    def strike(self) -> None:
        assert self._socket is not None, "prepare() comes first"
        self._struck_ns = time.monotonic_ns()
        self._socket.sendall(self._request)

    def confirm(self) -> None:
        """The answer may come later; `happened` looks for it."""

    def _read_answer(self) -> None:
        if self._answered or self._socket is None:
            return
        try:
            while octets := self._socket.recv(1 << 16):
                self._answer += octets
                if len(self._answer) > _MAX_ANSWER_OCTETS:
                    raise FaultFailed(f"{self._target} answered too much to a {self.what} request")
        except BlockingIOError:
            return
        except OSError as error:
            raise FaultFailed(f"{self._target} broke off: {error.strerror}") from None
        self._answered = True
        response = http.client.HTTPResponse(_AnswerSoFar(self._answer))  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, ValueError):
            raise FaultFailed(
                f"{self._target} gave no HTTP answer to a {self.what} request"
            ) from None
        if not 200 <= response.status < 300:
            text = body.decode(errors="replace").strip()[:200]
            raise FaultFailed(f"{self._target} refused the {self.what}: {response.status} {text}")

    def heal(self) -> None:
        """Nothing: see the class."""

    def healed(self) -> bool:
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class PlannedSwitch(_Asked):
    what = "switch"

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        names = [node.name for node in bench.topology.of_kind("ce")]
        if len(names) < 2:
            raise LabError("planned-switch needs a second CE")
        successor = names[(names.index(target) + 1) % len(names)]
        self._to = str(arguments.get("to", successor))
        if self._to not in names or self._to == target:
            others = ", ".join(name for name in names if name != target)
            raise LabError(f"planned-switch from {target} to {self._to!r}: not one of {others}")
        super().__init__(bench, target, "switch", {"to": self._to})

    def happened(self) -> bool:
        """The CE agreed, and every FE's journal names the new master."""
        self._read_answer()
        journals = self._bench.journals
        journals.poll()
        fes = self._bench.topology.of_kind("fe")
        return self._answered and all(
            journals.has(fe.name, "master", self._struck_ns, ce=self._to) for fe in fes
        )


class Teardown(_Asked):
    """The CE lives on, and takes the FEs back when they come."""

    what = "teardown"

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, target, "teardown", {})

    def happened(self) -> bool:
        """The CE agreed, and every FE that had it for its master lost it by a teardown."""
        self._read_answer()
        journals = self._bench.journals
        journals.poll()
        if not self._answered:
            return False
        told = [
            fe.name
            for fe in self._bench.topology.of_kind("fe")
            if journals.has(fe.name, "detect", self._struck_ns, ce=self._target, source="teardown")
        ]
        held = [
            fe.name
            for fe in self._bench.topology.of_kind("fe")
            if self._master_before(fe.name) == self._target
        ]
        return bool(held) and set(held) <= set(told)

    def _master_before(self, fe: str) -> str | None:
        """When the request was made."""
        named = [
            e.get("ce") for e in self._bench.journals.entries(fe, "master")
            if e["t"] < self._struck_ns
        ]  # fmt: skip
        return named[-1] if named else None
