"""The Ryu controller: OpenFlow 1.3, a MASTER or SLAVE role at every switch, one beacon per switch.

Tuned as somebody would who cares for the takeover: the slave computes the same paths all the
time, so that it has them when it is needed; the MASTER request, the first changes and the barrier
leave in one write, for a switch handles them in order; messages are built beforehand; the
garbage collector is told to stay away. What a slave cannot have is the switch's word on what the
old master had programmed: all rows are sent anew after the first change (OFPFC_ADD replaces what
is there), which costs no packet.

Journal: `detect` and `master` stand in the switch's journal, for a switch writes none; the
controller that takes over writes them (docs/baselines.md says what that means for the figures).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from ce.config import CeConfig
from forces.io.journal import JournalWriter
from lab.openflow import compat  # before ryu
from lab.openflow.answers import serve_tables
from lab.openflow.connection import Connection
from lab.openflow.election import Election, Follow, MasterLost, TakeOver
from lab.openflow.flows import FlowWriter, Paths
from lab.openflow.peers import Peers
from lab.openflow.switch import OPENFLOW_PORT

from ryu.base.app_manager import AppManager, RyuApp  # isort: skip  (before ryu.controller)
from ryu import cfg
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3

# A tuple is taken and never matched: lists.
_ALIVE = [CONFIG_DISPATCHER, MAIN_DISPATCHER]

PREPARE_PAUSE_S = 0.01

_config: dict[str, Any] = {}
"""Of this process; Ryu makes the application itself and passes nothing on."""


def run(config: Mapping[str, Any]) -> int:
    """Until SIGTERM. Keys: `ce` (a CeConfig's values), `fes` (name -> `macs`, `journal`),
    `dead_ms`."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    compat.become_green()
    _config.update(config)
    address = config["ce"]["control_address"]
    cfg.CONF(
        args=["--ofp-tcp-listen-port", str(OPENFLOW_PORT), "--ofp-listen-host", address],
        project="ryu",
        default_config_files=[],
    )
    manager = AppManager.get_instance()
    manager.load_apps(["ryu.controller.ofp_handler", __name__])
    threads = manager.instantiate_apps(**manager.create_contexts())
    gc.collect()
    gc.freeze()
    gc.disable()
    hub.joinall(threads)
    return 1


class BaselineController(RyuApp):  # type: ignore[misc]
    OFP_VERSIONS: ClassVar = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ce: CeConfig = TypeAdapter(CeConfig).validate_python(_config["ce"])
        self._journal = JournalWriter(self._ce.journal, self._ce.name)
        self._fe_names = {fe.id: fe.name for fe in self._ce.fes}
        self._fe_journals = {
            fe.id: JournalWriter(_config["fes"][fe.name]["journal"], fe.name) for fe in self._ce.fes
        }
        self._numbers = [peer.id & 0xFF for peer in self._ce.ces]
        self._names = {peer.id & 0xFF: peer.name for peer in self._ce.ces}
        self._number = self._ce.id & 0xFF
        self._paths = Paths(self._ce)
        self._down: frozenset[tuple[int, int]] = frozenset()
        self._all_rows = self._wanted = self._paths.compute(self._down)
        self._switches: dict[int, Connection] = {}
        self._last_master: int | None = None
        dead_ns = round(_config["dead_ms"] * 1e6)
        self._election = Election(self._number, self._numbers, dead_ns, time.monotonic_ns())
        self._peers = Peers(
            hub,
            (self._number, self._ce.control_address),
            {p.id & 0xFF: p.address for p in self._ce.ces if p.id != self._ce.id},
            self._ce.heartbeat_ms / 1000,
            lambda: (self._election.term, self._election.is_master),
            lambda peer, term, is_master: self._apply(
                self._election.heard(peer, term, is_master, time.monotonic_ns())
            ),
            lambda peer: self._apply(self._election.lost(peer, time.monotonic_ns())),
        )

    def start(self) -> None:
        """Called by the application manager, in the hub."""
        super().start()
        self._peers.start()
        serve_tables(hub, Path(self._ce.api_socket), self._tables)
        hub.spawn(self._watch)
        hub.spawn(self._prepare)
        if self._ce.beacon_ms:
            hub.spawn(self._beat)
        hub.spawn(self._say_start)

    def _say_start(self) -> None:
        """When switches can connect: one that is refused comes back a second later."""
        while True:
            try:
                socket.create_connection((self._ce.control_address, OPENFLOW_PORT)).close()
            except OSError:
                hub.sleep(0.005)
            else:
                break
        self._note("start", pid=os.getpid(), tml="openflow")

    # -- election ---------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            self._apply(self._election.tick(time.monotonic_ns()))
            due = self._election.deadline()
            left = 0.01 if due is None else (due - time.monotonic_ns()) / 1e9
            hub.sleep(min(max(left, 0.0005), 0.01))

    def _apply(self, effects: list[Any]) -> None:
        for effect in effects:
            now = time.monotonic_ns()
            if isinstance(effect, MasterLost):
                for fe in self._switches:
                    fields = {"ce": self._names[effect.master], "source": effect.source}
                    self._fe_journals[fe].write("detect", fields, now)
            elif isinstance(effect, TakeOver):
                self._last_master = effect.last
                for switch in self._switches.values():
                    self._take(switch)
                self._peers.announce()
            elif isinstance(effect, Follow):
                for switch in self._switches.values():
                    self._stand_by(switch)

    def _take(self, switch: Connection) -> None:
        """MASTER request, the first change and its barrier in one write, where a switch that
        refuses the request refuses the rest too: it has to know us as a slave."""
        request = switch.writer.role(True, self._election.term)
        if switch.is_slave:
            self._begin(switch, request)
        else:
            switch.datapath.send(request)

    def _begin(self, switch: Connection, octets: bytes = b"") -> None:
        """The first change; behind a MASTER request, or after its answer."""
        if self._last_master is None:
            octets += b"".join(map(switch.writer.forget_beacon, self._numbers))
            octets += switch.everything(self._wanted[switch.fe])
        octets += switch.writer.beat()
        switch.send(octets, "ready")

    def _stand_by(self, switch: Connection) -> None:
        if switch.ready:
            self._note("beacon", fe=switch.name, what="stop")
        switch.is_master = switch.ready = False
        switch.datapath.send(switch.writer.role(False, self._election.term))

    # -- switches ---------------------------------------------------------------------------

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_features(self, event: Any) -> None:
        datapath = event.msg.datapath
        fe = datapath.id
        name = self._fe_names.get(fe)
        if name is None:
            self.logger.error("a switch that is no FE of this network: %016x", fe)
            datapath.close()
            return
        macs = {port: tuple(pair) for port, pair in _config["fes"][name]["macs"].items()}
        switch = Connection(
            fe, name, datapath, FlowWriter(datapath, macs, self._number), self._all_rows[fe]
        )
        self._switches[fe] = switch
        if self._election.is_master:
            # A switch that comes back has forgotten its flows: everything anew.
            self._last_master = None
            self._take(switch)
        else:
            datapath.send(switch.writer.role(False, self._election.term))

    @set_ev_cls(ofp_event.EventOFPRoleReply, _ALIVE)  # type: ignore[untyped-decorator]
    def on_role(self, event: Any) -> None:
        now = time.monotonic_ns()
        switch = self._switch_of(event)
        if switch is None:
            return
        switch.is_refused = False
        if event.msg.role == ofproto_v1_3.OFPCR_ROLE_MASTER:
            was_slave, switch.is_slave, switch.is_master = switch.is_slave, False, True
            last = None if self._last_master is None else self._names[self._last_master]
            journal = self._fe_journals[switch.fe]
            journal.write("associated", {"peer": self._ce.name}, now)
            journal.write("master", {"ce": self._ce.name, "last": last}, now)
            self._note("takeover", fe=switch.name, last=last)
            if not was_slave:
                self._begin(switch)
        elif event.msg.role == ofproto_v1_3.OFPCR_ROLE_SLAVE:
            switch.is_slave, switch.is_master = True, False
            self._fe_journals[switch.fe].write("associated", {"peer": self._ce.name}, now)

    @set_ev_cls(ofp_event.EventOFPBarrierReply, _ALIVE)  # type: ignore[untyped-decorator]
    def on_barrier(self, event: Any) -> None:
        now = time.monotonic_ns()
        switch = self._switch_of(event)
        if switch is None or (what := switch.answered()) is None:
            return
        if what == "ready" and switch.is_master:
            switch.ready = True
            kind = "cold" if self._last_master is None else "hot"
            rows = len(switch.rows)
            fields = {"fe": switch.name, "kind": kind, "rows_written": rows}
            self._journal.write("ready", fields, now)
            if self._ce.beacon_ms:
                self._note("beacon", fe=switch.name, what="start")
            if self._last_master is not None and all(s.ready for s in self._switches.values()):
                # Not before the last switch has its new master: there is no hurry with these.
                for each in self._switches.values():
                    self._resynchronise(each)
        elif what != "ready":
            self._note(what, fe=switch.name, rows=len(switch.rows))

    @set_ev_cls(ofp_event.EventOFPErrorMsg, _ALIVE)  # type: ignore[untyped-decorator]
    def on_error(self, event: Any) -> None:
        """IS_SLAVE after a thaw: the fence at work. The heartbeats say who the master is. One
        line for each time: everything behind the first message is refused as well."""
        switch = self._switch_of(event)
        if switch is None:
            return
        if switch.ready or not switch.is_refused:
            self._note("refused", fe=switch.name, type=event.msg.type, code=event.msg.code)
        switch.is_master = switch.ready = False
        switch.is_refused = True

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, _ALIVE)  # type: ignore[untyped-decorator]
    def on_ports(self, event: Any) -> None:
        switch = self._switch_of(event)
        if switch is not None:
            states = {port.port_no: _is_down(port) for port in event.msg.body}
            self._ports(switch, states)

    @set_ev_cls(ofp_event.EventOFPPortStatus, _ALIVE)  # type: ignore[untyped-decorator]
    def on_port(self, event: Any) -> None:
        """Slaves are told as well (OpenFlow 1.3.5, section 6.3.5)."""
        switch = self._switch_of(event)
        if switch is not None:
            port = event.msg.desc
            gone = event.msg.reason == ofproto_v1_3.OFPPR_DELETE
            self._ports(switch, {port.port_no: gone or _is_down(port)})

    @set_ev_cls(ofp_event.EventOFPStateChange, DEAD_DISPATCHER)  # type: ignore[untyped-decorator]
    def on_end(self, event: Any) -> None:
        switch = self._switches.get(event.datapath.id)
        if switch is not None and switch.datapath is event.datapath:
            del self._switches[switch.fe]
            self._note("fe_lost", fe=switch.name, cause="connection")

    # -- flows ------------------------------------------------------------------------------

    def _ports(self, switch: Connection, states: Mapping[int, bool]) -> None:
        down = set(self._down)
        for number, is_down in states.items():
            if str(number) in _config["fes"][switch.name]["macs"]:
                (down.add if is_down else down.discard)((switch.fe, number))
        if frozenset(down) == self._down:
            return
        self._down = frozenset(down)
        self._wanted = self._paths.compute(self._down)
        for each in self._switches.values():
            if each.ready:
                each.reroute(self._wanted[each.fe])

    def _resynchronise(self, switch: Connection) -> None:
        """The old master's rows, and its beacon, become ours."""
        for number in self._numbers:
            if number != self._number:
                switch.datapath.send(switch.writer.forget_beacon(number))
        switch.send(switch.everything(self._wanted[switch.fe]), "resynchronised")

    def _prepare(self) -> None:
        """A slave's spare time: what a takeover will need."""
        while True:
            for switch in list(self._switches.values()):
                if not switch.is_master and switch.rows is not self._wanted[switch.fe]:
                    switch.everything(self._wanted[switch.fe])
                    hub.sleep(PREPARE_PAUSE_S)
            hub.sleep(PREPARE_PAUSE_S)

    def _beat(self) -> None:
        interval_ns = self._ce.beacon_ms * 1_000_000
        due = time.monotonic_ns()
        while True:
            for switch in self._switches.values():
                if switch.ready:
                    switch.datapath.send(switch.writer.beat())
            due = max(due + interval_ns, time.monotonic_ns())
            hub.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))

    def _tables(self) -> dict[str, list[list[Any]]]:
        """What every switch should hold, by the one who programmed it."""
        return {
            switch.name: [[prefix, *row] for prefix, row in sorted(switch.rows.items())]
            for switch in self._switches.values()
            if switch.ready
        }

    def _switch_of(self, event: Any) -> Connection | None:
        """None for one that has a newer connection, or none."""
        switch = self._switches.get(event.msg.datapath.id)
        return switch if switch is not None and switch.datapath is event.msg.datapath else None

    def _note(self, event: str, **fields: Any) -> None:
        self._journal.write(event, fields, time.monotonic_ns())


def _is_down(port: Any) -> bool:
    return bool(
        port.config & ofproto_v1_3.OFPPC_PORT_DOWN or port.state & ofproto_v1_3.OFPPS_LINK_DOWN
    )
