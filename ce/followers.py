"""A master and the CEs that follow it (docs/ce-ce-sync.md): each Config for an FE goes to their
replicas as well. Where `sync` is `semi`, and in a planned switch, a replica has it before the FE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ce.config import CeConfig
from ce.fr_peer import FrPeer
from ce.replica_lfb import wanted_of
from ce.session import FeSession, Role
from forces.effects import Effect, Send
from forces.messages import Message
from forces.wire import encode


@dataclass(frozen=True, slots=True)
class _Held:
    """A Config that its FE must not see before a replica has it."""

    generation: int
    send: Send


class Followers:
    def __init__(
        self,
        config: CeConfig,
        sessions: Mapping[int, FeSession],
        peers: Mapping[int, FrPeer],
        out: list[Effect],
    ) -> None:
        """`peers`: the other CEs."""
        self._config = config
        self._sessions = sessions
        self._peers = peers
        self._out = out
        self._held: dict[int, deque[_Held]] = {}
        self._switching: dict[int, int] = {}
        """FE -> the CE that it is about to be handed to."""

    def outgoing(self, session: FeSession, send: Send, now: int) -> None:
        """A Config for an FE: to the FE, and to those who follow it."""
        fe, log = session.fe, session.log
        generation = log.add(send.message)
        followers = [p for p in self._peers.values() if fe in p.followed]
        if generation is None or not followers:
            if self._held.get(fe) and generation is not None:
                self._held[fe].append(_Held(generation, send))
            else:
                self._out.append(send)
            return
        to = self._switching.get(fe)
        handing_over = to in [peer.id for peer in followers]
        if self._config.sync == "semi" or handing_over or self._held.get(fe):
            self._held.setdefault(fe, deque()).append(_Held(generation, send))
        else:
            self._out.append(send)
        octets = encode(send.message)
        for peer in followers:
            peer.queue(fe, log.incarnation, log.term, generation, octets)

    def wait_for_replica(self, fe: int, to: int | None) -> None:
        """A planned switch: the next master has what is sent from now on (SET CEID) first. None:
        there will be no switch."""
        if to is not None:
            self._switching[fe] = to
        elif self._switching.pop(fe, None) is not None:
            self.release(fe)

    def distrust(self, session: FeSession) -> None:
        """The replicas may have what this FE has not: they have to read it again."""
        for peer in self._peers.values():
            if peer.followed.pop(session.fe, None) is not None:
                peer.queue(session.fe, 0, session.log.term, 0, b"")
        session.log.forget_messages()
        self.release(session.fe)

    def forget(self, fe: int) -> None:
        """This CE is the FE's master no more."""
        self._held.pop(fe, None)
        self._switching.pop(fe, None)
        for peer in self._peers.values():
            peer.followed.pop(fe, None)

    def wanted(self, peer: FrPeer, message: Message) -> None:
        """A replica has said from where it wants the changes."""
        asked = wanted_of(message)
        if asked is None:
            peer.association.refused(0)
            return
        fe, incarnation, generation = asked
        session = self._sessions.get(fe)
        if session is None or session.role is not Role.MASTER:
            return
        log = session.log
        missing = log.since(generation) if incarnation == log.incarnation else None
        if missing is None or log.head is None:
            return
        peer.serves(fe, generation)
        for number, change in missing:
            peer.queue(fe, log.incarnation, log.term, number, encode(change))
        if not missing:  # it follows
            peer.queue(fe, log.incarnation, log.term, log.head, b"")

    def acknowledged(self, peer: FrPeer, acked: dict[int, int], failed: set[int], now: int) -> None:
        for fe in failed:
            peer.followed.pop(fe, None)
        for fe, generation in acked.items():
            if fe in peer.followed:
                peer.followed[fe] = max(peer.followed[fe], generation)
        for fe in {*acked, *failed}:
            self.release(fe)

    def release(self, fe: int) -> None:
        """What a replica has may go to the FE; without any replica nothing is held back."""
        held = self._held.get(fe)
        if not held:
            return
        to = self._switching.get(fe)
        have = [
            peer.followed[fe]
            for peer in self._peers.values()
            if fe in peer.followed and to in (None, peer.id)
        ]
        while held and (not have or held[0].generation <= max(have)):
            self._out.append(held.popleft().send)

    def release_all(self) -> None:
        """One that followed is lost."""
        for fe in self._held:
            self.release(fe)
