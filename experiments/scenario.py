"""A scenario file: one question, the cells that answer it, and what is expected (DESIGN 3, 9, 12).

Read by `topologies.document`, so that a mistake is one line with file, line and field.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from experiments.expectations import METRICS, ExpectationError, check_syntax
from experiments.measures.records import Limits
from experiments.plan import Cell, Until
from lab.backend import CellSettings, FaultSpec
from topologies.document import Document, read, suggestion
from topologies.impairments import ImpairmentDocument

FOLDER = Path(__file__).parent / "scenarios"
MAX_CELLS = 200
MAX_TRIALS = 10_000

FaultKind = Literal[
    "crash",
    "hang",
    "isolate-carrier",
    "isolate-silent",
    "planned-switch",
    "teardown",
    "starve",
    "stream",
    "link-cut",
    "link-silent",
    "isolate-oneway",
    "isolate-some",
    "ce-cut",
    "control-loss",
    "link-loss",
    "link-oneway",
]
FigureName = Literal["dtimes", "loss", "outages", "ladder", "sweep", "beside", "path"]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "routes": (0, 1_000_000),
    "ce_heartbeat_ms": (1, 60_000),
    "fe_heartbeat_ms": (1, 60_000),
    "fr_heartbeat_ms": (1, 60_000),
    "cehdi_ms": (1, 600_000),
    "cefti_ms": (1, 3_600_000),
    "beacon_ms": (0, 1_000),
    "probe_pps": (20, 50_000),
    "ces": (1, 100),
    "load": (0, 64),
    "fes": (1, 153),
}
"""Of the numbers in `CellSettings`; the probe's are what its sender can do."""


FALSE_ALARMS, CONTROL_RTT = "false_alarms_per_hour", "control_rtt_ms"
SWEEP_AXES = (CONTROL_RTT, *_BOUNDS)


class ScenarioNotFound(Exception):
    """No scenario of that name: one sentence."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Fault(_Strict):
    kind: FaultKind
    target: Annotated[str, Field(min_length=1, max_length=64)]
    at_ms: Milliseconds = 0.0
    heal_after_ms: Milliseconds | None = None
    jitter_ms: Milliseconds = 0.0
    arguments: dict[str, Any] = Field(default_factory=dict)


def _setting(name: str, hint: Any) -> Any:
    if name in _BOUNDS:
        low, high = _BOUNDS[name]
        hint = Annotated[hint, Field(ge=low, le=high)]
    return (hint | None, None)


_hints = get_type_hints(CellSettings)
_Settings = create_model(
    "_Settings",
    __base__=_Strict,
    **{
        f.name: _setting(f.name, _hints[f.name])
        for f in fields(CellSettings)
        if f.name != "impairments"
    },
)
"""Every field of `CellSettings`, all optional: defaults are written once, in the seam."""


class _Cell(_Settings):  # type: ignore[misc, valid-type]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+._-]{0,63}$")]
    fault: str | None = None
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    calibrate_ms: Milliseconds | None = None
    observe_ms: Milliseconds | None = None
    must_lose: bool | None = None
    jitter_ms: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Instead of `limits.jitter_ms`: another FE's table may be ahead of an FE's first beat."""
    sender_pause_ms: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Instead of `limits.sender_pause_ms`: a kernel that is given large tables holds up senders."""
    expect: list[str] = Field(default_factory=list)


_DEFAULT_LIMITS = Limits()


class _Limits(_Strict):
    jitter_ms: Annotated[float, Field(gt=0, le=1000)] = _DEFAULT_LIMITS.jitter_ms
    sender_pause_ms: Annotated[float, Field(gt=0, le=1000)] = _DEFAULT_LIMITS.sender_pause_ms
    fault_margin_ms: Annotated[float, Field(ge=0, le=1000)] = _DEFAULT_LIMITS.fault_margin_ms


class _Until(_Strict):
    figure: str
    percent: Annotated[float, Field(gt=0, le=1000)] = 10.0
    max_trials: Annotated[int, Field(ge=3, le=MAX_TRIALS)] = 50


class _Sweep(_Strict):
    x: str
    y: Annotated[list[str], Field(min_length=1, max_length=4)]


class ScenarioDocument(_Strict):
    """The file as written."""

    question: Annotated[str, Field(min_length=10, max_length=300)]
    topology: str
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 10
    until: _Until | None = None
    """Adaptive stop: beyond `trials`, until the median is known this well."""
    warmup: Annotated[int, Field(ge=0, le=100)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    calibrate_ms: Milliseconds = 300.0
    observe_ms: Milliseconds = 1000.0
    settings: _Settings = Field(default_factory=_Settings)  # type: ignore[valid-type]
    limits: _Limits = Field(default_factory=_Limits)
    faults: dict[str, list[_Fault]] = Field(default_factory=dict)
    impairments: dict[str, list[ImpairmentDocument]] = Field(default_factory=dict)
    """Named sets; a cell chooses one by `impair`."""
    must_lose: list[str] = Field(default_factory=list)
    """Schedules that cannot leave the data path whole."""
    cells: list[_Cell] = Field(default_factory=list)
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    expect: list[str] = Field(default_factory=list)
    sweep: _Sweep | None = None
    """What the figure `sweep` draws: a setting (or control_rtt_ms), and figures against it."""
    beside: dict[str, Annotated[list[str], Field(min_length=1, max_length=20)]] = Field(
        default_factory=dict
    )
    """What the figure `beside` draws: title of a group, and the cells that stand in it."""
    figures: list[FigureName] = ["dtimes", "loss", "outages", "ladder"]


class Scenario:
    """A checked scenario: its words, its cells."""

    def __init__(self, name: str, document: Document) -> None:
        self.name = name
        self.document = document
        self.content = document.validate(ScenarioDocument)
        self.cells = _cells(document, self.content)
        _check(document, self.content, self.cells)

    @property
    def until(self) -> Until | None:
        asked = self.content.until
        return asked and Until(asked.figure, asked.percent, asked.max_trials)


def available() -> list[str]:
    """Names of the shipped scenarios."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_scenario(name_or_path: str) -> Scenario:
    """A shipped scenario by name, or any file by path."""
    shipped = FOLDER / f"{name_or_path}.yaml"
    if name_or_path in available():
        return Scenario(name_or_path, read(shipped))
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or "/" in name_or_path or path.is_file():
        return Scenario(path.stem, read(path))
    raise ScenarioNotFound(
        f"there is no scenario {name_or_path!r} and no file of that name"
        f"{suggestion(name_or_path, available())}"
    )


def _cells(document: Document, content: ScenarioDocument) -> tuple[Cell, ...]:
    if bool(content.cells) == bool(content.vary):
        raise document.error(
            ("vary",) if content.vary else (), "a scenario has either cells or vary"
        )
    written = content.cells or _product(document, content)
    if len(written) > MAX_CELLS:
        raise document.error(("vary",), f"{len(written)} cells are more than {MAX_CELLS}")
    cells, names = [], set()
    for index, raw in enumerate(written):
        where = ("cells", index) if content.cells else ("vary",)
        if raw.name in names:
            raise document.error((*where, "name"), f"a second cell {raw.name!r}")
        names.add(raw.name)
        cells.append(_cell(document, content, raw, where))
    return tuple(cells)


def _product(document: Document, content: ScenarioDocument) -> list[_Cell]:
    allowed = set(_Cell.model_fields) - {"name", "expect"}
    for key, values in content.vary.items():
        if key not in allowed:
            raise document.error(
                ("vary", key), f"is not what can be varied (known: {', '.join(sorted(allowed))})"
            )
        if not values:
            raise document.error(("vary", key), "must have at least one value")
        for index, value in enumerate(values):
            try:
                _Cell.model_validate({"name": "check", key: value})
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                raise document.error(("vary", key, index), f"{value!r}: {message}") from None
    cells = []
    for values in itertools.islice(itertools.product(*content.vary.values()), MAX_CELLS + 1):
        name = "-".join(map(_word, content.vary, values))
        chosen = dict(zip(content.vary, values, strict=True))
        try:
            cells.append(_Cell.model_validate(chosen | {"name": name}))
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise document.error(("vary",), f"a cell {name!r} cannot be: {message}") from None
    return cells


def _word(key: str, value: Any) -> str:
    """`cold`, `crash`, but `policy0`, `routes1000`, `guard-on`: a bare number says nothing."""
    if isinstance(value, bool):
        return f"{key}-{'on' if value else 'off'}"
    return value if isinstance(value, str) else f"{key.removesuffix('_ms')}{value}"


def _cell(
    document: Document, content: ScenarioDocument, raw: _Cell, where: tuple[int | str, ...]
) -> Cell:
    names = [f.name for f in fields(CellSettings) if f.name != "impairments"]
    chosen = {
        name: value
        for source in (content.settings, raw)
        for name in names
        if (value := getattr(source, name)) is not None
    }
    if "mode" not in chosen:
        raise document.error(where, "mode is missing")
    if raw.fault is not None and raw.fault not in content.faults:
        raise document.error(
            (*where, "fault"),
            f"{raw.fault!r} is not a schedule of this file"
            f" (there are: {', '.join(content.faults) or 'none'})",
        )
    impair = chosen.get("impair", "none")
    if impair != "none":
        if impair not in content.impairments:
            raise document.error(
                (*where, "impair"),
                f"{impair!r} is not a set of impairments of this file"
                f" (there are: {', '.join(content.impairments) or 'none'})",
            )
        chosen["impairments"] = tuple(each.value() for each in content.impairments[impair])
    schedule = tuple(
        FaultSpec(f.kind, f.target, f.at_ms, f.heal_after_ms, f.arguments, f.jitter_ms)
        for f in content.faults.get(raw.fault or "", [])
    )
    must_lose = raw.must_lose if raw.must_lose is not None else raw.fault in content.must_lose
    return Cell(
        name=raw.name,
        settings=CellSettings(**chosen),
        fault=raw.fault or "none",
        faults=schedule,
        trials=raw.trials or content.trials,
        calibrate_ms=_first(raw.calibrate_ms, content.calibrate_ms),
        observe_ms=_first(raw.observe_ms, content.observe_ms),
        must_lose=must_lose,
        expect=(*content.expect, *raw.expect),
        jitter_ms=raw.jitter_ms,
        sender_pause_ms=raw.sender_pause_ms,
    )


def _first(own: float | None, general: float) -> float:
    return general if own is None else own


def _check(document: Document, content: ScenarioDocument, cells: tuple[Cell, ...]) -> None:
    names = [cell.name for cell in cells]
    places: list[tuple[tuple[int | str, ...], str]] = [
        (("expect", index), text) for index, text in enumerate(content.expect)
    ]
    for number, cell in enumerate(content.cells):
        places += [(("cells", number, "expect", i), text) for i, text in enumerate(cell.expect)]
    for where, text in places:
        try:
            check_syntax(text, names)
        except ExpectationError as error:
            raise document.error(where, str(error)) from None
    if content.until is not None and content.until.figure not in METRICS:
        close = suggestion(content.until.figure, list(METRICS))
        raise document.error(("until", "figure"), f"is not a figure{close}")
    if ("sweep" in content.figures) != (content.sweep is not None):
        raise document.error(("figures",), "the figure sweep and the key sweep need each other")
    if ("beside" in content.figures) != bool(content.beside):
        raise document.error(("figures",), "the figure beside and the key beside need each other")
    for title, members in content.beside.items():
        for index, name in enumerate(members):
            if name not in names:
                close = suggestion(name, names)
                raise document.error(("beside", title, index), f"is not a cell{close}")
    if content.sweep is not None:
        if content.sweep.x not in SWEEP_AXES:
            known = ", ".join(SWEEP_AXES)
            raise document.error(("sweep", "x"), f"is not a setting to sweep (known: {known})")
        for index, name in enumerate(content.sweep.y):
            if name not in (*METRICS, FALSE_ALARMS):
                close = suggestion(name, [*METRICS, FALSE_ALARMS])
                raise document.error(("sweep", "y", index), f"is not a figure{close}")
    for index, name in enumerate(content.must_lose):
        if name not in content.faults:
            raise document.error(("must_lose", index), f"{name!r} is not a schedule of this file")
    for made in cells:
        ends = (f.at_ms + f.jitter_ms + (f.heal_after_ms or 0) for f in made.faults)
        end = max(ends, default=0.0)
        if end >= made.observe_ms and made.faults:
            raise document.error(
                ("observe_ms",),
                f"cell {made.name}: the faults end at {end:g} ms, after the observed time",
            )
