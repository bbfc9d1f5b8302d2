"""Impaired links: rate, delay, jitter and loss at the sending end of a link, each direction alone.

Where the kernel has netem it does all of it. Else the lab's own stage does: a BPF program at the
egress throws the die for loss and leads frames to the delay line (lab/emulated/delay_line.py), and
tbf, which every kernel has, holds the rate. Which one is used stands in the run's environment.

A direction's loss comes first, then its delay, then its rate. Faults of the same link act after
that. The witnesses of faults are told how much longer a token may take (`Network.allowance`).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

from lab.backend import LabError
from lab.emulated import bpf_stage
from lab.emulated.environment import has_netem
from lab.emulated.faults.netlink import (
    IMPAIRMENT_PRIORITY,
    LinkSocket,
    add_clsact,
    add_program,
    delete_clsact,
    is_absent,
)
from lab.emulated.faults.reach import WHOLE, Allowance
from lab.emulated.forkserver import ForkServer, Proc
from lab.emulated.network import NetNode, Network
from lab.emulated.sandbox import PRIVATE
from topologies.impairments import CONTROL_SWITCH, Direction, expand, one_way_ms
from topologies.mininet_topos import control_interface, control_port
from topologies.model import Impairment

MAX_LINES = 200
"""Delayed directions: as many files as select(2) takes, with room."""

START_BUDGET_S = 5.0
STOP_BUDGET_S = 2.0
POLL_S = 0.005
TC_TIMEOUT_S = 10.0

RATE_LATENCY_MS = 100.0
"""A frame waits this long at most for its turn at a limited rate; then it is dropped."""
MIN_BURST_OCTETS = 3_100
"""Two full frames."""
LOSSY_COPIES = 8

FRAME_OCTETS = 100
"""Of a probe packet, for the rate that a data link needs at the least."""
RATE_RESERVE = 2.0


class Impairments:
    """Of one lab's network. `apply` what is wanted; `close` takes all of it back."""

    def __init__(self, network: Network, forkserver: ForkServer, folder: Path) -> None:
        """`folder` takes the delay line's log."""
        self._network = network
        self._forkserver = forkserver
        self._folder = folder
        self._applied: dict[Direction, Impairment] = {}
        self._line: Proc | None = None
        self._netem: bool | None = None
        self._figures: list[dict[str, Any]] = []

    @property
    def done_by(self) -> str:
        """For the report; empty while nothing was impaired."""
        if self._netem is None:
            return ""
        return "netem" if self._netem else "own stage: BPF for loss, a delay line, tbf for rates"

    def describe(self) -> dict[str, Any]:
        """For the run's environment."""
        return {"done_by": self.done_by} | ({"delay_lines": self._figures} if self._figures else {})

    def apply(self, wanted: Sequence[Impairment], probe_pps: int) -> None:
        """Instead of what is there now. LabError where the kernel refuses."""
        directions = expand(self._network.topology, wanted)
        self._check_rates(directions, probe_pps)
        if directions == self._applied:
            self.check()
            return
        self.close()
        if not directions:
            return
        if self._netem is None:
            self._netem = has_netem()
        self._applied = directions
        if self._netem:
            for direction, each in directions.items():
                self._tc(direction, f"replace dev {{}} root {netem(each)}")
        else:
            self._stage(directions)
        more_ms = max(
            one_way_ms(self._network.topology, wanted, control) for control in (True, False)
        )
        more_ms += RATE_LATENCY_MS * any(each.rate_mbit for each in directions.values())
        lossy = any(each.loss_percent for each in directions.values())
        self._network.allowance = Allowance(more_ms, LOSSY_COPIES if lossy else 1)

    def check(self) -> None:
        """LabError if the delay line has ended."""
        if self._line is not None and not self._line.is_running():
            raise LabError(f"the delay line has ended: see {self._line.log}")

    def close(self) -> None:
        """No link is impaired any more."""
        for direction in self._applied:
            if self._netem:
                self._tc(direction, "delete dev {} root")
                continue
            node, interface = self._end(direction)
            if self._applied[direction].rate_mbit:
                self._tc(direction, "delete dev {} root")
            link = LinkSocket(node.pid)
            try:
                link.execute(delete_clsact(link.state(interface).index))
            except OSError as error:
                if not is_absent(error):
                    raise LabError(f"{interface}: {error.strerror}") from None
            finally:
                link.close()
        self._applied = {}
        self._network.allowance = WHOLE
        if self._line is not None:
            line, self._line = self._line, None
            if line.is_running():
                line.signal(SIGTERM)
            line.stop(STOP_BUDGET_S)
            if self._figures_file.exists():
                self._figures.append(json.loads(self._figures_file.read_text()))

    @property
    def _figures_file(self) -> Path:
        return PRIVATE / "delay-line.json"

    def _end(self, direction: Direction) -> tuple[NetNode, str]:
        """Where frames of this direction leave: node and interface."""
        source, target = direction
        if source == CONTROL_SWITCH:
            return self._network.control_switch_node, control_port(target)
        node = self._network.node(source)
        if target == CONTROL_SWITCH:
            return node, control_interface(source)
        link = self._network.link(f"{source}-{target}")
        end = link.a if link.a.node == source else link.b
        return node, end.interface

    def _tc(self, direction: Direction, arguments: str) -> None:
        node, interface = self._end(direction)
        with node.network():
            done = subprocess.run(
                ["tc", "qdisc", *arguments.format(interface).split()],
                capture_output=True,
                text=True,
                timeout=TC_TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise LabError(f"tc qdisc {arguments.format(interface)}: {done.stderr.strip()}")

    def _stage(self, directions: Mapping[Direction, Impairment]) -> None:
        delayed = [d for d, each in directions.items() if each.delay_ms or each.jitter_ms]
        if len(delayed) > MAX_LINES:
            raise LabError(f"{len(delayed)} delayed directions are more than {MAX_LINES}")
        taps = {direction: f"imp{number}" for number, direction in enumerate(delayed)}
        indexes = self._start_line(directions, taps) if taps else {}
        for direction, each in directions.items():
            if each.rate_mbit:
                self._tc(direction, f"replace dev {{}} root {tbf(each.rate_mbit)}")
            line = indexes.get(taps.get(direction, ""))
            if each.loss_percent or line is not None:
                self._lead(direction, bpf_stage.impairment(each.loss_percent / 100, line))

    def _start_line(
        self, directions: Mapping[Direction, Impairment], taps: Mapping[Direction, str]
    ) -> dict[str, int]:
        """The TAPs' interface indexes."""
        lines = []
        for direction, tap in taps.items():
            node, interface = self._end(direction)
            each = directions[direction]
            lines.append(
                {
                    "pid": node.pid,
                    "interface": interface,
                    "tap": tap,
                    "delay_ns": round(each.delay_ms * 1e6),
                    "jitter_ns": round(each.jitter_ms * 1e6),
                }
            )
        ready = PRIVATE / "delay-line.ready"
        ready.unlink(missing_ok=True)
        self._line = self._forkserver.spawn(
            self._network.control_switch_node,
            "lab.emulated.delay_line:run",
            {"lines": lines, "seed": 1, "ready": str(ready), "file": str(self._figures_file)},
            log=self._folder / "lab.log",
            name="delay line",
        )
        deadline = time.monotonic() + START_BUDGET_S
        while not ready.exists():
            self.check()
            if time.monotonic() > deadline:
                raise LabError(f"the delay line is not ready within {START_BUDGET_S:g} s")
            time.sleep(POLL_S)
        found: dict[str, int] = json.loads(ready.read_text())
        return found

    def _lead(self, direction: Direction, instructions: bytes) -> None:
        node, interface = self._end(direction)
        link = LinkSocket(node.pid)
        program = bpf_stage.load(instructions)
        try:
            index = link.state(interface).index
            link.execute(add_clsact(index))
            link.execute(add_program(index, program, True, IMPAIRMENT_PRIORITY))
        except OSError as error:
            raise LabError(f"{interface}: {error.strerror}") from None
        finally:
            os.close(program)
            link.close()

    def _check_rates(self, directions: Mapping[Direction, Impairment], probe_pps: int) -> None:
        """A data link that cannot carry the probes would lose them before any fault."""
        flows = max(1, len(self._network.topology.flows))
        needed = RATE_RESERVE * flows * probe_pps * FRAME_OCTETS * 8 / 1e6
        for direction, each in directions.items():
            if CONTROL_SWITCH in direction or each.rate_mbit is None:
                continue
            if each.rate_mbit < needed:
                raise LabError(
                    f"{'-'.join(direction)}: {each.rate_mbit:g} Mbit/s do not carry the probes"
                    f" with room for faults ({needed:.2g} Mbit/s)"
                )


def netem(each: Impairment) -> str:
    """tc's words."""
    words = ["netem", "limit 100000"]
    if each.delay_ms or each.jitter_ms:
        words.append(f"delay {each.delay_ms:g}ms {each.jitter_ms:g}ms")
    if each.loss_percent:
        words.append(f"loss {each.loss_percent:g}%")
    if each.rate_mbit:
        words.append(f"rate {each.rate_mbit:g}mbit")
    return " ".join(words)


def tbf(rate_mbit: float) -> str:
    """With a burst of 2 ms, at least two frames."""
    burst = max(MIN_BURST_OCTETS, round(rate_mbit * 1e6 / 8 * 0.002))
    return f"tbf rate {rate_mbit:g}mbit burst {burst} latency {RATE_LATENCY_MS:g}ms"
