"""What a topology file may say. Everything else (ids, addresses, ports) the loader assigns."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from topologies.impairments import ImpairmentDocument

NodeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,8}$")]
"""Nine characters: `<node>-eth99` has to fit into the kernel's 15 for an interface."""

MAX_CES = 100
"""Control addresses .1 to .100 (docs/seams.md)."""
MAX_FES = 153
"""Control addresses .101 to .253. Larger networks are studied in the simulator."""
MAX_HOSTS = 100
"""10.101.0.0 to 10.200.0.0."""
MAX_LINKS = 1000


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostDocument(Strict):
    name: NodeName
    addresses: int = Field(1, ge=1, le=254)
    """One subnet each, all on the host's one link."""


class LinkDocument(Strict):
    ends: tuple[NodeName, NodeName]
    cost: int = Field(1, ge=1, le=65535)
    """Ends are FEs, or an FE and a host; the cost is the CEs' shortest-path weight."""


class FlowDocument(Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    source: NodeName = Field(alias="from")
    destination: NodeName = Field(alias="to")
    address: int = Field(1, ge=1)
    """Which address of both hosts, counted from 1."""


class TopologyDocument(Strict):
    description: str = Field(min_length=1, max_length=500)
    ces: tuple[NodeName, ...] = Field(min_length=1, max_length=MAX_CES)
    """In priority order: the first is every FE's first master."""
    fes: tuple[NodeName, ...] = Field(min_length=1, max_length=MAX_FES)
    hosts: tuple[HostDocument, ...] = Field((), max_length=MAX_HOSTS)
    links: tuple[LinkDocument, ...] = Field((), max_length=MAX_LINKS)
    flows: tuple[FlowDocument, ...] = Field((), max_length=64)
    impairments: tuple[ImpairmentDocument, ...] = Field((), max_length=200)
