"""The control network in virtual time: what a TML does to messages and to whom it says so.

RFC 5811's three channels with the losses, delays and reorderings that each of them may have: HP
is reliable and ordered (a lost packet is late, and so is what follows it), MP and LP may lose.
Channels keep no common order. Knows nothing of FEs and CEs: whoever has an ID may dial and be
dialled, as CEs do among themselves.

Losses are told as real transports tell them: a dead process's host answers the next packet
(`icmp`), a stack that does not know the association any more aborts it (`abort`), silence ends at
the retransmission limit (`retransmission`), the kernel may abort at once when its process exits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from forces.channels import CHANNEL_OF, Channel
from forces.events import (
    BadMessage,
    ConnectFailed,
    Event,
    LossCause,
    MessageReceived,
    PeerLost,
    PeerUp,
)
from forces.messages import Message
from forces.wire import encoded_length
from lab.simulated.honesty import Honesty
from lab.simulated.impaired import ControlLinks
from lab.simulated.world import NS_PER_MS, World

GUARD_MS = 0.7
"""From a process's death to its guard's abort (docs/baselines.md)."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How the network behaves; times in ms. A schedule draws them from its seed."""

    delay_ms: float = 0.15
    jitter_ms: float = 0.1
    """Added, evenly distributed, to each message by itself."""
    loss: float = 0.0
    """Share of packets lost. HP repeats them after `rto_ms`."""
    rto_ms: float = 20.0
    retransmission_limit_ms: float = 900.0
    """Silence after which the transport gives a peer up that owes it an answer."""
    connect_timeout_ms: float = 400.0
    mp_lifetime_ms: float = 1000.0
    lp_lifetime_ms: float = 100.0
    kernel_closes: bool = False
    """A killed process's transport is aborted by its kernel at once (kernel SCTP, TCP); else its
    host answers the next packet (userland SCTP)."""
    guard: bool = False
    """A guard beside each CE says for it that its process has died (forces/io/guard.py)."""
    kernel_acknowledges: bool = False
    """A frozen process's kernel goes on acknowledging: no retransmission limit is reached."""
    garbage: float = 0.0
    """Share of messages that somebody repeats with damaged octets (invariant 7)."""


class Endpoint(Protocol):
    """A process as the network sees it."""

    id: int
    alive: bool
    frozen: bool
    listens: bool

    def inject(self, event: Event) -> None: ...

    def knows(self, peer: int) -> bool:
        """Whether it is configured to talk to that peer."""


@dataclass(slots=True, eq=False)
class Side:
    """One end of a transport association."""

    owner: int
    peer: int
    far: Side | None = None
    up: bool = False
    last_arrival: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Per channel: its messages arrive in order."""
    held: list[tuple[Message, int]] = field(default_factory=list)
    """Sent into silence: what, and when."""
    watched: bool = False
    """The retransmission limit is running."""
    answered_ns: int = 0
    """When the peer last was known to acknowledge."""


class Network:
    def __init__(self, world: World, manners: Manners, honesty: Honesty) -> None:
        self.world = world
        self.manners = manners
        self._delay_ms, self._jitter_ms = manners.delay_ms, manners.jitter_ms
        self._random = world.rng.random
        self.honesty = honesty
        self.nodes: dict[int, Endpoint] = {}
        self.sides: dict[tuple[int, int], Side] = {}
        """(owner, peer) -> the end that is up."""
        self.dialling: dict[tuple[int, int], Side] = {}
        self.cut: dict[tuple[int, int], int] = {}
        """(from, to) -> how many faults block this direction."""
        self.slow: dict[int, float] = {}
        """Node -> ms added to whatever it sends or is sent."""
        self.lossy: dict[int, float] = {}
        """Node -> share of the packets lost on its control link, either way."""
        self.links: ControlLinks | None = None
        """The impaired ones; None: there are none."""
        self.on_delivery: Callable[[Message], None] | None = None

    # Faults

    def block(self, sender: int, receiver: int) -> None:
        self.cut[sender, receiver] = self.cut.get((sender, receiver), 0) + 1

    def unblock(self, sender: int, receiver: int) -> None:
        left = self.cut.get((sender, receiver), 0) - 1
        if left > 0:
            self.cut[sender, receiver] = left
            return
        self.cut.pop((sender, receiver), None)
        for pair in ((sender, receiver), (receiver, sender)):
            side = self.sides.get(pair)
            if side is not None and side.held:
                self.world.after_ms(self.world.rng.uniform(0, 200), self._retransmit, side)

    def passes(self, sender: int, receiver: int) -> bool:
        return (sender, receiver) not in self.cut

    def killed(self, node: int) -> None:
        """Its process is gone; its ends of all associations too."""
        for pair in [p for p in self.dialling if p[0] == node]:
            del self.dialling[pair]
        for (owner, peer), side in list(self.sides.items()):
            if owner != node:
                continue
            self._drop(side)
            if not self.passes(owner, peer):
                continue
            if self.manners.kernel_closes:
                self.world.at(self._arrival(owner, peer), self._told, side.far, LossCause.ABORT)
            elif self.manners.guard and self.nodes[node].listens:
                at_ns = self._arrival(owner, peer) + round(GUARD_MS * NS_PER_MS)
                self.world.at(at_ns, self._told, side.far, LossCause.GUARD)

    # What a process asks for

    def connect(self, owner: int, peer: int) -> None:
        side = Side(owner, peer)
        self.dialling[owner, peer] = side
        self.world.at(self._arrival(owner, peer), self._knock, side)

    def disconnect(self, owner: int, peer: int, abort: bool) -> None:
        self.dialling.pop((owner, peer), None)
        side = self.sides.get((owner, peer))
        if side is None:
            return
        self._drop(side)
        if not self.passes(owner, peer):
            return  # the other end learns it from the answer to its next packet
        cause = LossCause.ABORT if abort else LossCause.SHUTDOWN
        at_ns = self._arrival(owner, peer)
        if not abort:  # in order, after what was sent
            at_ns = max(at_ns, *side.last_arrival)
        self.world.at(at_ns, self._told, side.far, cause)

    def send(self, owner: int, peer: int, message: Message) -> None:
        side = self.sides.get((owner, peer))
        if side is not None:
            self._transmit(side, message)

    # On the way

    def _loss(self, sender: int, receiver: int) -> float:
        """Share of packets that one of the links on the way loses."""
        passed = 1.0 - self.manners.loss
        for node in (sender, receiver):
            passed *= 1.0 - self.lossy.get(node, 0.0)
        if self.links is not None:
            passed *= 1.0 - self.links.loss(sender, receiver)
        return 1.0 - passed

    def _repeated(self, side: Side, lost: float) -> int:
        """How much later a lost packet arrives, in ns: its copies may be lost too."""
        wait_ms = self.manners.rto_ms
        if self.links is not None:
            wait_ms += self.links.round_trip_ms(side.owner, side.peer)
        late_ms = wait_ms
        while lost > self.manners.loss and self.world.rng.random() < lost:
            wait_ms = min(2 * wait_ms, self.manners.retransmission_limit_ms)
            late_ms += wait_ms
        return round(late_ms * NS_PER_MS)

    def _delay_ns(self, a: int, b: int) -> int:
        delay_ms = self._delay_ms + self._jitter_ms * self._random()
        if self.slow:
            delay_ms += self.slow.get(a, 0.0) + self.slow.get(b, 0.0)
        delay_ns = round(delay_ms * NS_PER_MS)
        if self.links is not None:
            delay_ns += self.links.delay_ns(a, b, self.world.rng)
        return delay_ns

    def _arrival(self, sender: int, receiver: int) -> int:
        if self.slow or self.links is not None:
            return self.world.now + self._delay_ns(sender, receiver)
        return self.world.now + round(
            (self._delay_ms + self._jitter_ms * self._random()) * NS_PER_MS
        )

    def _drop(self, side: Side) -> None:
        side.up = False
        side.held.clear()
        if self.sides.get((side.owner, side.peer)) is side:
            del self.sides[side.owner, side.peer]

    def _knock(self, side: Side) -> None:
        """The first packet of a connection arrives, or does not."""
        owner, peer = side.owner, side.peer
        if self.dialling.get((owner, peer)) is not side:
            return
        plain = not self.lossy and self.links is None
        if not plain and self.world.rng.random() < self._loss(owner, peer):
            self.world.after_ms(self.manners.rto_ms, self._knock, side)
            return
        there = self.nodes.get(peer)
        heard = self.passes(owner, peer) and self.passes(peer, owner)
        if not heard or there is None or (there.alive and there.frozen):
            timeout_ms = self.manners.connect_timeout_ms
            self.world.after_ms(timeout_ms, self._failed, side, LossCause.TIMEOUT)
        elif not there.alive:
            self.world.at(self._arrival(peer, owner), self._failed, side, LossCause.ICMP)
        elif not there.listens or not there.knows(owner):
            self.world.at(self._arrival(peer, owner), self._failed, side, LossCause.REFUSED)
        else:
            self._accept(side, there)

    def _accept(self, side: Side, there: Endpoint) -> None:
        old = self.sides.get((side.peer, side.owner))
        if old is not None:
            self._drop(old)
            there.inject(PeerLost(side.owner, LossCause.ABORT, "the peer has started anew"))
        far = Side(side.peer, side.owner, far=side, up=True, answered_ns=self.world.now)
        side.far = far
        self.sides[far.owner, far.peer] = far
        at_ns = self._arrival(side.peer, side.owner)
        far.last_arrival = [at_ns] * 3  # what it sends at once does not come before its answer
        self.world.at(at_ns, self._established, side)
        there.inject(PeerUp(far.peer))

    def _established(self, side: Side) -> None:
        if self.dialling.get((side.owner, side.peer)) is not side:
            # given up meanwhile: the listener's end hears of it with its next packet
            return
        del self.dialling[side.owner, side.peer]
        side.up, side.answered_ns = True, self.world.now
        self.sides[side.owner, side.peer] = side
        self.nodes[side.owner].inject(PeerUp(side.peer))

    def _failed(self, side: Side, cause: LossCause) -> None:
        if self.dialling.get((side.owner, side.peer)) is side:
            del self.dialling[side.owner, side.peer]
            self.nodes[side.owner].inject(ConnectFailed(side.peer, cause))

    def _told(self, side: Side | None, cause: LossCause) -> None:
        """This end learns that the association is over."""
        if side is None or not side.up:
            return
        self._drop(side)
        self.nodes[side.owner].inject(PeerLost(side.peer, cause))

    def _transmit(self, side: Side, message: Message) -> None:
        owner, peer, world = side.owner, side.peer, self.world
        channel = CHANNEL_OF[message.header.type]
        if self.cut and (owner, peer) in self.cut:
            side.held.append((message, world.now))
            self._watch(side)
            return
        if side.held and self._must_wait(side, channel):
            side.held.append((message, world.now))
            return
        at_ns = self._arrival(owner, peer)
        if self.links is not None:
            octets = encoded_length(message)
            passed_ns = self.links.queue(owner, peer, octets, at_ns)
            if passed_ns is None and channel is not Channel.HP:
                return
            at_ns = passed_ns or at_ns + self._repeated(side, self.manners.loss)
        plain = not self.lossy and self.links is None
        lost = self.manners.loss if plain else self._loss(owner, peer)
        if lost and world.rng.random() < lost:
            if channel is not Channel.HP:
                return
            at_ns += self._repeated(side, lost)
        last = side.last_arrival
        if at_ns < last[channel]:
            at_ns = last[channel]
        last[channel] = at_ns
        world.at(at_ns, self._arrive, side, channel, message)

    def _arrive(self, side: Side, channel: Channel, message: Message) -> None:
        owner, peer, far = side.owner, side.peer, side.far
        there = self.nodes[peer]
        if not there.alive:
            if self.passes(peer, owner):
                self.world.at(self._arrival(peer, owner), self._told, side, LossCause.ICMP)
            else:
                self._watch(side)
            return
        if far is None or not far.up:
            # its stack knows nothing of this association (RFC 9260 section 8.4), unless the far
            # end is still being set up
            if self.dialling.get((peer, owner)) is not far and self.passes(peer, owner):
                self.world.at(self._arrival(peer, owner), self._told, side, LossCause.ABORT)
            return
        if self.cut and (peer, owner) in self.cut:
            self._watch(side)  # it arrives, but no acknowledgement comes back
        elif there.frozen and not self.manners.kernel_acknowledges:
            self._watch(side)
        else:
            side.answered_ns = self.world.now
        if self.on_delivery is not None:
            self.on_delivery(message)
        size = self.honesty.look(message, channel, owner, peer)
        there.inject(MessageReceived(owner, channel, message, size))
        if self.manners.garbage and self.world.rng.random() < self.manners.garbage:
            error, size = self.honesty.damaged(message, channel, owner, peer)
            if error is not None:
                there.inject(BadMessage(owner, channel, size, error))

    def _must_wait(self, side: Side, channel: Channel) -> bool:
        """Something older of this channel waits for its retransmission: it goes first. But on LP
        the new heartbeat goes, and what it follows is not worth a repetition any more."""
        if channel is Channel.LP:
            side.held = [one for one in side.held if CHANNEL_OF[one[0].type] is not channel]
            return False
        return any(CHANNEL_OF[message.type] is channel for message, _ in side.held)

    # Silence

    def _watch(self, side: Side) -> None:
        if side.watched or not side.up:
            return
        side.watched = True
        since_ns = self.world.now
        limit_ms = self.manners.retransmission_limit_ms
        self.world.after_ms(limit_ms, self._silent, side, since_ns)

    def _silent(self, side: Side, since_ns: int) -> None:
        side.watched = False
        if not side.up or side.answered_ns > since_ns:
            return
        there = self.nodes[side.peer]
        both = self.passes(side.owner, side.peer) and self.passes(side.peer, side.owner)
        stack = there.alive and (not there.frozen or self.manners.kernel_acknowledges)
        if both and stack:
            side.answered_ns = self.world.now
            return
        self._told(side, LossCause.RETRANSMISSION)

    def _retransmit(self, side: Side) -> None:
        """The direction is open again: what is not too old goes out, in its order."""
        if not side.up or (side.owner, side.peer) in self.cut:
            return
        held, side.held = side.held, []
        manners = self.manners
        for message, sent_ns in held:
            channel = CHANNEL_OF[message.type]
            age_ms = (self.world.now - sent_ns) / NS_PER_MS
            if channel is Channel.MP and age_ms > manners.mp_lifetime_ms:
                continue
            if channel is Channel.LP and age_ms > manners.lp_lifetime_ms:
                continue
            self._transmit(side, message)
