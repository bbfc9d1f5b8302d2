"""The data probe: what happened to the packets (RFC 6412 and RFC 8456 terms).

Per flow and direction. Loss-derived: lost packets over offered load (RFC 6412 section 3.5, the
route-specific form). Gap-derived: last packet before to first packet after, less the one interval
that lies between two packets anyway. Rate-derived: until the rate received is the rate offered
for good, in steps of the packet sampling interval (RFC 6413 section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.measures.records import Probe

TAIL_PACKETS = 5
"""Traffic is back when the last five packets arrive (RFC 6412's sustained convergence)."""

SAMPLES_PER_INTERVAL = 10
"""Packets in a packet sampling interval: one packet more or less is noise, not convergence."""


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """Times in ms; "affected" and convergence are relative to t_fault."""

    flow: str
    direction: str
    pps: float
    sent: int
    """Until the end of the observed time."""
    received: int
    """Of these, different packets; duplicates are counted apart."""
    lost: int
    lost_after: int
    """Sent later, while the lab healed what was left: not what the fault cost."""
    duplicates: int
    reordered: int
    foreign: int
    """Received, never sent: the records do not belong together."""
    disruptions: int
    longest_ms: float
    outage_ms: float
    """Loss-derived, all disruptions together."""
    gap_outage_ms: float
    """Gap-derived, the longest disruption."""
    convergence_ms: float | None
    """Rate-derived; None: the rate never came back. 0: it never fell."""
    first_affected_ms: float | None
    last_affected_ms: float | None
    lost_before_fault: int
    tail_lost: bool
    """The last packets did not arrive."""
    sender_pause_ms: float
    overflow: int
    earliest_arrival_ms: float | None
    """Smallest one-way time: below 0 the clocks are wrong."""


def lost_mask(probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """(lost, first arrival in ns) for each packet sent, in order of sequence numbers."""
    seq = np.sort(probe.tx["seq"])
    arrival = np.full(len(seq), np.iinfo(np.int64).max, dtype=np.int64)
    if len(seq) and len(probe.rx):
        where = np.searchsorted(seq, probe.rx["seq"])
        known = where < len(seq)
        known[known] &= seq[where[known]] == probe.rx["seq"][known]
        np.minimum.at(arrival, where[known], probe.rx["kernel_ns"][known])
    return arrival == np.iinfo(np.int64).max, arrival


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end (exclusive) of each run of true values."""
    edges = np.diff(np.concatenate(([False], mask, [False])).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def measure(
    probe: Probe, t_fault_ns: int | None, margin_ms: float, until_ns: int | None = None
) -> ProbeFigures:
    """All figures of one flow in one direction, of the packets sent until then."""
    tx = np.sort(probe.tx, order="seq")
    lost, arrival = lost_mask(probe)
    tail_lost = bool(len(tx) == 0 or lost[-TAIL_PACKETS:].any())
    foreign = int(np.count_nonzero(~np.isin(probe.rx["seq"], tx["seq"])))
    everything = int(np.count_nonzero(~lost))
    inside = np.ones(len(tx), bool) if until_ns is None else tx["sent_ns"] <= until_ns
    lost_after = int(np.count_nonzero(lost & ~inside))
    tx, lost, arrival = tx[inside], lost[inside], arrival[inside]
    interval_ns = 1e9 / probe.pps if probe.pps else 0.0
    starts, ends = runs(lost)
    arrived = probe.rx[np.argsort(probe.rx["kernel_ns"], kind="stable")]["seq"]
    received = int(np.count_nonzero(~lost))
    affected = tx["sent_ns"][lost]
    fault = t_fault_ns if t_fault_ns is not None else np.iinfo(np.int64).max
    lost_ms = (ends - starts) * interval_ns / 1e6
    one_way = probe.rx["kernel_ns"] - probe.rx["sent_ns"]
    return ProbeFigures(
        flow=probe.flow,
        direction=probe.direction,
        pps=probe.pps,
        sent=len(tx),
        received=received,
        lost=int(np.count_nonzero(lost)),
        lost_after=lost_after,
        duplicates=len(arrived) - foreign - everything,
        reordered=_reordered(arrived),
        foreign=foreign,
        disruptions=len(starts),
        longest_ms=float(lost_ms.max(initial=0.0)),
        outage_ms=float(lost_ms.sum()),
        gap_outage_ms=_longest_gap_ms(starts, ends, arrival, interval_ns),
        convergence_ms=_convergence_ms(tx, arrival, lost, fault, interval_ns),
        first_affected_ms=_relative_ms(affected, fault, 0),
        last_affected_ms=_relative_ms(affected, fault, -1),
        lost_before_fault=int(np.count_nonzero(affected < fault - margin_ms * 1e6)),
        tail_lost=tail_lost,
        sender_pause_ms=_pause_ms(tx, interval_ns),
        overflow=probe.overflow,
        earliest_arrival_ms=float(one_way.min()) / 1e6 if len(one_way) else None,
    )


def _reordered(arrived: np.ndarray) -> int:
    """Packets that came after one with a higher number (RFC 4737's Type-P-Reordered); a second
    copy of a packet is a duplicate, not a reordering."""
    if len(arrived) < 2:
        return 0
    first = np.sort(np.unique(arrived, return_index=True)[1])
    order = arrived[first].astype(np.int64)
    return int(np.count_nonzero(order < np.maximum.accumulate(order)))


def _longest_gap_ms(
    starts: np.ndarray, ends: np.ndarray, arrival: np.ndarray, interval_ns: float
) -> float:
    inner = (starts > 0) & (ends < len(arrival))
    if not inner.any():
        return 0.0
    gaps = arrival[ends[inner]] - arrival[starts[inner] - 1] - interval_ns
    return max(0.0, float(gaps.max()) / 1e6)


def _relative_ms(affected: np.ndarray, fault_ns: int, index: int) -> float | None:
    if not len(affected) or fault_ns == np.iinfo(np.int64).max:
        return None
    return float(affected[index] - fault_ns) / 1e6


def _pause_ms(tx: np.ndarray, interval_ns: float) -> float:
    """How much longer than its interval the sender was ever silent, or ever late."""
    if len(tx) < 2:
        return 0.0
    silent = float(np.diff(np.sort(tx["sent_ns"])).max()) - interval_ns
    late = float((tx["sent_ns"] - tx["due_ns"]).max())
    return max(0.0, silent, late) / 1e6


def _convergence_ms(
    tx: np.ndarray, arrival: np.ndarray, lost: np.ndarray, fault_ns: int, interval_ns: float
) -> float | None:
    """Rate offered against rate received, per packet sampling interval after the fault: the rate
    is back at the end of the last interval that lacks more than one packet."""
    step = int(interval_ns * SAMPLES_PER_INTERVAL)
    if not len(tx) or step == 0 or fault_ns >= tx["sent_ns"].max():
        return 0.0
    count = int((tx["sent_ns"].max() - fault_ns) // step)
    edges = fault_ns + np.arange(count + 1) * step
    offered, _ = np.histogram(tx["sent_ns"], edges)
    received, _ = np.histogram(arrival[~lost], edges)
    short = np.flatnonzero(offered - received > 1)
    if not len(short):
        return 0.0
    if short[-1] == count - 1:
        return None
    return float((short[-1] + 1) * step) / 1e6
