"""A limit on a rate with some allowance for bursts: of packets that are redirected (RFC 5810
section 7.9 leaves the protection of the control plane to the FE). Pure: time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class TokenBucket:
    """Holds up to `burst` tokens, gets `rate` of them a second; starts full."""

    rate: int
    burst: int
    _credit: int = field(init=False)
    """In billionths of a token: whole numbers never drift."""
    _filled_ns: int | None = None

    def __post_init__(self) -> None:
        if self.rate < 1 or self.burst < 1:
            raise ValueError(
                f"a rate of {self.rate}/s with a burst of {self.burst} lets nothing by"
            )
        self._credit = self.burst * NS_PER_S

    def take(self, now: int) -> bool:
        """Whether there was a token."""
        self._fill(now)
        if self._credit < NS_PER_S:
            return False
        self._credit -= NS_PER_S
        return True

    def wait_ns(self, now: int) -> int:
        """Until there is a token; 0: there is one."""
        self._fill(now)
        return max(0, -((self._credit - NS_PER_S) // self.rate))

    def _fill(self, now: int) -> None:
        if self._filled_ns is not None and now > self._filled_ns:
            grown = self._credit + (now - self._filled_ns) * self.rate
            self._credit = min(self.burst * NS_PER_S, grown)
        self._filled_ns = now if self._filled_ns is None else max(now, self._filled_ns)
