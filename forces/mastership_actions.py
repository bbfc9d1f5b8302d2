"""What `forces.mastership` wants done: the actions that it returns, in the order to take them."""

from __future__ import annotations

from dataclasses import dataclass

from forces.mastership_table import State


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this CE."""

    ce: int


@dataclass(frozen=True, slots=True)
class Associate:
    """Send this CE an AssociationSetup."""

    ce: int


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close this CE's transport, or give up connecting."""

    ce: int
    abort: bool
    """True: at once, so that a CE which was only asleep learns that it lost the FE.
    False: in order, after a normal AssociationTeardown if there is an association."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Raise RETRY_DUE for this CE after a pause."""

    ce: int
    standby: bool
    """True: the pause of a standby; False: the pause between two rounds without a master."""


@dataclass(frozen=True, slots=True)
class CancelRetry:
    ce: int


@dataclass(frozen=True, slots=True)
class StartCefti:
    pass


@dataclass(frozen=True, slots=True)
class CancelCefti:
    pass


@dataclass(frozen=True, slots=True)
class StopForwarding:
    """FEState OperDisable, and no state is kept for a later association."""


@dataclass(frozen=True, slots=True)
class MasterLost:
    """The instant of t_detect."""

    ce: int
    source: str
    cause: str


@dataclass(frozen=True, slots=True)
class NewMaster:
    """The instant of t_master."""

    ce: int
    last: int
    """0: it is the first."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    previous: State
    state: State
    cause: str


@dataclass(frozen=True, slots=True)
class PrimaryCeDown:
    """Event 61.1, to every associated CE."""

    last: int


@dataclass(frozen=True, slots=True)
class PrimaryCeChanged:
    """Event 61.2, to every associated CE."""

    ce: int


Action = (
    Dial
    | Associate
    | Hangup
    | RetryLater
    | CancelRetry
    | StartCefti
    | CancelCefti
    | StopForwarding
    | MasterLost
    | NewMaster
    | StateChanged
    | PrimaryCeDown
    | PrimaryCeChanged
)
