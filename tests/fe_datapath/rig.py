"""An FE core with hand-fed events: three CEs, two ports, and a datapath that answers at once
unless it is told to wait or to refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fe_datapath.config import CePeer, FeConfig, PortConfig
from fe_datapath.datapath import (
    Change,
    DelNextHop,
    DelRoute,
    PortState,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    singles,
)
from fe_datapath.element import ForwardingElement
from forces.channels import CHANNEL_OF
from forces.effects import (
    CancelTimer,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    Journal,
    Program,
    Send,
    SetTimer,
)
from forces.errors import ResultCode
from forces.events import (
    Command,
    ConnectFailed,
    Event,
    LinkChanged,
    LossCause,
    MessageReceived,
    PeerLost,
    PeerUp,
    ProgramDone,
    TimerFired,
)
from forces.header import Ack, ExecMode, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, TeardownReason, flags_for
from forces.model import ArrayType, library
from forces.paths import FullData, PathData, Result, SparseData
from forces.wire import decode, encode

CE1, CE2, CE3 = 0x40000001, 0x40000002, 0x40000003
FE = 1
MS = 1_000_000
LFBS = library()
NEXT_HOP_ROW = LFBS.cls("IPv4NextHop").component("IPv4NextHopTable").type
PREFIX_ROW = LFBS.cls("IPv4UcastLPM").component("IPv4PrefixTable").type
assert isinstance(NEXT_HOP_ROW, ArrayType)
assert isinstance(PREFIX_ROW, ArrayType)


def config(**settings: Any) -> FeConfig:
    given: dict[str, Any] = {"ha_mode": 2, "failover_policy": 1} | settings
    return FeConfig(
        id=FE,
        name="fe1",
        control_address="10.255.0.101",
        ces=tuple(CePeer(ce, f"ce{ce & 7}", f"10.255.0.{ce & 7}") for ce in (CE1, CE2, CE3)),
        ports=(
            PortConfig(1, "fe1-eth1", "10.1.0.1/30", neighbor_fe=2),
            PortConfig(2, "fe1-eth2", "10.1.1.1/30"),
        ),
        **given,
    )


def port(number: int, up: bool = True) -> PortState:
    return PortState(
        port=number,
        name=f"fe1-eth{number}",
        admin_up=True,
        carrier=up,
        mtu=1500,
        mac=bytes((2, 0, 0, 0, 0, number)),
        speed_mbit=10_000,
        full_duplex=True,
        promiscuous=False,
        counters={"rx_packets": 10 * number, "rx_dropped": 0, "tx_packets": 7, "tx_dropped": 1},
    )


@dataclass
class Rig:
    core: ForwardingElement
    now: int = 0
    log: list[Effect] = field(default_factory=list)
    timers: dict[Any, int] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)
    """Those that wait for an answer."""
    hold: bool = False
    """The datapath answers only to `release`."""
    refuse: Callable[[Change], bool] = lambda change: False
    routes: dict[tuple[bytes, int], int] = field(default_factory=dict)
    next_hops: dict[int, tuple[int, str]] = field(default_factory=dict)
    groups: dict[int, SetNextHopGroup] = field(default_factory=dict)
    correlator: int = 100

    # Feeding

    def feed(self, event: Event) -> list[Effect]:
        effects = self.core.handle(event, self.now)
        self._note(effects)
        return effects

    def _note(self, effects: list[Effect]) -> None:
        self.log.extend(effects)
        for effect in effects:
            match effect:
                case SetTimer(key, at_ns):
                    self.timers[key] = at_ns
                case CancelTimer(key):
                    self.timers.pop(key, None)
                case Send(_, message):
                    assert decode(encode(message)) == message
                case Program():
                    self.programs.append(effect)
        if not self.hold:
            self.release()

    def release(self) -> None:
        """The datapath carries out what waits, in order."""
        while self.programs:
            self.release_one()

    def release_one(self) -> None:
        program = self.programs.pop(0)
        failed: dict[int, str] = {}
        for index, change in enumerate(singles(program.changes)):
            if self.refuse(change) or self._impossible(change):
                failed[index] = "the kernel says no"
                if program.stop_on_failure:
                    break
            else:
                self._carry_out(change, program.stop_on_failure)
        codes = dict.fromkeys(failed, int(ResultCode.MEMORY_ERROR))
        self.feed(ProgramDone(program.token, failed, codes))

    def _impossible(self, change: Change) -> bool:
        if isinstance(change, SetNextHopGroup):
            return not _hops(change) <= self.next_hops.keys()
        there = self.next_hops.keys() | self.groups.keys()
        return isinstance(change, SetRoute) and change.nexthop not in there

    def _carry_out(self, change: Change, orderly: bool) -> None:
        """`orderly`: the kernel stops at a failure, so nothing may be broken before it is made."""
        match change:
            case SetRoute(prefix, length, next_hop):
                self.routes[prefix, length] = next_hop
            case DelRoute(prefix, length):
                self.routes.pop((prefix, length), None)
            case SetNextHop(number, through, gateway):
                self.next_hops[number] = (through, gateway)
            case SetNextHopGroup(number):
                self.groups[number] = change
            case DelNextHop(number):
                if orderly:
                    assert not any(number in _hops(group) for group in self.groups.values())
                    assert number not in self.routes.values(), "a next hop in use was deleted"
                self.routes = {p: n for p, n in self.routes.items() if n != number}
                self.next_hops.pop(number, None)
                self.groups.pop(number, None)

    def start(self) -> Rig:
        self._note(self.core.start(self.now))
        return self

    def advance(self, ms: float) -> None:
        """Let time pass; timers fire when they are due."""
        end = self.now + round(ms * MS)
        while self.timers:
            key = min(self.timers, key=lambda k: self.timers[k])
            if self.timers[key] > end:
                break
            self.now = max(self.now, self.timers.pop(key))
            self.feed(TimerFired(key))
        self.now = end

    # CEs

    def up(self, ce: int) -> list[Effect]:
        return self.feed(PeerUp(ce))

    def associate(self, ce: int, result: int = 0) -> list[Effect]:
        setup = self.sent(self.up(ce), MessageType.ASSOCIATION_SETUP)[0]
        kind = MessageType.ASSOCIATION_SETUP_RESPONSE
        return self.say(ce, Message(setup.header.reply(kind, flags_for(kind)), result=result))

    def say(self, ce: int, message: Message) -> list[Effect]:
        channel = CHANNEL_OF[message.type]
        return self.feed(MessageReceived(ce, channel, message, len(encode(message))))

    def lose(self, ce: int, cause: LossCause = LossCause.ABORT) -> list[Effect]:
        return self.feed(PeerLost(ce, cause))

    def fail(self, ce: int) -> list[Effect]:
        return self.feed(ConnectFailed(ce, LossCause.REFUSED))

    def tear_down(self, ce: int) -> list[Effect]:
        kind = MessageType.ASSOCIATION_TEARDOWN
        header = Header(kind, ce, FE, 0, flags_for(kind))
        return self.say(ce, Message(header, reason=TeardownReason.NORMAL))

    def beat(self, ce: int, ack: Ack = Ack.NO_ACK) -> list[Effect]:
        kind = MessageType.HEARTBEAT
        return self.say(ce, Message(Header(kind, ce, FE, 5, flags_for(kind, ack))))

    def config(
        self,
        *lfbs: LfbSelect,
        ce: int = CE1,
        mode: ExecMode = ExecMode.ALL_OR_NONE,
        ack: Ack = Ack.ALWAYS_ACK,
    ) -> Message | None:
        """The ConfigResponse, if it came at once."""
        self.correlator += 1
        kind = MessageType.CONFIG
        header = Header(kind, ce, FE, self.correlator, flags_for(kind, ack, mode))
        start = len(self.log)
        self.say(ce, Message(header, lfbs))
        answers = self.sent(self.log[start:], MessageType.CONFIG_RESPONSE)
        assert all(answer.header.correlator == self.correlator for answer in answers)
        return answers[-1] if answers else None

    def query(self, *lfbs: LfbSelect, ce: int = CE1) -> Message:
        kind = MessageType.QUERY
        header = Header(kind, ce, FE, 9, flags_for(kind))
        answer = self.sent(self.say(ce, Message(header, lfbs)), MessageType.QUERY_RESPONSE)[0]
        assert answer.header.correlator == 9
        return answer

    def link(self, number: int, up: bool) -> list[Effect]:
        if not up:  # PLATFORM trap 2
            gone = {n for n, (through, _) in self.next_hops.items() if through == number}
            self.next_hops = {n: h for n, h in self.next_hops.items() if n not in gone}
            gone |= {n for n, group in self.groups.items() if _hops(group) <= gone}
            self.groups = {n: group for n, group in self.groups.items() if n not in gone}
            self.routes = {p: n for p, n in self.routes.items() if n not in gone}
        return self.feed(LinkChanged(number, up, self.now, {"admin_up": True}))

    # Looking

    def state(self) -> dict[str, Any]:
        delivered = [e for e in self.feed(Command("state", {}, 1)) if isinstance(e, Deliver)]
        value: dict[str, Any] = delivered[0].value
        return value

    def statuses(self) -> list[str]:
        return [ce["status"] for ce in self.state()["all_ces"]]

    def figures(self, ce: int) -> dict[str, int]:
        found: dict[str, int] = next(
            entry["statistics"] for entry in self.state()["all_ces"] if entry["id"] == ce
        )
        return found

    def get(self, lfb: str, *steps: int | str, instance: int = 1, ce: int = CE1) -> Any:
        """A component's value by query; a ResultCode if the FE refuses."""
        cls = LFBS.cls(lfb)
        ids = cls.path(*steps)
        answer = self.query(select(lfb, OperType.GET, PathData(ids), instance=instance), ce=ce)
        content = answer.lfbs[0].operations[0].paths[0].content
        if isinstance(content, Result):
            return ResultCode(content.code)
        assert isinstance(content, FullData)
        return cls.resolve(ids).type.unpack(content.value)

    @staticmethod
    def sent(effects: Sequence[Effect], kind: MessageType, ce: int | None = None) -> list[Message]:
        return [
            e.message
            for e in effects
            if isinstance(e, Send) and e.message.type is kind and ce in (None, e.peer)
        ]

    @staticmethod
    def journal(effects: Sequence[Effect], event: str) -> list[dict[str, Any]]:
        return [dict(e.fields) for e in effects if isinstance(e, Journal) and e.event == event]

    @staticmethod
    def dialled(effects: Sequence[Effect]) -> list[int]:
        return [e.peer for e in effects if isinstance(e, Connect)]

    @staticmethod
    def closed(effects: Sequence[Effect]) -> list[tuple[int, bool]]:
        return [(e.peer, e.abort) for e in effects if isinstance(e, Disconnect)]


def _hops(group: SetNextHopGroup) -> set[int]:
    return {hop for hop, _ in group.members} | ({group.standby} - {0})


def rig(down: Sequence[int] = (), rng_seed: int = 1, **settings: Any) -> Rig:
    ports = {number: port(number, number not in down) for number in (1, 2)}
    return Rig(ForwardingElement(config(**settings), ports, rng_seed)).start()


def associated(**settings: Any) -> Rig:
    """CE1 is the master; in hot standby CE2 and CE3 stand by."""
    made = rig(**settings)
    made.associate(CE1)
    if made.core.ha.mastership.hot:
        made.associate(CE2)
        made.associate(CE3)
    return made


# Messages


def select(lfb: str, kind: OperType, *paths: PathData, instance: int = 1) -> LfbSelect:
    return LfbSelect(LFBS.cls(lfb).id, instance, (Operation(kind, tuple(paths)),))


def set_value(lfb: str, *steps: int | str, value: Any, instance: int = 1) -> LfbSelect:
    cls = LFBS.cls(lfb)
    ids = cls.path(*steps)
    content = FullData(cls.resolve(ids).type.pack(value))
    return select(lfb, OperType.SET, PathData(ids, content=content), instance=instance)


def hop(through: int = 1, last: int = 2) -> dict[str, Any]:
    return {
        "L3PortID": through,
        "MTU": 1500,
        "NextHopIPAddr": bytes((10, 1, through - 1, last)),
        "MediaEncapInfoIndex": 0,
        "LFBOutputSelectIndex": 0,
    }


def prefix(number: int, selector: int, length: int = 24) -> dict[str, Any]:
    return {
        "IPv4Address": (0x14000000 + (number << 8)).to_bytes(4, "big"),
        "Prefixlen": length,
        "ECMPFlag": False,
        "DefaultRouteFlag": False,
        "Reserved": 0,
        "HopSelector": selector,
    }


def key(number: int, length: int = 24) -> tuple[bytes, int]:
    return (0x14000000 + (number << 8)).to_bytes(4, "big"), length


def set_hop(index: int, row: dict[str, Any]) -> LfbSelect:
    return set_value("IPv4NextHop", "IPv4NextHopTable", index, value=row)


def set_prefix(index: int, row: dict[str, Any]) -> LfbSelect:
    return set_value("IPv4UcastLPM", "IPv4PrefixTable", index, value=row)


def set_prefixes(rows: dict[int, dict[str, Any]]) -> LfbSelect:
    return set_value("IPv4UcastLPM", "IPv4PrefixTable", value=rows)


def set_hops(rows: dict[int, dict[str, Any]]) -> LfbSelect:
    return set_value("IPv4NextHop", "IPv4NextHopTable", value=rows)


def delete(lfb: str, *ids: int, **more: Any) -> LfbSelect:
    return select(lfb, OperType.DEL, PathData(tuple(ids), **more))


def codes(response: Message | None) -> list[ResultCode]:
    """Of every leaf, in order."""
    assert response is not None
    found: list[ResultCode] = []

    def visit(path: PathData) -> None:
        for child in path.children:
            visit(child)
        if isinstance(path.content, Result):
            found.append(ResultCode(path.content.code))

    for lfb in response.lfbs:
        for operation in lfb.operations:
            if operation.result is not None:
                found.append(ResultCode(operation.result.code))
            for path in operation.paths:
                visit(path)
    return found


def sparse(kind: Any, value: dict[Any, Any]) -> SparseData:
    return SparseData(kind.pack_sparse(value))
