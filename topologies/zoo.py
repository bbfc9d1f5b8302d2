"""Networks of the Internet Topology Zoo (GraphML) and its like (GML), as topologies.

Such a file knows routers and lines. What it does not know is added by these rules:

- Every node becomes an FE, named after its label: lower case, letters and digits only, nine
  characters at most. What is left without a name or would have another's gets a number.
- Only the largest connected part is taken. Several lines between two nodes become one link, a
  line from a node to itself none.
- A link costs its `cost` or `weight`, where that is a whole number from 1 to 65535, else 1.
- h1 and h2 are hosts at the two FEs that are farthest apart in hops (the first such pair in the
  order of the file), with two addresses each, and flows a and b between these: where two ways
  cost the same, each may take its own.
- Two CEs, ce1 and ce2.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from topologies.document import MAX_OCTETS, Document, DocumentError
from topologies.schema import MAX_FES, MAX_LINKS

if TYPE_CHECKING:
    import networkx

SUFFIXES = (".graphml", ".gml")
MAX_NAME = 9
MAX_COST = 65535
MAX_ZOO_OCTETS = 4 * MAX_OCTETS
"""The Zoo's largest file (Kdl, 754 nodes) has 0.6 MB."""
CES = ("ce1", "ce2")
HOSTS = ("h1", "h2")
RESERVED = frozenset({*CES, *HOSTS, "ctl", "lo"})


def read_zoo(path: Path) -> Document:
    """The document that a person would have written for this network. DocumentError where the
    file is not a network that the lab can carry."""
    graph = _largest_part(path, _read(path))
    names = _names(graph)
    if len(names) > MAX_FES:
        raise DocumentError(
            path, 0, "", f"{len(names)} nodes are more than the {MAX_FES} FEs a lab can have"
        )
    links = list(_links(graph, names))
    if len(links) + len(HOSTS) > MAX_LINKS:
        raise DocumentError(path, 0, "", f"{len(links)} links are more than {MAX_LINKS}")
    places = _farthest(graph, names)
    content = {
        "description": _description(path, graph),
        "ces": list(CES),
        "fes": list(names.values()),
        "hosts": [{"name": host, "addresses": 2} for host in HOSTS],
        "links": [*links, *({"ends": pair} for pair in zip(places, HOSTS, strict=True))],
        "flows": [
            {"name": name, "from": HOSTS[0], "to": HOSTS[1], "address": number}
            for number, name in enumerate("ab", start=1)
        ],
    }
    # Through YAML and back, so that tuples are lists and every error finds its place.
    text = yaml.safe_dump(content, sort_keys=False)
    return Document(path, yaml.safe_load(text), None)


def _read(path: Path) -> networkx.Graph[Any]:
    """One edge for each pair of nodes, none from a node to itself."""
    import networkx

    try:
        octets = path.read_bytes()
    except OSError as error:
        raise DocumentError(path, 0, "", error.strerror or str(error)) from None
    if len(octets) > MAX_ZOO_OCTETS:
        raise DocumentError(path, 0, "", f"longer than {MAX_ZOO_OCTETS} octets")
    try:
        text = octets.decode()
        if path.suffix == ".gml":
            # Some of the Zoo's files use a label twice: ids tell the nodes apart.
            read = networkx.parse_gml(text, label="id")
        else:
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise DocumentError(path, 0, "", "a network file has no use for a DTD")
            read = networkx.parse_graphml(text)
    except DocumentError:
        raise
    except Exception as error:  # networkx lets through whatever its parsers raise
        kind = path.suffix.removeprefix(".")
        raise DocumentError(path, 0, "", f"not {kind}: {_one_line(error)}") from None
    graph: networkx.Graph[Any] = networkx.Graph(**read.graph)
    graph.add_nodes_from(read.nodes(data=True))
    graph.add_edges_from((a, b, data) for a, b, data in read.edges(data=True) if a != b)
    return graph


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def _largest_part(path: Path, graph: networkx.Graph[Any]) -> networkx.Graph[Any]:
    import networkx

    parts = sorted(networkx.connected_components(graph), key=len, reverse=True)
    if not parts or len(parts[0]) < 2:
        raise DocumentError(path, 0, "", "has no two nodes with a line between them")
    part = networkx.Graph(**graph.graph, left_out=len(graph) - len(parts[0]))
    # Not `subgraph`: its order is that of a set, and names and places depend on the order.
    part.add_nodes_from((node, data) for node, data in graph.nodes(data=True) if node in parts[0])
    part.add_edges_from(edge for edge in graph.edges(data=True) if edge[0] in parts[0])
    return part


def _names(graph: networkx.Graph[Any]) -> dict[Hashable, str]:
    names: dict[Hashable, str] = {}
    taken = set(RESERVED)
    for node, data in graph.nodes(data=True):
        label = str(data.get("label") or data.get("name") or "")
        stem = re.sub(r"[^a-z0-9]", "", label.lower()).lstrip("0123456789")[:MAX_NAME] or "fe"
        name, number = stem, 1
        while name in taken or name == "fe":
            name = f"{stem[: MAX_NAME - len(str(number))]}{number}"
            number += 1
        taken.add(name)
        names[node] = name
    return names


def _links(graph: networkx.Graph[Any], names: Mapping[Hashable, str]) -> Iterator[dict[str, Any]]:
    for a, b, data in graph.edges(data=True):
        yield {"ends": [names[a], names[b]], "cost": _cost(data)}


def _cost(data: Mapping[str, Any]) -> int:
    for key in ("cost", "weight"):
        try:
            value = float(data[key])
        except (KeyError, TypeError, ValueError):
            continue
        if value.is_integer() and 1 <= value <= MAX_COST:
            return int(value)
    return 1


def _farthest(graph: networkx.Graph[Any], names: Mapping[Hashable, str]) -> tuple[str, str]:
    import networkx

    best, pair = -1, ("", "")
    for node in graph:
        for other, hops in networkx.single_source_shortest_path_length(graph, node).items():
            if hops > best:
                best, pair = hops, (names[node], names[other])
    return pair


def _description(path: Path, graph: networkx.Graph[Any]) -> str:
    network = graph.graph.get("Network") or graph.graph.get("label") or path.stem
    date = graph.graph.get("NetworkDate")
    text = f"{network} ({date})" if date else str(network)
    text += f", from {path.name}: {len(graph)} FEs, {graph.number_of_edges()} links"
    left_out = graph.graph["left_out"]
    return (f"{text}; {left_out} nodes apart from these are left out" if left_out else text)[:500]
