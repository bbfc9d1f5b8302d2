"""Datapath programs, one after the other, in the order they were asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from forces.effects import Program
from forces.errors import UsageError
from forces.events import ProgramDone


class FailureLike(Protocol):
    """`fe_datapath.datapath.Failure`: a change that was not carried out."""

    @property
    def index(self) -> int: ...
    @property
    def code(self) -> int: ...
    @property
    def reason(self) -> str: ...


ProgramRunner = Callable[[Sequence[Any], bool], Awaitable[Sequence[FailureLike]]]
"""`program(changes, stop_on_failure)`."""


class ProgramQueue:
    def __init__(
        self,
        program: ProgramRunner | None,
        done: Callable[[ProgramDone], None],
        fatal: Callable[[str], None],
    ) -> None:
        self._program = program
        self._done = done
        self._fatal = fatal
        """Called in an exception's handler: a datapath reports failures, it does not raise."""
        self._waiting: deque[Program] = deque()
        self._worker: asyncio.Task[None] | None = None

    def put(self, effect: Program) -> None:
        if self._program is None:
            raise UsageError("this core has no datapath to program")
        self._waiting.append(effect)
        if self._worker is None or self._worker.done():
            loop = asyncio.get_running_loop()
            self._worker = loop.create_task(self._work(self._program))

    def close(self) -> None:
        self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()

    async def _work(self, program: ProgramRunner) -> None:
        while self._waiting:
            effect = self._waiting.popleft()
            try:
                failures = await program(effect.changes, effect.stop_on_failure)
            except Exception:
                self._fatal("programming the datapath")
                return
            self._done(
                ProgramDone(
                    effect.token,
                    {failure.index: failure.reason for failure in failures},
                    {failure.index: int(failure.code) for failure in failures},
                )
            )
