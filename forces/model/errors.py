"""The one error that reading an LFB library can end in (RFC 5812 section 4)."""

from __future__ import annotations

from forces.errors import ForcesError


class ModelError(ForcesError):
    """An LFB library document cannot be used. The text names file, line and element."""

    def __init__(self, source: str, line: int, element: str, reason: str) -> None:
        super().__init__(f"{source}:{line}: <{element}>: {reason}")
        self.source = source
        self.line = line
        self.element = element
        self.reason = reason
