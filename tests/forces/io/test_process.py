"""A core as a process: how it stops, and what it exits with."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio
from forces.io.process import run_core

async def start(closing):
    {body}
    closing.callback(print, "closed", flush=True)
    print("started", flush=True)

raise SystemExit(run_core(start))
"""


def process(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_in_order_and_exits_0(number: signal.Signals) -> None:
    with process("pass") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(number)
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("closed\n", "", 0)


def test_what_cannot_start_says_one_line_and_exits_2() -> None:
    with process("raise OSError(98, 'port 6704 is in use')") as child:
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("", "port 6704 is in use\n", 2)


def test_an_exception_in_a_callback_ends_the_process_with_70() -> None:
    with process("asyncio.get_running_loop().call_later(0.01, lambda: 1 / 0)") as child:
        _, err = child.communicate(timeout=10)
    assert child.returncode == 70
    assert "ZeroDivisionError" in err
