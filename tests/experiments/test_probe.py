"""The data probe's figures against loss that was put there on purpose (RFC 6412 terms)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.measures.probe import ProbeFigures, measure, runs
from experiments.measures.records import RX, TX, Probe

MS = 1_000_000
START = 10**12


def probe(lost: np.ndarray, pps: int = 1000, delay_ns: int = 80_000) -> Probe:
    tx = np.zeros(len(lost), TX)
    tx["seq"] = np.arange(len(lost))
    tx["due_ns"] = START + np.arange(len(lost)) * (10**9 // pps)
    tx["sent_ns"] = tx["due_ns"] + 10_000
    rx = np.zeros(int((~lost).sum()), RX)
    rx["seq"], rx["sent_ns"] = tx["seq"][~lost], tx["sent_ns"][~lost]
    rx["kernel_ns"] = rx["sent_ns"] + delay_ns
    return Probe("a", "fwd", pps, 0, tx, rx)


def with_loss(n: int, *spans: tuple[int, int]) -> np.ndarray:
    lost = np.zeros(n, bool)
    for start, end in spans:
        lost[start:end] = True
    return lost


def figures(lost: np.ndarray, fault_at: int = 300, pps: int = 1000) -> ProbeFigures:
    return measure(probe(lost, pps), START + fault_at * (10**9 // pps), 2.0)


def test_nothing_lost() -> None:
    f = figures(with_loss(1000))
    assert (f.sent, f.received, f.lost, f.disruptions) == (1000, 1000, 0, 0)
    assert (f.outage_ms, f.gap_outage_ms, f.convergence_ms, f.longest_ms) == (0, 0, 0, 0)
    assert f.first_affected_ms is None


def test_two_disruptions() -> None:
    f = figures(with_loss(1000, (310, 340), (400, 405)))
    assert (f.lost, f.disruptions) == (35, 2)
    assert f.longest_ms == pytest.approx(30)
    assert f.outage_ms == pytest.approx(35)
    assert f.gap_outage_ms == pytest.approx(30)
    assert f.first_affected_ms == pytest.approx(10, abs=0.1)
    assert f.last_affected_ms == pytest.approx(104, abs=0.1)
    assert f.convergence_ms == pytest.approx(110)
    assert not f.tail_lost


@settings(deadline=None, max_examples=60)
@given(st.floats(0.3, 900), st.floats(0, 1), st.sampled_from([500, 1000, 5000]))
def test_loss_and_gap_derived_outage_within_one_probe_interval(
    outage_ms: float, phase: float, pps: int
) -> None:
    """A span in which the kernel drops everything, anywhere between two packets."""
    lost = np.zeros(2 * pps, bool)
    p = probe(lost, pps)
    interval_ms = 1000 / pps
    begin = START + 400 * MS + phase * interval_ms * MS
    dropped = (p.tx["sent_ns"] >= begin) & (p.tx["sent_ns"] < begin + outage_ms * MS)
    f = measure(probe(dropped, pps), int(begin), 2.0)
    assert f.outage_ms == pytest.approx(outage_ms, abs=interval_ms * 1.001)
    assert f.gap_outage_ms == pytest.approx(outage_ms, abs=interval_ms * 1.001)
    assert f.convergence_ms is not None
    assert f.convergence_ms <= outage_ms + 10 * interval_ms
    assert f.sent == f.received + f.lost


def test_duplicates_and_reordering_are_counted_apart() -> None:
    p = probe(with_loss(100))
    rx = np.concatenate((p.rx, p.rx[10:13]))
    rx["kernel_ns"][[50, 51]] = rx["kernel_ns"][[51, 50]]
    f = measure(Probe("a", "fwd", 1000, 0, p.tx, rx), None, 2.0)
    assert (f.duplicates, f.reordered, f.lost, f.foreign) == (3, 1, 0, 0)


def test_a_rate_that_never_comes_back_has_no_convergence_time() -> None:
    f = figures(with_loss(1000, (500, 1000)))
    assert f.convergence_ms is None
    assert f.tail_lost
    assert f.gap_outage_ms == 0.0


def test_packet_just_before_the_fault_may_be_its_victim_but_not_an_earlier_one() -> None:
    assert figures(with_loss(1000, (299, 320))).lost_before_fault == 0
    assert figures(with_loss(1000, (290, 320))).lost_before_fault == 8


def test_records_in_any_order_give_the_same() -> None:
    rng = np.random.default_rng(3)
    p = probe(with_loss(500, (310, 320)))
    mixed = Probe("a", "fwd", 1000, 0, rng.permutation(p.tx), rng.permutation(p.rx))
    fault = START + 300 * MS
    assert measure(mixed, fault, 2.0) == measure(p, fault, 2.0)


@given(st.lists(st.booleans(), max_size=50))
def test_runs_cover_exactly_the_true_values(mask: list[bool]) -> None:
    starts, ends = runs(np.array(mask, dtype=bool))
    again = np.zeros(len(mask), bool)
    for start, end in zip(starts, ends, strict=True):
        assert start < end
        again[start:end] = True
    assert again.tolist() == mask
    assert all(a < b for a, b in zip(ends, starts[1:], strict=False))
