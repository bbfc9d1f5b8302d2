"""`fe_datapath.punting` in the kernel's words: a classic BPF program per port, so that no packet
that is not for the CE ever wakes the FE (Linux Documentation/networking/filter.rst).

Every test ends in its own return: no jump is longer than two instructions.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

from fe_datapath.punting import (
    ARP_REPLY,
    ETHERTYPE_ARP,
    ETHERTYPE_IP,
    FIRST_MULTICAST,
    LOCAL_MULTICAST,
    LOCAL_MULTICAST_MASK,
    PortRules,
)

_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30
"""Load from an absolute offset into the frame."""
_AND = 0x54
_JA, _JEQ, _JGT, _JGE = 0x05, 0x15, 0x25, 0x35
_RET = 0x06
_PACKET_TYPE = 0xFFFFF000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE."""
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_WHOLE, _NOTHING = 0x40000, 0
_OFF_TYPE, _OFF_ARP_OP, _OFF_TTL, _OFF_PROTOCOL, _OFF_DESTINATION = 12, 20, 22, 23, 30
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, k."""


def program(rules: PortRules) -> list[Instruction]:
    """ValueError if the FE has more addresses than a program can compare."""
    made: list[Instruction] = [
        (_LD_W, 0, 0, _PACKET_TYPE),
        *_if_equal((_PACKET_OUTGOING, _PACKET_OTHERHOST), _NOTHING),
        (_LD_H, 0, 0, _OFF_TYPE),
        (_JEQ, 0, 3, ETHERTYPE_ARP),
        (_LD_H, 0, 0, _OFF_ARP_OP),
        *_if_equal((ARP_REPLY,), _WHOLE),
        (_JEQ, 1, 0, ETHERTYPE_IP),
        (_RET, 0, 0, _NOTHING),
    ]
    if rules.protocols:
        chosen: list[Instruction] = [
            (_LD_W, 0, 0, _OFF_DESTINATION),
            *_if_equal((rules.address,), _WHOLE),
            (_AND, 0, 0, LOCAL_MULTICAST_MASK),
            *_if_equal((LOCAL_MULTICAST,), _WHOLE),
        ]
        made.append((_LD_B, 0, 0, _OFF_PROTOCOL))
        made += [
            (_JEQ, len(rules.protocols) - number, 0, protocol)
            for number, protocol in enumerate(rules.protocols)
        ]
        made.append((_JA, 0, 0, len(chosen)))
        made += chosen
    made.append((_LD_W, 0, 0, _OFF_DESTINATION))
    made += _if_equal(rules.addresses, _WHOLE if rules.for_us else _NOTHING)
    if rules.ttl_expired:
        made += [
            (_JGE, 0, 1, FIRST_MULTICAST),
            (_RET, 0, 0, _NOTHING),
            (_LD_B, 0, 0, _OFF_TTL),
            (_JGT, 1, 0, 1),
            (_RET, 0, 0, _WHOLE),
        ]
    made.append((_RET, 0, 0, _NOTHING))
    if len(made) > MAX_INSTRUCTIONS:
        raise ValueError(f"redirect: too many addresses ({len(rules.addresses)}) for a filter")
    return made


def _if_equal(values: Iterable[int], verdict: int) -> list[Instruction]:
    """Return the verdict if what was loaded is one of these; else go on."""
    return [
        instruction
        for value in values
        for instruction in ((_JEQ, 0, 1, value), (_RET, 0, 0, verdict))
    ]


def attach(to: socket.socket, instructions: list[Instruction]) -> None:
    octets = b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(octets, len(octets))
    fprog = struct.pack("HP", len(instructions), ctypes.addressof(buffer))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def attach_nothing(to: socket.socket) -> None:
    """A filter that lets nothing in."""
    attach(to, [(_RET, 0, 0, _NOTHING)])
