"""`ceha scale`: failover time and messages as the network element grows, in virtual time."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

from experiments import folders
from experiments.campaign import versions
from lab.backend import LabError, Mode
from lab.simulated.scale import MAX_FES, Point, failover

MODES: tuple[Mode, ...] = ("cold", "hot", "hot+sync")


def run(sizes: str, modes: Sequence[str], handling_us: float, seed: int, as_json: bool) -> int:
    """The exit code. Each size has a process of its own, so that its memory is its own."""
    wanted = _sizes(sizes)
    for mode in modes:
        if mode not in MODES:
            raise LabError(f"{mode!r} is not one of {', '.join(MODES)}")
    points = []
    context = multiprocessing.get_context("spawn")
    for fes in wanted:
        for mode in modes or MODES:
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                point = executor.submit(failover, fes, mode, handling_us, seed).result()
            points.append(point)
            if not as_json:
                print(tell(point), flush=True)
    folder = folders.create("scale-simulated", latest=False)
    keep(folder, points, handling_us, seed)
    folders.give_to_caller(folder)
    if as_json:
        print(json.dumps([asdict(point) for point in points], indent=1))
    else:
        print(f"results: {folder}", file=sys.stderr)
    return 0


def tell(point: Point) -> str:
    return (
        f"{point.fes:6} FEs, {point.mode}: detected {point.detected_ms:.1f} ms, ready"
        f" {point.ready_ms:.1f} ms (median {point.median_ready_ms:.1f}), {point.messages} messages"
        f" ({point.messages_per_fe:.1f} per FE, {point.octets / 1024:.0f} KiB);"
        f" {point.computing_s:.1f} s, {point.memory_mib:.0f} MiB of this machine"
    )


def keep(folder: Path, points: Sequence[Point], handling_us: float, seed: int) -> None:
    """`results.csv`, `results.json`, `manifest.json`, and the figure."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [each.name for each in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    folders.write_text(folder / "results.csv", out.getvalue())
    folders.write_json(folder / "results.json", [asdict(point) for point in points])
    about = {
        "study": "scale",
        "laboratory": "simulated",
        "handling_us": handling_us,
        "seed": seed,
        "versions": versions(),
    }
    folders.write_json(folder / "manifest.json", about)
    from experiments.report import scaling, style

    with style.looks():
        style.save(scaling.draw(points, handling_us), folder / "figures" / "scale")


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or not all(2 <= size <= MAX_FES for size in sizes):
        raise LabError(f"--fes {text!r} is not a list of numbers from 2 to {MAX_FES}")
    return sizes
