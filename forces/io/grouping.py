"""Three channels make one peer: what every back end but its packets has in common.

RFC 5811 section 4.2 (three associations, the FE dials LP, MP, HP), its A.3 (the loss of one is
the loss of all), and strict priority on receipt: whatever was read in one turn of the loop is
delivered HP before MP before LP, the preferred peer's before everybody else's (RFC 6984 section
4.3), and only then is a loss of that turn reported.

A back end subclasses `GroupedTml` and `Link`, and reports with `accepted`, `established`,
`arrived`, `has_room` and `ended`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter, deque

from forces.channels import Channel
from forces.errors import UsageError
from forces.events import LossCause
from forces.io.group import Group, Link, Stage
from forces.io.tml import TmlConfig, TmlUser

log = logging.getLogger(__name__)

DIAL_ORDER = (Channel.LP, Channel.MP, Channel.HP)
HALF_OPEN_S = 5.0
"""How long an accepted peer may keep us waiting for its other channels."""
HELD_LIMIT = 4 << 20
"""Octets that a peer may send before its three channels are there."""
REMEMBERED_STRANGERS = 1000
"""Unknown addresses that are logged by name; the rest is only counted."""


class GroupedTml(ABC):
    """See `forces.io.tml.Tml`."""

    name = ""

    def __init__(self, config: TmlConfig) -> None:
        self.config = config
        self.counters: Counter[str] = Counter()
        self._peer_of = {address: peer for peer, address in config.peers.items()}
        if len(self._peer_of) != len(config.peers):
            raise UsageError("two peers have the same control address")
        self._groups: dict[int, Group] = {}
        self._inbox: tuple[deque[tuple[Group, int, bytes]], ...] = tuple(deque() for _ in Channel)
        self._ending: deque[Group] = deque()
        self._flush_due = False
        self._first: int | None = None
        self._closed = False
        self._strangers: set[str] = set()
        self._user: TmlUser
        self._loop: asyncio.AbstractEventLoop

    # What a back end provides

    @abstractmethod
    async def _open(self) -> None:
        """Bind, and listen if the configuration says so."""

    @abstractmethod
    def _dial(self, peer: int, address: str, channel: Channel) -> Link:
        """Begin a connection; `established` or `ended` follows. OSError: it cannot even begin."""

    @abstractmethod
    async def _shut(self) -> None:
        """Close what `_open` opened; the links are closing already."""

    # The TML interface

    async def start(self, user: TmlUser) -> None:
        self._user = user
        self._loop = asyncio.get_running_loop()
        await self._open()

    def connect(self, peer: int) -> None:
        if peer not in self.config.peers:
            raise UsageError(f"no address is known for peer 0x{peer:08x}")
        if self._closed:
            return
        if peer in self._groups:
            log.warning("%s: connect to 0x%08x, which is not disconnected", self.name, peer)
            return
        group = self._groups[peer] = Group(peer, Stage.DIALING)
        self._dial_next(group)

    def disconnect(self, peer: int, abort: bool) -> None:
        group = self._groups.get(peer)
        if group is not None:
            self._close_group(group, abort)

    def send(self, peer: int, channel: Channel, data: bytes) -> bool:
        group = self._groups.get(peer)
        if group is None or group.stage is not Stage.UP:
            self.counters["sent_to_nobody"] += 1
            return True  # its loss is on the way to the caller
        link = group.links[channel]
        try:
            taken = link.send(data)
        except OSError as error:
            self.ended(link, LossCause.LOCAL, f"send on {channel.name}: {error.strerror or error}")
            return True
        if not taken:
            group.blocked = True
            self.counters["refused_sends"] += 1
        return taken

    def prefer(self, peer: int | None) -> None:
        self._first = peer

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for group in list(self._groups.values()):
            self._close_group(group, abort=group.stage is not Stage.UP)
        await self._shut()

    # What a back end reports

    def peer_at(self, address: str) -> int | None:
        """The peer that lives there; a stranger is counted, and logged once."""
        peer = self._peer_of.get(address)
        if peer is None:
            self.counters["strangers"] += 1
            if address not in self._strangers and len(self._strangers) < REMEMBERED_STRANGERS:
                self._strangers.add(address)
                log.warning("%s: refused %s, which is no peer of ours", self.name, address)
        return peer

    def accepted(self, address: str, link: Link) -> bool:
        """A connection came in; False: the caller closes it. A peer that has this channel
        already has started anew: the old group is lost first."""
        peer = self.peer_at(address)
        if peer is None or self._closed:
            return False
        group = self._groups.get(peer)
        if group is not None and (
            link.channel in group.links or group.stage in (Stage.UP, Stage.ENDING)
        ):
            self.ended_group(group, LossCause.ABORT, "the peer has started anew")
            self._report(group)
            group = self._groups.get(peer)
        if group is None:
            group = self._groups[peer] = Group(peer, Stage.ACCEPTING)
            group.timer = self._loop.call_later(HALF_OPEN_S, self._half_open_timeout, group)
        self._join(group, link)
        return True

    def established(self, link: Link) -> None:
        """A link of ours that was being dialled is there."""
        group = link.group
        if group is None or group.stage is not Stage.DIALING:
            return
        if len(group.links) < len(Channel):
            self._dial_next(group)
        else:
            self._up(group)

    def is_up(self, link: Link) -> bool:
        group = link.group
        return group is not None and Stage.UP in (group.stage, group.was)

    def arrived(self, link: Link, ppid: int, data: bytes) -> None:
        """One whole message."""
        group = link.group
        if group is None:
            return
        if group.stage in (Stage.UP, Stage.ENDING):
            self._inbox[link.channel].append((group, ppid, data))
            self._flush_soon()
        elif group.stage is not Stage.CLOSED:
            group.held.append((link.channel, ppid, data))
            group.held_octets += len(data)
            if group.held_octets > HELD_LIMIT:
                self.ended_group(group, LossCause.LOCAL, "too much before the channels were up")

    def has_room(self, link: Link) -> None:
        group = link.group
        if group is not None and group.blocked and group.stage is Stage.UP:
            group.blocked = False
            self._user.writable(group.peer)

    def ended(self, link: Link, cause: LossCause, detail: str) -> None:
        """A link is gone, hence its group (RFC 5811 A.3)."""
        if link.group is not None:
            self.ended_group(link.group, cause, detail)

    def ended_group(self, group: Group, cause: LossCause, detail: str) -> None:
        """Close now, report when the messages of this turn are delivered."""
        if group.stage in (Stage.ENDING, Stage.CLOSED):
            return
        group.was, group.stage = group.stage, Stage.ENDING
        group.cause, group.detail = cause, detail
        if group.timer is not None:
            group.timer.cancel()
        self._ending.append(group)
        self._flush_soon()

    def restarted(self, address: str, link: Link) -> bool:
        """The peer's new process took over the association of its old one (RFC 9260 section 5.2.2):
        the old group is lost, and the link is the first of a new one."""
        old = link.group
        link.group = None
        if old is not None:
            old.links.pop(link.channel, None)
            self.ended_group(old, LossCause.ABORT, "the peer has restarted")
            self._report(old)
        return self.config.listen and self.accepted(address, link)

    def flush(self) -> None:
        """Deliver what has come, the preferred peer's first, HP first; then report what has
        ended. Nobody is kept waiting for another turn."""
        self._flush_due = False
        if self._first is not None and len(self._groups) > 1:
            self._deliver(self._first)
        self._deliver(None)
        while self._ending:
            self._report(self._ending[0])

    # Inside

    def _deliver(self, only: int | None) -> None:
        """What has come from this peer, None: from all."""
        for channel in Channel:
            inbox = self._inbox[channel]
            if only is not None and inbox:
                # the others' stay in their order, and a loss reported meanwhile finds all of them
                ordered = sorted(inbox, key=lambda entry: entry[0].peer != only)
                inbox.clear()
                inbox.extend(ordered)
            while inbox and only in (None, inbox[0][0].peer):
                group, ppid, data = inbox.popleft()
                if group.stage in (Stage.UP, Stage.ENDING):
                    self._user.received(group.peer, channel, ppid, data)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_if_due)

    def _flush_if_due(self) -> None:
        if self._flush_due:
            self.flush()

    def _dial_next(self, group: Group) -> None:
        channel = DIAL_ORDER[len(group.links)]
        if group.timer is not None:
            group.timer.cancel()
        timeout = self.config.connect_timeout_ms / 1000
        group.timer = self._loop.call_later(timeout, self._connect_timeout, group)
        try:
            link = self._dial(group.peer, self.config.peers[group.peer], channel)
        except OSError as error:
            self.ended_group(group, LossCause.LOCAL, f"{channel.name}: {error.strerror or error}")
            return
        group.links[channel] = link
        link.group = group

    def _join(self, group: Group, link: Link) -> None:
        group.links[link.channel] = link
        link.group = group
        if len(group.links) == len(Channel):
            self._up(group)

    def _up(self, group: Group) -> None:
        group.stage = Stage.UP
        if group.timer is not None:
            group.timer.cancel()
        self._user.peer_up(group.peer)
        for channel, ppid, data in group.held:
            self._inbox[channel].append((group, ppid, data))
        if group.held:
            group.held = []
            self._flush_soon()

    def _connect_timeout(self, group: Group) -> None:
        missing = DIAL_ORDER[len(group.links) - 1].name if group.links else "LP"
        detail = f"no answer on {missing} within {self.config.connect_timeout_ms} ms"
        self.ended_group(group, LossCause.TIMEOUT, detail)

    def _half_open_timeout(self, group: Group) -> None:
        self.counters["half_open"] += 1
        self.ended_group(group, LossCause.TIMEOUT, "the peer's other channels did not come")

    def _report(self, group: Group) -> None:
        """Close an ending group and tell the user, once."""
        if group in self._ending:
            self._ending.remove(group)
        if group.stage is not Stage.ENDING:
            return
        if group.was is Stage.UP and any(self._inbox):
            for channel in Channel:
                inbox = self._inbox[channel]
                for entry in [entry for entry in inbox if entry[0] is group]:
                    inbox.remove(entry)
                    if group.stage is Stage.ENDING:
                        self._user.received(group.peer, channel, entry[1], entry[2])
        if group.stage is Stage.ENDING:
            was = group.was
            self._close_group(group, abort=group.cause is not LossCause.SHUTDOWN)
            if was is Stage.UP:
                self._user.peer_lost(group.peer, group.cause, group.detail)
            elif was is Stage.DIALING:
                self._user.connect_failed(group.peer, group.cause, group.detail)

    def _close_group(self, group: Group, abort: bool) -> None:
        group.stage = Stage.CLOSED
        if group.timer is not None:
            group.timer.cancel()
        if self._groups.get(group.peer) is group:
            del self._groups[group.peer]
        links, group.links = group.links, {}
        for channel in Channel:
            if channel in links:
                links[channel].group = None
                links[channel].close(abort)
