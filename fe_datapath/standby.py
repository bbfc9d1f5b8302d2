"""Whether a backup CE stands by (RFC 7121 section 1.1: "we suggest having at least one backup CE
online"). An FE in hot standby that has none says so, and again when it has one: once the first
attempts have ended one way or the other, and then with each change."""

from __future__ import annotations

from fe_datapath.context import Context
from forces.mastership import CeStatus, Mastership

GONE = (CeStatus.LostConnection, CeStatus.Unreachable)


class Standby:
    def __init__(self, context: Context, machine: Mastership) -> None:
        self._context = context
        self._machine = machine
        self._said: bool | None = None

    @property
    def online(self) -> int | None:
        """Associated backups. None: no hot standby (then no backup is associated, section 2.1)."""
        if not self._machine.hot:
            return None
        return sum(ce != self._machine.ceid for ce in self._machine.associated)

    def look(self) -> None:
        machine = self._machine
        if not machine.hot or machine.master is None:
            return
        others = [ce for ce in machine.all_ces if ce != machine.master]
        there = bool(self.online)
        if there is self._said or not (there or all(machine.status[ce] in GONE for ce in others)):
            return
        if not there:
            self._context.journal("no_backup", known=len(others))
        elif self._said is False:
            names = [self._context.name(ce) for ce in machine.associated if ce != machine.master]
            self._context.journal("backup_online", ces=names)
        self._said = there
