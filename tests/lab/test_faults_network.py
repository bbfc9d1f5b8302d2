"""Every fault on the real diamond network, with processes that only sleep in it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from lab.backend import FaultFailed, FaultSpec
from lab.emulated import sandbox
from lab.emulated.faults.process import thread_states
from lab.emulated.faults.schedule import Strikes, UndoJournal, heal_outstanding
from lab.emulated.forkserver import ForkServer, Proc
from lab.emulated.meters.journals import Journals
from lab.emulated.network import Network
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import load_topology

pytestmark = pytest.mark.lab

LEAD_NS = 40_000_000
SO_RCVBUFFORCE = 33
"""socket(7); Python has no name for it."""


class SleepingBench:
    """The diamond, with a sleeper in the place of each CE and FE."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.topology = load_topology("diamond")
        self._server = ForkServer(())
        self._server.start()
        self.network = Network(self.topology)
        self.network.start()
        self.journals = Journals(folder, [node.name for node in self.topology.nodes])
        self._procs: dict[str, Proc] = {}
        for node in self.topology.nodes:
            if node.kind != "host":
                self.restart(node.name)
        self.undo = UndoJournal(folder / "undo.jsonl")
        self.log: list[tuple[str, str, str]] = []
        self.expected: list[str] = []

    def process(self, node: str) -> int:
        return self._procs[node].pid

    def is_alive(self, node: str) -> bool:
        return node in self._procs and self._procs[node].is_running()

    def expect_exit(self, node: str) -> None:
        self.expected.append(node)

    def restart(self, node: str) -> None:
        if self.is_alive(node):
            return
        self._procs[node] = self._server.spawn(
            self.network.node(node), "tests.lab.forked:sleep", {}, log=self.folder / f"{node}.log"
        )
        line = json.dumps({"t": time.monotonic_ns(), "node": node, "event": "start"})
        with (self.folder / f"{node}.journal.jsonl").open("a") as file:
            file.write(line + "\n")

    def api_socket(self, node: str) -> str:
        return str(self.folder / f"{node}.sock")

    def strike(self, *specs: FaultSpec, for_ms: float = 20) -> Strikes:
        strikes = Strikes(self, self.undo, self._note)
        start = time.monotonic_ns() + LEAD_NS
        strikes.run(specs, start, start + round(for_ms * 1e6))
        strikes.close()
        return strikes

    def _note(self, event: str, fields: object) -> None:
        assert isinstance(fields, dict)
        self.log.append((event, fields["kind"], fields["target"]))

    def heal(self) -> None:
        heal_outstanding(self, self.undo, self._note)

    def close(self) -> None:
        self._server.stop()
        self.network.stop()


def in_the_lab(folder: Path, check: Callable[[SleepingBench], None]) -> None:
    """Run `check` in a sandbox; its traceback is on stderr where it fails."""
    skip_unless_possible()

    def entry() -> int:
        bench = SleepingBench(folder)
        try:
            check(bench)
        finally:
            bench.close()
        return 0

    assert sandbox.run(entry) == 0


SINGLE = [
    ("crash", "ce1"),
    ("crash", "fe1"),
    ("hang", "ce2"),
    ("starve", "ce1"),
    ("isolate-carrier", "ce1"),
    ("isolate-silent", "ce1"),
    ("isolate-silent", "fe2"),
    ("link-cut", "fe1-fe2"),
    ("link-cut", "h1-fe1"),
    ("link-silent", "fe2-fe4"),
]


PARTIAL = [
    ("isolate-oneway", "ce1", {}),
    ("isolate-oneway", "ce1", {"direction": "to"}),
    ("isolate-oneway", "fe2", {}),
    ("isolate-some", "ce1", {"peers": ["fe1", "fe2"]}),
    ("isolate-some", "ce1", {"peers": "fe3, ce2"}),
    ("ce-cut", "ce1", {}),
    ("control-loss", "ce1", {"percent": 20}),
    ("link-loss", "fe1-fe2", {"percent": 20}),
    ("link-oneway", "fe1-fe2", {}),
    ("link-oneway", "fe1-fe2", {"to": "fe1"}),
]


def test_each_partial_fault_takes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        for kind, target, arguments in PARTIAL * 2:
            strikes = bench.strike(FaultSpec(kind, target, at_ms=10, arguments=arguments))
            (applied,) = strikes.applied()
            assert applied.verified, (kind, arguments, strikes.reasons())
            again = bench.strike(FaultSpec(kind, target, arguments=arguments))
            assert not again.applied()[0].verified, "one stage at a time"
            bench.heal()
            assert bench.undo.outstanding() == []

    in_the_lab(tmp_path, check)


def test_random_loss_is_as_large_as_asked(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        link = bench.network.link("fe1-fe2")
        bench.strike(FaultSpec("link-loss", "fe1-fe2", arguments={"percent": 10}))
        count = 20_000
        a, b = (end.addresses[0].split("/")[0] for end in (link.a, link.b))
        with bench.network.node("fe2").network():
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            receiver.bind((b, 4000))
        with bench.network.node("fe1").network():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((a, 0))
        for _ in range(count):
            sender.sendto(b"x", (b, 4000))
        receiver.settimeout(0.2)
        got = 0
        with suppress(TimeoutError):
            while receiver.recv(8):
                got += 1
        # five standard deviations of a binomial: 5 * sqrt(20000 * 0.1 * 0.9) = 212
        assert abs((count - got) - count / 10) < 212, count - got
        bench.heal()

    in_the_lab(tmp_path, check)


def test_a_starved_process_gets_its_share_of_a_core_and_all_of_it_again(tmp_path: Path) -> None:
    """Ten per cent of the time it is not stopped; looked at ten times in each period."""

    def running(pid: int) -> float:
        looks = []
        for _ in range(400):
            looks.append(thread_states(pid) != {"T"})
            time.sleep(0.001)
        return sum(looks) / len(looks)

    def check(bench: SleepingBench) -> None:
        pid = bench.process("ce1")
        strikes = bench.strike(FaultSpec("starve", "ce1", arguments={"percent": 20}))
        assert strikes.applied()[0].verified, strikes.reasons()
        starved = running(pid)
        assert 0.02 < starved < 0.6, starved
        bench.heal()  # by a fault that was armed again from the record
        assert running(pid) == 1.0
        strikes.close()
        assert bench.undo.outstanding() == []

    in_the_lab(tmp_path, check)


@pytest.mark.parametrize(
    ("kind", "target", "arguments", "text"),
    [
        ("starve", "ce1", {"percent": 100}, "percent 100 is outside 0 to 100"),
        ("isolate-oneway", "ce1", {"direction": "up"}, "direction 'up' is not from or to"),
        ("isolate-some", "ce1", {}, "isolate-some needs peers"),
        ("isolate-some", "ce1", {"peers": ["h1"]}, "'h1' is not another CE or FE"),
        ("link-loss", "fe1-fe2", {"percent": 100}, "percent 100 is outside 0 to 100"),
        ("link-loss", "fe1-fe2", {"percent": "x"}, "percent 'x' is not a number"),
        ("link-oneway", "fe1-fe2", {"to": "fe4"}, "fe1-fe2 has no end at 'fe4'"),
    ],
)
def test_a_partial_fault_that_cannot_be_says_why(
    tmp_path: Path, kind: str, target: str, arguments: dict[str, object], text: str
) -> None:
    def check(bench: SleepingBench) -> None:
        strikes = bench.strike(FaultSpec(kind, target, arguments=arguments))
        assert text in strikes.reasons()[0]

    in_the_lab(tmp_path, check)


def test_each_fault_happens_is_stamped_and_heals_and_can_be_made_again(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        for kind, target in SINGLE * 2:
            strikes = bench.strike(FaultSpec(kind, target, at_ms=10))
            (applied,) = strikes.applied()
            assert applied.verified, (kind, target, strikes.reasons())
            assert applied.target == target
            took_us = (applied.after_ns - applied.before_ns) / 1000
            assert 0 < took_us < 20_000, (kind, took_us)
            assert [spec.kind for _, spec in bench.undo.outstanding()] == [kind]
            bench.heal()
            assert bench.undo.outstanding() == []
            assert bench.log[-4:] == [
                (step, kind, target) for step in ("fault", "verified", "heal", "healed")
            ]
        assert bench.expected == ["ce1", "fe1"] * 2

    in_the_lab(tmp_path, check)


def test_faults_on_top_of_each_other_all_heal_from_the_undo_journal_alone(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        strikes = bench.strike(
            FaultSpec("isolate-silent", "ce1", at_ms=0),
            FaultSpec("hang", "ce1", at_ms=40),
            FaultSpec("isolate-carrier", "ce2", at_ms=42),
            FaultSpec("link-cut", "fe1-fe2", at_ms=42),
            FaultSpec("crash", "ce1", at_ms=120),
            FaultSpec("hang", "fe3", at_ms=125, heal_after_ms=40),
            for_ms=200,
        )
        assert [each.verified for each in strikes.applied()] == [True] * 6, strikes.reasons()
        befores = [each.before_ns for each in strikes.applied()]
        assert befores == sorted(befores)
        assert 38e6 < befores[1] - befores[0] < 60e6
        assert len(bench.undo.outstanding()) == 5, "one was healed by the schedule"
        bench.undo = UndoJournal(tmp_path / "undo.jsonl")
        bench.heal()
        assert bench.undo.outstanding() == []
        again = bench.strike(FaultSpec("isolate-silent", "ce1"))
        assert again.applied()[0].verified, "nothing was left behind"
        bench.heal()

    in_the_lab(tmp_path, check)


def test_a_fault_that_finds_nothing_to_break_is_not_verified(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        bench.strike(FaultSpec("crash", "ce1"))
        strikes = bench.strike(FaultSpec("hang", "ce1"), FaultSpec("crash", "master"))
        assert [each.verified for each in strikes.applied()] == [False, False]
        assert strikes.reasons()[0] == "ce1 has no process to strike"
        assert "no single master" in strikes.reasons()[1]
        bench.strike(FaultSpec("link-cut", "fe1-fe2"))
        strikes = bench.strike(FaultSpec("link-silent", "fe1-fe2"))
        assert "cut already" in strikes.reasons()[0]
        bench.heal()

    in_the_lab(tmp_path, check)


def test_a_heal_that_does_not_heal_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.emulated.faults.schedule.HEAL_BUDGET_S", 0.2)
    monkeypatch.setattr("lab.emulated.faults.process.Hang.heal", lambda _self: None)

    def check(bench: SleepingBench) -> None:
        bench.strike(FaultSpec("hang", "fe1"))
        with pytest.raises(FaultFailed, match=r"not healed within 0\.2 s: hang of fe1"):
            bench.heal()
        assert len(bench.undo.outstanding()) == 1

    in_the_lab(tmp_path, check)


def test_faults_of_one_moment_strike_one_right_after_the_other(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        strikes = bench.strike(
            FaultSpec("crash", "ce1", at_ms=60),
            FaultSpec("link-cut", "fe1-fe2", at_ms=60),
            FaultSpec("isolate-silent", "ce2", at_ms=60),
            for_ms=80,
        )
        applied = strikes.applied()
        assert all(each.verified for each in applied), strikes.reasons()
        # the calls themselves: signal 0.1 ms, link down 1 ms, bridge port 0.1 ms
        assert applied[-1].before_ns - applied[0].before_ns < 20e6
        bench.heal()

    in_the_lab(tmp_path, check)


def test_a_link_flaps_on_schedule_while_its_witnesses_are_asked(tmp_path: Path) -> None:
    def check(bench: SleepingBench) -> None:
        flaps = [
            FaultSpec("link-cut", "fe1-fe2", at_ms=80.0 * n, heal_after_ms=40) for n in range(5)
        ]
        strikes = bench.strike(*flaps, FaultSpec("hang", "fe3", at_ms=200, heal_after_ms=40))
        assert all(each.verified for each in strikes.applied()), strikes.reasons()
        befores = [each.before_ns for each in strikes.applied()[:5]]
        gaps_ms = [(after - before) / 1e6 for before, after in pairwise(befores)]
        assert all(75 < gap < 130 for gap in gaps_ms), gaps_ms
        assert bench.undo.outstanding() == []
        assert [step for step, kind, _ in bench.log if kind == "hang"] == [
            "fault",
            "verified",
            "heal",
            "healed",
        ]

    in_the_lab(tmp_path, check)
