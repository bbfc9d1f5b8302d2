"""Topology files: what is assigned (docs/seams.md, Addresses), and what is refused."""

from __future__ import annotations

import ipaddress
import itertools
from pathlib import Path

import networkx as nx
import pytest

from topologies.document import DocumentError
from topologies.impairments import expand, one_way_ms
from topologies.loader import available, load_topology
from topologies.model import Impairment

GOOD = """\
description: two FEs in a line
ces: [ce1]
fes: [fe1, fe2]
hosts:
  - {name: h1}
  - {name: h2}
links:
  - {ends: [h1, fe1]}
  - {ends: [fe1, fe2], cost: 3}
  - {ends: [fe2, h2]}
flows:
  - {name: a, from: h1, to: h2}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "line.yaml"
    path.write_text(text)
    return path


def test_the_first_fes_bring_their_hosts_links_and_flows(tmp_path: Path) -> None:
    star = load_topology("star")
    part = star.of_first_fes(3)
    assert [node.name for node in part.nodes] == ["ce1", "ce2", "fe1", "fe2", "fe3", "h1", "h2"]
    assert {link.name for link in part.links} == {"h1-fe1", "fe1-h2", "fe1-fe2", "fe1-fe3"}
    assert part.flows == star.flows
    assert star.of_first_fes(50) == star
    wide = load_topology(written(tmp_path, GOOD + "impairments: [{link: fe2, delay_ms: 1}]\n"))
    one = wide.of_first_fes(1)
    assert ([node.name for node in one.nodes], one.flows) == (["ce1", "fe1", "h1"], ())
    assert (len(wide.impairments), one.impairments) == (1, ())


@pytest.mark.parametrize("name", available())
def test_every_shipped_topology_is_connected_and_numbered_without_overlap(name: str) -> None:
    topology = load_topology(name)
    graph = nx.Graph([(link.a.node, link.b.node) for link in topology.links])
    assert nx.is_connected(graph)
    addresses = [address for link in topology.links for end in (link.a, link.b)
                 for address in end.addresses]  # fmt: skip
    addresses += [node.control_address for node in topology.nodes if node.control_address]
    assert len(set(addresses)) == len(addresses)
    subnets = {ipaddress.ip_interface(address).network for address in addresses}
    ordered = sorted(subnets)
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(ordered))
    ids = [node.id for node in topology.nodes if node.kind != "host"]
    assert len(set(ids)) == len(ids)


def test_diamond_has_two_disjoint_paths_of_equal_cost_and_a_flow_for_each() -> None:
    diamond = load_topology("diamond")
    kinds = [len(diamond.of_kind(kind)) for kind in ("fe", "ce", "host")]
    assert kinds == [4, 2, 2]
    graph = nx.Graph()
    for link in diamond.links:
        graph.add_edge(link.a.node, link.b.node, weight=link.cost)
    paths = list(nx.all_shortest_paths(graph, "h1", "h2", weight="weight"))
    assert sorted(path[2] for path in paths) == ["fe2", "fe3"]
    assert [flow.name for flow in diamond.flows] == ["a", "b"]
    assert len({flow.destination_address for flow in diamond.flows}) == 2


def test_numbers_and_addresses_are_those_of_the_seams(tmp_path: Path) -> None:
    topology = load_topology(written(tmp_path, GOOD))
    assert topology.name == "line"
    assert topology.node("ce1").id == 0x40000001
    assert topology.node("ce1").control_address == "10.255.0.1/24"
    assert topology.node("fe2").control_address == "10.255.0.102/24"
    first, middle, last = topology.links
    assert (first.a.interface, first.a.addresses) == ("h1-eth1", ("10.101.1.10/24",))
    assert (first.b.interface, first.b.addresses) == ("fe1-eth1", ("10.101.1.1/24",))
    assert (middle.name, middle.cost) == ("fe1-fe2", 3)
    assert (middle.a.addresses, middle.b.addresses) == (("10.1.1.1/30",), ("10.1.1.2/30",))
    assert (middle.a.port, middle.b.port) == (2, 1)
    assert last.b.addresses == ("10.102.1.10/24",)


GOLDEN = {
    "misspelt_key": (
        "fes: [fe1, fe2]",
        "fees: [fe1, fe2]",
        "3: fees: is not a known key: did you mean 'fes'?",
    ),
    "unknown_end": (
        "ends: [fe2, h2]",
        "ends: [fe3, h2]",
        "10: links[2].ends: no node is named 'fe3': did you mean 'fe2'?",
    ),
    "ce_on_the_data_network": (
        "ends: [fe2, h2]",
        "ends: [ce1, h2]",
        "10: links[2].ends: ce1 is a CE, and CEs have no data links",
    ),
    "host_twice": (
        "ends: [fe1, fe2], cost: 3",
        "ends: [fe1, h1]",
        "9: links[1].ends: host h1 has a link already",
    ),
    "two_hosts": (
        "ends: [fe2, h2]",
        "ends: [h2, h2]",
        "10: links[2].ends: host h2 has a link already",
    ),
    "joins_hosts": (
        "ends: [h1, fe1]",
        "ends: [h1, h2]",
        "8: links[0].ends: joins two hosts; one end has to be an FE",
    ),
    "host_without_link": ("  - {ends: [fe2, h2]}\n", "", "6: hosts[1]: host h2 has no link"),
    "link_twice": (
        "ends: [fe2, h2]",
        "ends: [fe2, fe1]",
        "10: links[2].ends: fe2-fe1 is given already in line 9",
    ),
    "to_itself": (
        "ends: [fe1, fe2], cost: 3",
        "ends: [fe1, fe1]",
        "9: links[1].ends: joins fe1 to itself",
    ),
    "name_twice": (
        "{name: h2}",
        "{name: fe1}",
        "6: hosts[1].name: 'fe1' is already the name of a fe",
    ),
    "reserved_name": (
        "[fe1, fe2]",
        "[ctl, fe2]",
        "3: fes[0]: 'ctl' is the name of the control network's switch",
    ),
    "name_too_long": (
        "ces: [ce1]",
        "ces: [controller1]",
        "2: ces[0]: string should match pattern '^[a-z][a-z0-9]{0,8}$' (is 'controller1')",
    ),
    "no_ce": (
        "ces: [ce1]",
        "ces: []",
        "2: ces: tuple should have at least 1 item after validation, not 0",
    ),
    "flow_of_an_fe": (
        "from: h1",
        "from: fe1",
        "12: flows[0].from: 'fe1' is not a host (known: h1, h2)",
    ),
    "no_such_address": (
        "to: h2",
        "to: h2, address: 2",
        "12: flows[0].address: h1 has only 1 address(es)",
    ),
    "flow_to_itself": ("to: h2", "to: h1", "12: flows[0].to: is also where the flow starts"),
    "cost_of_zero": (
        "cost: 3",
        "cost: 0",
        "9: links[1].cost: input should be greater than or equal to 1 (is 0)",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_a_wrong_topology_is_one_line_with_file_line_and_field(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong, line = GOLDEN[case]
    assert right in GOOD
    monkeypatch.chdir(tmp_path)
    written(tmp_path, GOOD.replace(right, wrong))
    with pytest.raises(DocumentError) as raised:
        load_topology("line.yaml")
    assert str(raised.value) == f"line.yaml:{line}"


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(DocumentError, match="did you mean 'diamond'"):
        load_topology("dimond")


IMPAIRED = GOOD + "impairments:\n"


def test_impairments_of_a_topology_are_read_and_a_later_one_replaces_an_earlier(
    tmp_path: Path,
) -> None:
    text = IMPAIRED + "  - {link: fe1-fe2, delay_ms: 2, rate_mbit: 50, towards: fe2}\n"
    text += "  - {link: fes, delay_ms: 5, jitter_ms: 1}\n"
    topology = load_topology(written(tmp_path, text))
    later = Impairment("fe1", "ctl", delay_ms=9)
    found = expand(topology, [*topology.impairments, later])
    assert found["fe1", "fe2"].rate_mbit == 50
    assert ("fe2", "fe1") not in found
    assert (found["fe2", "ctl"].delay_ms, found["ctl", "fe1"].delay_ms) == (5, 5)
    assert found["fe1", "ctl"] == later
    assert one_way_ms(topology, topology.impairments, control=True) == 12
    assert one_way_ms(topology, topology.impairments, control=False) == 2


@pytest.mark.parametrize(
    ("entry", "field", "message"),
    [
        ("{link: fe1-fe9, delay_ms: 1}", "link", "has no data link, CE or FE 'fe1-fe9'"),
        ("{link: fe1, towards: fe2, delay_ms: 1}", "towards", "fe1 has no end 'fe2'"),
        ("{link: fe1}", "link", "impairs nothing"),
        ("{link: fe1, delay_ms: 1, jitter_ms: 2}", "jitter_ms", "is more than delay_ms"),
        ("{link: fe1-fe2, loss_percent: 1}", "loss_percent", "see the fault link-loss"),
        ("{link: fe1-fe2, delay_ms: 30}", "delay_ms", "at most 20 ms"),
        ("{link: fe1, delay_ms: 900}", "delay_ms", "less than or equal to 500"),
        ("{link: fe1, lost: 1}", "lost", "is not a known key"),
    ],
)
def test_golden_wrong_impairments(tmp_path: Path, entry: str, field: str, message: str) -> None:
    path = written(tmp_path, IMPAIRED + "  - {link: ces, delay_ms: 1}\n  - " + entry + "\n")
    with pytest.raises(DocumentError) as caught:
        load_topology(path)
    assert str(caught.value).startswith(f"{path}:15: impairments[1].{field}: ")
    assert message in str(caught.value)


def test_the_same_direction_is_not_impaired_twice(tmp_path: Path) -> None:
    path = written(
        tmp_path, IMPAIRED + "  - {link: fes, delay_ms: 1}\n  - {link: fe2, delay_ms: 2}\n"
    )
    with pytest.raises(DocumentError, match="fe2 to ctl is impaired twice"):
        load_topology(path)
