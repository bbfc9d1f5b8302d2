"""Impaired links on a real kernel: what packets say of them, with netem or the lab's own stage."""

from __future__ import annotations

from typing import Any

import pytest

from lab.emulated import bpf_stage
from lab.emulated.impairments import netem, tbf
from tests.lab.sandboxed import in_sandbox
from topologies.model import Impairment

INSIDE = "tests.lab.impaired_inside"


def test_netem_and_tbf_are_asked_in_their_own_words() -> None:
    whole = Impairment("ce1", None, 10, 5, 1, 2)
    assert netem(whole) == "netem limit 100000 delay 5ms 1ms loss 2% rate 10mbit"
    assert netem(Impairment("ce1", loss_percent=0.5)) == "netem limit 100000 loss 0.5%"
    assert tbf(10) == "tbf rate 10mbit burst 3100 latency 100ms"
    assert tbf(100) == "tbf rate 100mbit burst 25000 latency 100ms"


def test_a_stage_without_loss_and_line_lets_everything_pass() -> None:
    mark, jump, *rest = [bpf_stage.impairment(0, None)[i : i + 8] for i in range(0, 32, 8)]
    assert mark[0] == 0x61
    assert jump[2:4] == b"\0\0"
    assert rest == [bpf_stage.program(["10.0.0.1"])[i : i + 8] for i in range(-32, -16, 8)]
    with pytest.raises(ValueError, match="loss"):
        bpf_stage.impairment(1.0, None)


@pytest.mark.lab
def test_a_delay_of_one_direction_is_that_and_no_more() -> None:
    found: dict[str, Any] = in_sandbox(f"{INSIDE}:delay_one_direction")
    assert found["towards"]["arrived"] == 100
    assert found["towards"]["min_ms"] >= 10, "no packet comes early, however busy the machine is"
    for other in ("back", "other", "healed"):
        assert found[other]["arrived"] == 100
        assert found[other]["min_ms"] < 10
    assert (found["allowance"], found["whole_again"]) == (10, 0)
    assert found["done_by"].split(":")[0] in ("netem", "own stage")
    for line in found["described"].get("delay_lines", ()):
        assert line["frames"] >= 100
        assert line["dropped_for_want_of_room"] == 0


@pytest.mark.lab
def test_jitter_scatters_loss_loses_and_a_rate_holds() -> None:
    found = in_sandbox(f"{INSIDE}:jitter_loss_and_rate")
    jitter = found["jitter"]
    assert jitter["arrived"] == 300
    assert jitter["min_ms"] >= 1
    assert jitter["p90_ms"] - jitter["min_ms"] > 4, "drawn from 1 to 11 ms"
    assert jitter["reordered"] > 0
    # 20 % of 3000: the standard deviation is 22
    for name in ("loss", "delayed_loss"):
        assert 2400 - 150 < found[name]["arrived"] < 2400 + 150
    assert found["delayed_loss"]["min_ms"] >= 2
    assert found["rate"]["arrived"] == 70
    assert found["rate"]["seconds"] > 0.055


@pytest.mark.lab
def test_faults_strike_and_heal_on_links_that_are_impaired() -> None:
    found = in_sandbox(f"{INSIDE}:faults_on_impaired_links")
    for kind in ("isolate-silent", "isolate-oneway", "link-silent"):
        before, happened, healed, _ = found[kind]
        assert not before, f"{kind}: a slow link is not a silent one"
        assert happened, kind
        assert healed, kind
    _, happened, healed, through = found["control-loss"]
    assert happened
    assert healed
    assert 1400 - 150 < through < 1400 + 150, "30 % are lost, and not twice"
    assert found["still"] >= 40, "the impairment outlives the faults"
