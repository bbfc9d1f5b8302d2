"""`ceha topologies`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from lab.coverage import coverage
from topologies.loader import available, load_topology


def list_all(as_json: bool) -> None:
    loaded = [load_topology(name) for name in available()]
    if as_json:
        listed = [
            {
                "name": topology.name,
                "description": topology.description,
                **{f"{kind}s": len(topology.of_kind(kind)) for kind in ("ce", "fe", "host")},
                "links": len(topology.links),
                "flows": len(topology.flows),
                "alternates": dataclasses.asdict(coverage(topology)),
            }
            for topology in loaded
        ]
        print(json.dumps(listed, indent=1))
        return
    for topology in loaded:
        print(f"{topology.name}: {topology.description}")


def show(name: str, as_json: bool) -> None:
    """The drawing from the head of the file, and what the loader assigned."""
    topology = load_topology(name)
    if as_json:
        print(json.dumps(dataclasses.asdict(topology), indent=1))
        return
    for line in Path(topology.source).read_text().splitlines():
        if not line.startswith("#"):
            break
        print(line.removeprefix("#").removeprefix(" "))
    print()
    print(f"loop-free alternates: {coverage(topology)}")
    for node in topology.nodes:
        if node.control_address is not None:
            print(f"{node.name:9} control {node.control_address}")
    for link in topology.links:
        ends = " -- ".join(
            f"{end.interface} {', '.join(end.addresses)}" for end in (link.a, link.b)
        )
        print(f"{link.name:9} {ends}" + (f" cost {link.cost}" if link.cost != 1 else ""))
    for flow in topology.flows:
        print(f"flow {flow.name:4} {flow.source} {flow.source_address} -> "
              f"{flow.destination} {flow.destination_address}")  # fmt: skip
