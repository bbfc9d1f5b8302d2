"""The queues of an interface, on its way out: what its queueing disciplines say (tc(8),
linux/pkt_sched.h).

Which there are is the kernel's and the machine's matter: a veth has none, a card mostly one or one
for each of its hardware queues; whoever puts an htb there has one for each class.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fe_datapath.datapath import Queue
from fe_datapath.linux.messages import Flag
from fe_datapath.linux.netlink import HEADER, NetlinkSocket, attributes

RTM_GETQDISC = 38
_TCMSG = struct.Struct("=BxxxiIII")
"""family, interface, handle, parent, info."""
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_QUEUE = 3
_QUEUE = struct.Struct("=II")
"""The start of struct gnet_stats_queue: qlen, backlog."""
_LIMIT = struct.Struct("=I")
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_ETHERNET_HEADER = 14
NO_QUEUE = frozenset({"noqueue", "noop"})
IN_OCTETS = frozenset({"bfifo"})
IN_PACKETS = frozenset({"pfifo"})


def read_queues(
    netlink: NetlinkSocket, ifindex: int, mtu: int, queue_length: int
) -> Sequence[Queue]:
    """Those with no queues below them, in the order of their parents' classes. A limit in packets
    is given for packets of the MTU; `queue_length` is the interface's own, for a discipline that
    does not say its limit."""
    found: list[tuple[int, int, Queue]] = []
    body = _TCMSG.pack(0, ifindex, 0, 0, 0)
    request = HEADER.pack(
        HEADER.size + len(body),
        RTM_GETQDISC,
        int(Flag.REQUEST | Flag.DUMP),
        netlink.sequences(1),
        0,
    )
    for datagram, offset, end in netlink.dump(request + body):
        _, theirs, handle, parent, _ = _TCMSG.unpack_from(datagram, offset + HEADER.size)
        if theirs != ifindex or parent == _INGRESS:
            continue
        kind, waiting, octets, limit = "", 0, 0, None
        for number, start, stop in attributes(datagram, offset + HEADER.size + _TCMSG.size, end):
            if number == _TCA_KIND:
                kind = datagram[start:stop].rstrip(b"\0").decode()
            elif number == _TCA_OPTIONS and kind in IN_OCTETS | IN_PACKETS:
                (limit,) = _LIMIT.unpack_from(datagram, start)
            elif number == _TCA_STATS2:
                for inner, at, _ in attributes(datagram, start, stop):
                    if inner == _TCA_STATS_QUEUE:
                        waiting, octets = _QUEUE.unpack_from(datagram, at)
        if kind in NO_QUEUE:
            continue
        if limit is None:
            limit = queue_length
        if kind not in IN_OCTETS:
            limit *= mtu + _ETHERNET_HEADER
        place = 0 if parent == _ROOT else parent
        found.append((place, handle, Queue(waiting, octets, limit)))
    parents = {place >> 16 << 16 for place, _, _ in found if place}
    leaves = [entry for entry in found if entry[1] not in parents]
    return [queue for _, _, queue in sorted(leaves, key=lambda entry: entry[:2])]
