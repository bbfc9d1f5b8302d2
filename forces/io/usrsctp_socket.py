"""A socket of libusrsctp as a channel wants it: timers, buffers, and what it has to report."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable

from forces.channels import Channel
from forces.io import usrsctp_lib as u
from forces.io.tml import TmlConfig, send_buffer

RECEIVE_BUFFER = 2 << 20
STREAMS = 1
INIT_ATTEMPTS = 100  # our connect timeout ends it, not the library's
SACK_DELAY_MS = 10
SACK_FREQUENCY = 1
"""Every packet is acknowledged at once: the default delay of 200 ms is above our RTO."""


def open_socket(
    library: u.Library, on_receive: Callable[..., int], config: TmlConfig, channel: Channel
) -> int:
    """`on_receive`: a `ReceiveCallback`, which the caller keeps."""
    so = library.socket(u.AF_CONN, socket.SOCK_STREAM, u.IPPROTO_SCTP, on_receive, None, 0, None)
    if not so:
        number = ctypes.get_errno()
        raise OSError(number, f"usrsctp: no socket: {os.strerror(number)}")
    library.set_non_blocking(so, 1)
    library.option(so, socket.SO_RCVBUF, u.integer(RECEIVE_BUFFER), level=socket.SOL_SOCKET)
    library.option(so, u.SCTP_INITMSG, u.initmsg(STREAMS, INIT_ATTEMPTS, config.rto_max_ms))
    tune(library, so, config, channel)
    for kind in (u.SCTP_ASSOC_CHANGE, u.SCTP_SHUTDOWN_EVENT, u.SCTP_PARTIAL_DELIVERY_EVENT):
        library.option(so, u.SCTP_EVENT, u.event(kind))
    return int(so)


def tune(library: u.Library, so: int, config: TmlConfig, channel: Channel) -> None:
    """Timers and buffers; an accepted association has those of the listener until then."""
    retransmissions = config.max_retransmissions
    for name, value in (
        (u.SCTP_NODELAY, u.integer(1)),
        (u.SCTP_RTOINFO, u.rtoinfo(config.rto_initial_ms, config.rto_max_ms, config.rto_min_ms)),
        (u.SCTP_ASSOCINFO, u.assocparams(retransmissions)),
        (u.SCTP_PEER_ADDR_PARAMS, u.paddrparams(config.heartbeat_ms, retransmissions)),
        (u.SCTP_DELAYED_SACK, u.delayed_sack(SACK_DELAY_MS, SACK_FREQUENCY)),
    ):
        library.option(so, name, value)
    size = u.integer(send_buffer(config, channel))
    library.option(so, socket.SO_SNDBUF, size, level=socket.SOL_SOCKET)
