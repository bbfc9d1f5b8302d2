"""From a topology file to a `Topology`: assigns ids, ports and addresses, and refuses what does
not hold together. The numbering plan is docs/seams.md, section Addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from topologies import zoo
from topologies.document import Document, DocumentError, read, suggestion
from topologies.impairments import mistakes
from topologies.model import Endpoint, Flow, Link, Node, Topology
from topologies.schema import HostDocument, TopologyDocument

CONTROL_SUBNET = "10.255.0.0/24"
FIRST_CE_ID = 0x40000001
"""RFC 5810 section 6.1: CE IDs are 0x40000000 and up, FE IDs below."""

SHIPPED = Path(__file__).parent


def available() -> list[str]:
    """Names of the topologies that come with ceha."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_topology(name_or_path: str | Path) -> Topology:
    """A shipped topology by name, or any file by path: YAML, or a network of the Internet Topology
    Zoo as GraphML or GML. DocumentError where it is wrong."""
    path = _find(name_or_path)
    if path.suffix in zoo.SUFFIXES:
        document = zoo.read_zoo(path)
    else:
        document = read(path)
    content = document.validate(TopologyDocument)
    kinds = _check_names(document, content)
    _check_links(document, content, kinds)
    links = _links(content, kinds)
    addresses = _host_addresses(links)
    _check_flows(document, content, kinds, addresses)
    topology = Topology(
        name=path.stem,
        description=content.description,
        nodes=tuple(_nodes(content)),
        links=links,
        flows=tuple(
            Flow(
                name=flow.name,
                source=flow.source,
                destination=flow.destination,
                source_address=addresses[flow.source][flow.address - 1],
                destination_address=addresses[flow.destination][flow.address - 1],
            )
            for flow in content.flows
        ),
        control_subnet=CONTROL_SUBNET,
        source=str(path.resolve()),
        impairments=tuple(each.value() for each in content.impairments),
    )
    for row, field, message in mistakes(topology, content.impairments):
        raise document.error(("impairments", row, field), message)
    return topology


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if "/" in text or text.endswith((".yaml", ".yml", *zoo.SUFFIXES)):
        return Path(text)
    if text in available():
        return SHIPPED / f"{text}.yaml"
    if Path(text).is_file():
        return Path(text)
    known = suggestion(text, available())
    raise DocumentError(text, 0, "", f"is not a topology, and there is no file of that name{known}")


def _check_names(document: Document, content: TopologyDocument) -> dict[str, str]:
    """Kind of each node; every name once."""
    kinds: dict[str, str] = {}
    named = [
        *((name, "ce", ("ces", row)) for row, name in enumerate(content.ces)),
        *((name, "fe", ("fes", row)) for row, name in enumerate(content.fes)),
        *((host.name, "host", ("hosts", row, "name")) for row, host in enumerate(content.hosts)),
    ]
    for name, kind, location in named:
        if name in kinds:
            raise document.error(location, f"{name!r} is already the name of a {kinds[name]}")
        if name == "ctl":
            raise document.error(location, "'ctl' is the name of the control network's switch")
        kinds[name] = kind
    return kinds


def _check_links(document: Document, content: TopologyDocument, kinds: dict[str, str]) -> None:
    linked: dict[str, int] = {}
    seen: dict[frozenset[str], int] = {}
    for row, link in enumerate(content.links):
        location = ("links", row, "ends")
        for end in link.ends:
            if end not in kinds:
                raise document.error(
                    location, f"no node is named {end!r}{suggestion(end, sorted(kinds))}"
                )
            if kinds[end] == "ce":
                raise document.error(location, f"{end} is a CE, and CEs have no data links")
            linked[end] = linked.get(end, 0) + 1
            if kinds[end] == "host" and linked[end] > 1:
                raise document.error(location, f"host {end} has a link already")
        if {kinds[end] for end in link.ends} == {"host"}:
            raise document.error(location, "joins two hosts; one end has to be an FE")
        if link.ends[0] == link.ends[1]:
            raise document.error(location, f"joins {link.ends[0]} to itself")
        pair = frozenset(link.ends)
        if pair in seen:
            raise document.error(
                location,
                f"{'-'.join(link.ends)} is given already in line "
                f"{document.line_of(('links', seen[pair]))}",
            )
        seen[pair] = row
    for row, host in enumerate(content.hosts):
        if host.name not in linked:
            raise document.error(("hosts", row), f"host {host.name} has no link")


def _check_flows(
    document: Document,
    content: TopologyDocument,
    kinds: dict[str, str],
    addresses: dict[str, list[str]],
) -> None:
    hosts = [host.name for host in content.hosts]
    names: set[str] = set()
    for row, flow in enumerate(content.flows):
        if flow.name in names:
            raise document.error(("flows", row, "name"), f"{flow.name!r} is given twice")
        names.add(flow.name)
        for key, end in (("from", flow.source), ("to", flow.destination)):
            if kinds.get(end) != "host":
                raise document.error(
                    ("flows", row, key),
                    f"{end!r} is not a host{suggestion(end, hosts)}",
                )
            if flow.address > len(addresses[end]):
                raise document.error(
                    ("flows", row, "address"), f"{end} has only {len(addresses[end])} address(es)"
                )
        if flow.source == flow.destination:
            raise document.error(("flows", row, "to"), "is also where the flow starts")


def _nodes(content: TopologyDocument) -> Iterator[Node]:
    for row, name in enumerate(content.ces):
        yield Node(name, "ce", FIRST_CE_ID + row, f"10.255.0.{1 + row}/24")
    for row, name in enumerate(content.fes):
        yield Node(name, "fe", 1 + row, f"10.255.0.{101 + row}/24")
    for host in content.hosts:
        yield Node(host.name, "host", 0, None)


def _links(content: TopologyDocument, kinds: dict[str, str]) -> tuple[Link, ...]:
    hosts: dict[str, tuple[int, HostDocument]] = {
        host.name: (100 + number, host) for number, host in enumerate(content.hosts, start=1)
    }
    ports: dict[str, int] = {}
    links = []
    transits = 0
    for document in content.links:
        if "host" in (kinds[end] for end in document.ends):
            number, host = hosts[next(end for end in document.ends if end in hosts)]
            subnets = [f"10.{number}.{k}" for k in range(1, host.addresses + 1)]
            ends = [
                tuple(f"{subnet}.{10 if end in hosts else 1}/24" for subnet in subnets)
                for end in document.ends
            ]
        else:
            transits += 1
            net = f"10.{1 + transits // 256}.{transits % 256}"
            ends = [(f"{net}.1/30",), (f"{net}.2/30",)]
        a, b = (
            _endpoint(node, ports, addresses)
            for node, addresses in zip(document.ends, ends, strict=True)
        )
        links.append(Link(f"{a.node}-{b.node}", a, b, document.cost))
    return tuple(links)


def _endpoint(node: str, ports: dict[str, int], addresses: tuple[str, ...]) -> Endpoint:
    ports[node] = port = ports.get(node, 0) + 1
    return Endpoint(node, port, f"{node}-eth{port}", addresses)


def _host_addresses(links: tuple[Link, ...]) -> dict[str, list[str]]:
    """Addresses without length of everything that is linked (hosts are asked for)."""
    return {
        end.node: [address.split("/")[0] for address in end.addresses]
        for link in links
        for end in (link.a, link.b)
    }
