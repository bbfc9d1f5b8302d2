"""The language of `expect:`: comparisons over a cell's figures, and nothing else.

    data_lost.max == 0
    policy == 0 or data_lost.max == 0
    dtime2_ms.median < cells["cold"].dtime2_ms.median / 5

Parsed with `ast`, every node on a list of allowed ones, every name checked when the scenario is
loaded. Evaluated by walking the tree: Python's `eval` is never called.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from experiments.statistics import Summary
from lab.backend import CellSettings

METRICS = (
    "dtime1_ms",
    "dtime2_ms",
    "dtime3_ms",
    "failover_ms",
    "control_outage_ms",
    "first_change_ms",
    "data_sent",
    "data_lost",
    "data_outage_ms",
    "disruptions",
    "false_alarms",
    "beats_missed",
)
"""Each has the attributes of `STATISTICS`."""

STATISTICS = tuple(f.name for f in fields(Summary) if f.name != "interval")
COUNTS = ("ok", "disagree", "invalid", "violated", "trials", "agreement", "run_agreement")
"""Trials of the cell by verdict, all of them, and the share of judged ones that agree (0..1), in
the cell and in the whole run: a share of 95 % cannot be seen in ten trials."""

SETTINGS = tuple(f.name for f in fields(CellSettings) if f.name != "impairments")
MAX_LENGTH = 400

_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class ExpectationError(ValueError):
    """The expression is not one of this language, or names what does not exist."""


class NotMeasured(Exception):
    """A figure has no value: no trial gave one, or its cell was not run."""


@dataclass(frozen=True, slots=True)
class CellFigures:
    """What an expression can ask of a cell."""

    name: str
    facts: Mapping[str, Any]
    """Settings, `cell`, `fault`, and the counts."""
    metrics: Mapping[str, Summary]


@dataclass(frozen=True, slots=True)
class Checked:
    """One expectation in one cell."""

    cell: str
    expression: str
    held: bool | None
    """None: it could not be asked, because a cell it names was not run."""
    values: str
    """The figures it looked at, e.g. `data_lost.max = 3`."""


def check_syntax(expression: str, cells: Collection[str]) -> None:
    """ExpectationError unless every name in it exists."""
    _walk(_parse(expression), cells)


def evaluate(expression: str, cell: str, figures: Mapping[str, CellFigures]) -> Checked:
    """Ask one cell. A figure without a value fails the expectation: nothing measured is not
    nothing wrong."""
    seen: dict[str, Any] = {}
    try:
        held: bool | None = bool(_value(_parse(expression), figures[cell], figures, seen))
    except NotMeasured as error:
        return Checked(cell, expression, False, str(error))
    except KeyError as error:
        return Checked(cell, expression, None, f"cell {error.args[0]} was not run")
    except (ZeroDivisionError, TypeError) as error:
        return Checked(cell, expression, False, str(error))
    return Checked(cell, expression, held, ", ".join(f"{k} = {_short(v)}" for k, v in seen.items()))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise ExpectationError(f"longer than {MAX_LENGTH} characters")
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpectationError(f"not an expression: {expression!r}") from None


def _walk(node: ast.expr, cells: Collection[str]) -> None:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _walk(value, cells)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            _walk(operand, cells)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            _walk(left, cells)
            _walk(right, cells)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for comparison in ops:
                if type(comparison) not in _COMPARISONS:
                    raise ExpectationError(f"not a comparison of this language: {_text(node)}")
            for each in (left, *others):
                _walk(each, cells)
        case ast.Constant(value=bool() | int() | float() | str()):
            pass
        case ast.Name(id=name):
            if name in METRICS:
                raise ExpectationError(
                    f"{name} needs a statistic: {', '.join(f'{name}.{s}' for s in STATISTICS[:3])}"
                )
            if name not in (*COUNTS, *SETTINGS, "cell", "fault"):
                raise ExpectationError(f"unknown name {name!r}{_known()}")
        case ast.Attribute(value=ast.Name(id=metric), attr=statistic):
            _check_metric(metric, statistic)
        case ast.Attribute(value=ast.Attribute(value=ast.Subscript() as sub, attr=metric)):
            _check_cell(sub, cells)
            _check_metric(metric, node.attr)
        case ast.Attribute(value=ast.Subscript() as sub, attr=count):
            _check_cell(sub, cells)
            if count not in COUNTS:
                raise ExpectationError(f"a cell has no count {count!r}: {', '.join(COUNTS)}")
        case _:
            raise ExpectationError(f"not part of this language: {_text(node)}")


def _text(node: ast.expr) -> str:
    return ast.unparse(node)[:60]


def _known() -> str:
    return f" (figures: {', '.join(METRICS)}; counts: {', '.join(COUNTS)}; settings)"


def _check_metric(metric: str, statistic: str) -> None:
    if metric not in METRICS:
        raise ExpectationError(f"unknown figure {metric!r} (known: {', '.join(METRICS)})")
    if statistic not in STATISTICS:
        raise ExpectationError(f"unknown statistic {statistic!r} (known: {', '.join(STATISTICS)})")


def _check_cell(node: ast.Subscript, cells: Collection[str]) -> None:
    match node:
        case ast.Subscript(value=ast.Name(id="cells"), slice=ast.Constant(value=str(name))):
            if name not in cells:
                raise ExpectationError(f"unknown cell {name!r} (cells: {', '.join(cells)})")
        case _:
            raise ExpectationError(f'only cells["NAME"] can be indexed: {_text(node)}')


def _value(
    node: ast.expr, here: CellFigures, cells: Mapping[str, CellFigures], seen: dict[str, Any]
) -> Any:
    def value(inner: ast.expr) -> Any:
        return _value(inner, here, cells, seen)

    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(value(each) for each in values)
        case ast.BoolOp(values=values):
            return any(value(each) for each in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value(operand)
        case ast.UnaryOp(operand=operand):
            return -value(operand)
        case ast.BinOp(left=left, op=op, right=right):
            result = _ARITHMETIC[type(op)](value(left), value(right))
            if isinstance(op, ast.Div):  # a ratio is what one wants to see
                seen[ast.unparse(node)] = result
            return result
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [value(each) for each in (left, *others)]
            return all(
                _COMPARISONS[type(op)](a, b)
                for op, a, b in zip(ops, values, values[1:], strict=False)
            )
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id=name):
            found = here.facts[name]
        case ast.Attribute(value=ast.Name(id=metric), attr=statistic):
            found = _statistic(here, metric, statistic)
        case ast.Attribute(value=ast.Attribute(value=ast.Subscript() as sub, attr=metric)):
            found = _statistic(cells[_cell(sub)], metric, node.attr)
        case ast.Attribute(value=ast.Subscript() as sub, attr=count):
            found = cells[_cell(sub)].facts[count]
        case _:
            raise ExpectationError(f"not part of this language: {_text(node)}")
    seen[ast.unparse(node)] = found
    return found


def _cell(node: ast.Subscript) -> str:
    assert isinstance(node.slice, ast.Constant)
    return str(node.slice.value)


def _statistic(cell: CellFigures, metric: str, statistic: str) -> float:
    found: float | None = getattr(cell.metrics[metric], statistic)
    if found is None:
        raise NotMeasured(f"{metric}.{statistic} of {cell.name}: nothing measured")
    return found
