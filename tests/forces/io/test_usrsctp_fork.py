"""A process forked from one that used the userland stack begins anew (the lab's fork server)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forces.channels import Channel
from forces.io.tml_usrsctp import UsrsctpTml
from tests.forces.io.tmlkit import CE, Pair, message, until, why_not

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[3]
GONE_S = 2.0
"""By then an association whose packets nobody answers is given up (RTO of some 10 ms, 5 times)."""


async def open_pair() -> Pair:
    pair = Pair("usrsctp-udp")
    await pair.start()
    return pair


async def open_and_leave() -> Pair:
    """With a message under way that nobody will acknowledge."""
    pair = await open_pair()
    assert isinstance(pair.ce, UsrsctpTml)
    asyncio.get_running_loop().remove_reader(pair.ce._packets.fileno())
    pair.fe.send(CE, Channel.HP, message(24))
    await asyncio.sleep(0.005)
    return pair


async def child(told: list[object]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    pair = await open_pair()  # on the ports that the parent listens on
    end = loop.time() + GONE_S
    while loop.time() < end:
        pair.fe.send(CE, Channel.HP, message(24))
        await asyncio.sleep(0.01)
    await until(lambda: len(pair.ce_user.all("received")) > 10)
    await pair.close()


def forked() -> int:
    """The parent's pair stays open, its loop is closed; then the child opens its own."""
    left = asyncio.run(open_and_leave())
    calls = list(left.fe_user.calls)
    if os.fork() == 0:
        told: list[object] = []
        asyncio.run(child(told))
        if told or left.fe_user.calls != calls:
            print(told, left.fe_user.calls, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.wait()[1])


@pytest.mark.skipif(bool(why_not("usrsctp-udp")), reason=why_not("usrsctp-udp") or "it is there")
def test_what_the_parent_had_open_does_not_disturb_a_forked_process() -> None:
    code = "import sys; from tests.forces.io.test_usrsctp_fork import forked; sys.exit(forked())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
