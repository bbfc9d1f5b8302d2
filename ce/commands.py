"""What the local API asks of a CE: `state`, `routes`, `switch`, `teardown`, `transaction` (DESIGN
section 7, docs/local-api.md)."""

from __future__ import annotations

import base64
import ipaddress
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from ce.atomic import DEFAULT_TIMEOUT_MS, AtomicRoutes, NotNow
from ce.config import CeConfig, Destination
from ce.fe_tables import FeTables, Table
from ce.lfbs import row as row_type
from ce.ne_state import NeState
from ce.session import FeSession, Role
from ce.switching import Switching
from forces.effects import Deliver, Effect, Journal
from forces.events import Command

MAX_ROUTES_SHOWN = 10_000
MAX_WAITING = 64
WAIT_NS = 5_000_000_000
"""As long as an API's caller waits."""


class Refused(Exception):
    """The command cannot be done; the text is for its user."""


class Commands:
    def __init__(
        self,
        config: CeConfig,
        ne: NeState,
        sessions: Mapping[int, FeSession],
        out: list[Effect],
        intention_changed: Callable[[int], None],
        end_association: Callable[[int, int], None],
        switching: Switching,
        tell: Callable[[Destination], None] | None,
    ) -> None:
        """`end_association(fe, now)`: with a teardown message. `tell`: the other CEs."""
        self._config = config
        self._ne = ne
        self._sessions = sessions
        self._out = out
        self._intention_changed = intention_changed
        self._end_association = end_association
        self._switching = switching
        self._tell = tell
        self._names = {peer.id: peer.name for peer in (*config.fes, *config.ces)}
        self._waiting: list[tuple[Command, dict[str, Any], int]] = []
        self._views = {fe.id: fe for fe in config.network}
        self.atomic = AtomicRoutes(ne, sessions, self._names, out)

    def run(self, command: Command, now: int) -> None:
        """Ends in exactly one `Deliver` for the command's token, at once or later."""
        try:
            match command.name:
                case "state":
                    self._deliver(command, self._state())
                case "routes" if command.arguments.get("prefix") is None:
                    self._deliver(command, self._routes(command.arguments))
                case "routes":
                    self._route(command, now)
                case "switch":
                    self._switch(command, now)
                case "transaction":
                    self._transaction(command, now)
                case "teardown":
                    self._deliver(command, self._teardown(command.arguments, now))
                case _:
                    raise Refused(f"unknown command {command.name}")
        except (Refused, NotNow) as refusal:
            self._out.append(Deliver(command.token, error=str(refusal)))

    def _deliver(self, command: Command, value: Any) -> None:
        self._out.append(Deliver(command.token, value))

    def _state(self) -> dict[str, Any]:
        return {
            "id": self._config.id,
            "name": self._config.name,
            "ha_mode": self._config.ha_mode,
            "fes": {fe.name: self._fe_state(fe.id) for fe in self._config.network},
        }

    def _fe_state(self, fe: int) -> dict[str, Any]:
        session = self._sessions.get(fe)
        tables = self._ne.tables[fe]
        state: dict[str, Any] = {
            "id": fe,
            "associated": session is not None,
            "role": session.role.value if session else Role.UNKNOWN.value,
            "ready": session is not None and session.ready,
            "intended_rows": sum(len(rows) for rows in tables.intended.values()),
            "confirmed_rows": sum(len(rows) for rows in tables.confirmed.values()),
            "last_event": session.last_event if session else "",
            "beats": session.beacon.sequence if session else 0,
            "ports": {str(port.id): self._ne.port(fe, port.id) for port in self._views[fe].ports},
        }
        if session is not None:
            picture = session.news.picture
            state["master"] = self._names.get(picture.master) if picture.master else None
            state["backups_online"] = len(picture.associated_ces - {picture.master})
            state["associated_ces"] = [
                ce.name for ce in self._config.ces if ce.id in picture.associated_ces
            ]
        return state

    def _routes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Intended rows per FE, and whether the FE has acknowledged each. `packed`: all that the
        FE has acknowledged, in the form that costs least."""
        only = self._fe(arguments["fe"]) if arguments.get("fe") is not None else None
        shown: dict[str, Any] = {}
        for fe, routes in self._ne.routes.items():
            if only is not None and fe != only:
                continue
            tables = self._ne.tables[fe]
            if arguments.get("packed"):
                shown[self._names[fe]] = packed(tables)
                continue
            intended = tables.intended[Table.PREFIXES]
            confirmed = tables.confirmed[Table.PREFIXES]
            rows = []
            for row, route in itertools.islice(routes.prefixes.items(), MAX_ROUTES_SHOWN):
                hop = routes.next_hops[route.selector]
                shown_row = {
                    "row": row,
                    "prefix": route.prefix,
                    "port": hop.port,
                    "gateway": hop.gateway,
                    "confirmed": confirmed.get(row) == intended[row],
                }
                if route.standby:
                    other = routes.next_hops[route.standby]
                    shown_row["alternate"] = {"port": other.port, "gateway": other.gateway}
                rows.append(shown_row)
            shown[self._names[fe]] = rows
        return shown

    def _route(self, command: Command, now: int) -> None:
        """With `wait`: answered when every FE that has to have it has acknowledged it."""
        wait = bool(command.arguments.get("wait", False))
        if wait and len(self._waiting) >= MAX_WAITING:
            raise Refused(f"{MAX_WAITING} routes are being waited for")
        added = self._add_route(command.arguments, now)
        if wait:
            self._waiting.append((command, added, now + WAIT_NS))
        else:
            self._deliver(command, added)

    def look(self, now: int) -> None:
        """After each event: whether an FE's answer ends somebody's waiting."""
        if not self._waiting:
            return
        for entry in list(self._waiting):
            command, added, until = entry
            if self._everywhere(added["row"]):
                self._deliver(command, added)
            elif now < until:
                continue
            self._waiting.remove(entry)

    def _everywhere(self, row: int) -> bool:
        """Every FE that is to have this row is ours, and has acknowledged it."""
        for fe, tables in self._ne.tables.items():
            contents = tables.intended[Table.PREFIXES].get(row)
            session = self._sessions.get(fe)
            if contents is not None and (
                session is None
                or session.role is not Role.MASTER
                or tables.confirmed[Table.PREFIXES].get(row) != contents
            ):
                return False
        return True

    def _add_route(self, arguments: Mapping[str, Any], now: int) -> dict[str, Any]:
        try:
            to = self._destination(arguments)
            row = self._ne.add(to)
        except ValueError as error:
            raise Refused(f"route not added: {error}") from None
        if self._tell is not None:
            self._tell(to)
        fe = self._names[to.fe]
        fields = {"prefix": to.prefix, "fe": fe, "port": to.port, "gateway": to.gateway}
        self._out.append(Journal("route_added", {**fields, "row": row}))
        self._intention_changed(now)
        return {**fields, "row": row}

    def _destination(self, arguments: Mapping[str, Any]) -> Destination:
        """ValueError says what is wrong."""
        fe = self._fe(arguments.get("fe"))
        prefix = str(ipaddress.IPv4Network(str(arguments.get("prefix", ""))))
        return Destination(prefix, fe, int(arguments.get("port", "")), arguments.get("gateway"))

    def _transaction(self, command: Command, now: int) -> None:
        """Routes that all FEs get or none."""
        routes = command.arguments.get("routes")
        if not isinstance(routes, list) or not all(isinstance(one, dict) for one in routes):
            raise Refused("transaction needs routes: a list of objects as `routes` takes them")
        try:
            destinations = [self._destination(one) for one in routes]
            timeout_ms = int(command.arguments.get("timeout_ms", DEFAULT_TIMEOUT_MS))
        except (TypeError, ValueError) as error:
            raise Refused(f"transaction not begun: {error}") from None
        self.atomic.start(destinations, timeout_ms, command.token, now)

    def _fe(self, name: Any) -> int:
        for fe in self._config.network:
            if name in (fe.name, fe.id):
                return fe.id
        raise Refused(f"unknown FE {name}")

    def _ce(self, name: Any) -> int:
        for ce in self._config.ces:
            if name in (ce.name, ce.id):
                return ce.id
        raise Refused(f"unknown CE {name}")

    def _switch(self, command: Command, now: int) -> None:
        """The master SETs FEPO.CEID (RFC 7121 section 2.1.1). In cold standby the FE leaves for
        its new master, with or without an answer: the end of the association is a success too."""
        if "to" not in command.arguments:
            raise Refused("switch needs a CE: to")
        if self.atomic.under_way:
            raise Refused("a transaction is under way")
        to = self._ce(command.arguments["to"])
        if to == self._config.id:
            raise Refused(f"{self._config.name} is this CE")
        name = command.arguments.get("fe")
        wanted = [self._fe(name)] if name is not None else list(self._sessions)
        mine = [fe for fe in wanted if self._switching.can(fe)]
        if not mine:
            which = f"FE {name}" if name is not None else "any FE"
            raise Refused(f"{self._config.name} is not the master of {which}")

        def ended(failed: Mapping[int, str], _now: int) -> None:
            switched = [self._names[one] for one in mine if one not in failed]
            error = "; ".join(f"{self._names[one]}: {why}" for one, why in failed.items()) or None
            value = {"to": self._names[to], "switched": switched}
            self._out.append(Deliver(command.token, value, error))

        self._switching.begin(mine, to, now, ended)

    def _teardown(self, arguments: Mapping[str, Any], now: int) -> dict[str, Any]:
        """End the association with an FE, or with all of them (RFC 5810 section 4.4.2): for an FE
        in HA its master is lost then, without any time to notice (RFC 6984 section 3.3)."""
        name = arguments.get("fe")
        wanted = [self._fe(name)] if name is not None else list(self._sessions)
        ended = [fe for fe in wanted if fe in self._sessions]
        if not ended:
            which = f"FE {name}" if name is not None else "any FE"
            raise Refused(f"{self._config.name} has no association with {which}")
        for fe in ended:
            self._end_association(fe, now)
        return {"ended": [self._names[fe] for fe in ended]}


def packed(tables: FeTables) -> dict[str, Any]:
    """What an FE has acknowledged: its prefix rows as they are on the wire, one after the other,
    and what they point to. A large table costs milliseconds so."""
    hop, group = row_type(Table.NEXT_HOPS), row_type(Table.GROUPS)
    next_hops = {}
    for selector, contents in tables.confirmed[Table.NEXT_HOPS].items():
        value = hop.unpack(contents)
        gateway = str(ipaddress.IPv4Address(value["NextHopIPAddr"]))
        next_hops[selector] = {"port": value["L3PortID"], "gateway": gateway}
    groups = {}
    for index, contents in tables.confirmed[Table.GROUPS].items():
        members = group.unpack(contents)["Members"].values()
        in_use_first = sorted(members, key=lambda member: bool(member["Backup"]))
        groups[index] = [member["HopSelector"] for member in in_use_first]
    prefixes = tables.confirmed[Table.PREFIXES].values()
    return {
        "prefixes": base64.b64encode(b"".join(prefixes)).decode(),
        "next_hops": next_hops,
        "groups": groups,
    }
