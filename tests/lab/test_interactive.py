"""`ceha up` and its second shell, on the real thing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.emulated.control import folder_of, is_running
from tests.lab.sandboxed import ROOT, skip_unless_possible
from tests.lab.test_network import sysctls
from tests.lab.test_sandbox import descendants, everybody, namespaces

pytestmark = pytest.mark.lab

UP_TIMEOUT_S = 60


def ceha(*arguments: str, text_input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input=text_input,
        timeout=UP_TIMEOUT_S,
        check=False,
    )


def within(budget_s: float, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + budget_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {budget_s} s: {what}"
        time.sleep(0.02)


def remove(name: str) -> None:
    """What a lab leaves on purpose: its journals."""
    shutil.rmtree(folder_of(name))


class Lab:
    """A `ceha up` in the foreground, with a name of its own."""

    def __init__(self, label: str, *options: str) -> None:
        skip_unless_possible()
        self.name = f"test-{label}-{os.getpid()}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab", "up", "diamond", "--name", self.name, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "ready after" not in line:
            pytest.fail(f"up said {line!r} {self.process.communicate(timeout=10)[1]}")

    def verb(self, verb: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return ceha(verb, "--name", self.name, *arguments, **more)

    def status(self) -> Any:
        return json.loads(self.verb("status", "--json").stdout)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)
        within(5, lambda: not is_running(self.name), "the lab is gone")
        remove(self.name)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    running = Lab("main", "--mode", "hot", "--routes", "10")
    try:
        running.await_ready()
        yield running
    finally:
        running.close()


def test_status_tells_nodes_processes_and_masters(lab: Lab) -> None:
    status = lab.status()
    assert status["ready"]
    assert status["masters"] == {f"fe{n}": "ce1" for n in range(1, 5)}
    assert {node["name"]: node["state"] for node in status["nodes"]} == {
        **{name: "running" for name in ("ce1", "ce2", "fe1", "fe2", "fe3", "fe4")},
        "h1": "no process",
        "h2": "no process",
    }
    assert all(node["api"] for node in status["nodes"] if node["kind"] != "host")
    table = lab.verb("status")
    assert table.returncode == 0
    assert "fe4" in table.stdout
    for said in (status["security"], table.stdout):
        assert "no transport security" in said


def test_exec_runs_in_the_node_with_our_input_output_and_exit_code(lab: Lab) -> None:
    done = lab.verb("exec", "h1", "--", "sh", "-c", "cat; ls /sys/class/net; exit 9",
                    text_input="hello\n")  # fmt: skip
    assert (done.returncode, done.stdout) == (9, "hello\nh1-eth1\nlo\n")
    assert lab.verb("exec", "h1", "--", "no-such-command").returncode == 127
    assert lab.verb("exec", "h1", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9


ASK = """
import sys, urllib.request, urllib.error
url, body = "http://127.0.0.1:8080/" + sys.argv[1], sys.argv[2].encode()
try:
    print(urllib.request.urlopen(url, body or None, timeout=20).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def ask(lab: Lab, command: str, **arguments: Any) -> Any:
    """The master's local API, as docs/local-api.md says."""
    body = json.dumps(arguments) if arguments else ""
    done = lab.verb("exec", "ce1", "--", sys.executable, "-c", ASK, command, body)
    return json.loads(done.stdout)


def holders(lab: Lab, prefix: str) -> set[str]:
    """FEs whose kernel has the route."""
    found = set()
    for fe in ("fe1", "fe2", "fe3", "fe4"):
        if lab.verb("exec", fe, "--", "ip", "route", "show", prefix, "proto", "200").stdout:
            found.add(fe)
    return found


def test_rfc5810_4_3_1_2_2_a_transaction_of_all_fes_reaches_their_kernels_or_none(
    lab: Lab,
) -> None:
    neighbour = next(row for row in ask(lab, "routes")["fe1"] if row["gateway"])
    at = {"fe": "fe1", "port": neighbour["port"]}
    there = {**at, "prefix": "10.77.0.0/24", "gateway": neighbour["gateway"]}
    nowhere = {**at, "prefix": "10.78.0.0/24", "gateway": "203.0.113.9"}
    within(10, lambda: "error" not in ask(lab, "transaction", routes=[there]), "a commit")
    assert holders(lab, "10.77.0.0/24") == {"fe1", "fe2", "fe3", "fe4"}
    other = {**there, "prefix": "10.79.0.0/24"}
    refused = ask(lab, "transaction", routes=[other, nowhere])
    assert refused["error"].startswith("aborted: fe1: "), refused
    for prefix in ("10.78.0.0/24", "10.79.0.0/24"):
        assert holders(lab, prefix) == set()
    assert holders(lab, "10.77.0.0/24") == {"fe1", "fe2", "fe3", "fe4"}
    assert lab.status()["ready"]


@pytest.mark.parametrize(("source", "destination"), [(1, 1), (2, 2)])
def test_packets_cross_the_network_that_the_ces_programmed(
    lab: Lab, source: int, destination: int
) -> None:
    done = lab.verb("exec", "h1", "--", "ping", "-c", "1", "-W", "2",
                    "-I", f"10.101.{source}.10", f"10.102.{destination}.10")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "ttl=61" in done.stdout, "three FEs on the way"


def test_unknown_names_are_one_line_that_names_the_known_ones_and_exit_2(lab: Lab) -> None:
    nodes = "(nodes: ce1, ce2, fe1, fe2, fe3, fe4, h1, h2)"
    for arguments, line in (
        (("exec", "fe9", "--", "true"), f"no node 'fe9' in diamond {nodes}"),
        (("fault", "crash", "fe9"), f"no node 'fe9' in diamond {nodes}"),
        (("fault", "crash", "h1"), "crash strikes master or ce or fe; h1 is a host"),
        (("fault", "link-cut", "fe1-fe9"), "no link 'fe1-fe9' in diamond (links: h1-fe1, "
         "fe1-fe2, fe1-fe3, fe2-fe4, fe3-fe4, fe4-h2)"),
        (("fault", "crash"), "what is crash to strike? ceha fault crash TARGET"),
        (("fault", "crash", "ce1", "--heal"), "no crash of ce1 to heal (outstanding: nothing)"),
    ):  # fmt: skip
        done = lab.verb(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ceha: {line}\n")
    for kind, known in (("krash", ": did you mean 'crash'?\n"), ("flood", " (known: crash, hang,")):
        unknown = lab.verb("fault", kind, "ce1")
        assert unknown.returncode == 2
        assert unknown.stderr.startswith(f"ceha: no fault kind '{kind}'{known}")
        assert unknown.stderr.count("\n") == 1


def test_a_second_up_of_the_same_name_is_one_line_and_exit_2(lab: Lab) -> None:
    done = ceha("up", "diamond", "--name", lab.name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"ceha: a lab named {lab.name} is running already: ceha down --name {lab.name}, "
        "or choose another --name\n"
    )


def test_faults_strike_show_and_heal(lab: Lab) -> None:
    struck = lab.verb("fault", "crash", "master", "--json")
    assert struck.returncode == 0, struck.stderr
    victim = json.loads(struck.stdout)["target"]
    within(10, lambda: lab.status()["ready"], "the other CE has taken over")
    status = lab.status()
    assert set(status["masters"].values()) == {"ce1", "ce2"} - {victim}
    assert status["faults"] == [{"kind": "crash", "target": victim}]
    cut = lab.verb("fault", "link-cut", "fe1-fe2", "--json")
    assert json.loads(cut.stdout)["verified"]
    healed = lab.verb("fault", "link-cut", "fe1-fe2", "--heal")
    assert healed.stdout == "link-cut of fe1-fe2: healed\n"
    healed = lab.verb("heal")
    assert (healed.returncode, healed.stdout) == (0, f"crash of {victim}: healed\n")
    assert lab.status()["faults"] == []
    assert lab.verb("heal").stdout == "there is nothing to heal\n"


def test_a_frozen_process_does_not_hold_up_status(lab: Lab) -> None:
    assert lab.verb("fault", "hang", "fe3").returncode == 0
    try:
        fe3 = next(node for node in lab.status()["nodes"] if node["name"] == "fe3")
        assert (fe3["state"], fe3["api"]) == ("frozen", None)
    finally:
        assert lab.verb("heal").returncode == 0


def test_two_labs_run_at_once_and_each_ends_when_asked() -> None:
    labs = [Lab("one", "--mode", "cold"), Lab("two", "--mode", "none")]
    try:
        for each in labs:
            each.await_ready()
        assert [each.status()["mode"] for each in labs] == ["cold", "none"]
        ended = labs[0].verb("down")
        assert (ended.returncode, ended.stdout) == (0, f"{labs[0].name} has ended\n")
        assert labs[0].process.wait(10) == 0
        assert labs[1].status()["ready"]
        labs[1].process.send_signal(signal.SIGINT)
        assert labs[1].process.wait(15) == 0
    finally:
        for each in labs:
            each.close()


def test_a_detached_lab_stays_when_up_has_returned() -> None:
    name = f"test-detached-{os.getpid()}"
    try:
        done = ceha("up", "diamond", "--name", name, "--mode", "none", "--detach")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"ceha down --name {name}" in done.stdout
        assert ceha("status", "--name", name).returncode == 0
        refused = ceha("up", "diamond", "--name", name, "--detach")
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"ceha: a lab named {name} is running already")
    finally:
        assert ceha("down", "--name", name).returncode == 0
        remove(name)


def test_a_detached_lab_that_cannot_boot_says_why_and_exits_2(tmp_path: Path) -> None:
    name = f"test-refused-{os.getpid()}"
    diamond = (ROOT / "topologies/diamond.yaml").read_text()
    alone = tmp_path / "alone.yaml"
    alone.write_text(re.sub(r"ces: .*", "ces: [ce1]", diamond))
    try:
        done = ceha("up", str(alone), "--name", name, "--mode", "hot+sync", "--detach")
        assert (done.returncode, done.stdout) == (2, "")
        assert "needs a second CE" in done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        remove(name)


def test_ctrl_c_while_booting_ends_it_at_once_with_130() -> None:
    running = Lab("hasty", "--mode", "hot")
    try:
        within(10, lambda: len(descendants(running.process.pid)) >= 6, "it has begun to boot")
        running.process.send_signal(signal.SIGINT)
        _out, errors = running.process.communicate(timeout=10)
        assert (running.process.returncode, errors) == (130, "ceha: interrupted\n")
    finally:
        running.close()


def test_sigkill_of_up_leaves_no_process_namespace_interface_mount_or_sysctl() -> None:
    def interfaces() -> list[str]:
        return sorted(os.listdir("/sys/class/net"))

    def mounts() -> str:
        return Path("/proc/self/mountinfo").read_text()

    before = (interfaces(), mounts(), sysctls())
    running = Lab("killed", "--mode", "hot")
    try:
        running.await_ready()
        family = descendants(running.process.pid)
        assert len(family) >= 2 + 9 + 1 + 6, "init, lab, shells, fork server, FEs and CEs"
        own = namespaces(family)
        assert len(own) >= 2 * 10 + 1, "net and mnt of the sandbox and 9 nodes; pid"
        running.process.kill()
        running.process.communicate(timeout=10)
        within(5, lambda: not any(Path(f"/proc/{p}").exists() for p in family), "processes gone")
        within(5, lambda: not own & namespaces(everybody()), "namespaces gone")
        assert (interfaces(), mounts(), sysctls()) == before
        again = Lab("killed", "--mode", "hot")
        try:
            again.await_ready()
        finally:
            again.process.kill()
            again.process.communicate(timeout=10)
    finally:
        running.close()
