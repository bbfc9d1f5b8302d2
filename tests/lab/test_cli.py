"""The lab's verbs: help, and one line for every mistake a user can make."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lab import cli
from lab.emulated import control
from tests.lab.sandboxed import ROOT


@pytest.fixture(autouse=True)
def no_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labs that others run on this machine are not ours to see."""
    monkeypatch.setattr(control, "HOME", tmp_path)
    return tmp_path


def called(*arguments: str) -> int:
    app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
    cli.register(app)
    with pytest.raises(SystemExit) as ended:
        cli.run(app, arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


GOLDEN = {
    "frob": "No such command 'frob'. (see ceha --help)",
    "up": "Missing argument 'topology'. (see ceha up --help)",
    "up diamond --frob": "No such option: --frob (see ceha up --help)",
    "up dimond": (
        "dimond: is not a topology, and there is no file of that name: did you mean 'diamond'?"
    ),
    "up no/such.yaml": "no/such.yaml: No such file or directory",
    "up diamond --mode hott": "no mode 'hott' (known: none, cold, hot, hot+sync)",
    "up diamond --tml udp": "no tml 'udp' (known: auto, sctp, usrsctp, usrsctp-udp, tcp)",
    "up diamond --name A/b": "'A/b' is no name for a lab (small letters, digits, -; at most 32)",
    "status": "no lab is running: start one with ceha up",
    "status --name nix": "no lab named nix is running",
    "exec fe1 -- true": "no lab is running: start one with ceha up",
    "fault crash ce1": "no lab is running: start one with ceha up",
    "fault crashh master": "no fault kind 'crashh': did you mean 'crash'?",
    "heal": "no lab is running: start one with ceha up",
    "down": "no lab is running: start one with ceha up",
}


@pytest.mark.parametrize("command", GOLDEN)
def test_a_users_mistake_is_one_line_and_exit_2(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(*command.split()) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"ceha: {GOLDEN[command]}\n")


def test_up_without_root_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert called("up", "diamond") == 2
    line = capsys.readouterr().err
    assert line == ("ceha: the lab needs root (its network, mount and pid namespaces): use sudo\n")


@pytest.mark.parametrize("verb", ["topologies", "up", "status", "exec", "fault", "heal", "down"])
def test_help_has_an_example_and_the_exit_codes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(verb, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: ceha {verb}" in text
    assert "Exit codes:" in text


def test_help_comes_at_once() -> None:
    """Under 0.4 s on a quiet machine; here only what costs time may not be imported."""
    code = (
        "import sys; from lab import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'mininet', 'pyroute2', 'numpy', 'pydantic', 'asyncio', 'yaml', 'aiohttp'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_topologies_lists_diamond_and_shows_its_drawing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called("topologies") == 0
    assert "diamond: Four FEs with two disjoint paths" in capsys.readouterr().out
    assert called("topologies", "diamond") == 0
    shown = capsys.readouterr().out
    assert "| h1 |---| fe1 |" in shown
    assert "10.102.2.10/24" in shown


def test_topologies_as_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("topologies", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    diamond = next(each for each in listed if each["name"] == "diamond")
    assert (diamond["ces"], diamond["fes"], diamond["hosts"]) == (2, 4, 2)


def test_fault_without_a_kind_lists_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("fault") == 0
    shown = capsys.readouterr().out
    assert "crash" in shown
    assert "link-cut" in shown


def test_a_name_is_held_by_one_lab_and_free_again_after_it(no_labs: Path) -> None:
    first = control.Claim("twin")
    assert control.running() == ["twin"]
    with pytest.raises(control.LabError, match="a lab named twin is running already"):
        control.Claim("twin")
    first.release()
    assert control.running() == []
    control.Claim("twin").release()


def test_what_a_killed_lab_left_is_no_obstacle(no_labs: Path) -> None:
    code = (
        "import os, socket, sys; from pathlib import Path; from lab.emulated import control\n"
        f"control.HOME = Path({str(no_labs)!r}); claim = control.Claim('killed')\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(str(claim.socket)); s.listen()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert (no_labs / "killed" / "control").exists(), "a socket that nobody answers"
    assert control.running() == []
    control.Claim("killed").release()


def test_requests_that_are_none_are_answered_with_an_error(no_labs: Path) -> None:
    claim = control.Claim("odd")
    server = control.Server(claim.socket, {"fine": lambda request: request.get("x")})
    server.start()
    try:
        assert control.Client("odd").ask("fine", x=[1]) == [1]
        with pytest.raises(control.LabError, match="not a request"):
            control.Client("odd").ask("frob")
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(claim.socket))
            raw.sendall(b"\xff not json\n")
            answer = json.loads(raw.makefile("rb").readline())
        assert answer["exit_code"] == 2
    finally:
        server.close()
        claim.release()
