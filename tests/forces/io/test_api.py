"""The local HTTP API: statuses, the socket's file, and who may open it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forces.effects import Deliver, Effect
from forces.events import Command, Event
from forces.io.api import serve_api
from tests.forces.io.driverkit import Rig
from tests.forces.io.tmlkit import run


def script(event: Event) -> list[Effect]:
    assert isinstance(event, Command)
    match event.name:
        case "state":
            return [Deliver(event.token, {"asked": dict(event.arguments), "fes": 4})]
        case "switch":
            return [Deliver(event.token, error="fe9 is no FE of ours")]
        case "silent":
            return []
    return [Deliver(event.token, error=f"unknown command {event.name}")]


def with_api(path: Path, body: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    async def main() -> None:
        rig = Rig(script)
        await rig.driver.start()
        api = await serve_api(rig.driver, str(path), timeout_s=0.05)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            await body(session)
        await api.close()

    run(main())


@pytest.mark.parametrize(
    ("method", "name", "body", "status", "answer"),
    [
        ("GET", "state", None, 200, {"asked": {}, "fes": 4}),
        ("GET", "state?fe=fe1", None, 200, {"asked": {"fe": "fe1"}, "fes": 4}),
        ("POST", "state", b'{"a": 1}', 200, {"asked": {"a": 1}, "fes": 4}),
        ("POST", "state", b"", 200, {"asked": {}, "fes": 4}),
        ("POST", "switch", b"{}", 409, {"error": "fe9 is no FE of ours"}),
        ("GET", "nonsense", None, 404, {"error": "unknown command nonsense"}),
        ("POST", "state", b"[1]", 400, {"error": "the body must be a JSON object"}),
        ("POST", "state", b"{", 400, {"error": "the body must be a JSON object"}),
        ("GET", "silent", None, 504, {"error": "no answer to silent within 0.05 s"}),
    ],
)
def test_every_outcome_has_its_status_and_json(
    tmp_path: Path, method: str, name: str, body: bytes | None, status: int, answer: Any
) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.request(method, f"http://x/{name}", data=body) as response:
            assert (response.status, await response.json()) == (status, answer)

    with_api(tmp_path / "s", ask)


def test_the_socket_is_its_owners_alone_and_goes_with_the_api(tmp_path: Path) -> None:
    async def look(session: aiohttp.ClientSession) -> None:
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600

    with_api(tmp_path / "s", look)
    assert not (tmp_path / "s").exists()


def test_a_dead_processs_socket_is_replaced_a_living_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def second(session: aiohttp.ClientSession) -> None:
        with pytest.raises(OSError, match="in use"):
            await serve_api(Rig().driver, str(path))
        async with session.get("http://x/state") as response:
            assert response.status == 200

    with_api(path, second)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")

    async def main() -> None:
        with pytest.raises(OSError, match="cannot listen on"):
            await serve_api(Rig().driver, str(tmp_path / "s"))

    run(main())
    assert (tmp_path / "s").read_text() == "mine"
