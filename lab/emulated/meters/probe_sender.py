"""The data probe's sender: all flows of one host, one packet per send, on absolute deadlines.

Started by the fork server in the host's namespace as `lab.emulated.meters.probe_sender:run`. Flows
are interleaved: with F flows of P packets a second, packet i of flow f is due at start + (i*F + f)
/ (P*F). A packet whose deadline has passed is sent at once, so the number sent never depends on
lateness; the lateness is in the record. What was sent is written at SIGTERM, at the configured end,
and when the buffers are full.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.emulated.clock import SENDER_PRIORITY, become_punctual
from lab.emulated.meters.probe_records import (
    DATAGRAM_OCTETS,
    MAX_PPS,
    PAYLOAD,
    TX_DTYPE,
    ProbeFlow,
    capacity,
    flows_of,
    write_half,
)

_SO_SNDBUFFORCE = 32
_SEND_BUFFER_OCTETS = 8 << 20
_TOO_SHORT_TO_SLEEP_NS = 2_000
_READY_MARGIN_NS = 1_000_000


@dataclass(slots=True)
class _Run:
    """One run's parameters and what became of it."""

    start_ns: int
    end_ns: int
    ticks_per_s: int
    stopping: bool = False
    errors: int = 0

    def due(self, tick: Any) -> Any:
        """When a tick is due: an int, or an array of them."""
        return self.start_ns + tick * 1_000_000_000 // self.ticks_per_s


def run(config: Mapping[str, Any]) -> None:
    """Keys: `flows`, `pps`, `folder`, `start_ns`, `run_s`; optional `fifo`, `ready` (a file that
    is made when the sockets are open)."""
    flows = flows_of(config)
    pps = int(config["pps"])
    room = capacity(pps, float(config["run_s"])) * len(flows)
    if pps * len(flows) > MAX_PPS:
        raise ValueError(f"{len(flows)} flows of {pps} pps are more than {MAX_PPS} pps for a host")
    start_ns = int(config["start_ns"])
    run_ns = int(float(config["run_s"]) * 1e9)
    this = _Run(start_ns, start_ns + run_ns, pps * len(flows))

    def stop(_number: int, _frame: object) -> None:
        this.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sockets = [_open(flow) for flow in flows]
    sent_at = array("q", bytes(8 * room))
    punctuality = become_punctual(int(config.get("fifo", SENDER_PRIORITY)))
    if ready := config.get("ready"):
        os.close(os.open(ready, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    used_before = time.process_time()
    # Getting ready is not lateness: the meter's deadlines begin when it can meet them.
    this.start_ns = max(this.start_ns, time.monotonic_ns() + _READY_MARGIN_NS)
    try:
        ticks = _send_all(this, sockets, sent_at)
    finally:
        for each in sockets:
            each.close()
    facts = {
        "pps": pps,
        "send_errors": this.errors,
        "truncated": ticks == room,
        "sender_cpu_s": round(time.process_time() - used_before, 4),
        "sender": asdict(punctuality),
    }
    _write(this, flows, sent_at, ticks, config["folder"], facts)


def _open(flow: ProbeFlow) -> socket.socket:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        probe.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_OCTETS)
    except OSError:
        pass  # without CAP_NET_ADMIN the default buffer has to do
    probe.bind((flow.source_address, 0))
    probe.connect((flow.destination_address, flow.port))
    return probe


def _send_all(this: _Run, sockets: Sequence[socket.socket], sent_at: array[int]) -> int:
    """The loop that must not be late; returns the number of packets sent."""
    monotonic, sleep, pack = time.monotonic_ns, time.sleep, PAYLOAD.pack_into
    sends = [each.send for each in sockets]
    flows, room = len(sends), len(sent_at)
    start_ns, ticks_per_s, end_ns = this.start_ns, this.ticks_per_s, this.end_ns
    datagram = bytearray(DATAGRAM_OCTETS)
    for tick in range(room):
        due = start_ns + tick * 1_000_000_000 // ticks_per_s
        if due >= end_ns:
            return tick
        now = monotonic()
        while now < due - _TOO_SHORT_TO_SLEEP_NS and not this.stopping:
            sleep(min(due - now, 50_000_000) / 1e9)
            now = monotonic()
        if this.stopping:
            return tick
        sequence, flow = divmod(tick, flows)
        sent_at[tick] = now
        pack(datagram, 0, sequence, now)
        try:
            sends[flow](datagram)
        except OSError:
            # An ICMP error of an earlier packet is reported once and this packet was not tried:
            # try again. If it fails by itself (no route in the host) it was offered and lost.
            try:
                sends[flow](datagram)
            except OSError:
                this.errors += 1
    return room


def _write(
    this: _Run,
    flows: Sequence[ProbeFlow],
    sent_at: array[int],
    ticks: int,
    folder: str | Path,
    facts: Mapping[str, Any],
) -> None:
    tick = np.arange(ticks, dtype=np.int64)
    due = this.due(tick)
    sent = np.frombuffer(sent_at, dtype=np.int64)[:ticks]
    for index, flow in enumerate(flows):
        mine = slice(index, ticks, len(flows))
        record = np.zeros(len(tick[mine]), TX_DTYPE)
        record["seq"] = np.arange(len(record))
        record["due_ns"] = due[mine]
        record["sent_ns"] = sent[mine]
        np.save(flow.file(folder, "tx.npy"), record)
        late = np.maximum(record["sent_ns"] - record["due_ns"], 0)
        write_half(
            flow,
            folder,
            "tx",
            {
                **facts,
                "sent": len(record),
                "sender_late_ns": {
                    "p50": int(np.quantile(late, 0.5)) if len(late) else 0,
                    "p99": int(np.quantile(late, 0.99)) if len(late) else 0,
                    "max": int(late.max()) if len(late) else 0,
                },
            },
        )
