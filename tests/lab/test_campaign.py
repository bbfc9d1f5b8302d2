"""`ceha run` on the real lab, as a user starts it: a report, a capture, a kill, a full disk."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from forces.header import MessageType
from forces.wire import decode
from tests.forces.captures import write_pcap
from tests.lab.pcap import messages
from tests.lab.sandboxed import ROOT, skip_unless_possible

pytestmark = pytest.mark.lab

SCENARIO = """\
question: Does the tool chain hold together?
topology: diamond
trials: 1
warmup: 0
seed: 1
calibrate_ms: 200
observe_ms: 500
settings: {{routes: 50, tml: {tml}}}
faults:
  crash: [{{kind: crash, target: master}}]
cells:
  - {{name: cold, mode: cold, fault: crash}}
  - {{name: hot, mode: hot, fault: crash}}
figures: [dtimes, loss, outages, ladder]
"""
COMPLAINTS = ("illegal", "invalid forces", "invalid oper", "mess ", "bogus", "truncated", "[|")
RUN_BUDGET_S = 120
FINISHED = (0, 1, 3)
"""All trials ran; what they say on a busy machine (invalid, violated) is not for a test."""
SYSCTLS = ("net/ipv4/ip_forward", "net/ipv4/icmp_ratelimit", "fs/file-max", "kernel/pty/max")


@pytest.fixture(autouse=True)
def _possible() -> None:
    skip_unless_possible()


def ceha(*arguments: str, runs: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=ROOT,
        env={**os.environ, "CEHA_RUNS": str(runs), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def scenario(folder: Path, tml: str = "auto") -> str:
    path = folder / "small.yaml"
    path.write_text(SCENARIO.format(tml=tml))
    return str(path)


@pytest.mark.parametrize("tml", ["auto", "usrsctp-udp", "tcp"])
def test_tcpdump_decodes_every_message_of_a_captured_failover(tmp_path: Path, tml: str) -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not installed")
    running = ceha("run", scenario(tmp_path, tml), "--pcap", runs=tmp_path / "runs")
    output, _ = running.communicate(timeout=RUN_BUDGET_S)
    assert running.returncode in FINISHED, output
    run = tmp_path / "runs" / "latest"
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert {row["cell"] for row in rows} == {"cold", "hot"}
    if any(row["verdict"] == "ok" for row in rows):
        page = (run / "report.html").read_text()
        assert 'src="data:image/' in page
    seen: Counter[MessageType] = Counter()
    for capture in sorted(run.glob("trials/*/*.pcap")):
        captured = messages(capture)
        seen.update(decode(octets).type for _, octets in captured)
        assert_readable(captured, tmp_path / "rewritten.pcap")
    expected = set(MessageType) - {
        MessageType.PACKET_REDIRECT,
        MessageType.ASSOCIATION_TEARDOWN,
    }
    if not any(row["cell"] == "cold" and row["verdict"] == "ok" for row in rows):
        # the captures begin when all is associated: only a cold failover shows a set-up
        expected -= {MessageType.ASSOCIATION_SETUP, MessageType.ASSOCIATION_SETUP_RESPONSE}
    assert set(seen) >= expected
    assert seen[MessageType.CONFIG] > 100


def assert_readable(captured: list[tuple[int, bytes]], scratch: Path) -> None:
    if not captured:
        return  # a standby that nobody dialled
    write_pcap(scratch, captured)
    done = subprocess.run(
        ["tcpdump", "-nn", "-vvv", "-r", str(scratch)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("ForCES") >= len(captured)
    for line in done.stdout.lower().splitlines():
        assert not any(word in line for word in COMPLAINTS), line


def host() -> dict[str, object]:
    """What of the machine's own a lab could change: interfaces, mounts, sysctls."""
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    return {
        "interfaces": sorted(line.split()[0] for line in links.splitlines()),
        "mounts": sorted(Path("/proc/self/mounts").read_text().splitlines()),
        "sysctls": [Path("/proc/sys", name).read_text() for name in SYSCTLS if there(name)],
    }


def lab_of(pid: int) -> tuple[set[int], set[str]]:
    """(processes, namespaces) that descend from a process; its own and ours are not counted."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    family = {pid}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    found = {link for process in family for link in namespaces(process)}
    return family - {pid}, found - set(namespaces(os.getpid()))


def namespaces(pid: int) -> list[str]:
    try:
        return [os.readlink(link) for link in Path(f"/proc/{pid}/ns").iterdir()]
    except OSError:
        return []


def in_use(wanted: set[str]) -> set[str]:
    everybody = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return {link for pid in everybody for link in namespaces(pid)} & wanted


def there_is(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def there(name: str) -> bool:
    return Path("/proc/sys", name).exists()


def test_sigkill_of_a_run_leaves_nothing_and_the_next_run_works(tmp_path: Path) -> None:
    before = host()
    running = ceha("run", scenario(tmp_path), "--trials", "50", runs=tmp_path / "runs")
    run = tmp_path / "runs" / "latest"
    await_(lambda: list(run.glob("trials/*/fe1.journal.jsonl")), "the first trial begins")
    processes, spaces = lab_of(running.pid)
    assert len(processes) > 10
    assert len(spaces) > 10
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    await_(lambda: not in_use(spaces), "all namespaces of the lab are gone")
    await_(lambda: not any(map(there_is, processes)), "no process of the lab is left")
    assert host() == before
    again = ceha("run", scenario(tmp_path), "--only", "hot", runs=tmp_path / "runs")
    output, _ = again.communicate(timeout=RUN_BUDGET_S)
    assert again.returncode in FINISHED, output


def test_sigint_keeps_what_was_measured_and_resume_goes_on(tmp_path: Path) -> None:
    running = ceha("run", scenario(tmp_path), "--trials", "3", runs=tmp_path / "runs")
    run = tmp_path / "runs" / "latest"
    await_(lambda: list(run.glob("trials/*/verdict.json")), "a trial is measured")
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=RUN_BUDGET_S)
    assert running.returncode == 130, output
    kept = len(list(run.glob("trials/*/verdict.json")))
    assert kept >= 1
    folder = run.resolve().name
    again = ceha("run", "--resume", folder, runs=tmp_path / "runs")
    output, _ = again.communicate(timeout=RUN_BUDGET_S)
    assert again.returncode in FINISHED, output
    rows = list(csv.DictReader((tmp_path / "runs" / folder / "results.csv").open()))
    assert Counter(row["cell"] for row in rows)["hot"] >= 3


def test_a_full_disk_is_one_line_and_exit_2(tmp_path: Path) -> None:
    small = tmp_path / "small-disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], check=True)
    try:
        running = ceha("run", scenario(tmp_path), runs=small)
        output, _ = running.communicate(timeout=RUN_BUDGET_S)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert running.returncode == 2, output
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("ceha: ")
    assert "no space left" in last


def await_(condition: object, what: str, budget_s: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + budget_s
    while not condition():
        assert time.monotonic() < deadline, f"within {budget_s} s: {what}"
        time.sleep(0.05)  # poll
