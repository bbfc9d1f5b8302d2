"""The lab's own impairment stage: a BPF program at an interface that lets a frame pass or not.

Built here instruction by instruction (no compiler, no netem): whom a frame is between, and a die
that the kernel throws for each frame. In use for silence, silence between some nodes only, silence
in one direction only, and random loss. Classic packet loads (BPF_LD | BPF_ABS) start at the
Ethernet header at ingress and at egress alike; frames that are not IPv4 are dropped with the rest
unless addresses are given. For an impaired link it throws the die and leads frames to the delay
line (lab/emulated/delay_line.py), whose own frames carry a mark and pass.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

from lab.backend import FaultFailed

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_SCHED_CLS = 3
_TC_ACT_UNSPEC, _TC_ACT_SHOT = -1, 2
_GET_PRANDOM_U32, _REDIRECT = 7, 23

DELAYED_MARK = 0x0CE4A
"""Of frames that the delay line sends (SO_MARK): they have been judged already."""

_MOV64_IMM, _MOV64_REG, _EXIT, _CALL = 0xB7, 0xBF, 0x95, 0x85
_LD_ABS_H, _LD_ABS_W = 0x28, 0x20
_JEQ_IMM32, _JNE_IMM, _JGE_IMM32 = 0x16, 0x55, 0x36
_LDX_W = 0x61
_SKB_MARK = 8
"""Offset in struct __sk_buff."""

_ETHERTYPE_AT, _SOURCE_AT, _DESTINATION_AT = 12, 26, 30
_ETH_P_IP = 0x0800
MAX_ADDRESSES = 256
"""As many CEs and FEs as a lab has; far below the kernel's 4096 instructions."""


def _instruction(code: int, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, offset, value)


def program(between: Sequence[str] = (), loss: float = 1.0) -> bytes:
    """Drops frames: all, or those from or to the addresses `between`; each with probability
    `loss`."""
    if not 0 < loss <= 1:
        raise ValueError(f"a loss of {loss} is not in (0, 1]")
    if len(between) > MAX_ADDRESSES:
        raise ValueError(f"{len(between)} addresses are more than {MAX_ADDRESSES}")
    keep = _instruction(_MOV64_IMM, 0, value=_TC_ACT_UNSPEC) + _instruction(_EXIT)
    drop = _instruction(_MOV64_IMM, 0, value=_TC_ACT_SHOT) + _instruction(_EXIT)
    if loss < 1:
        drop = _die(loss) + drop + keep
    if not between:
        return drop
    code = _instruction(_MOV64_REG, 6, 1)  # packet loads want the context in r6
    code += _instruction(_LD_ABS_H, value=_ETHERTYPE_AT)
    code += _instruction(_JNE_IMM, 0, offset=0x7FFF, value=_ETH_P_IP)
    for at in (_SOURCE_AT, _DESTINATION_AT):
        code += _instruction(_LD_ABS_W, value=at)
        for address in between:
            (value,) = struct.unpack("=i", struct.pack("=I", int(IPv4Address(address))))
            code += _instruction(_JEQ_IMM32, 0, offset=0x7FFE, value=value)
    return _linked(code, keep, drop)


def impairment(loss: float, line: int | None) -> bytes:
    """Drops frames with probability `loss`, and leads what is left to the interface with index
    `line`, if there is one; what comes from there passes."""
    if not 0 <= loss < 1:
        raise ValueError(f"a loss of {loss} is not in [0, 1)")
    keep = _instruction(_MOV64_IMM, 0, value=_TC_ACT_UNSPEC) + _instruction(_EXIT)
    code = b""
    if loss:
        code += _die(loss) + _instruction(_MOV64_IMM, 0, value=_TC_ACT_SHOT) + _instruction(_EXIT)
    if line is not None:
        code += _instruction(_MOV64_IMM, 1, value=line) + _instruction(_MOV64_IMM, 2)
        code += _instruction(_CALL, value=_REDIRECT) + _instruction(_EXIT)
    marked = _instruction(_LDX_W, 0, 1, offset=_SKB_MARK)
    marked += _instruction(_JEQ_IMM32, 0, offset=len(code) // 8, value=DELAYED_MARK)
    return marked + code + keep


def _die(loss: float) -> bytes:
    """Falls through with this probability, else jumps over the next two instructions."""
    threshold = round(loss * 2**32)
    signed = struct.unpack("=i", struct.pack("=I", min(threshold, 2**32 - 1)))[0]
    # an unsigned comparison of 32 bits
    return _instruction(_CALL, value=_GET_PRANDOM_U32) + _instruction(
        _JGE_IMM32, 0, offset=2, value=signed
    )


def _linked(code: bytes, keep: bytes, drop: bytes) -> bytes:
    """Marked jumps go to `keep` (0x7FFF), which follows, or to `drop` (0x7FFE) behind it."""
    count = len(code) // 8
    targets = {0x7FFF: count, 0x7FFE: count + len(keep) // 8}
    linked = bytearray(code)
    for index in range(count):
        (offset,) = struct.unpack_from("=h", linked, index * 8 + 2)
        if offset in targets:
            struct.pack_into("=h", linked, index * 8 + 2, targets[offset] - index - 1)
    return bytes(linked) + keep + drop


def load(instructions: bytes) -> int:
    """bpf(2): a file descriptor of the loaded program. FaultFailed where the kernel refuses."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise FaultFailed(f"no bpf(2) known on {platform.machine()}")
    text = ctypes.create_string_buffer(instructions)
    license_name = ctypes.create_string_buffer(b"GPL")
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIQQ",
            _BPF_PROG_TYPE_SCHED_CLS,
            len(instructions) // 8,
            ctypes.addressof(text),
            ctypes.addressof(license_name),
        ).ljust(128, b"\0")
    )
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(number, _BPF_PROG_LOAD, attributes, 128))
    if descriptor < 0:
        raise FaultFailed(f"bpf(2): {os.strerror(ctypes.get_errno())}")
    return descriptor
