"""The local HTTP API of an FE or a CE: a way to ask its core (`Command`), nothing else.

`GET /state`, `GET /<command>` and `POST /<command>` with a JSON object as arguments. Answers:
200 with the value, 409 with `{"error": ...}` where the core says no, 404 for a command that it
does not know, 400 for a body that is no JSON object, 504 when no answer came in time. It listens
on a Unix socket that only its owner may open and, if asked, on 127.0.0.1 of its namespace.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from forces.io.driver import COMMAND_TIMEOUT_S, Driver

BODY_LIMIT = 1 << 20
SOCKET_MODE = 0o600
SHUTDOWN_S = 0.2


class Api:
    """A running API; `close` ends it and removes the socket file."""

    def __init__(self, runner: web.AppRunner, unix_socket: str) -> None:
        self._runner = runner
        self._unix_socket = unix_socket

    async def close(self) -> None:
        await self._runner.cleanup()
        if self._unix_socket:
            _remove(self._unix_socket)


async def serve_api(
    driver: Driver, unix_socket: str, port: int = 0, timeout_s: float = COMMAND_TIMEOUT_S
) -> Api:
    """An empty path or port 0 leaves that door closed. Raises OSError with a clear text."""

    async def answer(request: web.Request) -> web.Response:
        try:
            arguments = await _arguments(request)
        except ValueError:
            return _json({"error": "the body must be a JSON object"}, 400)
        return await _ask(driver, request.match_info["command"], arguments, timeout_s)

    application = web.Application(client_max_size=BODY_LIMIT)
    application.router.add_get("/{command}", answer)
    application.router.add_post("/{command}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        if unix_socket:
            await web.SockSite(runner, _unix_listener(unix_socket)).start()
        if port:
            await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError:
        await runner.cleanup()
        raise
    return Api(runner, unix_socket)


async def _arguments(request: web.Request) -> Mapping[str, Any]:
    if request.method == "GET":
        return dict(request.query)
    body = await request.read()
    arguments = json.loads(body) if body else {}
    if not isinstance(arguments, dict):
        raise ValueError
    return arguments


async def _ask(
    driver: Driver, name: str, arguments: Mapping[str, Any], timeout_s: float
) -> web.Response:
    try:
        delivered = await driver.command(name, arguments, timeout_s)
    except TimeoutError:
        return _json({"error": f"no answer to {name} within {timeout_s:g} s"}, 504)
    if delivered.error is None:
        return _json(delivered.value, 200)
    return _json({"error": delivered.error}, 404 if delivered.error.startswith("unknown") else 409)


def _json(value: Any, status: int) -> web.Response:
    return web.Response(
        text=json.dumps(value, default=str), status=status, content_type="application/json"
    )


def _unix_listener(path: str) -> socket.socket:
    """A listening socket whose file nobody else can open; a dead process's file is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path):
            _remove(path)
        try:
            listener.bind(path)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen on {path}: {error.strerror or error}"
            ) from None
        os.chmod(path, SOCKET_MODE)  # before listen(): until then nobody can connect
        listener.listen(16)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _is_stale(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        return False


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
