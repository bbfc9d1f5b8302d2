"""Faults as values: the registry, who may be struck, the undo journal, the HTTP of a switch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from lab.backend import FaultFailed, FaultSpec, LabError
from lab.emulated.faults import kinds
from lab.emulated.faults.bench import Bench
from lab.emulated.faults.planned import PlannedSwitch
from lab.emulated.faults.process import give_way
from lab.emulated.faults.schedule import UndoJournal
from lab.emulated.meters.journals import Journals
from tests.lab.namespaces import wait_for
from topologies.loader import load_topology


class PaperBench:
    """A lab with journals and a topology, and no processes."""

    def __init__(self, folder: Path) -> None:
        self.topology = load_topology("diamond")
        self.folder = folder
        self.journals = Journals(folder, [node.name for node in self.topology.nodes])
        self.network = self

    def node(self, name: str) -> Any:
        try:
            return self.topology.node(name)
        except KeyError:
            raise LabError(f"no node {name!r}") from None

    def link(self, name: str) -> Any:
        for link in self.topology.links:
            if link.name == name:
                return link
        raise LabError(f"no link {name!r}")

    def api_socket(self, node: str) -> str:
        return str(self.folder / f"{node}.sock")

    def write(self, node: str, event: str, t: int, **fields: object) -> None:
        line = json.dumps({"t": t, "node": node, "event": event, **fields})
        with (self.folder / f"{node}.journal.jsonl").open("a") as file:
            file.write(line + "\n")


@pytest.fixture
def bench(tmp_path: Path) -> PaperBench:
    return PaperBench(tmp_path)


def as_bench(bench: PaperBench) -> Bench:
    return cast(Bench, bench)


def test_every_kind_says_what_it_does_and_what_it_strikes() -> None:
    described = kinds.describe()
    assert [kind["kind"] for kind in described] == list(kinds.KINDS)
    assert {"crash", "hang", "isolate-carrier", "isolate-silent", "planned-switch", "link-cut"} <= {
        kind["kind"] for kind in described
    }
    assert all(kind["summary"] and kind["targets"] for kind in described)
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FaultSpec("explode", "ce1"), "no fault kind 'explode' (kinds: crash, hang, "),
        (FaultSpec("crash", "ce9"), "no node 'ce9'"),
        (FaultSpec("crash", "h1"), "crash strikes master or ce or fe; h1 is a host"),
        (FaultSpec("link-cut", "fe1-fe9"), "no link 'fe1-fe9'"),
        (FaultSpec("link-cut", "master"), "link-cut strikes a link, not the master"),
        (FaultSpec("planned-switch", "fe1"), "planned-switch strikes master or ce; fe1 is a fe"),
        (FaultSpec("crash", "ce1", at_ms=-1), "at or after 0 ms"),
        (
            FaultSpec("crash", "ce1", arguments={"end": "fe1"}),
            "crash takes no argument 'end' (arguments: state, daemon)",
        ),
    ],
)
def test_a_wrong_fault_is_refused_in_one_sentence(
    bench: PaperBench, spec: FaultSpec, message: str
) -> None:
    with pytest.raises(LabError) as caught:
        kinds.check(as_bench(bench), spec)
    assert message in str(caught.value)


def test_master_is_whom_every_fe_names_at_this_moment(bench: PaperBench) -> None:
    fes = [fe.name for fe in bench.topology.of_kind("fe")]
    for fe in fes:
        bench.write(fe, "master", 1, ce="ce1", last=None)
    assert kinds.resolve(as_bench(bench), "master") == "ce1"
    bench.write(fes[0], "detect", 2, ce="ce1", source="tml")
    with pytest.raises(FaultFailed, match=r"no single master.*fe1 has none"):
        kinds.resolve(as_bench(bench), "master")
    for fe in fes:
        bench.write(fe, "master", 3, ce="ce2", last="ce1")
    assert kinds.resolve(as_bench(bench), "master") == "ce2"
    assert kinds.resolve(as_bench(bench), "ce1") == "ce1"


def test_an_unfinished_journal_line_is_left_for_the_next_look(bench: PaperBench) -> None:
    path = bench.folder / "fe1.journal.jsonl"
    path.write_text('{"t": 1, "node": "fe1", "event": "master", "ce": "ce1"}\n{"t": 2, "no')
    bench.journals.poll()
    assert bench.journals.master_of("fe1") == "ce1"
    with path.open("a") as file:
        file.write('de": "fe1", "event": "detect", "ce": "ce1"}\n')
    bench.journals.poll()
    assert bench.journals.master_of("fe1") is None
    assert bench.journals.malformed == 0


def test_the_undo_journal_knows_what_is_outstanding_in_any_order(tmp_path: Path) -> None:
    undo = UndoJournal(tmp_path / "undo.jsonl")
    specs = [FaultSpec("hang", "ce1"), FaultSpec("link-cut", "x", arguments={"end": "fe1"})]
    numbers = [undo.record(spec, spec.target) for spec in specs]
    third = undo.record(FaultSpec("crash", "master"), "ce2")
    undo.done(numbers[0])
    again = UndoJournal(tmp_path / "undo.jsonl").outstanding()
    assert again == [
        (third, FaultSpec("crash", "ce2")),
        (numbers[1], FaultSpec("link-cut", "x", arguments={"end": "fe1"})),
    ]
    assert undo.record(specs[0], "ce1") not in [*numbers, third]


def answer_one(path: str, answer: bytes) -> list[bytes]:
    """Serve one HTTP request on a Unix socket; the request arrives in the list."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        requests.append(connection.recv(1 << 16))
        connection.sendall(answer)
        connection.close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return requests


def test_a_planned_switch_happened_when_the_ce_agreed_and_every_fe_names_the_new_master(
    bench: PaperBench,
) -> None:
    body = b'{"to": "ce2"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    requests = answer_one(bench.api_socket("ce1"), head + body)
    switch = PlannedSwitch(as_bench(bench), "ce1", {})
    switch.prepare()
    switch.strike()
    now = switch._struck_ns + 1
    fes = [fe.name for fe in bench.topology.of_kind("fe")]
    for fe in fes[:-1]:
        bench.write(fe, "master", now, ce="ce2")
    while not switch._answered:
        assert not switch.happened()
    assert not switch.happened(), "one FE has not moved yet"
    bench.write(fes[-1], "master", now, ce="ce2")
    assert switch.happened()
    assert requests[0].startswith(b"POST /switch HTTP/1.1\r\n")
    assert json.loads(requests[0].partition(b"\r\n\r\n")[2]) == {"to": "ce2"}
    switch.close()


def test_a_refused_switch_is_a_failed_fault_with_the_ces_own_words(bench: PaperBench) -> None:
    body = b'{"error": "ce1 is not the master of any FE"}'
    head = b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer_one(bench.api_socket("ce1"), head + body)
    switch = PlannedSwitch(as_bench(bench), "ce1", {"to": "ce2"})
    switch.prepare()
    switch.strike()
    with pytest.raises(FaultFailed, match=r"ce1 refused the switch: 409 .*not the master"):
        wait_for(switch.happened, 5, "an answer")
    switch.close()


def test_a_switch_needs_an_api_and_another_ce(bench: PaperBench) -> None:
    with pytest.raises(FaultFailed, match="API of ce1 cannot be reached"):
        PlannedSwitch(as_bench(bench), "ce1", {}).prepare()
    with pytest.raises(LabError, match="from ce1 to 'ce1': not one of ce2"):
        PlannedSwitch(as_bench(bench), "ce1", {"to": "ce1"})


def test_a_process_that_is_to_die_has_no_priority_left_in_any_thread() -> None:
    code = (
        "import os, threading, time\n"
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        if child.stdout.readline() != b"ready\n":
            pytest.skip("SCHED_FIFO is refused here: it takes root")
        tasks = [int(task) for task in os.listdir(f"/proc/{child.pid}/task")]
        assert len(tasks) == 2
        assert {os.sched_getscheduler(task) for task in tasks} == {os.SCHED_FIFO}
        give_way(child.pid)
        assert {os.sched_getscheduler(task) for task in tasks} == {os.SCHED_OTHER}
    finally:
        child.kill()
        child.wait()
    give_way(child.pid)  # it has ended: nothing to do
