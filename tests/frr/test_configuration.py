"""What the routers of the FRR baseline are told (lab/frr/configuration.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ce.config import CeConfig
from ce.routing import Routing
from lab.backend import CellSettings, LabError
from lab.emulated.config_for import config_for
from lab.frr import configuration
from topologies.loader import load_topology
from topologies.model import Topology

DIAMOND = load_topology("diamond")
SETTINGS = CellSettings(mode="none", system="frr", routes=20)


def files(settings: CellSettings = SETTINGS, topology: Topology = DIAMOND) -> dict[str, str]:
    node = topology.of_kind("fe")[0]
    return configuration.daemon_configuration(topology, settings, node)


def test_the_heartbeats_of_forces_are_the_intervals_of_bfd() -> None:
    lines = [line.strip() for line in files()["bfdd"].splitlines()]
    assert "transmit-interval 25" in lines
    assert "detect-multiplier 4" in lines  # 100 ms


def test_bfd_goes_no_faster_than_frr_can_and_needs_two_losses_at_least() -> None:
    fast = CellSettings(mode="none", system="frr", ce_heartbeat_ms=1, cehdi_ms=5)
    lines = [line.strip() for line in files(fast)["bfdd"].splitlines()]
    assert "transmit-interval 10" in lines
    assert "detect-multiplier 2" in lines


def test_links_between_routers_have_bfd_and_hosts_hear_no_hello() -> None:
    ospf = files()["ospfd"]
    sections = {part.split()[0]: part for part in ospf.split("interface ")[1:]}
    assert sorted(sections) == ["fe1-eth1", "fe1-eth2", "fe1-eth3"]
    assert "passive" in sections["fe1-eth1"]
    assert "bfd" not in sections["fe1-eth1"]
    for interface in ("fe1-eth2", "fe1-eth3"):
        assert "ip ospf bfd" in sections[interface]


def test_policy_1_is_graceful_restart_and_policy_0_is_none() -> None:
    without = CellSettings(mode="none", system="frr", policy=0)
    assert "graceful-restart" in files(SETTINGS)["ospfd"]
    assert "graceful-restart" not in files(without)["ospfd"]
    assert "-K" in configuration.command("zebra", SETTINGS)
    assert "-K" not in configuration.command("zebra", without)
    assert "-K" not in configuration.command("ospfd", SETTINGS)


@pytest.mark.parametrize("name", ["diamond", "ring", "leafspine", "abilene"])
def test_every_router_learns_what_a_ce_would_have_programmed(name: str, tmp_path: Path) -> None:
    """The same destinations as ForCES's, by ce/routing.py: the prefixes that one or the other
    has to bring to an FE's kernel differ in nothing."""
    topology = load_topology(name)
    ce = topology.of_kind("ce")[0]
    forces = CellSettings(mode="none", routes=20)
    raw = config_for(topology, forces, ce, tmp_path, tmp_path / "api")
    computed = Routing(TypeAdapter(CeConfig).validate_python(raw)).compute(frozenset())
    for fe in topology.of_kind("fe"):
        programmed = {route.prefix for route in computed[fe.id].prefixes.values()}
        learnt = set(configuration.expected_prefixes(topology, fe.name, 20))
        own = {line.split()[2] for line in configuration.own_routes(topology, fe.name, 20)} | set(
            configuration.subnets(topology)[fe.name]
        )
        assert not learnt & own
        assert programmed <= learnt | own
        assert learnt <= programmed


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CellSettings(mode="hot", system="frr"), "mode none only, not hot"),
        (CellSettings(mode="none", system="frr", beacon_ms=0), "needs beacon_ms"),
    ],
)
def test_a_cell_without_counterpart_in_frr_is_refused_in_a_sentence(
    settings: CellSettings, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(configuration, "LIBRARY", tmp_path)
    for daemon in configuration.DAEMONS:
        (tmp_path / daemon).touch()
    with pytest.raises(LabError, match=says):
        configuration.check_possible(settings)


def test_a_machine_without_frr_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(configuration, "LIBRARY", tmp_path)
    with pytest.raises(LabError, match=r"zebra, bfdd, ospfd is missing.*apt-get install"):
        configuration.check_possible(SETTINGS)


def test_two_routers_beat_so_that_each_router_hears_one_that_it_is_not() -> None:
    assert configuration.beacon_sources(DIAMOND) == ("fe3", "fe4")
