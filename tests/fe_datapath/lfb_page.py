"""docs/lfbs.md from a live FE: every component of every class that it has is read and set, and the
page says what came of it. `python -m tests.fe_datapath.lfb_page` writes it anew; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fe_datapath.config import RedirectConfig
from forces.errors import ProtocolError, ResultCode
from forces.messages import OperType
from forces.model import ArrayType, LfbClass
from forces.model.lfbclass import Component
from forces.paths import ExtendedResult, FullData, Result
from tests.conformance.fe_rig import CE1, CE2, FeRig, codes, leaves, lfb, next_hop, operation, path

PAGE = Path(__file__).parents[2] / "docs" / "lfbs.md"

HEAD = """\
# The LFBs of an FE, and what they are in Linux

Generated from a live FE by `python -m tests.fe_datapath.lfb_page`; a test compares. GET and SET say
what the FE answers to a CE that reads the component, or SETs it to another allowed value; where
that is refused, the result code (RFC 5810 section 7.1.7 and Appendix A, RFC 7391). The fake datapath
stands for a kernel with veth ports here; both pass the same suite (tests/datapath/).

RedirectIn and RedirectOut are there if the FE's configuration has `redirect` ([redirect.md](redirect.md)).
EtherPHYCop, EtherMACIn, EtherMACOut and GenericScheduler have an instance for each port, with its
number; Ext-ECMP has one for IPv4 and one for IPv6. The two classes whose names begin with "Ext-" are
ours, and their numbers are not registered ([model.md](model.md)).

What goes into the kernel carries protocol number 200 (routes, next hops, groups, neighbours), and is
found by it after a restart ([restart.md](restart.md)).
"""  # noqa: E501

CLASSES = {
    "FEObject": "The FE itself.",
    "FEPO": "Association, heartbeats, HA. Its state is the FE's own, none of it the kernel's.",
    "EtherPHYCop": (
        "An interface (rtnetlink, ethtool). Events 60.1 to 60.3 come from RTMGRP_LINK; a CE thins\n"
        "them out by eventHysteresis, eventCount and eventInterval (SET-PROP)."
    ),
    "EtherMACIn": "The same interface.",
    "EtherMACOut": "The same interface.",
    "EtherClassifier": "Linux sorts frames by EtherType by itself, in this one way.",
    "EtherEncap": "Neighbour entries. One is made of a next hop's row (port, address, "
    "MediaEncapInfoIndex) and the row of that index here (MAC address).",
    "IPv4Validator": "Linux checks headers by itself. /proc/net/snmp and netstat, of the whole "
    "namespace.",
    "IPv6Validator": "Likewise; /proc/net/snmp6.",
    "IPv4UcastLPM": "Routes of the main table, metric 1200.",
    "IPv6UcastLPM": "Likewise.",
    "IPv4NextHop": "Nexthop objects; the row's index is the object's identifier.",
    "IPv6NextHop": "Likewise; identifiers from 2^30.",
    "Ext-ECMP": "Nexthop groups (resilient ones); a vendor class: RFC 6956 leaves this to others.",
    "BasicMetadataDispatch": "The way from EtherEncap to the ports: Linux has it built in.",
    "GenericScheduler": "The queueing disciplines that the port has.",
    "RedirectIn": "A packet socket on each port ([redirect.md](redirect.md)).",
    "RedirectOut": "The same sockets, with a BPF filter.",
    "Ext-FEStateSync": "Generation and journal of the FE ([ce-ce-sync.md](ce-ce-sync.md)).",
}

BOUND = {
    "FEObject.LFBTopology": "what is linked to what in fact",
    "FEObject.LFBSelectors": "the instances that there are",
    "FEObject.FEName": "the lab's name of the node",
    "FEObject.FEState": "net.ipv4.ip_forward and net.ipv6.conf.all.forwarding, IPv4 off first, on "
    "first; a CE sets AdminDisable or OperEnable",
    "FEObject.FENeighbors": "from the configuration",
    "FEObject.ModifiableLFBTopology": "false",
    "FEObject.SupportedLFBs": "classes and versions of the instances that there are",
    "EtherPHYCop.PHYPortID": "from the configuration; kernel indexes never show",
    "EtherPHYCop.AdminStatus": "IFF_UP",
    "EtherPHYCop.OperStatus": "IFF_UP and IFF_LOWER_UP",
    "EtherPHYCop.AdminLinkSpeed": "ETHTOOL_SSET; a veth refuses it, a tap and cards take it; "
    "9 (other) is VALUE_OUT_OF_RANGE",
    "EtherPHYCop.OperLinkSpeed": "ETHTOOL_GSET",
    "EtherPHYCop.AdminDuplexMode": "as AdminLinkSpeed",
    "EtherPHYCop.OperDuplexMode": "ETHTOOL_GSET",
    "EtherPHYCop.CarrierStatus": "IFF_LOWER_UP",
    "EtherPHYCop.SupportedLinkSpeed": "ETHTOOL_GSET's supported modes; auto always",
    "EtherPHYCop.SupportedDuplexMode": "likewise",
    "EtherMACIn.AdminStatus": "IFF_UP: Linux has one switch for the three",
    "EtherMACIn.LocalMACAddresses": "IFLA_ADDRESS, row 0; another row is INVALID_ARRAY_CREATION, "
    "none INVALID_PARAMETERS, a group's address VALUE_OUT_OF_RANGE. Neighbours are told "
    "(arp_notify, ndisc_notify)",
    "EtherMACIn.L2BridgingPathEnable": "false: no bridge",
    "EtherMACIn.PromiscuousMode": "IFF_PROMISC",
    "EtherMACIn.TxFlowControl": "false: no pause frames",
    "EtherMACIn.RxFlowControl": "likewise",
    "EtherMACIn.MACInStats": "IFLA_STATS64: rx_packets, rx_dropped",
    "EtherMACOut.AdminStatus": "as EtherMACIn's, of which it is an alias",
    "EtherMACOut.MTU": "IFLA_MTU",
    "EtherMACOut.TxFlowControl": "as EtherMACIn's",
    "EtherMACOut.RxFlowControl": "as EtherMACIn's",
    "EtherMACOut.MACOutStats": "IFLA_STATS64: tx_packets, tx_dropped",
    "EtherClassifier.EtherDispatchTable": "IPv4 to output 0, IPv6 to 1; ARP is the kernel's",
    "EtherClassifier.VlanInputTable": "untagged frames of port N are logical port 65536 + N",
    "EtherClassifier.EtherClassifyStats": "Linux does not count by EtherType",
    "EtherEncap.EncapTable": "permanent neighbour entries. VlanID other than 0, SrcMac other than "
    "the port's or 0: NOT_SUPPORTED. What the kernel has resolved is shown under the index that "
    "the next hop asks for",
    "IPv4Validator.IPv4ValidatorStats": "InHdrErrors less the other two, InTruncatedPkts, "
    "OutTimeExcds, InCsumErrors; a TTL that ran out beyond the kernel's ICMP limit counts as a bad "
    "header. SET gives the figures a new start",
    "IPv6Validator.IPv6ValidatorStats": "Ip6InHdrErrors less the last, Ip6InTruncatedPkts, "
    "Icmp6OutTimeExcds",
    "IPv4UcastLPM.IPv4PrefixTable": "RTM_NEWROUTE by nhid; DefaultRouteFlag is kept only",
    "IPv4UcastLPM.IPv4UcastLPMStats": "InReceives, ForwDatagrams, InNoRoutes",
    "IPv6UcastLPM.IPv6PrefixTable": "as IPv4's",
    "IPv6UcastLPM.IPv6UcastLPMStats": "Ip6InReceives, Ip6OutForwDatagrams, Ip6InNoRoutes",
    "IPv4NextHop.IPv4NextHopTable": "RTM_NEWNEXTHOP. The row's MTU and LFBOutputSelectIndex are "
    "kept: a nexthop object has neither",
    "IPv6NextHop.IPv6NextHopTable": "as IPv4's",
    "Ext-ECMP.GroupTable": "NHA_GROUP; the first backup waits as a standby",
    "BasicMetadataDispatch.MetadataID": "PHYPortID",
    "BasicMetadataDispatch.MetadataDispatchTable": "output N is the Nth port",
    "GenericScheduler.SchedulingDiscipline": "round robin: one queue, or an htb's equal classes. "
    "There is no other in RFC 6956",
    "GenericScheduler.QueueStats": "backlog of each qdisc with none below it; a veth has none",
    "GenericScheduler.QueueLenLimit": "limit of the shortest queue, packets as MTUs; 0: no queue",
    "RedirectIn.NumPacketsReceived": "counted by the FE",
    "RedirectOut.NumPacketsSent": "counted by the FE",
}
"""Class.component -> text; those of classes that no kernel has a part in have none."""
OWN = frozenset({"FEPO", "Ext-FEStateSync"})

ENCAP = {
    "DstMac": b"\2\0\0\0\0\x42",
    "SrcMac": bytes(6),
    "VlanID": 0,
    "Reserved": 0,
    "L2PortID": 1,
}
HOP6 = next_hop() | {"NextHopIPAddr": b"\xfe\x80" + bytes(13) + b"\2"}
PROBES: dict[str, Any] = {
    "FEObject.FEState": 0,
    "FEObject.FENeighbors": {},
    "EtherPHYCop.AdminLinkSpeed": 2,
    "EtherPHYCop.AdminDuplexMode": 2,
    "EtherMACIn.LocalMACAddresses": {0: b"\2\0\0\0\0\x42"},
    "EtherMACOut.MTU": 1400,
    "EtherClassifier.EtherDispatchTable": {},
    "EtherClassifier.VlanInputTable": {},
    "EtherEncap.EncapTable": {1: ENCAP},
    "IPv4UcastLPM.IPv4PrefixTable": {},
    "IPv6UcastLPM.IPv6PrefixTable": {},
    "IPv4NextHop.IPv4NextHopTable": {1: next_hop()},
    "IPv6NextHop.IPv6NextHopTable": {1: HOP6},
    "Ext-ECMP.GroupTable": {},
    "BasicMetadataDispatch.MetadataDispatchTable": {},
    "GenericScheduler.SchedulingDiscipline": 1,
    "FEPO.MulticastFEIDs": {0: 0xC0000001},
    "FEPO.CEHBPolicy": 1,
    "FEPO.FEHBPolicy": 0,
    "FEPO.CEFailoverPolicy": 0,
    "FEPO.FERestartPolicy": 1,
    "FEPO.CEID": CE2,
    "FEPO.BackupCEs": {0: CE2},
    "FEPO.LastCEID": CE1,
    "FEPO.HAMode": 1,
    "FEPO.EResultAdmin": 2,
}
"""Class.component -> a value to set it to."""


def fresh() -> FeRig:
    made = FeRig(redirect=RedirectConfig())
    made.associate(CE1)
    return made


def classes() -> list[LfbClass]:
    """In the order of their numbers."""
    found = {i.cls.id: i.cls for i in fresh().core.store.instances.values()}
    return [found[number] for number in sorted(found)]


def components(cls: LfbClass) -> Iterator[Component]:
    yield from sorted(cls.components.values(), key=lambda component: component.id)


def got(cls: LfbClass, component: Component) -> str:
    asked = lfb(cls.id, operation(OperType.GET, path(component.id)))
    ((_, _, _, content),) = leaves(fresh().query(asked))
    if isinstance(content, Result | ExtendedResult):
        return ResultCode(content.code).name
    return "yes"


def put(cls: LfbClass, component: Component) -> str:
    made, name = fresh(), f"{cls.name}.{component.name}"
    try:
        value = PROBES[name] if name in PROBES else another(made, cls, component)
    except ProtocolError:  # it has no value
        value = component.type.default()
    content = FullData(component.type.pack(value))
    data = path(component.id, data=content.value)
    answer = made.config(lfb(cls.id, operation(OperType.SET, data)))
    assert answer is not None
    (code,) = codes(answer)
    return "yes" if code == ResultCode.SUCCESS else ResultCode(code).name


def another(made: FeRig, cls: LfbClass, component: Component) -> Any:
    value = made.core.store.instances[cls.id, 1].read(component.name)
    if component.access not in ("read-write", "write-only") or component.capability:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(component.type, ArrayType):
        assert value, f"{cls.name}.{component.name} needs a probe"
        return {}
    return value


def page() -> str:
    lines = [HEAD]
    for cls in classes():
        lines += [f"## {cls.id} {cls.name} {cls.version}", "", CLASSES[cls.name], ""]
        own = cls.name in OWN
        lines.append("| | component | GET | SET |" + ("" if own else " in Linux |"))
        lines.append("|---|---|---|---|" + ("" if own else "---|"))
        for component in components(cls):
            name = f"{cls.name}.{component.name}"
            row = f"| {component.id} | {component.name} | {got(cls, component)} |"
            row += f" {put(cls, component)} |"
            if not own:
                row += f" {BOUND.get(name, 'kept, for CEs to read')} |"
            lines.append(row)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def texts_without_a_component() -> set[str]:
    there = {f"{cls.name}.{c.name}" for cls in classes() for c in components(cls)}
    return (BOUND.keys() | PROBES.keys()) - there


if __name__ == "__main__":
    PAGE.write_text(page())
