"""What one call of `ForwardingElement.handle` collects: its effects, and the instant it is about.

Shared by the parts of an FE's core, so that effects come out in the order in which the parts
decided them. Timers are remembered here: one that was cancelled while its firing was already on
the way is told from one that counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fe_datapath.datapath import Change
from forces.effects import CancelTimer, Effect, Journal, Program, SetTimer

NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Context:
    names: Mapping[int, str]
    """ForCES ID -> node name, for the journal."""
    now: int = 0
    """ns."""
    effects: list[Effect] = field(default_factory=list)
    due_ns: int = 0
    """When the last timer that fired, and counted, was to fire."""
    _armed: dict[Hashable, int] = field(default_factory=dict)
    _token: int = 0

    def take(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def journal(self, event: str, **fields: Any) -> None:
        self.emit(Journal(event, fields))

    def name(self, node: int) -> str:
        return self.names.get(node, f"0x{node:08x}")

    def set_timer(self, key: Hashable, at_ns: int) -> None:
        self._armed[key] = at_ns
        self.emit(SetTimer(key, at_ns))

    def set_timer_in(self, key: Hashable, delay_ms: float) -> None:
        self.set_timer(key, self.now + round(delay_ms * NS_PER_MS))

    def cancel_timer(self, key: Hashable) -> None:
        if self._armed.pop(key, None) is not None:
            self.emit(CancelTimer(key))

    def fired(self, key: Hashable) -> bool:
        """Whether this firing counts."""
        at_ns = self._armed.get(key)
        if at_ns is None or at_ns > self.now:
            return False
        del self._armed[key]
        self.due_ns = at_ns
        return True

    def next_token(self) -> int:
        self._token += 1
        return self._token

    def program(self, changes: tuple[Change, ...], stop_on_failure: bool = False) -> int | None:
        """The token; None if there is nothing to do."""
        if not changes:
            return None
        token = self.next_token()
        self.emit(Program(token, changes, stop_on_failure))
        return token
