"""The scale study: what grows with the FEs grows for the reason that is stated."""

from __future__ import annotations

import pytest

from experiments.report import scaling
from lab.backend import LabError, Mode
from lab.simulated.scale import failover, tree


@pytest.mark.parametrize(("mode", "per_fe"), [("cold", 11), ("hot", 6), ("hot+sync", 6)])
def test_messages_and_time_grow_with_the_fes(mode: Mode, per_fe: float) -> None:
    small, large = failover(5, mode), failover(40, mode)
    assert small.messages_per_fe == pytest.approx(per_fe, abs=1)
    assert large.messages_per_fe == pytest.approx(per_fe, abs=1)
    assert 5 < large.ready_ms / small.ready_ms < 9
    assert large.median_ready_ms < large.ready_ms


def test_without_a_cost_of_handling_nobody_waits_for_its_turn() -> None:
    small, large = (failover(fes, "hot", handling_us=0.0) for fes in (5, 40))
    assert large.ready_ms < 2 * small.ready_ms
    assert large.messages_per_fe == pytest.approx(small.messages_per_fe)


def test_the_same_seed_gives_the_same_failover() -> None:
    one, other = failover(8, "hot"), failover(8, "hot")
    assert (one.ready_ms, one.messages, one.octets) == (
        other.ready_ms,
        other.messages,
        other.octets,
    )


def test_a_figure_has_a_line_for_each_mode() -> None:
    points = [failover(fes, mode) for fes in (3, 6) for mode in ("cold", "hot")]
    figure = scaling.draw(points, 100.0)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


@pytest.mark.parametrize("fes", [1, 20_001])
def test_a_size_that_cannot_be_is_one_line(fes: int) -> None:
    with pytest.raises(LabError, match=f"{fes} FEs are outside"):
        tree(fes)
