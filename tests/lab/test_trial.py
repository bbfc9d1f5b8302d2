"""What of a trial needs no network: which flows there are, what a machine is like."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lab.backend import LabError
from lab.emulated import environment
from lab.emulated.forkserver import ForkServer
from lab.emulated.meters.instruments import Instruments, flows_of
from lab.emulated.network import Network
from topologies.loader import load_topology


def test_every_flow_is_probed_both_ways_and_no_two_share_a_socket() -> None:
    topology = load_topology("diamond")
    flows = flows_of(topology)
    assert len(flows) == 2 * len(topology.flows)
    receivers = {(flow.destination_address, flow.port) for _, _, flow in flows}
    assert len(receivers) == len(flows)
    assert {(flow.name, flow.direction) for _, _, flow in flows} == {
        (flow.name, direction) for flow in topology.flows for direction in ("fwd", "rev")
    }
    for sender, receiver, flow in flows:
        given = next(each for each in topology.flows if each.name == flow.name)
        assert {sender, receiver} == {given.source, given.destination}
        assert (sender == given.source) == (flow.direction == "fwd")


@pytest.mark.parametrize("pps", [0, 19, 25_001])
def test_a_probe_rate_that_a_host_cannot_send_is_refused(tmp_path: Path, pps: int) -> None:
    network = Network(load_topology("diamond"))
    with pytest.raises(LabError, match=f"probe_pps {pps} is not possible"):
        Instruments(network, network.topology, ForkServer(()), tmp_path, pps, 10, ("none:none", {}))


def test_lateness_is_told_in_microseconds() -> None:
    late = np.array([1_000] * 98 + [50_000, 2_000_000])
    figures = environment.lateness_us(late)
    assert (figures["samples"], figures["p50_us"], figures["max_us"]) == (100, 1.0, 2000.0)
    assert 1.0 < figures["p99_us"] < 2000.0
    assert environment.lateness_us(late[:0]) == {"samples": 0}


def test_the_environment_is_json_and_names_what_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "fifo").write_text('{"fifo_priority": 22, "p50_us": 30.0}')
    files = {"probes": tmp_path / "fifo", "elements": tmp_path / "never-written"}
    described = json.loads(json.dumps(environment.describe("tcp", files)))
    assert described["transport"] == "tcp"
    assert described["cores"] >= 1
    assert described["sched_fifo"] is True
    assert described["jitter"]["elements"] == {}
    assert isinstance(described["netem"], bool)
    assert described["kernel"]
