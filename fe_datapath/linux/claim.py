"""One living FE to a network namespace and protocol number.

The claim is an abstract Unix socket (unix(7)): its name belongs to the network namespace, which is
just what must not have two masters, and the kernel drops it with the process, however that ends. A
stopped process keeps it: it lives, and goes on where it was when it is woken.
"""

from __future__ import annotations

import errno
import socket
import struct

_PEER_CREDENTIALS = struct.Struct("=iII")
"""struct ucred: pid, uid, gid."""


def claim(protocol: int) -> socket.socket:
    """Held until it is closed. OSError in one sentence if another process has it."""
    name = f"\0ceha-fe-{protocol}"
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(name)
        held.listen(1)  # who asks learns our pid
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            errno.EADDRINUSE,
            f"another FE lives in this network namespace{_owner(name)}: both would use protocol "
            f"number {protocol} in its kernel",
        ) from None
    return held


def _owner(name: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.setblocking(False)  # its queue may be full: then its pid stays unknown
        try:
            asking.connect(name)
            octets = asking.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size
            )
        except OSError:
            return ""
    return f" (pid {_PEER_CREDENTIALS.unpack(octets)[0]})"
