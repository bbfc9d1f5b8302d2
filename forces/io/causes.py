"""What an errno of a kernel's socket tells about the peer."""

from __future__ import annotations

import errno

from forces.events import LossCause

_CAUSES = {
    errno.ECONNRESET: LossCause.ABORT,
    errno.EPIPE: LossCause.ABORT,
    errno.ECONNABORTED: LossCause.ABORT,
    errno.ETIMEDOUT: LossCause.RETRANSMISSION,
    errno.EHOSTUNREACH: LossCause.PATH,
    errno.ENETUNREACH: LossCause.PATH,
    errno.ENOPROTOOPT: LossCause.ICMP,
    errno.ECONNREFUSED: LossCause.REFUSED,
}


def cause_of(error: BaseException | None, default: LossCause) -> LossCause:
    """`default` where the errno says nothing."""
    number = error.errno if isinstance(error, OSError) else None
    return _CAUSES.get(number, default) if number is not None else default
