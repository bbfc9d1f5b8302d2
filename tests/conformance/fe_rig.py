"""A live FE core with its datapath in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fe_datapath.config import CePeer, FeConfig, PortConfig
from fe_datapath.element import ForwardingElement
from fe_datapath.fake import FakeDatapath
from forces.effects import Connect, Disconnect, Effect, Program
from forces.events import PeerUp, ProgramDone
from forces.header import Ack, ExecMode, Flags, Header, MessageType, TransPhase
from forces.messages import (
    PRIORITY,
    LfbSelect,
    Message,
    Operation,
    OperType,
    SetupResult,
    flags_for,
)
from forces.model import library
from forces.paths import ExtendedResult, FullData, PathData, Result
from tests.conformance.rig import Rig

FE = 2
CE1, CE2, ROGUE = 0x40000001, 0x40000002, 0x40000009
PORTS = (
    PortConfig(1, "fe2-eth1", "10.1.0.1/30", neighbor_fe=3),
    PortConfig(2, "fe2-eth2", "10.1.1.1/30"),
)
CONFIG = FeConfig(
    id=FE,
    name="fe2",
    control_address="10.255.0.102",
    ces=(CePeer(CE1, "ce1", "10.255.0.1"), CePeer(CE2, "ce2", "10.255.0.2")),
    ports=PORTS,
    ha_mode=2,
)
FEO, FEPO, PHY, MAC_IN, MAC_OUT, LPM, HOPS = 1, 2, 3, 4, 7, 10, 12
STATE_SYNC = library().cls("Ext-FEStateSync").id


def lfb(class_id: int, *operations: Operation, instance: int = 1) -> LfbSelect:
    return LfbSelect(class_id, instance, operations)


def operation(kind: OperType, *paths: PathData) -> Operation:
    return Operation(kind, paths)


def path(*ids: int, data: bytes | None = None, **more: Any) -> PathData:
    return PathData(ids, content=None if data is None else FullData(data), **more)


def packed(class_name: str, *steps: int | str, value: Any) -> PathData:
    """The path by names, with this value as FULLDATA."""
    cls = library().cls(class_name)
    ids = cls.path(*steps)
    return path(*ids, data=cls.resolve(ids).type.pack(value))


def unpacked(class_name: str, ids: tuple[int, ...], data: bytes) -> Any:
    return library().cls(class_name).resolve(ids).type.unpack(data)


def next_hop(port: int = 1, gateway: str = "10.1.0.2") -> dict[str, Any]:
    return {
        "L3PortID": port,
        "MTU": 1500,
        "NextHopIPAddr": bytes(map(int, gateway.split("."))),
        "MediaEncapInfoIndex": 0,
        "LFBOutputSelectIndex": 0,
    }


def prefix(address: str, length: int = 24, selector: int = 1) -> dict[str, Any]:
    return {
        "IPv4Address": bytes(map(int, address.split("."))),
        "Prefixlen": length,
        "ECMPFlag": False,
        "DefaultRouteFlag": False,
        "Reserved": 0,
        "HopSelector": selector,
    }


def set_hop(index: int, port: int = 1, gateway: str = "10.1.0.2") -> LfbSelect:
    row = packed("IPv4NextHop", "IPv4NextHopTable", index, value=next_hop(port, gateway))
    return lfb(HOPS, operation(OperType.SET, row))


def set_prefix(index: int, address: str, selector: int = 1) -> LfbSelect:
    row = packed("IPv4UcastLPM", "IPv4PrefixTable", index, value=prefix(address, 24, selector))
    return lfb(LPM, operation(OperType.SET, row))


def leaves(message: Message) -> list[tuple[int, OperType, tuple[int, ...], Any]]:
    """(class, operation, path, content) of all that a message carries, nesting resolved."""
    found: list[tuple[int, OperType, tuple[int, ...], Any]] = []

    def walk(select: LfbSelect, kind: OperType, one: PathData, above: tuple[int, ...]) -> None:
        ids = above + one.ids
        for child in one.children:
            walk(select, kind, child, ids)
        if not one.children:
            found.append((select.class_id, kind, ids, one.content))

    for select in message.lfbs:
        for oper in select.operations:
            for one in oper.paths:
                walk(select, oper.type, one, ())
            if oper.result is not None:
                found.append((select.class_id, oper.type, (), oper.result))
    return found


def codes(message: Message) -> list[int]:
    """Result codes of a response, in order."""
    contents = [content for _, _, _, content in leaves(message)]
    return [c.code for c in contents if isinstance(c, Result | ExtendedResult)]


class FeRig(Rig):
    core: ForwardingElement

    def __init__(
        self, config: FeConfig = CONFIG, core: ForwardingElement | None = None, **changes: Any
    ) -> None:
        self.settings = replace(config, **changes)
        self.datapath = FakeDatapath(self.settings.ports)
        self.hold_programs = False
        """Leave the datapath's answers out until `finish_programs`."""
        self.held: list[Program] = []
        self._correlator = 100
        core = core or ForwardingElement(
            self.settings, self.datapath.ports(), readings=self.datapath
        )
        super().__init__(core, self.settings.id)

    # Driving

    def _carry_out(self, effects: list[Effect]) -> None:
        super()._carry_out(effects)
        self.held += [effect for effect in effects if isinstance(effect, Program)]
        if not self.hold_programs:
            self.finish_programs()

    def finish_programs(self) -> None:
        while self.held:
            effect = self.held.pop(0)
            failures = self.datapath.apply_now(effect.changes, effect.stop_on_failure)
            failed = {f.index: f.reason for f in failures}
            codes = {f.index: int(f.code) for f in failures}
            self._carry_out(self.core.handle(ProgramDone(effect.token, failed, codes), self.now))

    def associate(self, *ces: int) -> None:
        """The FE dials; the transport comes up; the CE says yes."""
        for ce in ces or (CE1,):
            assert self.asked_to_connect(ce), f"the FE did not dial 0x{ce:08x}"
            at = len(self.effects)
            self.event(PeerUp(ce))
            (setup,) = [m for m in self.sent(ce, at) if m.type is MessageType.ASSOCIATION_SETUP]
            kind = MessageType.ASSOCIATION_SETUP_RESPONSE
            header = setup.header.reply(kind, flags_for(kind))
            self.receive(ce, Message(header, result=SetupResult.SUCCESS))

    def asked_to_connect(self, ce: int) -> bool:
        dials = [e for e in self.effects if isinstance(e, Connect | Disconnect) and e.peer == ce]
        return bool(dials) and isinstance(dials[-1], Connect)

    # Requests

    def correlator(self) -> int:
        self._correlator += 1
        return self._correlator

    def config(
        self,
        *lfbs: LfbSelect,
        ce: int = CE1,
        ack: Ack = Ack.ALWAYS_ACK,
        mode: ExecMode = ExecMode.ALL_OR_NONE,
        phase: TransPhase | None = None,
    ) -> Message | None:
        """The FE's answer to a Config; None: it gave none."""
        message = self.config_message(*lfbs, ce=ce, ack=ack, mode=mode, phase=phase)
        answers = self.receive(ce, message)
        responses = [m for m in answers if m.type is MessageType.CONFIG_RESPONSE]
        assert len(responses) <= 1
        for response in responses:
            assert response.header.correlator == message.header.correlator
        return responses[0] if responses else None

    def config_message(
        self,
        *lfbs: LfbSelect,
        ce: int = CE1,
        ack: Ack = Ack.ALWAYS_ACK,
        mode: ExecMode = ExecMode.ALL_OR_NONE,
        phase: TransPhase | None = None,
    ) -> Message:
        kind = MessageType.CONFIG
        flags = Flags(
            ack, PRIORITY[kind], mode, phase is not None, TransPhase.SOT if phase is None else phase
        )
        header = Header(kind, ce, self.settings.id, self.correlator(), flags)
        return Message(header, lfbs)

    def query_all(self, *lfbs: LfbSelect, ce: int = CE1) -> list[Message]:
        kind = MessageType.QUERY
        header = Header(kind, ce, self.settings.id, self.correlator(), flags_for(kind))
        answers = self.receive(ce, Message(header, lfbs))
        responses = [m for m in answers if m.type is MessageType.QUERY_RESPONSE]
        assert all(m.header.correlator == header.correlator for m in responses)
        return responses

    def query(self, *lfbs: LfbSelect, ce: int = CE1) -> Message:
        (response,) = self.query_all(*lfbs, ce=ce)
        return response

    def get(self, class_name: str, *steps: int | str, instance: int = 1, ce: int = CE1) -> Any:
        """The value of a component as the wire gives it; an int result code where it fails."""
        cls = library().cls(class_name)
        ids = cls.path(*steps)
        select = lfb(cls.id, operation(OperType.GET, path(*ids)), instance=instance)
        ((_, kind, answered, content),) = leaves(self.query(select, ce=ce))
        assert (kind, answered) == (OperType.GET_RESPONSE, ids)
        if isinstance(content, FullData):
            return cls.resolve(ids).type.unpack(content.value)
        return content

    # What came of it

    def errors(self, ce: int) -> int:
        """AllCEs.Statistics.RecvErrPackets of this CE."""
        return self.core.ha.statistics[ce].recv_err_packets

    def picture(self) -> Any:
        """All that a CE could read, and what the datapath has: to see that nothing changed."""
        values = {
            key: {c.name: repr(instance.read(c.name)) for c in instance.cls.components.values()}
            for key, instance in self.core.store.instances.items()
            if key[0] not in (FEPO, STATE_SYNC)  # these count messages
        }
        return values, self.datapath.routes(), self.datapath.nexthops(), self.datapath.forwarding
