"""RFC 6984 scenario 4: an OSPF daemon beside the CE, an unmodified FRR router outside, packets of
the protocol between them by redirect. The proof that the NE is a router."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import sandboxed
from tests.lab.ospf_inside import FRR

pytestmark = pytest.mark.lab


def test_rfc6984_scenario_4_ospf_over_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (FRR / "ospfd").exists():
        pytest.skip("needs FRR (Debian's package frr)")
    monkeypatch.setattr(sandboxed, "TIMEOUT_S", 180)
    found = sandboxed.in_sandbox("tests.lab.ospf_inside:scenario", folder=str(tmp_path))
    print(found)
    assert "10.50.0.0/24 nhid" in found["kernel"], "through a next-hop object, as a Config asks"
    assert found["ping"] >= 19, "the first may be lost to address resolution"
    assert found["ping_again"] >= 19
    assert found["redirect"]["sent"] > 10
    assert found["redirect"]["received"] > 10
    storm = found["storm"]
    assert storm["offered"] > 20_000
    assert storm["sent_up"] <= 500 * storm["seconds"] + 100 + 1, "the limit holds"
    assert storm["configs"] >= 10, "Configs are carried out meanwhile"
    assert storm["config_p50_ms"] < 100
    assert found["detect"] == found["fe_lost"] == [], "no heartbeat came too late"
