"""CEs and dictionary FEs in virtual time: a heap of happenings, one clock, no sockets. Every
message goes through its wire form."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from ce.config import CeConfig, Destination, FeView, Peer, PortView
from ce.controller import Controller
from forces.channels import CHANNEL_OF
from forces.effects import CancelTimer, Deliver, Disconnect, Journal, Send, SetTimer
from forces.events import Command, LossCause, MessageReceived, PeerLost, PeerUp, TimerFired
from forces.header import MessageType
from forces.messages import Message
from forces.wire import decode, encode
from tests.ce.dictionary_fe import DictionaryFe

MS = 1_000_000
CE1, CE2 = 0x40000001, 0x40000002
DELAY_NS = MS // 10


def diamond(**changes: Any) -> CeConfig:
    """
              fe2
    h1 - fe1 <   > fe4 - h2        port 1, 2: data links, 3: host
              fe3
    """
    ends = {(1, 1): (2, 1), (1, 2): (3, 1), (4, 1): (2, 2), (4, 2): (3, 2)}
    ends |= {far: near for near, far in ends.items()}
    links = sorted({tuple(sorted((near, far))) for near, far in ends.items()})

    def port(fe: int, number: int) -> PortView:
        far = ends[fe, number]
        n = links.index(tuple(sorted(((fe, number), far))))
        mine, its = (1, 2) if (fe, number) < far else (2, 1)
        return PortView(number, f"10.1.{n}.{mine}/30", *far, f"10.1.{n}.{its}")

    def host(fe: int, n: int) -> PortView:
        return PortView(3, f"10.{100 + n}.1.1/24", None, None, f"10.{100 + n}.1.10")

    network = tuple(
        FeView(fe, f"fe{fe}", (port(fe, 1), port(fe, 2), *hosts))
        for fe, hosts in ((1, (host(1, 1),)), (2, ()), (3, ()), (4, (host(4, 2),)))
    )
    config = CeConfig(
        id=CE1,
        name="ce1",
        control_address="10.255.0.1",
        fes=tuple(Peer(fe, f"fe{fe}", f"10.255.0.{100 + fe}") for fe in (1, 2, 3, 4)),
        ces=(Peer(CE1, "ce1", "10.255.0.1"), Peer(CE2, "ce2", "10.255.0.2")),
        network=network,
        destinations=(
            Destination("10.101.1.0/24", 1, 3),
            Destination("10.101.2.0/24", 1, 3, "10.101.1.10"),
            Destination("10.102.1.0/24", 4, 3),
            Destination("10.102.2.0/24", 4, 3, "10.102.1.10"),
        ),
        ha_mode=2,
    )
    return replace(config, **changes)


class Network:
    def __init__(self, *configs: CeConfig) -> None:
        self.now = 1_000 * MS
        self.ces = {config.id: Controller(config) for config in configs}
        self.names = {config.id: config.name for config in configs}
        ces = tuple(peer.id for peer in configs[0].ces)
        self.fes = {
            view.id: DictionaryFe(view.id, view.name, tuple(p.id for p in view.ports), ces)
            for view in configs[0].network
        }
        self.journal: list[tuple[int, str, str, dict[str, Any]]] = []
        self.delivered: dict[int, Deliver] = {}
        self.ladder: list[str] = []
        """Every message but heartbeats and beacons, as a line."""
        self.down: set[tuple[int, int]] = set()
        """(CE, FE) pairs without a transport."""
        self.silent: set[int] = set()
        """FEs of which nothing arrives any more."""
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timers: dict[tuple[int, Hashable], int] = {}
        self._tokens = itertools.count(1)

    def at(self, when: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), action))

    def run_ms(self, duration: float) -> None:
        end = self.now + int(duration * MS)
        while self._heap and self._heap[0][0] <= end:
            when, _, action = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            action()
        self.now = end

    def ce(self, ce: int, event: Any) -> None:
        """Let this CE handle an event now."""
        for effect in self.ces[ce].handle(event, self.now):
            self._carry_out(ce, effect)

    def _carry_out(self, ce: int, effect: Any) -> None:
        match effect:
            case Send(peer, message):
                if (ce, peer) not in self.down:
                    octets = encode(message)
                    self.at(self.now + DELAY_NS, lambda: self._to_fe(ce, peer, octets))
            case Journal(event, fields):
                self.journal.append((self.now, self.names[ce], event, dict(fields)))
            case SetTimer(key, at_ns):
                number = next(self._order)
                self._timers[ce, key] = number
                self.at(at_ns, lambda: self._fire(ce, key, number))
            case CancelTimer(key):
                self._timers.pop((ce, key), None)
            case Disconnect(peer):
                self.down.add((ce, peer))
            case Deliver(token):
                assert token not in self.delivered, "one answer to a command"
                self.delivered[token] = effect
            case _:
                raise AssertionError(effect)

    def _fire(self, ce: int, key: Hashable, number: int) -> None:
        if self._timers.get((ce, key)) == number:
            del self._timers[ce, key]
            self.ce(ce, TimerFired(key))

    def _to_fe(self, ce: int, fe: int, octets: bytes) -> None:
        message = decode(octets)
        self._note(f"{self.names[ce]} -> fe{fe}", message)
        for answer in self.fes[fe].handle(message):
            self.from_fe(ce, fe, answer)

    def from_fe(self, ce: int, fe: int, message: Message) -> None:
        """This FE sends this CE a message."""
        octets = encode(message)

        def arrive() -> None:
            if (ce, fe) in self.down or fe in self.silent:
                return
            received = decode(octets)
            self._note(f"{self.names[ce]} <- fe{fe}", received)
            channel = CHANNEL_OF[received.type]
            self.ce(ce, MessageReceived(fe, channel, received, len(octets)))

        self.at(self.now + DELAY_NS, arrive)

    def _note(self, way: str, message: Message) -> None:
        paths = [
            f"{operation.type.name} {select.class_id}.{select.instance_id}"
            for select in message.lfbs
            for operation in select.operations
        ]
        beacon = any(
            path.ids == (1, 1)
            for select in message.lfbs
            for operation in select.operations
            for path in operation.paths
            if select.class_id == 10
        )
        if message.type is not MessageType.HEARTBEAT and not beacon:
            self.ladder.append(" ".join([way, message.type.name, ", ".join(paths)]).strip())

    def associate(self, ce: int, fe: int) -> None:
        self.down.discard((ce, fe))
        self.fes[fe].associated.add(ce)
        self.ce(ce, PeerUp(fe))
        self.from_fe(ce, fe, self.fes[fe].setup(ce))

    def associate_all(self, ce: int) -> None:
        for fe in self.fes:
            self.associate(ce, fe)

    def lose(self, ce: int, fe: int, cause: LossCause = LossCause.ABORT) -> None:
        self.down.add((ce, fe))
        self.fes[fe].associated.discard(ce)
        self.ce(ce, PeerLost(fe, cause))

    def fail_over(self, fe: int, last: int, to: int) -> None:
        """As an FE in hot standby does it: the role first, then both events to all (Fig. 5)."""
        self.fes[fe].make_master(to, last)
        for ce in sorted(self.fes[fe].associated & self.ces.keys()):
            self.from_fe(ce, fe, self.fes[fe].ha_events(ce, last, to))

    def beat_hearts(self, duration_ms: int) -> None:
        """Every associated FE sends a heartbeat each 25 ms for so long."""
        for ms in range(0, duration_ms, 25):
            self.at(self.now + ms * MS, self._hearts)

    def _hearts(self) -> None:
        from forces.association import Association

        for fe in self.fes.values():
            for ce in fe.associated & self.ces.keys():
                beat = Association(fe.id, ce, self.now, None, None).heartbeat()
                self.from_fe(ce, fe.id, beat)

    def command(self, ce: int, name: str, **arguments: Any) -> int:
        token = next(self._tokens)
        self.ce(ce, Command(name, arguments, token))
        return token

    def events(self, ce: str, event: str, fe: str | None = None) -> list[dict[str, Any]]:
        """Journal entries, in order."""
        return [
            {**fields, "t": t}
            for t, node, name, fields in self.journal
            if node == ce and name == event and fe in (None, fields.get("fe"))
        ]
