"""The sandbox: whatever ends the process outside, nothing of the lab is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab.emulated import sandbox
from tests.lab.sandboxed import ROOT, in_sandbox, skip_unless_possible

pytestmark = pytest.mark.kernel

RUN = "import sys, {imports}; from lab.emulated import sandbox; sys.exit(sandbox.run({entry}))"


def start(entry: str, imports: str = "os, time, signal, subprocess") -> subprocess.Popen[str]:
    skip_unless_possible()
    return subprocess.Popen(
        [sys.executable, "-c", RUN.format(imports=imports, entry=entry)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def within(budget_s: float, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + budget_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {budget_s} s: {what}"
        time.sleep(0.01)


def namespaces(pids: Iterable[int]) -> set[str]:
    """Namespaces that these processes are in, and we are not."""
    found = set()
    for kind in ("net", "mnt", "pid"):
        for pid in pids:
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
        found.discard(os.readlink(f"/proc/self/ns/{kind}"))
    return found


def everybody() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def descendants(pid: int) -> set[int]:
    children: dict[int, set[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(process.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        new = children.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_entrys_exit_code_is_the_sandboxs(code: int) -> None:
    process = start(f"lambda: {code}")
    _out, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, "")


def test_a_signal_that_ends_the_entry_is_told_as_128_and_its_number() -> None:
    process = start("lambda: os.kill(os.getpid(), signal.SIGSEGV)")
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGSEGV


def test_inside_there_are_only_the_sandboxs_own_processes_and_interfaces() -> None:
    seen = in_sandbox("tests.lab.inside:surroundings")
    assert seen["pids"][0] == 1
    assert len(seen["pids"]) <= 3, "init, the lab, and nothing from outside"
    assert seen["interfaces"] == ["lo"]
    assert seen["sys_interfaces"] == ["lo"]
    assert seen["cgroups"] == sorted(os.listdir("/sys/fs/cgroup"))
    assert seen["private_is_own"]


def test_orphans_are_reaped() -> None:
    assert in_sandbox("tests.lab.inside:orphans") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_outer_process_reaches_the_entry(number: signal.Signals) -> None:
    process = start(
        "lambda: (signal.signal(signal.SIGTERM, lambda *_: os._exit(41)),"
        " signal.signal(signal.SIGINT, lambda *_: os._exit(41)),"
        " print('up', flush=True), time.sleep(60))"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 41


def test_sigkill_of_the_outer_process_leaves_no_process_and_no_namespace() -> None:
    process = start(
        "lambda: subprocess.run(['sh', '-c', 'trap \"\" TERM INT HUP;"
        ' unshare --net setsid sh -c "echo up; exec sleep 300" & wait\']).returncode'
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    family = descendants(process.pid)
    assert len(family) >= 5, "keeper, init, the entry, a shell, a sleep in a session of its own"
    own = namespaces(family)
    assert len(own) >= 4, "there is something to leave behind"
    process.kill()
    process.communicate(timeout=10)
    within(5, lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "processes gone")
    within(5, lambda: not own & namespaces(everybody()), "namespaces gone")


def test_sigkill_of_the_keeper_ends_everything_too() -> None:
    process = start("lambda: (print('up', flush=True), time.sleep(300))")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    family = descendants(process.pid)
    keeper = min(family)
    os.kill(keeper, signal.SIGKILL)
    process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGKILL
    within(5, lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "processes gone")


def test_without_root_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(sandbox.LabError, match="needs root") as raised:
        sandbox.run(lambda: 0)
    assert raised.value.exit_code == 2


def test_a_kernel_that_makes_no_namespaces_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_unless_possible()

    def refuse(_flags: int) -> None:
        raise OSError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(sandbox, "unshare", refuse)
    with pytest.raises(sandbox.LabError, match=r"no sandbox on this machine: .*not permitted"):
        sandbox.run(lambda: 0)
