"""Changes that are rare and go to the kernel alone: next hops, groups, neighbours, ports, and
whether it forwards.
"""

from __future__ import annotations

from collections.abc import Callable

from fe_datapath.datapath import (
    Change,
    DelNeighbor,
    DelNextHop,
    SetForwarding,
    SetNeighbor,
    SetNextHop,
    SetNextHopGroup,
    SetPort,
)
from fe_datapath.linux import messages, sysctl
from fe_datapath.linux.ledger import Ledger
from fe_datapath.linux.neighbors import delete_neighbor, set_neighbor
from fe_datapath.linux.netlink import NetlinkSocket
from fe_datapath.linux.ports import Ports
from fe_datapath.linux.portsetting import set_port
from fe_datapath.linux.refusals import ChangeRefused, code_of
from fe_datapath.linux.templates import MAX_ID, GroupEncoder, NexthopEncoder
from fe_datapath.neighbors import wrong_neighbor
from forces.errors import ResultCode


class Singles:
    def __init__(
        self,
        netlink: NetlinkSocket,
        ports: Ports,
        ledger: Ledger,
        protocol: int,
        resynchronise: Callable[[], None],
    ) -> None:
        """`resynchronise`: read the ledger anew from the kernel."""
        self._netlink = netlink
        self._ports = ports
        self._ledger = ledger
        self._protocol = protocol
        self._resynchronise = resynchronise
        self._nexthops = NexthopEncoder(protocol)
        self._groups = GroupEncoder(protocol)

    def carry_out(self, change: Change) -> None:
        """Raises ChangeRefused for what is refused here, KernelRefused for what the kernel refuses,
        NoAnswer or OSError where it is not known what became of the change."""
        match change:
            case SetNextHop():
                self._set_nexthop(change)
            case SetNextHopGroup():
                self._set_group(change)
            case DelNextHop():
                self._delete_nexthop(change)
            case SetNeighbor() | DelNeighbor():
                self._neighbor(change)
            case SetPort():
                set_port(self._netlink, self._ports, change)
                if change.admin_up is False:
                    self._ledger.port_lost(change.port)
            case SetForwarding():
                try:
                    sysctl.set_forwarding(change.on)
                except OSError as error:
                    raise ChangeRefused(code_of(error.errno or 0), str(error)) from None
            case _:
                raise TypeError(f"not a change: {change!r}")

    def _set_nexthop(self, change: SetNextHop) -> None:
        if not 0 < change.id <= MAX_ID:
            raise ChangeRefused(
                ResultCode.VALUE_OUT_OF_RANGE, f"next hop {change.id} is not in 1..2^32-1"
            )
        ifindex = self._ports.ifindex_of(change.port)
        if ifindex is None:
            raise ChangeRefused(
                ResultCode.INVALID_PARAMETERS, f"next hop {change.id}: no port {change.port}"
            )
        try:
            message = self._nexthops.encode(change, self._netlink.sequences(1), ifindex)
        except ValueError:
            raise ChangeRefused(
                ResultCode.INVALID_PARAMETERS, f"gateway {change.gateway!r} is no address"
            ) from None
        self._netlink.request(message)
        self._ledger.set_nexthop(change)

    def _set_group(self, change: SetNextHopGroup) -> None:
        name = f"next hop group {change.id}"
        if not 0 < change.id <= MAX_ID:
            raise ChangeRefused(ResultCode.VALUE_OUT_OF_RANGE, f"{name} is not in 1..2^32-1")
        hops = [hop for hop, _ in change.members] + [change.standby] * bool(change.standby)
        if not change.members or len(set(hops)) != len(hops):
            raise ChangeRefused(ResultCode.INVALID_PARAMETERS, f"{name}: its members, each once")
        if not all(0 < weight <= messages.FULL_WEIGHT for _, weight in change.members):
            raise ChangeRefused(ResultCode.VALUE_OUT_OF_RANGE, f"{name}: a weight is 1..256")
        if not all(0 < hop <= MAX_ID for hop in hops):
            raise ChangeRefused(ResultCode.INVALID_PARAMETERS, f"{name}: no such next hop")
        self._netlink.request(self._groups.encode(change, self._netlink.sequences(1)))
        self._ledger.set_group(change)

    def _delete_nexthop(self, change: DelNextHop) -> None:
        if self._ledger.users(change.id):
            self._resynchronise()  # the ledger may be behind a carrier loss
        if users := self._ledger.users(change.id):
            raise ChangeRefused(
                ResultCode.BUSY, f"next hop {change.id} is in use by {users} routes"
            )
        if (group := self._ledger.group_of(change.id)) is not None:
            raise ChangeRefused(ResultCode.BUSY, f"next hop {change.id} is in group {group}")
        if 0 < change.id <= MAX_ID:
            self._netlink.delete(messages.delete_nexthop(self._netlink.sequences(1), change.id))
        self._ledger.delete_nexthop(change.id)

    def _neighbor(self, change: SetNeighbor | DelNeighbor) -> None:
        wrong = wrong_neighbor(change)
        if wrong is not None:
            raise ChangeRefused(ResultCode.INVALID_PARAMETERS, wrong)
        ifindex, sequence = self._ports.ifindex_of(change.port), self._netlink.sequences(1)
        if isinstance(change, SetNeighbor):
            if ifindex is None:
                raise ChangeRefused(ResultCode.INVALID_PARAMETERS, f"no port {change.port}")
            self._netlink.request(set_neighbor(sequence, self._protocol, ifindex, change))
        elif ifindex is not None:
            self._netlink.delete(delete_neighbor(sequence, ifindex, change))
