"""Codec of the model: 100,000 IPv4 prefix rows (RFC 6956 class 10) at once.

Prints one JSON line per figure. References, measured in the same run on the same rows:
`plain struct per row` is `struct.pack`/`struct.unpack` with the dict of each row taken apart and
put together by name, the least that a codec without a model would do;
`numpy` is `tobytes`/`frombuffer` of the same octets.

    python -m benchmarks.bench_model
"""

from __future__ import annotations

import gc
import json
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from forces.model import ArrayType, library

ROWS = 100_000
ROW_FORMAT = "!I4sBBBBI"
COLUMNS = (
    "IPv4Address",
    "Prefixlen",
    "ECMPFlag",
    "DefaultRouteFlag",
    "Reserved",
    "HopSelector",
)

Row = dict[str, Any]


def rows() -> dict[int, Row]:
    base = 20 << 24
    return {
        index: {
            "IPv4Address": (base + (index << 8)).to_bytes(4),
            "Prefixlen": 24,
            "ECMPFlag": False,
            "DefaultRouteFlag": False,
            "Reserved": 0,
            "HopSelector": 1 + index % 64,
        }
        for index in range(ROWS)
    }


def plain_pack(table: dict[int, Row]) -> bytes:
    return b"".join(
        struct.pack(ROW_FORMAT, index, *[row[name] for name in COLUMNS])
        for index, row in table.items()
    )


def plain_unpack(contents: bytes) -> dict[int, Row]:
    size = struct.calcsize(ROW_FORMAT)
    table = {}
    for offset in range(0, len(contents), size):
        index, *values = struct.unpack(ROW_FORMAT, contents[offset : offset + size])
        row: Row = dict(zip(COLUMNS, values, strict=True))
        row["ECMPFlag"] = bool(row["ECMPFlag"])
        row["DefaultRouteFlag"] = bool(row["DefaultRouteFlag"])
        table[index] = row
    return table


def best_ns(run: Callable[[], object], loops: int = 1, repeats: int = 5) -> float:
    """Best of `repeats` in ns for one call: what the code costs without what disturbed it."""
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            begin = time.perf_counter_ns()
            for _ in range(loops):
                run()
            times.append((time.perf_counter_ns() - begin) / loops)
    finally:
        gc.enable()
    return min(times)


def paired_ns(
    one: Callable[[], object], other: Callable[[], object], loops: int
) -> tuple[float, float]:
    """Best of both, measured in turns, so that a slow moment of the machine hits both."""
    pairs = [(best_ns(one, loops, 1), best_ns(other, loops, 1)) for _ in range(15)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def figure(name: str, ns: float, reference: str, reference_ns: float, goal: float) -> Row:
    """Rows per second. `ratio` is ours to the reference; `met` when it is `goal` or more."""
    value, against = ROWS / ns * 1e9, ROWS / reference_ns * 1e9
    ratio = value / against
    return {
        "name": name,
        "value": round(value),
        "unit": "rows/s",
        "reference": reference,
        "reference_value": round(against),
        "ratio": round(ratio, 3),
        "goal": goal,
        "met": ratio >= goal,
    }


def figures() -> Iterator[Row]:
    kind = library().cls("IPv4UcastLPM").component("IPv4PrefixTable").type
    assert isinstance(kind, ArrayType)
    table = rows()
    contents = kind.pack(table)
    bulk = kind.unpack_bulk(contents)
    dtype = kind.dtype
    assert plain_pack(table) == kind.pack_bulk(bulk) == contents
    assert plain_unpack(contents) == kind.unpack(contents) == table

    plain = "plain struct per row"
    plain_pack_ns = best_ns(lambda: plain_pack(table))
    plain_unpack_ns = best_ns(lambda: plain_unpack(contents))
    pack, tobytes = paired_ns(lambda: kind.pack_bulk(bulk), bulk.tobytes, 10)
    unpack, frombuffer = paired_ns(
        lambda: kind.unpack_bulk(contents), lambda: np.frombuffer(contents, dtype), 10_000
    )
    yield figure("model_bulk_encode_vs_plain", pack, plain, plain_pack_ns, 20)
    yield figure("model_bulk_decode_vs_plain", unpack, plain, plain_unpack_ns, 20)
    yield figure("model_bulk_encode_vs_numpy", pack, "numpy tobytes", tobytes, 0.5)
    yield figure("model_bulk_decode_vs_numpy", unpack, "numpy frombuffer", frombuffer, 0.5)
    # frombuffer only points at the octets; with every value checked the work is real
    checked = best_ns(lambda: kind.check_bulk(kind.unpack_bulk(contents)))
    yield figure("model_bulk_decode_and_check_vs_plain", checked, plain, plain_unpack_ns, 20)
    yield figure(
        "model_dict_encode_vs_plain", best_ns(lambda: kind.pack(table)), plain, plain_pack_ns, 0.8
    )
    yield figure(
        "model_dict_decode_vs_plain",
        best_ns(lambda: kind.unpack(contents)),
        plain,
        plain_unpack_ns,
        0.8,
    )


def main() -> None:
    for line in figures():
        print(json.dumps(line))


if __name__ == "__main__":
    main()
