"""Values: made once, never changed, and cheap to make.

A message is a dozen small objects, and both sides of a round trip make some thirty. A dataclass
that enforces `frozen` stores every field through `object.__setattr__`, which takes four times as
long as an assignment. So here a type checker enforces it, and at run time nothing does: whoever
assigns to a field breaks what others hold, for values are shared and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """A dataclass with slots that compares and hashes by its fields, frozen to type checkers."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
