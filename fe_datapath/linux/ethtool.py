"""Speed and duplex mode of an interface: SIOCETHTOOL with ETHTOOL_GSET and ETHTOOL_SSET
(linux/ethtool.h). Unlike /sys it shows the namespace of the socket.

A veth has a speed and cannot be given one; a real card, and a tap, can.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fe_datapath.datapath import Media

_SIOCETHTOOL = 0x8946
_GSET, _SSET = 1, 2
_COMMAND = struct.Struct("=IIIHBBBBBBIIHBBI2I")
"""struct ethtool_cmd: cmd, supported, advertising, speed, duplex, port, phy_address, transceiver,
autoneg, mdio_support, maxtxpkt, maxrxpkt, speed_hi, eth_tp_mdix, eth_tp_mdix_ctrl,
lp_advertising, reserved."""
_SPEED, _DUPLEX, _AUTONEG, _SPEED_HIGH = 3, 4, 8, 12
_UNKNOWN_SPEEDS = (0, 0xFFFF, 0xFFFFFFFF)
_SUPPORTED = (
    (0, Media(10, False)),
    (1, Media(10, True)),
    (2, Media(100, False)),
    (3, Media(100, True)),
    (4, Media(1_000, False)),
    (5, Media(1_000, True)),
    (12, Media(10_000, True)),
    (17, Media(1_000, True)),
    (23, Media(40_000, True)),
)
"""Bits of `supported`: SUPPORTED_10baseT_Half and so on."""


@dataclass(frozen=True, slots=True)
class LinkMode:
    speed_mbit: int | None
    full_duplex: bool | None
    media: tuple[Media, ...]


class Ethtool:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self._socket.close()

    def read(self, interface: str) -> LinkMode:
        """What is not known is None."""
        try:
            fields = self._get(interface)
        except OSError:
            return LinkMode(None, None, ())
        speed = fields[_SPEED_HIGH] << 16 | fields[_SPEED]
        return LinkMode(
            None if speed in _UNKNOWN_SPEEDS else speed,
            {0: False, 1: True}.get(fields[_DUPLEX]),
            tuple(dict.fromkeys(_media(fields[1]))),
        )

    def set(self, interface: str, wanted: Media) -> None:
        """OSError with EOPNOTSUPP where the interface cannot be set to it."""
        fields = self._get(interface)
        negotiated = wanted == Media()
        if negotiated and not fields[1]:
            return  # it has nothing to negotiate with, and that is what it is asked for
        fields[0] = _SSET
        fields[_AUTONEG] = int(negotiated)
        if wanted.speed_mbit is not None:
            fields[_SPEED], fields[_SPEED_HIGH] = (
                wanted.speed_mbit & 0xFFFF,
                wanted.speed_mbit >> 16,
            )
        if wanted.full_duplex is not None:
            fields[_DUPLEX] = int(wanted.full_duplex)
        self._call(interface, fields)

    def _get(self, interface: str) -> list[int]:
        return self._call(interface, [_GSET] + [0] * 17)

    def _call(self, interface: str, fields: list[int]) -> list[int]:
        command = array.array("B", _COMMAND.pack(*fields))
        request = struct.pack("16sP", interface.encode(), command.buffer_info()[0])
        fcntl.ioctl(self._socket, _SIOCETHTOOL, request.ljust(40, b"\0"))
        return list(_COMMAND.unpack(command.tobytes()))


def _media(supported: int) -> Iterator[Media]:
    for bit, media in _SUPPORTED:
        if supported & 1 << bit:
            yield media
