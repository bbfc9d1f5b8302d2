"""`system: openflow` on the real lab, as a user starts it: Ryu, Open vSwitch, one takeover each."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.backend import CellSettings, LabError
from lab.emulated.forkserver import ForkServer
from lab.emulated.network import Network
from lab.openflow.element import OpenFlowElement
from lab.openflow.switch import check_possible
from tests.lab.sandboxed import skip_unless_possible, trials_of
from topologies.loader import load_topology

SCENARIO = """\
question: Does the OpenFlow baseline fail over, and is it seen by all instruments?
topology: diamond
trials: 1
warmup: 0
calibrate_ms: 300
observe_ms: 1000
settings: {system: openflow, mode: hot, routes: 50}
faults:
  crash: [{kind: crash, target: master}]
  hang: [{kind: hang, target: master, heal_after_ms: 400}]
cells:
  - {name: crash, fault: crash}
  - {name: hang, fault: hang}
"""
RUN_BUDGET_S = 180


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CellSettings(mode="cold", system="openflow"), "mode hot only, not cold"),
        (CellSettings(mode="hot", system="openflow", beacon_ms=0), "needs beacon_ms"),
        (CellSettings(mode="hot", system="openflow", policy=0), "flood for ever .* diamond"),
    ],
)
def test_a_cell_without_counterpart_in_openflow_is_refused_in_a_sentence(
    tmp_path: Path, settings: CellSettings, says: str
) -> None:
    with pytest.raises(LabError, match=says):
        OpenFlowElement(Network(load_topology("diamond")), ForkServer(()), settings, tmp_path)


@pytest.mark.lab
def test_a_slave_takes_over_from_a_master_that_crashed_and_from_one_that_hangs(
    tmp_path: Path,
) -> None:
    skip_unless_possible()
    try:
        check_possible()
    except LabError as error:
        pytest.skip(str(error))
    trials = trials_of(SCENARIO, tmp_path, RUN_BUDGET_S)
    assert {trial["cell"] for trial in trials} == {"crash", "hang"}
    for trial in trials:
        assert trial["system"] == trial["tml"] == "openflow"
    good = {trial["cell"]: trial for trial in trials if trial["verdict"] == "ok"}
    if not good:
        pytest.skip("no trial was ok: the machine is too busy to tell")
    for trial in good.values():
        assert trial["data_lost"] == 0
        assert trial["control_outage_ms"] is not None
        assert len(trial["per_fe"]) == 4
    if "hang" in good:
        assert good["hang"]["detected_by"] == "heartbeat"
        assert good["hang"]["dtime1_ms"] > 50
    if "crash" in good:
        assert good["crash"]["detected_by"] == "tml"
        assert good["crash"]["dtime1_ms"] < 100
