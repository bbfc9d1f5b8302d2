"""Terms between the CEs (docs/ce-ce-sync.md, rules of the CE)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from forces.errors import ResultCode
from tests.ce.network import CE1, CE2
from tests.ce.test_sync_elements import follows, settings
from tests.ce.test_with_elements import running, until

pytestmark = pytest.mark.realtime


def test_a_change_of_a_higher_term_is_not_taken_before_the_fe_was_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(2, tmp_path, **settings("async")) as net:
            await until(lambda: net.all_ready(CE1))
            await until(lambda: follows(net, CE2))
            fr = net.core(CE2).fr
            assert fr is not None
            fe, replica = next(iter(fr.replicas.items()))
            generation = replica.generation
            at = (replica.incarnation, replica.term + 1, generation + 1)
            code = fr.following.change(fe, at, b"", time.monotonic_ns())
            assert code is ResultCode.NOT_FOUND
            assert (replica.generation, replica.following) == (generation, False)
            await until(lambda: follows(net, CE2))

    asyncio.run(scenario())
