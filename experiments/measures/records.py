"""A trial's raw records, read from its folder (docs/seams.md, "A trial's folder")."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.backend import AppliedFault, CellSettings, FaultSpec
from lab.emulated.meters.beacon_record import STREAM_NETWORK
from lab.emulated.meters.route_rows import comparison

TX = np.dtype([("seq", "u8"), ("due_ns", "i8"), ("sent_ns", "i8")])
RX = np.dtype([("seq", "u8"), ("sent_ns", "i8"), ("kernel_ns", "i8")])
BEACON = np.dtype([("at_ns", "i8"), ("added", "u1"), ("destination", "u4")])

MAX_JOURNAL_LINES = 1_000_000
"""Per file: a journal that grew beyond this is a fault of its writer, not something to read."""

PLANNED = "planned-switch"
TEARDOWN = "teardown"
STREAM = "stream"
"""One change after the other: it takes nothing away (lab/emulated/faults/stream.py)."""
ISOLATE_SOME = "isolate-some"
MASTER_FAULTS = frozenset(
    {
        "crash",
        "hang",
        "isolate-carrier",
        "isolate-silent",
        "isolate-oneway",
        ISOLATE_SOME,
        PLANNED,
        TEARDOWN,
    }
)
"""Fault kinds that take a CE away from FEs; any other kind leaves dtime1..3 empty."""


def is_fe_crash(fault: AppliedFault, fes: Collection[str]) -> bool:
    """An FE's process was killed: no master is lost, and dtime1..3 have no meaning. A daemon of a
    router is part of its control plane, which is that router's master (system frr)."""
    return (
        fault.spec.kind == "crash" and fault.target in fes and "daemon" not in fault.spec.arguments
    )


def loses_state(fault: AppliedFault) -> bool:
    """The FE starts again in an empty kernel: what it forwarded is lost meanwhile."""
    return fault.spec.arguments.get("state") == "clean"


class RecordError(Exception):
    """A trial's folder is not what a back end leaves: one sentence."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that the verdicts use; every report states them."""

    jitter_ms: float = 5.0
    """How far journal and beacon may differ beyond one beacon interval."""
    sender_pause_ms: float = 20.0
    """Longest silence of a probe's sender."""
    fault_margin_ms: float = 2.0
    """A packet sent this shortly before the fault may still be on its way when it strikes."""


@dataclass(frozen=True, slots=True)
class Description:
    """The part of `trial.json` that the measures need; the runner writes it."""

    cell: str
    trial: int
    seed: int
    warmup: bool
    fault: str
    """Name of the cell's fault schedule."""
    settings: CellSettings
    faults: tuple[AppliedFault, ...]
    start_ns: int
    end_ns: int
    calibrate_ms: float
    observe_ms: float
    must_lose: bool
    """The fault cannot leave the data path whole: a meter that saw no loss is blind."""
    fes: tuple[str, ...]
    ces: Mapping[str, int]
    """Name to ForCES ID."""
    limits: Limits


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal."""

    t: int
    node: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """One flow in one direction."""

    flow: str
    direction: str
    """`fwd` or `rev`."""
    pps: float
    overflow: int
    """Packets that the receiving socket dropped for want of room."""
    tx: np.ndarray
    rx: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.flow} {self.direction}"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of changes, as its user saw it and as the kernels did."""

    asked: tuple[int, ...]
    """Numbers of the changes, in order."""
    acked: tuple[int, ...]
    """Those that the CE said every FE has."""
    refused: tuple[str, ...]
    seen: Mapping[str, tuple[tuple[bool, int], ...]]
    """FE -> (added or removed, number) of each change that its kernel announced, in order."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Everything that one trial left behind."""

    folder: Path
    description: Description
    events: tuple[Event, ...]
    """Of all nodes, in order of time."""
    probes: tuple[Probe, ...]
    beacons: Mapping[str, np.ndarray]
    """FE -> changes the kernel announced."""
    stream: Stream | None
    kernels: Mapping[str, Mapping[str, Any]]
    """FE -> the lab's comparison of kernel and master at the end (`kernel-<fe>.json`); None for
    what is not known."""
    notes: Mapping[str, Any]
    """What else the lab wrote into `trial.json`: `unexpected_exits`, `missing_records`,
    `not_settled`, `fault_reasons`."""

    @property
    def observed_until_ns(self) -> int:
        """End of the observed time. What comes after is the lab's tidying up: healing and its
        consequences are no part of what a fault cost."""
        about = self.description
        planned_ns = round((about.calibrate_ms + about.observe_ms) * 1e6)
        return min(about.end_ns, about.start_ns + planned_ns)

    @property
    def t_fault_ns(self) -> int | None:
        """The first fault of the schedule."""
        return min((f.before_ns for f in self.description.faults), default=None)

    def of(self, event: str, node: str | None = None) -> Iterator[Event]:
        """The events of one kind, optionally of one node, in order of time."""
        return (e for e in self.events if e.event == event and node in (None, e.node))


def describe(description: Description) -> dict[str, Any]:
    """As JSON; `read_description` is the inverse."""
    return asdict(description) | {"ces": dict(description.ces)}


def read_description(folder: Path) -> Description:
    try:
        raw = json.loads((folder / "trial.json").read_text())
        known = {name: raw[name] for name in Description.__dataclass_fields__}
        faults = tuple(
            AppliedFault(**(fault | {"spec": FaultSpec(**fault["spec"])}))
            for fault in known.pop("faults")
        )
        return Description(
            **(
                known
                | {
                    "settings": CellSettings.from_json(known["settings"]),
                    "limits": Limits(**known["limits"]),
                    "faults": faults,
                    "fes": tuple(known["fes"]),
                }
            )
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{folder}/trial.json: {error}") from None


def read_journal(path: Path) -> list[Event]:
    """A writer killed in the middle of a line leaves the start of one: at the end of the file, or
    with the restarted process's first line right behind it."""
    events = []
    lines = path.read_bytes().split(b"\n")
    if len(lines) > MAX_JOURNAL_LINES:
        raise RecordError(f"{path}: more than {MAX_JOURNAL_LINES} lines")
    for number, line in enumerate(lines[:-1], 1):
        event = _event(line) or _event(line[line.rfind(b'{"t"') :])
        if event is None:
            raise RecordError(f"{path}:{number}: not a journal line")
        events.append(event)
    return events


def _event(line: bytes) -> Event | None:
    try:
        raw = json.loads(line)
        return Event(int(raw.pop("t")), str(raw.pop("node")), str(raw.pop("event")), raw)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _array(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
        return array[list(dtype.names or ())].astype(dtype)
    except (OSError, ValueError, KeyError, EOFError, TypeError, IndexError) as error:
        raise RecordError(f"{path}: {error}") from None


def _kernel(path: Path) -> Mapping[str, Any]:
    record = _json(path)
    if "stray" in record:
        return record
    # of a run before the lab compared them itself: both tables, or null where one is not known
    held, committed = record.get("routes"), record.get("expected")
    known = isinstance(held, list) and isinstance(committed, list)
    return comparison("", None, held or [], committed if known else None, "") | {
        "stream": None if held is None else comparison("", None, held, None, "")["stream"]
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path}: an object was expected")
    return value


def _probes(folder: Path) -> Iterator[Probe]:
    for path in sorted(folder.glob("probe-*-[fr][we][dv].json")):
        stem = path.name.removesuffix(".json")
        flow, _, direction = stem.removeprefix("probe-").rpartition("-")
        about = _json(path)
        yield Probe(
            flow,
            direction,
            float(about.get("pps", 0)),
            int(about.get("overflow", 0)),
            _array(folder / f"{stem}.tx.npy", TX),
            _array(folder / f"{stem}.rx.npy", RX),
        )


def _stream(folder: Path, fes: Collection[str]) -> Stream | None:
    path = folder / "stream.jsonl"
    if not path.exists():
        return None
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: {error}") from None
    seen = {}
    for fe in fes:
        record = folder / f"changes-{fe}.npy"
        array = _array(record, BEACON) if record.exists() else np.zeros(0, BEACON)
        numbers = (array["destination"].astype(np.int64) - STREAM_NETWORK) >> 8
        seen[fe] = tuple(zip((array["added"] == 1).tolist(), numbers.tolist(), strict=True))
    return Stream(
        tuple(line["asked"] for line in lines if "asked" in line),
        tuple(line["acked"] for line in lines if "acked" in line),
        tuple(str(line["refused"]) for line in lines if "refused" in line),
        seen,
    )


def read_trial(folder: Path) -> Trial:
    """RecordError if something is missing or is not what it should be."""
    description = read_description(folder)
    events = [e for path in sorted(folder.glob("*.journal.jsonl")) for e in read_journal(path)]
    events.sort(key=lambda e: e.t)
    beacons = {
        path.name.removeprefix("beacon-").removesuffix(".npy"): _array(path, BEACON)
        for path in sorted(folder.glob("beacon-*.npy"))
    }
    kernels = {
        path.name.removeprefix("kernel-").removesuffix(".json"): _kernel(path)
        for path in sorted(folder.glob("kernel-*.json"))
    }
    notes = _json(folder / "trial.json")
    probes = tuple(_probes(folder))
    stream = _stream(folder, description.fes)
    return Trial(folder, description, tuple(events), probes, beacons, stream, kernels, notes)
