"""The emulated network of the diamond: ready when `start()` returns, and true to PLATFORM's
traps."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.lab.sandboxed import in_sandbox

pytestmark = pytest.mark.lab

HOST_SYSCTLS = (
    "fs/file-max",
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/netdev_max_backlog",
    "net/ipv4/tcp_rmem",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv4/route/max_size",
    "net/ipv4/ip_forward",
    "net/ipv4/icmp_ratelimit",
    "net/ipv6/conf/all/disable_ipv6",
)


def sysctls() -> dict[str, str]:
    found = {}
    for name in HOST_SYSCTLS:
        path = Path("/proc/sys", name)
        if path.exists():
            found[name] = path.read_text()
    return found


@pytest.fixture(scope="module")
def facts() -> Any:
    before = sysctls()
    found = in_sandbox("tests.lab.inside:network", topology="diamond")
    found["sysctls_kept"] = sysctls() == before
    return found


def test_diamond_boots_in_less_than_two_seconds(facts: Any) -> None:
    assert facts["boot_s"] < 20  # 0.5 s when the machine is quiet


def test_no_interface_has_the_index_of_its_other_end(facts: Any) -> None:
    """Equal ones delay the report of a carrier loss by up to a second."""
    assert len(facts["indexes"]) == 2 * (6 + 6)
    assert all(own != other for own, other in facts["indexes"].values())


def test_the_first_packet_between_any_ce_and_fe_arrives(facts: Any) -> None:
    assert set(facts["first_ping"]) == {"ce2", "fe1", "fe2", "fe3", "fe4"}
    assert set(facts["first_ping"].values()) == {0}


def test_hosts_reach_their_fe_from_each_address_and_nothing_beyond(facts: Any) -> None:
    assert facts["host_to_fe"] == [0, 0]
    assert facts["across_without_routes"] != 0, "FEs forward when told to, not before"


def test_all_neighbours_are_known_for_ever(facts: Any) -> None:
    assert len(facts["neighbours"]["ce1"]) == 5
    assert len(facts["neighbours"]["fe1"]) == 5 + 2 + 2
    for lines in facts["neighbours"].values():
        assert all(line.rstrip().endswith("PERMANENT") for line in lines)


def test_the_control_interface_comes_first(facts: Any) -> None:
    assert facts["interfaces"]["fe1"] == ["fe1-ctl", "fe1-eth1", "fe1-eth2", "fe1-eth3"]
    assert facts["interfaces"]["h1"] == ["h1-eth1"]


def test_kernel_settings_are_the_labs(facts: Any) -> None:
    assert facts["sysctls"] == {
        "ip_forward": "0",
        "icmp_ratelimit": "0",
        "conf/all/rp_filter": "0",
    }


def test_nothing_of_it_is_in_the_sandboxs_root_namespace(facts: Any) -> None:
    assert facts["outside"] == ["lo"]


def test_no_sysctl_of_the_machine_changes(facts: Any) -> None:
    assert facts["sysctls_kept"]


def test_unknown_names_are_answered_with_the_known_ones(facts: Any) -> None:
    nodes = "(nodes: ce1, ce2, fe1, fe2, fe3, fe4, h1, h2)"
    links = "(links: h1-fe1, fe1-fe2, fe1-fe3, fe2-fe4, fe3-fe4, fe4-h2)"
    assert facts["unknown"] == [
        f"no node 'fe9' in diamond {nodes}",
        f"no node 'ctl' in diamond {nodes}",
        f"no link 'fe1-fe9' in diamond {links}",
        "h1 is a host and has no control link",
    ]
    assert facts["link_either_way"] == "fe1-fe2"


def test_configure_puts_back_what_the_kernel_forgot(facts: Any) -> None:
    assert facts["after_configure"] == {"neighbour": True, "ping": 0}


def test_a_lost_carrier_shows_within_milliseconds() -> None:
    """With equal indexes the median is 400 to 900 ms."""
    found = in_sandbox("tests.lab.inside:carrier_latency_ms", rounds=9)
    assert statistics.median(found) < 50


def test_mininets_own_command_loads_the_topology() -> None:
    found = in_sandbox("tests.lab.inside:mn")
    assert found["code"] == 0, found["output"]
    assert "ce1 -> ce2" in found["output"]
    assert "0% dropped" in found["output"]
