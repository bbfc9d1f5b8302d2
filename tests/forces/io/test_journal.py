"""The journal: whole lines that survive a SIGKILL, and a reader that forgives a torn one."""

from __future__ import annotations

import json
import os
import signal
from enum import StrEnum
from pathlib import Path

import pytest

from forces.io.journal import JournalWriter, read_journal


class Cause(StrEnum):
    ICMP = "icmp"


def test_a_line_is_one_json_object_with_time_node_and_event_first(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j", "fe1")
    writer.write("tml_lost", {"cause": Cause.ICMP, "raw": b"\1\2", "set": {2, 1}, "at": None}, 5)
    writer.write("state", {"t": 99, "node": "liar", "event": "x"}, 6)
    writer.close()
    text = (tmp_path / "j").read_text()
    assert text.splitlines()[0] == (
        '{"t":5,"node":"fe1","event":"tml_lost","cause":"icmp","raw":"0102","set":[1,2],"at":null}'
    )
    assert json.loads(text.splitlines()[1]) == {"t": 6, "node": "fe1", "event": "state"}


def test_nothing_that_was_written_is_lost_by_a_sigkill(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        writer = JournalWriter(tmp_path / "j", "ce1")
        for n in range(1000):
            writer.write("beat", {"n": n}, n)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert [record["n"] for record in read_journal(tmp_path / "j")] == list(range(1000))


def test_a_torn_last_line_is_forgiven_a_broken_one_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"t":1}\n{"t":2}\n{"t":3,"ev')
    assert read_journal(path) == [{"t": 1}, {"t": 2}]
    path.write_bytes(b'{"t":1}\n{"t"\n{"t":3}\n')
    with pytest.raises(ValueError, match=r"j:2: not a line of JSON"):
        read_journal(path)


def test_a_restarted_process_appends(tmp_path: Path) -> None:
    for run in (1, 2):
        writer = JournalWriter(tmp_path / "j", "fe1")
        writer.write("start", {"run": run}, run)
        writer.close()
    assert [record["run"] for record in read_journal(tmp_path / "j")] == [1, 2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    writer = JournalWriter("/dev/full", "fe1")
    for n in range(3):
        writer.write("beat", {}, n)
    assert writer.lost == 3
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text


def test_without_a_path_nothing_is_written() -> None:
    writer = JournalWriter("", "fe1")
    writer.write("start", {}, 1)
    writer.close()
    assert writer.lost == 0
