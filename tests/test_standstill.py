"""The rule for tests on a machine that stood still: seen when it is so, and only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standstill import CoreTime, Watch, core_time, was_taken

ROOT = Path(__file__).parents[1]


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.stop()


def test_a_watch_that_was_itself_stopped_knows_it(watch: Watch) -> None:
    begun = time.monotonic_ns()
    for _ in range(100):  # until it is sure to have woken once before it was stopped
        os.kill(watch.pid, signal.SIGSTOP)
        time.sleep(0.05)
        os.kill(watch.pid, signal.SIGCONT)
        time.sleep(0.01)
        if watch.since(begun):
            break
    assert watch.since(begun)
    assert watch.count >= 1
    assert not watch.since(time.monotonic_ns() + 10**12)


def test_time_that_others_got_counts_as_a_share_of_all() -> None:
    begun = CoreTime(10, 100, 1000)
    assert not was_taken(begun, begun)
    assert not was_taken(begun, CoreTime(14, 120, 1100))
    assert was_taken(begun, CoreTime(16, 100, 1100)), "by the hypervisor"
    assert was_taken(begun, CoreTime(10, 130, 1100)), "by other processes"


def test_what_the_tests_use_themselves_is_not_others() -> None:
    """Whatever else the machine does: of all that its cores did, our second is left out."""
    begun, busy_before = core_time(), busy_ticks()
    command = [sys.executable, "-c", "import time; t = time.process_time\nwhile t() < 1: pass"]
    subprocess.run(command, check=True)
    used, busy = core_time(), busy_ticks() - busy_before
    assert 0 <= used.stolen <= used.all
    assert busy - (used.foreign - begun.foreign) >= 0.9 * os.sysconf("SC_CLK_TCK")


def busy_ticks() -> int:
    """Of all cores so far, whoever's: user, nice, system, irq, softirq (proc(5))."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(words[place]) for place in (0, 1, 2, 5, 6))


@pytest.mark.parametrize(
    ("mark", "stood_still", "runs"),
    [
        ("kernel", True, 3),
        ("kernel", False, 1),
        ("lab", False, 3),
        ("skipif(False, reason='')", True, 1),
    ],
)
def test_only_a_standstill_or_a_whole_lab_lets_a_failed_test_run_again(
    tmp_path: Path, mark: str, stood_still: bool, runs: int
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\nimport tests.conftest as rule\n"
        f"rule._stood_still = lambda item, watch: {stood_still}\n"
        f"@pytest.mark.{mark}\n"
        "def test_fails():\n"
        f"    print(file=open({str(tmp_path / 'runs')!r}, 'a'))\n"
        "    assert False\n"
    )
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-s", "-c", ROOT / "pyproject.toml"],
            *["-p", "tests.conftest", "-p", "no:cacheprovider", tmp_path / "test_it.py"],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (tmp_path / "runs").read_text() == "\n" * runs, done.stdout
    assert done.returncode == 1
