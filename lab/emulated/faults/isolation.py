"""Faults of a control link: isolation by carrier and by silent drop. DESIGN section 9.

Both act on the control switch's end of the link, as an unplugged cable or a dead switch port
would: nothing of the node's own namespace is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.backend import FaultFailed, LabError
from lab.emulated.faults.bench import Bench
from lab.emulated.faults.netlink import (
    BR_STATE_DISABLED,
    BR_STATE_FORWARDING,
    LinkSocket,
    set_admin,
    set_bridge_state,
)
from lab.emulated.faults.reach import Reach

SILENCE_MS = 8.0
"""No token of either direction within this time: it is silent. A token's way takes 0.1 ms."""
PASSING_MS = 50.0


class _ControlLinkFault:
    """Sockets at the switch and at the node, and a witness between the node and another one."""

    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        network = bench.network
        self._target = target
        self._port = network.control_port(target)
        self._own = network.node(target).interfaces[0]
        self._switch = LinkSocket(network.control_switch_node.pid)
        self._node = LinkSocket(network.node(target).pid)
        other = next(
            node
            for node in bench.topology.nodes
            if node.control_address is not None and node.kind != network.node(target).kind
        )
        self._reach = Reach(
            network.node(target).pid,
            _bare(bench.topology.node(target).control_address),
            network.node(other.name).pid,
            _bare(other.control_address),
            network.allowance,
        )
        self._index = self._switch.state(self._port).index

    def prepare(self) -> None:
        if not all(self._reach.passes(PASSING_MS)):
            raise FaultFailed(f"{self._target} is cut off already: nothing passes before the fault")

    def confirm(self) -> None:
        try:
            self._switch.confirm()
        except OSError as error:
            raise FaultFailed(f"{self._port}: {error.strerror}") from None

    def _passes(self) -> bool:
        return all(self._reach.passes(PASSING_MS))

    def _silent(self) -> bool:
        return not any(self._reach.passes(SILENCE_MS))

    def _execute(self, message: bytes) -> None:
        try:
            self._switch.execute(message)
        except OSError as error:
            raise LabError(f"{self._port}: {error.strerror}") from None

    def close(self) -> None:
        self._switch.close()
        self._node.close()
        self._reach.close()


class CarrierIsolation(_ControlLinkFault):
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, target, arguments)
        self._down = set_admin(self._index, up=False)

    def strike(self) -> None:
        self._switch.send(self._down)

    def happened(self) -> bool:
        own = self._node.state(self._own)
        return own.admin_up and not own.carrier

    def heal(self) -> None:
        self._execute(set_admin(self._index, up=True))

    def healed(self) -> bool:
        """Carrier back, and the bridge lets packets through again."""
        return self._node.state(self._own).carrier and self._passes()


class SilentIsolation(_ControlLinkFault):
    def __init__(self, bench: Bench, target: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(bench, target, arguments)
        self._disable = set_bridge_state(self._index, BR_STATE_DISABLED)

    def strike(self) -> None:
        self._switch.send(self._disable)

    def happened(self) -> bool:
        port, own = self._switch.state(self._port), self._node.state(self._own)
        return port.bridge_state == BR_STATE_DISABLED and own.carrier and self._silent()

    def heal(self) -> None:
        # A port whose carrier another fault took cannot forward; the bridge itself lets it
        # forward again when the carrier comes back.
        if self._switch.state(self._port).carrier:
            self._execute(set_bridge_state(self._index, BR_STATE_FORWARDING))

    def healed(self) -> bool:
        port = self._switch.state(self._port)
        if not port.carrier:
            return True
        return port.bridge_state == BR_STATE_FORWARDING and self._passes()


def _bare(address: str | None) -> str:
    assert address is not None, "CEs and FEs have a control address"
    return address.split("/")[0]
