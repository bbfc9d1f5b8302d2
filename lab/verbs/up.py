"""`ceha up`: a lab that stays."""

from __future__ import annotations

import os
import signal
import sys
import typing
from collections.abc import Callable
from pathlib import Path

from lab.backend import CellSettings, LabError, Mode
from lab.emulated import sandbox
from lab.emulated.control import Claim
from topologies.loader import load_topology
from topologies.model import Topology

_TOLD = b"\0"
"""Ends what a detached lab tells the one who started it."""

TMLS = ("auto", "sctp", "usrsctp", "usrsctp-udp", "tcp")


def boot(
    name_or_path: str,
    name: str | None,
    mode: str,
    policy: int,
    routes: int,
    beacon_ms: int,
    tml: str,
    detach: bool,
) -> int:
    topology = load_topology(name_or_path)
    _one_of("mode", mode, typing.get_args(Mode))
    _one_of("tml", tml, TMLS)
    settings = CellSettings(
        mode=typing.cast(Mode, mode),
        policy=1 if policy else 0,
        routes=routes,
        beacon_ms=beacon_ms,
        tml=tml,
    )
    sandbox.check_possible()
    claim = Claim(name or topology.name)
    if detach:
        log = claim.folder / "up.log"
        return _detached(log, lambda ready: _in_sandbox(topology, settings, claim, ready))
    return _in_sandbox(topology, settings, claim, lambda text: print(text, flush=True))


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise LabError(f"no {what} {given!r} (known: {', '.join(known)})")


def _in_sandbox(
    topology: Topology, settings: CellSettings, claim: Claim, ready: Callable[[str], None]
) -> int:
    def lab() -> int:
        # Here and not above: Mininet and the instruments are for the lab's process alone.
        from lab.cli import one_line_errors
        from lab.emulated.interactive import InteractiveLab

        with one_line_errors():
            running = InteractiveLab(topology, settings, claim, _say)
            return running.run(lambda seconds: ready(_banner(topology, settings, claim, seconds)))

    return sandbox.run(lab)


def _say(text: str) -> None:
    print(f"ceha: {text}", file=sys.stderr, flush=True)


def _banner(topology: Topology, settings: CellSettings, claim: Claim, seconds: float) -> str:
    name = claim.folder.name
    option = "" if name == topology.name else f" --name {name}"
    host = topology.flows[0].source if topology.flows else topology.nodes[-1].name
    to = topology.flows[0].destination_address if topology.flows else "127.0.0.1"
    rows = [
        (f"ceha status{option}", "who is whose master"),
        (f"ceha exec{option} {host} -- ping -c 3 {to}", "a packet through the network"),
        (f"ceha fault{option} crash master", "break something (ceha fault lists what)"),
        (f"ceha heal{option}", "mend it"),
        (f"ceha down{option}", "end the lab (or Ctrl-C here)"),
    ]
    width = max(len(command) for command, _what in rows)
    lines = [f"  {command:{width}}  {what}" for command, what in rows]
    head = (
        f"{name}: {topology.name} in mode {settings.mode}, policy {settings.policy}, "
        f"ready after {seconds:.1f} s; journals in {claim.nodes}"
    )
    return "\n".join([head, "In a second shell:", *lines])


def _detached(log: Path, lab: Callable[[Callable[[str], None]], int]) -> int:
    """Return when the lab says that it is ready, or with its exit code if it ends before. What
    it says on stderr goes to `log`: nobody who waits for the end of our output waits for it."""
    sys.stdout.flush()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(told_read)
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for here, there in ((nothing, 0), (nothing, 1), (said, 2)):
                os.dup2(here, there)
            code = lab(lambda text: _write_all(told_write, text.encode() + _TOLD))
        except LabError as error:
            _say(str(error))
            code = error.exit_code
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(code)
    os.close(told_write)
    text = b""
    try:
        # The end of the pipe is not the end of the text: all of the lab's processes hold it.
        while not text.endswith(_TOLD) and (more := os.read(told_read, 4096)):
            text += more
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        os.close(told_read)
    if text.endswith(_TOLD):
        print(text.removesuffix(_TOLD).decode())
        return 0
    _pid, status = os.waitpid(child, 0)
    sys.stderr.write(log.read_text())
    return os.waitstatus_to_exitcode(status)


def _write_all(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets) :]
