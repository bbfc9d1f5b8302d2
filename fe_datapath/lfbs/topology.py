"""FEObject's LFBTopology (RFC 5812 section 5.3.3): the LFB graph of RFC 6956 section 6, with the
classes that this FE has.

Sources and sinks of which there is one for each port are linked one to one; where one instance
meets many, the group's port has the number of the many in the order of the ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from forces.values import value

GRAPH = (
    ("EtherPHYCop", "EtherPHYOut", "EtherMACIn", "EtherPktsIn"),
    ("EtherMACIn", "NormalPathOut", "EtherClassifier", "EtherPktsIn"),
    ("EtherClassifier", "ClassifyOut 0", "IPv4Validator", "ValidatePktsIn"),
    ("EtherClassifier", "ClassifyOut 1", "IPv6Validator", "ValidatePktsIn"),
    ("IPv4Validator", "IPv4UnicastOut", "IPv4UcastLPM", "PktsIn"),
    ("IPv6Validator", "IPv6UnicastOut", "IPv6UcastLPM", "PktsIn"),
    ("IPv4UcastLPM", "NormalOut", "IPv4NextHop", "PktsIn"),
    ("IPv6UcastLPM", "NormalOut", "IPv6NextHop", "PktsIn"),
    ("IPv4UcastLPM", "ECMPOut", "Ext-ECMP 1", "PktsIn"),
    ("IPv6UcastLPM", "ECMPOut", "Ext-ECMP 2", "PktsIn"),
    ("Ext-ECMP 1", "SuccessOut", "IPv4NextHop", "PktsIn"),
    ("Ext-ECMP 2", "SuccessOut", "IPv6NextHop", "PktsIn"),
    ("IPv4NextHop", "SuccessOut", "EtherEncap", "EncapIn"),
    ("IPv6NextHop", "SuccessOut", "EtherEncap", "EncapIn"),
    ("EtherEncap", "SuccessOut", "BasicMetadataDispatch", "PktsIn"),
    ("BasicMetadataDispatch", "PktsOut", "GenericScheduler", "PktsIn"),
    ("GenericScheduler", "PktsOut", "EtherMACOut", "EtherPktsIn"),
    ("EtherMACOut", "EtherPktsOut", "EtherPHYCop", "EtherPHYIn"),
    ("IPv4Validator", "ExceptionOut", "RedirectOut", "PktsIn"),
    ("IPv4UcastLPM", "ExceptionOut", "RedirectOut", "PktsIn"),
    ("IPv6UcastLPM", "ExceptionOut", "RedirectOut", "PktsIn"),
    ("EtherClassifier", "ExceptionOut", "RedirectOut", "PktsIn"),
    ("RedirectIn", "PktsOut", "EtherMACOut", "EtherPktsIn"),
)
"""From, output port (of a group: with its index), to, input port. "Ext-ECMP 1" is instance 1: there
is one for each address family."""
BY_PORT = frozenset({"EtherPHYCop", "EtherMACIn", "EtherMACOut", "GenericScheduler"})
"""Classes with an instance for each port."""


@value
class Present:
    """An LFB instance that the FE has."""

    name: str
    """Of its class."""
    class_id: int
    version: str
    instance_id: int


def links(instances: Iterable[Present], exceptions: AbstractSet[str]) -> Iterator[dict[str, Any]]:
    """The rows of LFBTopology. `exceptions`: classes that have something for RedirectOut; the
    ExceptionOut of the others points to nowhere."""
    by_name: dict[str, list[Present]] = {}
    for instance in instances:
        name = instance.name
        key = f"{name} {instance.instance_id}" if name == "Ext-ECMP" else name
        by_name.setdefault(key, []).append(instance)
    for source, output, sink, entry in GRAPH:
        sources, sinks = by_name.get(source, []), by_name.get(sink, [])
        if output == "ExceptionOut" and source not in exceptions:
            continue
        group, _, index = output.partition(" ")
        one_to_one = source in BY_PORT and sink in BY_PORT
        pairs = (
            list(zip(sources, sinks, strict=True))
            if one_to_one
            else [(one, other) for one in sources for other in sinks]
        )
        for number, (one, other) in enumerate(pairs):
            fan_out = sink in BY_PORT and not one_to_one
            yield {
                "FromLFBID": _selector(one),
                "FromPortGroup": group,
                "FromPortIndex": int(index) if index else number if fan_out else 0,
                "ToLFBID": _selector(other),
                "ToPortGroup": entry,
                "ToPortIndex": 0,
            }


def _selector(instance: Present) -> dict[str, int]:
    return {"LFBClassID": instance.class_id, "LFBInstanceID": instance.instance_id}
