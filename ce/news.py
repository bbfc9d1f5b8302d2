"""What an FE tells of its ports and of its master: by events, and in answers to queries.

Events come on MP and answers on HP, which keep no common order; so an answer does not count where
an event has come since its question was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ce.answers import answers
from ce.backups import HOT_STANDBY
from ce.discovery import Picture, read
from ce.lfbs import PORT_UP, event
from forces.errors import ProtocolError
from forces.messages import Message
from forces.paths import FullData

if TYPE_CHECKING:
    from ce.session import FeSession


class News:
    def __init__(self, session: FeSession) -> None:
        """`session` has its context, and is told of its role."""
        self.picture = Picture()
        self._session = session
        self._context = session.context
        self._last_master: int | None = None
        self._role_asked_after = 0
        """Answers to queries up to this correlator are older than what an event said."""
        self._port_asked_after: dict[int, int] = {}

    def reported(self, message: Message, now: int) -> None:
        """An EventNotification came."""
        status = event("EtherPHYCop", "PHYPortStatusChanged")
        down, changed = event("FEPO", "PrimaryCEDown"), event("FEPO", "PrimaryCEChanged")
        for class_id, instance, ids, content in answers(message):
            if not isinstance(content, FullData):
                continue
            named = (class_id, ids[: len(status.ids)])
            try:
                if named == (status.class_id, status.ids):
                    self._port_asked_after[instance] = self._session.exchange.last_correlator
                    self._learn_ports({instance: status.unpack(content.value) == PORT_UP}, now)
                elif named == (down.class_id, down.ids):
                    self._primary_down(down.unpack(content.value), now)
                elif named == (changed.class_id, changed.ids):
                    self._primary_changed(changed.unpack(content.value), now)
            except ProtocolError as error:
                self._session.journal("bad_report", path=list(ids), reason=error.reason)

    def _primary_down(self, last: int, now: int) -> None:
        """RFC 7121 Fig. 2: in cold standby the FE associates with nobody but its new master, and
        says by this event that it did."""
        self._last_master = last
        config = self._context.config
        if config.ha_mode != HOT_STANDBY and last != config.id:
            self._role_asked_after = self._session.exchange.last_correlator
            self._session.become_master(last, now)

    def _primary_changed(self, master: int, now: int) -> None:
        """RFC 7121 Fig. 5 step 6."""
        self._role_asked_after = self._session.exchange.last_correlator
        if master == self._context.config.id:
            self._session.become_master(self._last_master, now)
        else:
            self._session.become_backup(master, now)

    def answered(self, message: Message, now: int) -> None:
        """Ports and role from a QueryResponse, except where an event has said it since."""
        read(message, self.picture)
        asked = message.header.correlator
        self.learn_queried_ports(self.picture.ports, asked, now)
        if self.picture.master is not None and asked > self._role_asked_after:
            if self.picture.master == self._context.config.id:
                self._session.become_master(self.picture.last, now)
            else:
                self._session.become_backup(self.picture.master, now)

    def learn_queried_ports(self, ports: Mapping[int, bool], asked: int, now: int) -> None:
        """From the answer to the query with this correlator."""
        after = self._port_asked_after
        self._learn_ports({n: up for n, up in ports.items() if asked > after.get(n, 0)}, now)

    def _learn_ports(self, ports: Mapping[int, bool], now: int) -> None:
        changed = False
        for port, up in ports.items():
            if self._context.ne.learn_port(self._session.fe, port, up):
                changed = True
                self._session.journal("port", port=port, up=up)
        if changed:
            self._context.ports_changed(now)

    def forget_asked_role(self) -> None:
        """What was asked about the role before does not count any more."""
        self._role_asked_after = self._session.exchange.last_correlator
