"""`ceha exec`: a command in a node, as a child of the shell that asked.

It joins the node's pid, network and mount namespaces by itself, so it has the caller's terminal
with all that belongs to it (job control, window size, Ctrl-C), and still ends with the lab.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from lab.backend import LabError
from lab.emulated.control import Client, choose
from lab.emulated.namespaces import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    die_with_parent,
    setns,
)

EXIT_NOT_FOUND = 127
EXIT_NOT_EXECUTABLE = 126


def execute(name: str | None, node: str, command: list[str]) -> int:
    """The command's exit code, 128 + n if signal n ended it."""
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise LabError("which command? ceha exec NODE -- COMMAND")
    client = Client(choose(name))
    lab = client.lab_pid
    inside = client.ask("where", node=node)["pid"]
    here = os.getcwd()
    try:
        # Through the lab's own view of /proc: there the node's pid means what the lab meant.
        own = [
            (os.open(f"/proc/{lab}/root/proc/{inside}/ns/{kind}", os.O_RDONLY), flag)
            for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))
        ]
        pids = os.open(f"/proc/{lab}/ns/pid", os.O_RDONLY)
        setns(pids, CLONE_NEWPID)
        for descriptor, flag in own:
            setns(descriptor, flag)
    except OSError as error:
        raise LabError(f"cannot enter {node}: {error.strerror}") from None
    with suppress(OSError):
        os.chdir(here)  # entering a mount namespace leads to its root
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _exec(command)
    # Ctrl-C reaches the command too, and it decides what that means.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _exec(command: list[str]) -> NoReturn:
    try:
        die_with_parent(signal.SIGKILL)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"ceha: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        missing = isinstance(error, FileNotFoundError)
        os._exit(EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE)
