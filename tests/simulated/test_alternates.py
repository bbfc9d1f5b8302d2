"""A cut whose ends have alternates costs no packet, whoever is in charge of the FEs; in virtual
time a kernel moves a group to its standby at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.backend import FaultSpec
from lab.coverage import coverage
from lab.simulated import hunt
from lab.simulated.schedules import draw, written
from tests.simulated.test_lab import SETTINGS, lost, trial
from topologies.loader import available, load_topology

CUT = FaultSpec("link-cut", "fe2-fe4")
DOUBLE_FAULT = (FaultSpec("crash", "master"), FaultSpec("link-cut", "fe1-fe2"))


@pytest.mark.parametrize("mode", ["cold", "hot", "hot+sync"])
def test_a_cut_at_the_instant_of_the_crash_costs_packets_only_without_alternates(
    mode: str, tmp_path: Path
) -> None:
    for alternates in (False, True):
        folder = tmp_path / str(alternates)
        chosen = replace(SETTINGS, mode=mode, alternates=alternates)  # type: ignore[arg-type]
        faults = trial(folder, *DOUBLE_FAULT, settings=chosen, topology="protected")
        assert all(fault.verified for fault in faults)
        assert [lost(folder, "a", way) == 0 for way in ("fwd", "rev")] == [alternates] * 2
        assert all(kernel["agree"] for kernel in kernels(folder))


def kernels(folder: Path) -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("kernel-fe*.json"))]


def test_a_kernel_s_record_has_the_alternate_behind_the_next_hop(tmp_path: Path) -> None:
    trial(tmp_path, settings=replace(SETTINGS, alternates=True), topology="protected")
    for kernel in kernels(tmp_path):
        assert kernel["agree"]
        to_hosts = [route for route in kernel["routes"] if route.startswith("10.")]
        assert all(len(route.split()) == 5 for route in to_hosts)
    routes = kernels(tmp_path)[1]["routes"]  # fe2: to h1 by fe1, or fe3
    assert "10.101.1.0/24 fe2-eth1 10.1.1.1 fe2-eth3 10.1.5.2" in routes


def test_a_cut_while_there_is_no_ce_at_all_is_repaired(tmp_path: Path) -> None:
    crashes = (FaultSpec("crash", "ce1"), FaultSpec("crash", "ce2"))
    for alternates in (False, True):
        folder = tmp_path / str(alternates)
        chosen = replace(SETTINGS, alternates=alternates)
        trial(folder, *crashes, CUT, settings=chosen, topology="protected")
        assert [lost(folder, "a", way) < 0.1 for way in ("fwd", "rev")] == [alternates] * 2


def test_a_hunt_finds_nothing_in_cores_that_have_alternates() -> None:
    for name, seeds in (("protected", range(900, 912)), ("diamond", range(912, 918))):
        topology = load_topology(name)
        for seed in seeds:
            schedule = draw(seed, topology)
            protected = replace(schedule.settings, alternates=True)
            failure, events = hunt.run_one(replace(schedule, settings=protected), topology)
            assert failure is None, f"{seed}: {failure.text}, {written(schedule.strikes)}"
            assert events > 50


def test_protected_is_the_shipped_topology_that_alternates_cover() -> None:
    whole = [name for name in available() if coverage(load_topology(name)).protected
             == coverage(load_topology(name)).routes]  # fmt: skip
    assert whole == ["protected"]
    found = coverage(load_topology("diamond"))
    assert (found.routes, found.protected, found.links, found.whole) == (12, 4, 4, 0)


def test_the_table_of_coverage_in_the_docs_is_what_is_computed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text()
    for name in available():
        found = coverage(load_topology(name))
        row = f"| `{name}` | {found.protected} of {found.routes} | {found.whole} of {found.links} |"
        assert row in text
