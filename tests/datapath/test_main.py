"""The FE process: what it says when it cannot start, and that it starts and ends in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fe_datapath.main import main
from forces.io.journal import read_journal
from tests.datapath.rigs import KernelRig

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "id": 2,
    "name": "fe1",
    "control_address": "127.0.0.1",
    "ces": [{"id": 0x40000001, "name": "ce1", "address": "127.0.0.1"}],
    "ports": [
        {"id": 1, "interface": "fe-eth1", "address": "10.1.0.1/30"},
        {"id": 2, "interface": "fe-eth2", "address": "10.1.0.5/30"},
    ],
    "tml": "tcp",
}


def written(folder: Path, text: str) -> str:
    path = folder / "fe1.json"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("[]", "the document: Input should be a dictionary or an instance of FeConfig"),
        (json.dumps({**CONFIG, "ha_mode": 7}), "ha_mode: Input should be 0, 1 or 2"),
        (
            json.dumps({**CONFIG, "ports": [{"id": "x", "interface": "a", "address": "b"}]}),
            "ports.0.id: Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_a_wrong_configuration_is_one_clear_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    path = written(tmp_path, text)
    assert main([path]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"fe_datapath.main: {path}: {line}")


def test_no_or_an_unreadable_configuration_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["/nonexistent.json"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "usage: python -m fe_datapath.main CONFIG.json",
        "fe_datapath.main: [Errno 2] No such file or directory: '/nonexistent.json'",
    ]


def start(kernel: KernelRig, config: str) -> subprocess.Popen[str]:
    def there() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fe_datapath.main", config],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    return kernel.namespace.run(there)


@pytest.mark.kernel
def test_a_port_that_is_not_there_is_one_clear_line_and_exit_2(
    kernel: KernelRig, tmp_path: Path
) -> None:
    ports = [*CONFIG["ports"], {"id": 3, "interface": "fe-eth3", "address": "10.9.0.1/30"}]
    process = start(kernel, written(tmp_path, json.dumps({**CONFIG, "ports": ports})))
    _, said = process.communicate(timeout=30)
    assert said == "fe1: port 3: this namespace has no interface 'fe-eth3'\n"
    assert process.returncode == 2


@pytest.mark.kernel
def test_an_fe_starts_sees_its_links_and_ends_in_order(kernel: KernelRig, tmp_path: Path) -> None:
    journal = tmp_path / "fe1.journal.jsonl"
    config = {**CONFIG, "journal": str(journal)}
    process = start(kernel, written(tmp_path, json.dumps(config)))

    def seen(event: str) -> list[dict[str, Any]]:
        records = read_journal(journal) if journal.exists() else []
        return [record for record in records if record["event"] == event]

    def until(event: str, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(seen(event)) < count:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, f"no {count} {event} in the journal"
            time.sleep(0.01)

    try:
        until("start", 1)
        assert seen("start")[0]["pid"] == process.pid
        kernel.namespace.ip("link set far2 down")
        until("link", 1)
        kernel.namespace.ip("link set far2 up")
        until("link", 2)
        assert [(e["port"], e["up"]) for e in seen("link")] == [(2, False), (2, True)]
        assert all(e["at_ns"] <= e["t"] for e in seen("link"))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "Traceback" not in said
