"""Settings that the kernel takes its RTNL lock for, written by a thread of real-time priority."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from fe_datapath.linux import sysctl

MORE_THAN_A_PIPE_HOLDS = 1 << 18


@pytest.mark.kernel
def test_a_write_has_no_real_time_priority_and_the_priority_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write may spin until who has the lock lets go of it: that one must get a core."""
    setting = tmp_path / "setting"
    os.mkfifo(setting)
    monkeypatch.setattr(sysctl, "_NET", tmp_path)
    monkeypatch.setattr(Path, "read_text", lambda _self: "0")
    seen: list[int] = []

    def write() -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
        writer = threading.get_native_id()
        watch = threading.Thread(target=look, args=(writer,))
        watch.start()
        sysctl._write("setting", "1" * MORE_THAN_A_PIPE_HOLDS)
        watch.join()
        seen.append(os.sched_getscheduler(0))

    def look(writer: int) -> None:
        """While the write waits for a reader."""
        with setting.open("rb") as reader:
            until = time.monotonic() + 10
            while os.sched_getscheduler(writer) != os.SCHED_OTHER and time.monotonic() < until:
                time.sleep(0.001)
            seen.append(os.sched_getscheduler(writer))
            while reader.read(1 << 16):
                pass

    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except OSError as error:
        pytest.skip(f"no real-time priority here: {error.strerror}")
    finally:
        os.sched_setscheduler(0, *before)
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert seen == [os.SCHED_OTHER, os.SCHED_FIFO]
