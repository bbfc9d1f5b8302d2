"""A BPF program that drops everything in exact spans of CLOCK_MONOTONIC: outages whose truth is
known to the nanosecond, since it is the kernel's own clock that makes them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from lab.emulated import bpf_stage
from lab.emulated.faults.netlink import LinkSocket, add_clsact, add_program

_KTIME_GET_NS = 5
_CALL, _EXIT, _MOV64_IMM, _LDDW, _JLT_REG = 0x85, 0x95, 0xB7, 0x18, 0xAD
_PASS, _DROP = -1, 2

Span = tuple[int, int]
"""First nanosecond of it, and the first one after it."""


def _one(code: int, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, offset, value)


def _wide(dst: int, value: int) -> bytes:
    low, high = struct.unpack("=ii", struct.pack("=q", value))
    return _one(_LDDW, dst, value=low) + _one(0, value=high)


def program(spans: Sequence[Span]) -> bytes:
    """`spans` in order of time."""
    code = _one(_CALL, value=_KTIME_GET_NS)
    length = 1 + 6 * len(spans)
    for number, (start, end) in enumerate(spans):
        here = 1 + 6 * number
        code += _wide(1, start) + _one(_JLT_REG, 0, 1, offset=length - (here + 3))
        code += _wide(1, end) + _one(_JLT_REG, 0, 1, offset=length + 2 - (here + 6))
    code += _one(_MOV64_IMM, 0, value=_PASS) + _one(_EXIT)
    return code + _one(_MOV64_IMM, 0, value=_DROP) + _one(_EXIT)


def install(pid: int, interface: str, spans: Sequence[Span]) -> None:
    """At the ingress of an interface; it stays as long as the interface does."""
    link = LinkSocket(pid)
    loaded = bpf_stage.load(program(spans))
    try:
        index = link.state(interface).index
        link.execute(add_clsact(index))
        link.execute(add_program(index, loaded, egress=False))
    finally:
        os.close(loaded)
        link.close()
