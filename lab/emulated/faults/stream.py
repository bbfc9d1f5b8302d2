"""A stream of changes: a CE is asked for one route more, and for the next one when every FE has the
last. Not a fault by itself: what it is for is the crash in the middle of it (docs/ce-ce-sync.md).

A child of the lab's asks, over the CE's local HTTP API, and writes down what it asked for and what
was acknowledged (`stream.jsonl`): what a user of the CE knows. It ends with the CE.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from lab.backend import FaultFailed, LabError
from lab.emulated.faults.bench import Bench
from lab.emulated.meters.beacon_record import STREAM_NETWORK
from lab.emulated.namespaces import die_with_parent

DEFAULT_CHANGES = 1000
MAX_CHANGES = 16_384
"""/24 prefixes of the network (`STREAM_NETWORK`)."""
ANSWER_S = 5.0
RECORD = "stream.jsonl"

_streams: dict[str, int] = {}
"""CE -> the child that asks it: a stream that is armed again to be healed finds it here."""


class Stream:
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._changes = int(arguments.get("changes", DEFAULT_CHANGES))
        except (TypeError, ValueError):
            raise LabError(f"changes {arguments['changes']!r} is not a number") from None
        if not 1 <= self._changes <= MAX_CHANGES:
            raise LabError(f"changes {self._changes} is outside 1 to {MAX_CHANGES}")
        self._target = target
        self._api = bench.api_socket(target)
        self._record = bench.folder / RECORD
        self._where = _last_host(bench)
        self._go: int | None = None

    def prepare(self) -> None:
        """The child waits for the word."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            self._ask_all(read)
        os.close(read)
        _streams[self._target], self._go = child, write

    def strike(self) -> None:
        assert self._go is not None, "prepare() comes first"
        os.write(self._go, b"!")

    def confirm(self) -> None:
        """`happened` looks for the first answer."""

    def happened(self) -> bool:
        """The first change was acknowledged."""
        try:
            lines = [json.loads(line) for line in self._record.read_text().splitlines()]
        except (FileNotFoundError, ValueError):
            return False
        refused = [line["refused"] for line in lines if "refused" in line]
        if refused:
            raise FaultFailed(f"{self._target} refused a change: {refused[0]}")
        return any("acked" in line for line in lines)

    def heal(self) -> None:
        child = _streams.pop(self._target, None)
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)

    def healed(self) -> bool:
        return self._target not in _streams

    def close(self) -> None:
        if self._go is not None:
            os.close(self._go)  # a child that waits for the word ends
            self._go = None

    # In the child

    def _ask_all(self, go: int) -> NoReturn:
        try:
            die_with_parent(signal.SIGKILL)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            if os.read(go, 1):
                with self._record.open("a", buffering=1) as record:
                    self._ask(record)
        finally:
            os._exit(0)

    def _ask(self, record: Any) -> None:
        for number in range(self._changes):
            record.write(json.dumps({"asked": number, "t": time.monotonic_ns()}) + "\n")
            body = {"prefix": stream_prefix(number), "wait": True, **self._where}
            try:
                status, answer = _post(self._api, "routes", body)
            except OSError:
                return  # the CE has gone
            if status != 200:
                record.write(json.dumps({"refused": answer}) + "\n")
                return
            record.write(json.dumps({"acked": number, "t": time.monotonic_ns()}) + "\n")


def stream_prefix(number: int) -> str:
    """The change with this number: a route that nothing else uses (RFC 6598's addresses)."""
    return f"{ipaddress.IPv4Address(STREAM_NETWORK + (number << 8))}/24"


def _last_host(bench: Bench) -> dict[str, Any]:
    """Where the routes lead: to the last host, as the synthetic ones do."""
    host = bench.topology.of_kind("host")[-1].name
    for link in bench.topology.links:
        for end, other in ((link.a, link.b), (link.b, link.a)):
            if end.node == host:
                gateway = end.addresses[0].split("/")[0]
                return {"fe": other.node, "port": other.port, "gateway": gateway}
    raise LabError(f"{host} has no link")


def _post(path: str, command: str, body: Mapping[str, Any]) -> tuple[int, str]:
    """OSError where the other side went away before its answer was whole."""
    octets = json.dumps(body).encode()
    head = (
        f"POST /{command} HTTP/1.1\r\nHost: ceha\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(octets)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(ANSWER_S)
        asked.connect(path)
        asked.sendall(head.encode() + octets)
        response = http.client.HTTPResponse(asked)
        try:
            response.begin()
            return response.status, response.read().decode(errors="replace")
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionError(str(error)) from None
