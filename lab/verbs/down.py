"""`ceha down`."""

from __future__ import annotations

from lab.emulated.control import Client, await_end, choose

END_BUDGET_S = 15.0


def end(name: str | None) -> None:
    """Ask the lab to end, and wait until its last process has."""
    lab = choose(name)
    Client(lab).ask("down")
    await_end(lab, END_BUDGET_S)
    print(f"{lab} has ended")
