"""What a refused change means to the CE: errno and the kernel's words -> `ResultCode`
(RFC 5810 A.5, RFC 7391 section 3.2.1).
"""

from __future__ import annotations

import errno

from fe_datapath.datapath import Change, Failure, SetNextHop, SetNextHopGroup, SetRoute
from fe_datapath.linux.ledger import Ledger
from fe_datapath.linux.netlink import Refusal
from forces.errors import ResultCode

CODE_OF_ERRNO = {
    errno.EPERM: ResultCode.PERM,
    errno.EACCES: ResultCode.PERM,
    errno.EROFS: ResultCode.PERM,
    errno.EEXIST: ResultCode.EXISTS,
    errno.ENOENT: ResultCode.NOT_FOUND,
    errno.ESRCH: ResultCode.NOT_FOUND,
    errno.ENODEV: ResultCode.NOT_FOUND,
    errno.ENOMEM: ResultCode.MEMORY_ERROR,
    errno.ENOBUFS: ResultCode.MEMORY_ERROR,
    errno.ENOSPC: ResultCode.MEMORY_ERROR,
    errno.EOPNOTSUPP: ResultCode.NOT_SUPPORTED,
    errno.EAFNOSUPPORT: ResultCode.NOT_SUPPORTED,
    errno.ERANGE: ResultCode.VALUE_OUT_OF_RANGE,
    errno.EINVAL: ResultCode.INVALID_PARAMETERS,
    errno.ENETUNREACH: ResultCode.INVALID_PARAMETERS,
    errno.EHOSTUNREACH: ResultCode.INVALID_PARAMETERS,
    errno.EBUSY: ResultCode.BUSY,
    errno.EAGAIN: ResultCode.BUSY,
    errno.ENETDOWN: ResultCode.BUSY,  # "carrier is down": not now, perhaps later
    errno.ETIMEDOUT: ResultCode.TIMED_OUT,
}


class ChangeRefused(Exception):
    """A change that is not carried out; becomes a `Failure`."""

    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def code_of(number: int) -> ResultCode:
    return CODE_OF_ERRNO.get(number, ResultCode.INTERNAL_ERROR)


def failure_of(index: int, change: Change, refusal: Refusal, ledger: Ledger) -> Failure:
    code, text = code_of(refusal.errno), refusal.text
    match change:
        case SetRoute() if "does not exist" in text:
            text = f"there is no next hop {change.nexthop}"
            if ledger.knows(change.nexthop):
                code, text = ResultCode.BUSY, f"next hop {change.nexthop} lost its port"
        case SetNextHop():
            text = f"next hop {change.id}: {text}"
        case SetNextHopGroup():
            members = {hop for hop, _ in change.members} | {change.standby}
            if members & ledger.lost:
                code = ResultCode.BUSY
            text = f"next hop group {change.id}: {text}"
    return Failure(index, code, text)
