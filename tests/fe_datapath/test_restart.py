"""An FE that starts on a datapath in which an earlier process left routes and next hops."""

from __future__ import annotations

from typing import Any

import pytest

from fe_datapath.datapath import Found, SetForwarding
from fe_datapath.element import ForwardingElement
from forces.model import library
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    Rig,
    config,
    hop,
    key,
    port,
    prefix,
    set_hop,
    set_prefix,
    set_value,
)

ADMIN_DISABLE, OPER_ENABLE = 0, 2
HOLD_MS, CEFTI_MS = 400, 3000


def restarted(forwarding: bool = True, routes: int = 3, **settings: Any) -> Rig:
    """Prefixes 0.. over next hop 1, and next hop 7 with no route, were there before."""
    given: dict[str, Any] = {
        "restart_hold_ms": HOLD_MS,
        "cefti_ms": CEFTI_MS,
        "cehdi_ms": 60_000,
    } | settings
    left = {key(number): 1 for number in range(routes)}
    hops = {1: (1, "10.1.0.2"), 7: (2, "10.1.1.2")} if routes else {}
    found = Found(forwarding, frozenset(left), frozenset(hops))
    core = ForwardingElement(config(**given), {n: port(n) for n in (1, 2)}, found=found)
    return Rig(core, routes=left, next_hops=hops).start()


def switched(made: Rig) -> list[bool]:
    """What the datapath was told of forwarding."""
    return [e["on"] for e in made.journal(made.log, "forwarding")]


def fe_state(value: int) -> Any:
    return set_value("FEObject", "FEState", value=value)


def test_forwarding_goes_on_by_what_was_found_until_the_master_has_its_say() -> None:
    made = restarted()
    assert made.journal(made.log, "restart") == [{"routes": 3, "next_hops": 2}]
    made.associate(CE1)
    made.config(set_hop(1, hop()))
    made.config(set_prefix(10, prefix(0, 1)), set_prefix(11, prefix(5, 1)))
    assert set(made.routes) == {key(0), key(1), key(2), key(5)}, "nothing is taken away yet"
    assert switched(made) == []
    made.config(fe_state(OPER_ENABLE))
    assert set(made.routes) == {key(0), key(5)}
    assert set(made.next_hops) == {1}
    assert made.journal(made.log, "swept") == [{"routes": 2, "next_hops": 1, "cause": "enabled"}]
    assert switched(made) == [], "forwarding was never off"
    assert made.state()["fe_state"] == "OperEnable"
    made.advance(CEFTI_MS + HOLD_MS)
    assert set(made.routes) == {key(0), key(5)}


def test_rfc5810_7_3_1_1_2_13_restart_policy_0_the_tables_begin_from_scratch() -> None:
    made = restarted()
    made.associate(CE1)
    assert made.get("IPv4UcastLPM", "IPv4PrefixTable") == {}
    assert made.get("IPv4NextHop", "IPv4NextHopTable") == {}
    assert made.get("FEPO", "FERestartPolicy") == 0
    assert made.state()["fe_state"] == "OperDisable", "only the CE knows when it is there again"


def test_a_master_that_does_not_say_that_it_is_done_has_the_hold_time() -> None:
    made = restarted()
    made.associate(CE1)
    made.config(set_hop(1, hop()), set_prefix(10, prefix(2, 1)))
    made.advance(HOLD_MS - 1)
    assert len(made.routes) == 3
    made.advance(1)
    assert set(made.routes) == {key(2)}
    assert made.journal(made.log, "swept")[0]["cause"] == "hold"
    assert made.state()["fe_state"] == "OperEnable"


def test_a_master_that_is_lost_before_it_was_done_does_not_end_in_a_sweep() -> None:
    made = restarted()
    made.associate(CE1)
    made.config(set_hop(1, hop()), set_prefix(10, prefix(2, 1)))
    made.advance(HOLD_MS - 1)
    made.lose(CE1)
    made.advance(HOLD_MS)
    assert len(made.routes) == 3
    made.associate(CE2)
    made.advance(HOLD_MS - 1)
    assert len(made.routes) == 3, "the next master gets its time anew"
    made.advance(1)
    assert set(made.routes) == {key(2)}, "and what the first one had set is in the tables"


def test_without_a_master_forwarding_ends_with_cefti_and_not_before() -> None:
    made = restarted(connect_retry_ms=100_000)
    made.advance(CEFTI_MS - 1)
    assert len(made.routes) == 3
    assert switched(made) == []
    made.advance(1)
    assert made.routes == {}
    assert made.next_hops == {}
    assert switched(made) == [False]
    assert [e["what"] for e in made.journal(made.log, "cefti")] == ["start", "expired"]


@pytest.mark.parametrize(
    "settings",
    [{"failover_policy": 0, "ha_mode": 1}, {"forwarding": False}],
    ids=["policy 0", "forwarding was off"],
)
def test_else_the_fe_starts_disabled_and_with_nothing(settings: dict[str, Any]) -> None:
    made = restarted(**settings)
    assert made.routes == {}
    assert made.next_hops == {}
    assert switched(made) == [False]
    made.associate(CE1)
    assert switched(made) == [False, True], "as at any start (RFC 5812 section 5.2)"


def test_nothing_found_is_an_ordinary_start() -> None:
    made = restarted(routes=0)
    assert switched(made) == [False]
    assert made.journal(made.log, "restart") == []


def test_admin_disable_stops_what_passes_by_grace_and_enable_brings_it_back() -> None:
    made = restarted()
    made.associate(CE1)
    made.config(fe_state(ADMIN_DISABLE))
    assert switched(made) == [False]
    made.config(set_hop(1, hop()), set_prefix(10, prefix(2, 1)))
    made.config(fe_state(OPER_ENABLE))
    assert switched(made) == [False, True]
    assert set(made.routes) == {key(2)}


def test_an_admin_disabled_fe_is_not_enabled_by_the_end_of_the_hold_time() -> None:
    made = restarted()
    made.associate(CE1)
    made.config(fe_state(ADMIN_DISABLE))
    made.advance(HOLD_MS)
    assert made.routes == {}
    assert switched(made) == [False]
    assert made.state()["fe_state"] == "AdminDisable"


def test_cefti_after_a_lost_master_takes_what_was_found_too() -> None:
    made = restarted(connect_retry_ms=100_000, ha_mode=0)
    made.associate(CE1)
    made.config(set_hop(1, hop()), set_prefix(10, prefix(9, 1)))
    made.lose(CE1)
    made.advance(CEFTI_MS)
    assert made.routes == {}
    assert made.next_hops == {}
    assert switched(made) == [False]


def test_a_config_under_way_at_the_sweep_loses_nothing() -> None:
    made = restarted()
    made.associate(CE1)
    made.config(set_hop(1, hop()))
    made.hold = True
    made.config(set_prefix(10, prefix(1, 1)))
    made.advance(HOLD_MS)
    made.hold = False
    made.release()
    assert set(made.routes) == {key(1)}


def test_the_graceful_restart_is_advertised() -> None:
    made = restarted()
    made.associate(CE1)
    names = library().cls("FEPO")
    assert names.component("HACapabilities") is not None
    assert 0 in made.get("FEPO", "HACapabilities").values()
    forwarded = [e for e in made.log if isinstance(e, SetForwarding)]
    assert forwarded == []
