"""GraphML and GML files as the Internet Topology Zoo has them: the stated rules, and refusals."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from topologies.document import DocumentError
from topologies.loader import load_topology

GML = """\
graph [
  directed 0
  Network "Testnet"
  NetworkDate "2010_08"
  node [ id 0 label "New York" Country "United States" Longitude -74.0 Internal 1 ]
  node [ id 1 label "Washington DC" ]
  node [ id 2 label "10 Downing St." ]
  node [ id 3 label "Washington" ]
  node [ id 4 label "?" ]
  node [ id 7 label "Island" ]
  edge [ source 0 target 1 LinkLabel "OC-192" weight 7 ]
  edge [ source 1 target 3 ]
  edge [ source 3 target 2 weight 2.5 ]
  edge [ source 2 target 4 ]
  edge [ source 4 target 4 ]
]
"""

GRAPHML = """\
<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="label" attr.type="string" for="node" id="d1" />
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d2" />
  <key attr.name="Network" attr.type="string" for="graph" id="d3" />
  <graph edgedefault="undirected">
    <data key="d3">Zoo</data>
    <node id="0"><data key="d1">Alpha</data></node>
    <node id="1"><data key="d1">Beta</data></node>
    <node id="2"><data key="d1">Gamma</data></node>
    <edge id="e0" source="0" target="1"><data key="d2">1e9</data></edge>
    <edge id="e1" source="0" target="1" />
    <edge id="e2" source="1" target="2" />
  </graph>
</graphml>
"""


def load(folder: Path, name: str, text: str):  # type: ignore[no-untyped-def]
    (folder / name).write_text(text)
    return load_topology(folder / name)


def test_gml_becomes_fes_hosts_and_ces_by_the_stated_rules(tmp_path: Path) -> None:
    topology = load(tmp_path, "test.gml", GML)
    fes = [node.name for node in topology.of_kind("fe")]
    assert fes == ["newyork", "washingto", "downingst", "washingt1", "fe1"]
    assert [node.name for node in topology.of_kind("ce")] == ["ce1", "ce2"]
    assert "Testnet (2010_08)" in topology.description
    assert "1 nodes apart from these are left out" in topology.description
    costs = {link.name: link.cost for link in topology.links}
    assert costs["newyork-washingto"] == 7
    assert costs["downingst-washingt1"] == 1, "2.5 is no cost"
    assert "fe1-fe1" not in costs
    # the two ends of the row are farthest apart
    assert {"newyork-h1", "fe1-h2"} <= set(costs)
    assert [(f.source, f.destination) for f in topology.flows] == [("h1", "h2")] * 2


def test_graphml_parallel_lines_become_one_link(tmp_path: Path) -> None:
    topology = load(tmp_path, "zoo.graphml", GRAPHML)
    assert [node.name for node in topology.of_kind("fe")] == ["alpha", "beta", "gamma"]
    assert [link.name for link in topology.links] == [
        "alpha-beta", "beta-gamma", "alpha-h1", "gamma-h2",
    ]  # fmt: skip
    assert topology.name == "zoo"


def test_a_large_network_that_still_fits_is_connected_and_uniquely_named(tmp_path: Path) -> None:
    graph = nx.random_regular_graph(3, 150, seed=4)
    nx.set_node_attributes(graph, "Same City", "label")
    nx.write_graphml(graph, tmp_path / "big.graphml")
    topology = load_topology(tmp_path / "big.graphml")
    names = [node.name for node in topology.nodes]
    assert len(set(names)) == len(names) == 150 + 2 + 2
    assert nx.is_connected(nx.Graph([(link.a.node, link.b.node) for link in topology.links]))


GOLDEN = {
    "not_gml": ("x.gml", "graph [ node [ ", "x.gml: not gml: "),
    "not_xml": ("x.graphml", "<graphml", "x.graphml: not graphml: "),
    "doctype": ("x.graphml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
                "x.graphml: a network file has no use for a DTD"),
    "no_edge": ("x.gml", "graph [ node [ id 1 ] node [ id 2 ] ]",
                "x.gml: has no two nodes with a line between them"),
    "empty": ("x.gml", "graph [ ]", "x.gml: has no two nodes with a line between them"),
    "edge_to_nowhere": ("x.gml", "graph [ node [ id 1 ] edge [ source 1 target 9 ] ]",
                        "x.gml: not gml: "),
}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_a_wrong_network_is_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, text, start = GOLDEN[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DocumentError) as raised:
        load_topology(f"./{name}")
    assert str(raised.value).startswith(start)
    assert "\n" not in str(raised.value)


def test_a_network_of_too_many_nodes_is_refused(tmp_path: Path) -> None:
    nx.write_gml(nx.path_graph(154), tmp_path / "long.gml")
    with pytest.raises(DocumentError, match="154 nodes are more than the 153 FEs"):
        load_topology(tmp_path / "long.gml")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        load_topology(tmp_path / "none.graphml")
