"""A delay line for kernels without netem: frames come in by a TAP, wait, and leave by a packet
socket on the interface they were meant for (lab/emulated/impairments.py lays the ways).

One process for all impaired directions of a lab; it enters each node's network namespace only to
open its files there. Frames overtake each other where the jitter says so, as with netem. Python
takes about 20 us for a frame: the lines together carry some 20,000 frames a second.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.emulated.bpf_stage import DELAYED_MARK
from lab.emulated.clock import SENDER_PRIORITY, become_punctual
from lab.emulated.namespaces import network_of

PRIORITY = SENDER_PRIORITY + 1
"""SCHED_FIFO: what it forwards must not wait for who sent it."""

MAX_WAITING = 50_000
"""Frames under way, all lines together; more are dropped, and counted."""

MAX_FRAME = 65_535
BATCH = 64
"""Frames taken from one TAP before the clock is looked at again."""

QUEUE_FRAMES = 4000
"""Of a TAP: a fifth of a second at the most that the lines carry."""

IDLE_S = 0.5

_TUNSETIFF, _SIOCGIFINDEX = 0x400454CA, 0x8933
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFTXQLEN = 0x8913, 0x8914, 0x8943
_IFF_TAP, _IFF_NO_PI, _IFF_UP = 0x0002, 0x1000, 0x1


def open_tap(name: str) -> tuple[int, int]:
    """(file, interface index) of a new TAP in this thread's namespace; it goes with the file."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
    fcntl.ioctl(file, _TUNSETIFF, request)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), QUEUE_FRAMES))
        got = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack("16sH22x", got)[1] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))
        found = fcntl.ioctl(control, _SIOCGIFINDEX, struct.pack("16si20x", name.encode(), 0))
    return file, int(struct.unpack("16si20x", found)[1])


def open_exit(interface: str) -> socket.socket:
    """Where frames leave: marked, so that the stage lets them pass."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    out.bind((interface, 0))
    out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, DELAYED_MARK)
    return out


def run(config: Mapping[str, Any]) -> None:
    """A process of its own. Keys: `lines` (each `pid`, `interface`, `tap`, `delay_ns`,
    `jitter_ns`), `seed`, `ready` (gets the TAPs' indexes), `file` (gets what it did, at the
    end)."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    rng = random.Random(config["seed"])
    entries: dict[int, tuple[socket.socket, int, int]] = {}
    indexes = {}
    for line in config["lines"]:
        with network_of(line["pid"]):
            file, indexes[line["tap"]] = open_tap(line["tap"])
            entries[file] = (open_exit(line["interface"]), line["delay_ns"], line["jitter_ns"])
    become_punctual(PRIORITY)
    ready = Path(config["ready"])
    fresh = ready.with_suffix(".new")
    fresh.write_text(json.dumps(indexes))
    fresh.replace(ready)

    waiting: list[tuple[int, int, socket.socket, bytes]] = []
    number = carried = dropped = refused = latest_ns = late_sum_ns = 0
    files = list(entries)
    while not stopping:
        now = time.monotonic_ns()
        while waiting and waiting[0][0] <= now:
            due, _, out, frame = heapq.heappop(waiting)
            try:
                out.send(frame)
            except OSError:
                refused += 1  # the link is cut, or its queue is full: what is under way is lost
            carried += 1
            now = time.monotonic_ns()
            late_sum_ns += now - due
            latest_ns = max(latest_ns, now - due)
        left = (waiting[0][0] - now) / 1e9 if waiting else IDLE_S
        readable, _, _ = select.select(files, [], [], max(0.0, left))
        for file in readable:
            out, delay_ns, jitter_ns = entries[file]
            for _ in range(BATCH):
                try:
                    frame = os.read(file, MAX_FRAME)
                except BlockingIOError:
                    break
                if len(waiting) >= MAX_WAITING:
                    dropped += 1
                    continue
                drawn = rng.randint(-jitter_ns, jitter_ns) if jitter_ns else 0
                number += 1
                due = time.monotonic_ns() + delay_ns + drawn
                heapq.heappush(waiting, (due, number, out, frame))
    figures = {
        "frames": carried,
        "dropped_for_want_of_room": dropped,
        "refused_by_the_link": refused,
        "late_mean_us": round(late_sum_ns / carried / 1e3, 1) if carried else None,
        "late_max_us": round(latest_ns / 1e3, 1),
    }
    Path(config["file"]).write_text(json.dumps(figures) + "\n")
