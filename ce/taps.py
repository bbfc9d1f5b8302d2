"""The images of FE ports in a CE's network namespace: a TAP each, named `<fe>-eth<port>` as the
port is in the lab, with the port's addresses (Linux Documentation/networking/tuntap.rst).

To an unmodified routing daemon they are the router's interfaces.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable

from ce.config import CeConfig, FeView, PortView
from ce.kernel_routes import KernelRoutes, Routes
from forces.effects import FollowPort, InjectPacket
from forces.events import Event, KernelRoutesRead, PacketPunted
from forces.io.paced import PacedReader
from forces.token_bucket import TokenBucket

MAX_NAME = 15
MAX_FRAME = 65_536
READ_AHEAD = 2
"""Read at this multiple of the limit that the CE's core keeps: it counts what it drops."""
_TUNSETIFF, _TUNSETCARRIER = 0x400454CA, 0x400454E2
_IFF_TAP, _IFF_NO_PI, _IFF_UP = 0x2, 0x1000, 0x1
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFHWADDR = 0x8914, 0x8916, 0x891C, 0x8924
_SIOCGIFFLAGS = 0x8913
_ARPHRD_ETHER = 1

PortKey = tuple[int, int]


class Taps:
    """Belongs to the event loop that is running when it is made. Raises OSError with one line."""

    def __init__(self, config: CeConfig, inject: Callable[[Event], None]) -> None:
        self._inject = inject
        self._taps: dict[PortKey, Tap] = {}
        self._routes: KernelRoutes | None = None
        try:
            for fe in config.network:
                for port in fe.ports:
                    if port.neighbor_fe is None:
                        self._taps[fe.id, port.id] = self._make(config, fe, port)
            self._routes = KernelRoutes(self._routes_changed)
        except BaseException:
            self.close()
            raise

    def _make(self, config: CeConfig, fe: FeView, port: PortView) -> Tap:
        limit = TokenBucket(READ_AHEAD * config.redirect_pps, config.redirect_burst)

        def written(frame: bytes) -> None:
            self._inject(PacketPunted(port.id, frame, fe.id))

        return Tap(f"{fe.name}-eth{port.id}", port.address, limit, written)

    def carry_out(self, effect: InjectPacket | FollowPort) -> None:
        """A `forces.io.driver.PacketDevice`."""
        tap = self._taps.get((effect.fe, effect.port))
        if tap is None:
            return
        if isinstance(effect, FollowPort):
            tap.follow(effect.up, effect.mac)
        else:
            tap.write(effect.packet)

    def close(self) -> None:
        if self._routes is not None:
            self._routes.close()
        for tap in self._taps.values():
            tap.close()
        self._taps.clear()

    def _routes_changed(self, routes: Routes) -> None:
        """Those that lead out by a port of an FE; not, say, one over the control network."""
        ports = {tap.index: key for key, tap in self._taps.items()}
        self._inject(
            KernelRoutesRead(
                {
                    prefix: (*ports[index], gateway)
                    for prefix, (index, gateway) in routes.items()
                    if index in ports
                }
            )
        )


class Tap:
    """An interface of the namespace that this process is in; goes when it is closed."""

    def __init__(
        self, name: str, address: str, limit: TokenBucket, written: Callable[[bytes], None]
    ) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        if not 0 < len(name) <= MAX_NAME:
            raise OSError(errno.EINVAL, f"{name!r} is too long for an interface's name")
        try:
            self._file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise OSError(
                error.errno, f"no TAP for {name}: /dev/net/tun: {error.strerror}"
            ) from None
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(self._file, _TUNSETIFF, request)
            self._set_carrier(False)
            self._configure(ipaddress.IPv4Interface(address))
            self.index = socket.if_nametoindex(name)
        except (OSError, ValueError) as error:
            self._control.close()
            os.close(self._file)
            number = error.errno if isinstance(error, OSError) else errno.EINVAL
            raise OSError(number, f"no TAP {name}: {error}") from None
        self._reader = PacedReader(self._file, limit, self._read, written)

    def follow(self, up: bool, mac: bytes | None) -> None:
        try:
            if mac is not None and len(mac) == 6:
                self._ioctl(_SIOCSIFHWADDR, struct.pack("H6s", _ARPHRD_ETHER, mac))
            self._set_carrier(up)
        except OSError:  # somebody has removed it, or taken it down
            self.counters["unset"] += 1

    def write(self, frame: bytes) -> None:
        try:
            os.write(self._file, frame)
        except OSError:  # not up, or full: packets get lost
            self.counters["unwritten"] += 1

    def close(self) -> None:
        self._reader.close()
        self._control.close()
        os.close(self._file)

    def _read(self) -> bytes | None:
        try:
            return os.read(self._file, MAX_FRAME)
        except OSError:
            return None

    def _set_carrier(self, up: bool) -> None:
        fcntl.ioctl(self._file, _TUNSETCARRIER, struct.pack("i", up))

    def _configure(self, address: ipaddress.IPv4Interface) -> None:
        for request, value in (
            (_SIOCSIFADDR, address.ip.packed),
            (_SIOCSIFNETMASK, address.netmask.packed),
        ):
            self._ioctl(request, struct.pack("=HH4s8x", socket.AF_INET, 0, value))
        flags = fcntl.ioctl(self._control, _SIOCGIFFLAGS, struct.pack("16s24x", self.name.encode()))
        (now,) = struct.unpack_from("H", flags, 16)
        self._ioctl(_SIOCSIFFLAGS, struct.pack("H", now | _IFF_UP))

    def _ioctl(self, request: int, value: bytes) -> None:
        octets = struct.pack("16s", self.name.encode()) + value
        fcntl.ioctl(self._control, request, octets.ljust(40, b"\0"))
