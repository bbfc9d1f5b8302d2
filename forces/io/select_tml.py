"""Transports by name, and which of them this machine can do."""

from __future__ import annotations

import socket
from collections.abc import Callable

from forces.io.guard import Guard
from forces.io.tml import Tml, TmlConfig
from forces.io.tml_sctp import SctpTml
from forces.io.tml_tcp import TcpTml
from forces.io.tml_usrsctp import UsrsctpTml
from forces.io.usrsctp_lib import LIBRARY, library

IPPROTO_SCTP = 132


class TmlUnavailable(OSError):
    """This machine cannot do the transport that was asked for: one sentence for the user."""


def _kernel_sctp() -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
    except OSError as error:
        return f"this kernel has no SCTP sockets ({error.strerror}); modprobe sctp may help"
    return ""


def _usrsctp_udp() -> str:
    try:
        library()
    except OSError:
        return f"{LIBRARY} is not installed (Debian package libusrsctp2)"
    return ""


def _usrsctp() -> str:
    missing = _usrsctp_udp()
    if missing:
        return missing
    if not _kernel_sctp():
        return "this kernel has SCTP of its own, which would abort userland's; use sctp"
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_SCTP).close()
    except OSError as error:
        return f"no raw socket ({error.strerror}); it needs root or CAP_NET_RAW"
    return ""


_PROBES: dict[str, Callable[[], str]] = {
    "sctp": _kernel_sctp,
    "usrsctp": _usrsctp,
    "usrsctp-udp": _usrsctp_udp,
    "tcp": lambda: "",
}
_MAKERS: dict[str, Callable[[TmlConfig, Guard | None], Tml]] = {
    "sctp": lambda config, _guard: SctpTml(config),
    "usrsctp": lambda config, guard: UsrsctpTml(config, guard=guard),
    "usrsctp-udp": lambda config, guard: UsrsctpTml(config, udp=True, guard=guard),
    "tcp": lambda config, _guard: TcpTml(config),
}
AUTO_ORDER = ("sctp", "usrsctp")
"""TCP and UDP only by name: TCP cannot do what RFC 5811 asks for, UDP adds a header to it."""


def probe_transports() -> dict[str, str]:
    """Name -> why it cannot be used here; empty: it can."""
    return {name: probe() for name, probe in _PROBES.items()}


def choose(name: str) -> str:
    """The transport that a configured name means here. Raises TmlUnavailable."""
    if name == "auto":
        reasons = {candidate: _PROBES[candidate]() for candidate in AUTO_ORDER}
        for candidate, reason in reasons.items():
            if not reason:
                return candidate
        told = "; ".join(f"{candidate}: {reason}" for candidate, reason in reasons.items())
        raise TmlUnavailable(f"no SCTP transport on this machine ({told})")
    if name not in _PROBES:
        raise TmlUnavailable(f"unknown transport {name!r}; known: auto, {', '.join(_PROBES)}")
    reason = _PROBES[name]()
    if reason:
        raise TmlUnavailable(f"transport {name}: {reason}")
    return name


def make_guard(name: str, local_address: str) -> Guard | None:
    """For the transport that this name means here; None where the kernel speaks for a process
    that dies. In a process of one thread, before its event loop. Raises TmlUnavailable."""
    chosen = choose(name)
    if chosen not in ("usrsctp", "usrsctp-udp"):
        return None
    return Guard(local_address, udp=chosen == "usrsctp-udp")


def make_tml(name: str, config: TmlConfig, guard: Guard | None = None) -> Tml:
    """Raises TmlUnavailable with a sentence for the user."""
    return _MAKERS[choose(name)](config, guard)
