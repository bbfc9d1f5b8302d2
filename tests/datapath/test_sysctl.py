"""Settings that the kernel takes its RTNL lock for, written by a thread of real-time priority."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fe_datapath.linux import sysctl


@pytest.mark.kernel
def test_a_write_is_made_below_all_equals_and_the_priority_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write may spin until who has the lock lets go of it: that one must get a core."""
    (tmp_path / "setting").write_text("0")
    monkeypatch.setattr(sysctl, "_NET", tmp_path)
    seen: list[tuple[int, int]] = []
    write_text = Path.write_text

    def watched(self: Path, text: str) -> int:
        seen.append((os.sched_getscheduler(0), os.sched_getparam(0).sched_priority))
        return write_text(self, text)

    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except OSError as error:
        pytest.skip(f"no real-time priority here: {error.strerror}")
    try:
        monkeypatch.setattr(Path, "write_text", watched)
        sysctl._write("setting", "1")
        after = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    finally:
        os.sched_setscheduler(0, *before)
    assert (tmp_path / "setting").read_text() == "1"
    assert seen == [(os.SCHED_FIFO, 1)]
    assert after == (os.SCHED_FIFO, 5)
