"""The language of `expect:` says yes, no, and what it does not understand."""

from __future__ import annotations

import pytest

from experiments.expectations import (
    COUNTS,
    METRICS,
    CellFigures,
    ExpectationError,
    check_syntax,
    evaluate,
)
from experiments.plan import Cell
from experiments.results import CellResult, check_expectations
from experiments.statistics import summarise
from lab.backend import CellSettings

CELLS = ("cold", "hot")


def figures(name: str, dtime2: list[float], lost: list[float]) -> CellFigures:
    metrics = {metric: summarise([]) for metric in METRICS}
    metrics |= {"dtime2_ms": summarise(dtime2), "data_lost": summarise(lost)}
    facts = {"cell": name, "fault": "crash", "policy": 1, "mode": name}
    return CellFigures(name, facts | dict.fromkeys(COUNTS, 3) | {"agreement": 1.0}, metrics)


RUN = {
    "cold": figures("cold", [20, 30, 25], [0, 0, 4]),
    "hot": figures("hot", [0.5, 0.4, 0.6], [0, 0, 0]),
}


@pytest.mark.parametrize(
    ("expression", "cell", "held"),
    [
        ("data_lost.max == 0", "hot", True),
        ("data_lost.max == 0", "cold", False),
        ('dtime2_ms.median < cells["cold"].dtime2_ms.median / 5', "hot", True),
        ('dtime2_ms.median < cells["cold"].dtime2_ms.median / 5', "cold", False),
        ("policy == 0 or data_lost.max == 0", "cold", False),
        ('mode == "cold" or data_lost.max == 0', "cold", True),
        ("not violated > 3 and 0.95 <= agreement <= 1", "hot", True),
        ('cells["cold"].ok == ok', "hot", True),
        ("dtime3_ms.n == 0", "hot", True),
        ("-dtime2_ms.min + 2 * dtime2_ms.n < 6", "hot", True),
    ],
)
def test_expectations_are_asked(expression: str, cell: str, held: bool) -> None:
    check_syntax(expression, CELLS)
    assert evaluate(expression, cell, RUN).held is held


def test_nothing_measured_is_not_nothing_wrong() -> None:
    checked = evaluate("dtime3_ms.max < 100", "hot", RUN)
    assert checked.held is False
    assert checked.values == "dtime3_ms.max of hot: nothing measured"


def test_a_cell_that_was_not_run_cannot_be_asked() -> None:
    only = {"hot": RUN["hot"]}
    checked = evaluate('dtime2_ms.max < cells["cold"].dtime2_ms.max', "hot", only)
    assert checked.held is None


def test_a_division_by_nothing_fails_the_expectation() -> None:
    assert evaluate("1 / data_lost.max > 0", "hot", RUN).held is False


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("data_lots.max == 0", "unknown figure 'data_lots'"),
        ("data_lost.maximum == 0", "unknown statistic 'maximum'"),
        ("data_lost == 0", "data_lost needs a statistic"),
        ("polcy == 0", "unknown name 'polcy'"),
        ('cells["warm"].data_lost.max == 0', "unknown cell 'warm'"),
        ('cells["hot"].okay == 1', "a cell has no count 'okay'"),
        ("cells[0].ok == 1", 'only cells\\["NAME"\\] can be indexed'),
        ("data_lost.max ==", "not an expression"),
        ('__import__("os").system("x")', "not part of this language"),
        ("data_lost.max.__class__ == 1", "not part of this language"),
        ("(lambda: 1)()", "not part of this language"),
        ("2 ** 9999999 > 1", "not part of this language"),
        ("data_lost.max in (1, 2)", "not a comparison of this language"),
        ("[x for x in ()]", "not part of this language"),
        ("ok " + "+ ok " * 200 + "> 1", "longer than"),
    ],
)
def test_what_is_not_of_the_language_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=message):
        check_syntax(expression, CELLS)


def test_a_share_is_asked_of_the_whole_run_where_a_cell_has_too_few_trials() -> None:
    def result(name: str, ok: int, disagree: int) -> CellResult:
        counts = {"ok": ok, "disagree": disagree, "invalid": 0, "violated": 0}
        expect = ("agreement >= 0.95", "run_agreement >= 0.95")
        cell = Cell(name, CellSettings(mode="hot"), "crash", (), 10, 300, 800, False, expect)
        return CellResult(cell, counts, {}, 0, 0, None, {}, ())

    in_ten = [result("a", 9, 1), result("b", 10, 0)]
    assert [c.held for c in check_expectations(in_ten)] == [False, True, True, True]
    one_more = [result("a", 9, 2), *in_ten[1:]]
    assert [c.held for c in check_expectations(one_more)] == [False, False, True, False]
