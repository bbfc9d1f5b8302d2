"""Where a run took place: what the machine is, what it has and lacks, and how punctual it was.

Punctuality is measured while the run goes on, by two sleepers that wake a hundred times a second:
one with the probes' SCHED_FIFO priority, one with that of the FEs and CEs. What the second one
shows is the noise floor of every dtime.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forces.io.select_tml import TmlUnavailable, choose, probe_transports
from lab.emulated.clock import (
    ELEMENT_PRIORITY,
    LISTENER_PRIORITY,
    become_punctual,
    sleep_until,
)

_PERIOD_NS = 10_000_000
_MAX_SAMPLES = 2_000_000
"""Five and a half hours; a longer run is described by its first part."""
_WRITE_EVERY = 100
_TEST_TIMEOUT_S = 5.0
_ADD_NETEM = "tc qdisc add dev lo root netem delay 1ms"


def run_sleeper(config: Mapping[str, Any]) -> None:
    """A process of its own. Keys: `fifo` (0: without), `file` (rewritten every second)."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    granted = become_punctual(int(config["fifo"])).fifo_priority
    late = array("q")
    path = Path(config["file"])
    due = time.monotonic_ns() + _PERIOD_NS
    while not stopping and len(late) < _MAX_SAMPLES:
        sleep_until(due)
        woke = time.monotonic_ns()
        late.append(woke - due)
        if len(late) % _WRITE_EVERY == 0:
            _write_lateness(path, late, granted)
        due = max(due + _PERIOD_NS, time.monotonic_ns())
    _write_lateness(path, late, granted)


def _write_lateness(path: Path, late: array[int], fifo: int) -> None:
    figures = {"fifo_priority": fifo, **lateness_us(np.frombuffer(late, np.int64))}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(figures))
    fresh.replace(path)


def lateness_us(late_ns: np.ndarray) -> dict[str, float]:
    """p50, p99 and maximum in us."""
    if not len(late_ns):
        return {"samples": 0}
    p50, p99 = np.quantile(late_ns, [0.5, 0.99]) / 1e3
    return {
        "samples": len(late_ns),
        "p50_us": round(float(p50), 1),
        "p99_us": round(float(p99), 1),
        "max_us": round(float(late_ns.max()) / 1e3, 1),
    }


SLEEPERS = {"probes": LISTENER_PRIORITY, "elements": ELEMENT_PRIORITY}


def stolen_ms() -> float:
    """Core milliseconds since boot in which a hypervisor ran something else (proc_stat(5))."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) * 1000 / os.sysconf("SC_CLK_TCK")


def describe(
    tml: str, jitter_files: Mapping[str, Path], stolen_at_start_ms: float = 0.0
) -> dict[str, Any]:
    """Everything that a report says of the machine. `tml`: the transport that was configured."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "transport": _transport(tml),
        "transports_lacking": {name: why for name, why in probe_transports().items() if why},
        "netem": has_netem(),
        "open_vswitch": shutil.which("ovs-vswitchd") is not None,
        "stolen_by_hypervisor_ms": round(stolen_ms() - stolen_at_start_ms, 1),
        "element_priority": f"SCHED_FIFO {ELEMENT_PRIORITY}",
        "sched_fifo": _fifo_granted(jitter_files),
        "jitter": {name: _read(path) for name, path in jitter_files.items()},
    }


def _transport(tml: str) -> str:
    try:
        return choose(tml)
    except TmlUnavailable as error:
        return str(error)


def has_netem() -> bool:
    """Tried on the loopback of a fresh namespace: a kernel without netem says so only there."""
    try:
        done = subprocess.run(
            ["unshare", "--net", *_ADD_NETEM.split()],
            capture_output=True,
            timeout=_TEST_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _fifo_granted(jitter_files: Mapping[str, Path]) -> bool:
    return bool(_read(jitter_files["probes"]).get("fifo_priority")) if jitter_files else False


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
