"""Runs a core as a process: signals, garbage collection, exit codes.

    def main() -> int:
        async def start(closing: AsyncExitStack) -> None:
            driver = Driver(...)
            await driver.start()
            closing.push_async_callback(driver.close)
        return run_core(start)

Exit codes: 0 stopped by SIGTERM or SIGINT, 2 could not start (one line on stderr), 70 a bug of
ours (`forces.io.driver.EXIT_SOFTWARE`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from forces.errors import ForcesError
from forces.io.driver import EXIT_SOFTWARE

log = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long an orderly stop may take."""
EXIT_USAGE = 2
GC_YOUNG = 50_000
"""Allocations between two collections of the youngest generation: a collection in the middle of
a failover costs milliseconds, and a core leaves few cycles."""

Start = Callable[[AsyncExitStack], Awaitable[None]]


def run_core(start: Start) -> int:
    """Run until SIGTERM or SIGINT; what `start` pushed is then closed, the last one first."""
    try:
        return asyncio.run(_run(start))
    except (OSError, ForcesError) as error:
        print(
            f"{error.strerror or error}" if isinstance(error, OSError) else error, file=sys.stderr
        )
        return EXIT_USAGE


async def _run(start: Start) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_on_exception)
    closing = AsyncExitStack()
    try:
        await start(closing)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG, 20, 100)
        await stop.wait()
    finally:
        try:
            await asyncio.wait_for(closing.aclose(), CLOSE_S)
        except TimeoutError:
            log.warning("not closed within %g s", CLOSE_S)
    return 0


def _on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception in a callback of the loop (a transport's, a timer's) is a bug: end, loudly."""
    loop.default_exception_handler(context)
    if "handle" in context and "exception" in context:
        sys.stderr.flush()
        os._exit(EXIT_SOFTWARE)
