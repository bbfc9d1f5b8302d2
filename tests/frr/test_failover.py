"""`system: frr` on the real lab, as a user starts it: zebra, ospfd and bfdd in each FE's node."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.backend import CellSettings, LabError
from lab.frr.configuration import check_possible
from tests.lab.sandboxed import skip_unless_possible, trials_of

SCENARIO = """\
question: Does the FRR baseline come back, and is it seen by all instruments?
topology: diamond
trials: 1
warmup: 0
calibrate_ms: 300
observe_ms: 2000
settings: {system: frr, mode: none, policy: 0, routes: 50, beacon_ms: 20}
faults:
  ospfd: [{kind: crash, target: fe1, arguments: {daemon: ospfd}}]
  link-cut: [{kind: link-cut, target: fe1-fe2}]
cells:
  - {name: ospfd, fault: ospfd}
  - {name: link-cut, fault: link-cut}
"""
RUN_BUDGET_S = 240


@pytest.mark.lab
def test_a_killed_ospfd_is_started_again_and_a_cut_is_routed_around(tmp_path: Path) -> None:
    skip_unless_possible()
    try:
        check_possible(CellSettings(mode="none", system="frr"))
    except LabError as error:
        pytest.skip(str(error))
    trials = trials_of(SCENARIO, tmp_path, RUN_BUDGET_S)
    assert {trial["cell"] for trial in trials} == {"ospfd", "link-cut"}
    for trial in trials:
        if trial["verdict"] == "invalid":
            continue  # by the machine: the reasons are in the run's folder
        assert trial["verdict"] != "violated", trial["reasons"]
        assert trial["tml"] == "ospf"
        if trial["cell"] == "ospfd":
            assert trial["detected_by"] == "supervisor"
            # zebra takes an ospfd's routes away with it: there is something to lose
            assert trial["data_lost"] > 0
            assert list(trial["per_fe"]) == ["fe1"]
