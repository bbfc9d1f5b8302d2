"""Every shipped topology boots, and every mode brings all of its FEs to a ready master."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from lab.backend import CellSettings, LabError, Mode
from lab.emulated import sandbox
from lab.emulated.lab import EmulatedLab
from tests.lab.sandboxed import skip_unless_possible
from topologies.loader import available, load_topology

pytestmark = pytest.mark.lab

PATIENT = {
    "routes": 20,
    "beacon_ms": 50,
    "ce_heartbeat_ms": 100,
    "fe_heartbeat_ms": 100,
    "cehdi_ms": 3000,
}
"""What is tested is that it comes up, on a machine that may be busy."""


@pytest.mark.parametrize("name", available())
def test_every_mode_comes_up(name: str, tmp_path: Path) -> None:
    skip_unless_possible()
    topology = load_topology(name)

    def entry() -> int:
        lab = EmulatedLab(topology, tmp_path)
        try:
            for mode in get_args(Mode):
                folder = tmp_path / mode
                folder.mkdir()
                lab.prepare(CellSettings(mode=mode, **PATIENT), folder)  # type: ignore[arg-type]
                masters = lab.element.masters()
                assert len(masters) == len(topology.of_kind("fe"))
                assert set(masters.values()) == {"ce1"}
        finally:
            lab.close()
        return 0

    assert sandbox.run(entry) == 0


def test_a_cell_may_use_some_of_the_ces(tmp_path: Path) -> None:
    from lab.emulated.config_for import ces_in_use

    topology = load_topology("backups")
    names = [ce.name for ce in ces_in_use(topology, CellSettings(mode="hot", ces=3))]
    assert names == ["ce1", "ce2", "ce3"]
    assert len(ces_in_use(topology, CellSettings(mode="none", ces=3))) == 1
    with pytest.raises(LabError, match="6 CEs are asked for, backups has 5"):
        ces_in_use(topology, CellSettings(mode="hot", ces=6))
    with pytest.raises(LabError, match="needs a second CE"):
        ces_in_use(topology, CellSettings(mode="cold", ces=1))
