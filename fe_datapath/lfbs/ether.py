"""EtherPHYCop, EtherMACIn and EtherMACOut (RFC 6956 section 5.1): one instance of each per port.

The instance ID is the PHYPortID. Linux has one administrative switch where RFC 6956 has three, so
the three AdminStatus components show the same value (EtherMACOut's is an alias of EtherMACIn's by
definition). A port has one MAC address, row 0 of LocalMACAddresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Any

from fe_datapath.datapath import Media, PortState, Readings, SetPort
from fe_datapath.lfbs.instance import MISSING, Changes, Instance, refuse
from fe_datapath.lfbs.plan import Plan
from fe_datapath.neighbors import is_station
from forces.errors import ProtocolError, ResultCode
from forces.model import Library

MTU_RANGE = range(68, 65536)
"""RFC 791's minimum, and what a Linux Ethernet device takes at most."""


class PortStatus(IntEnum):
    """PortStatusType."""

    Disabled = 0
    Up = 1
    Down = 2


SPEED_BY_MBIT = {
    10: 1,
    100: 2,
    1_000: 3,
    10_000: 4,
    40_000: 5,
    100_000: 6,
    400_000: 7,
    1_000_000: 8,
}
"""LANSpeedType."""
MBIT_BY_SPEED = {speed: mbit for mbit, speed in SPEED_BY_MBIT.items()}
SPEED_NONE, SPEED_OTHER, SPEED_AUTO = 0, 9, 0xA
DUPLEX_AUTO, DUPLEX_HALF, DUPLEX_FULL = 1, 2, 3
FULL_BY_DUPLEX = {DUPLEX_AUTO: None, DUPLEX_HALF: False, DUPLEX_FULL: True}
ADDRESSES = "LocalMACAddresses"
FLOW_CONTROL = frozenset({"TxFlowControl", "RxFlowControl"})
"""False, for good."""


class Port:
    """What the three instances of a port share."""

    def __init__(self, state: PortState, readings: Readings | None) -> None:
        self.state = state
        self.admin = PortStatus.Up if state.admin_up else PortStatus.Down
        self.followers: list[Callable[[], None]] = []
        """To be told when the kernel's state is another one."""
        self._readings = readings

    @property
    def up(self) -> bool:
        return self.state.admin_up and self.state.carrier

    def link_changed(self, up: bool, attributes: Mapping[str, Any]) -> None:
        known = {
            "speed_mbit": attributes.get("speed_mbit", self.state.speed_mbit),
            "mtu": attributes.get("mtu", self.state.mtu),
            "mac": attributes.get("mac", self.state.mac),
            "full_duplex": attributes.get("duplex", self.state.full_duplex),
            "promiscuous": attributes.get("promiscuous", self.state.promiscuous),
            "admin_up": attributes.get("admin_up", up or self.state.admin_up),
        }
        carrier = up or (self.state.carrier and not known["admin_up"])
        self.state = replace(self.state, carrier=carrier, **known)
        if self.state.admin_up != (self.admin is PortStatus.Up):
            self.admin = PortStatus.Up if self.state.admin_up else PortStatus.Down
        for follow in self.followers:
            follow()

    def counter(self, name: str) -> int:
        """As fresh as the driver can give it."""
        if self._readings is not None:
            fresh = self._readings.ports().get(self.state.port)
            if fresh is not None:
                return fresh.counters.get(name, 0)
        return self.state.counters.get(name, 0)


class PortInstance(Instance):
    """Components that come from the port; what can be set goes back to it."""

    class_name: str
    counters: Mapping[str, str] = {}
    """Field of the read-reset statistics -> kernel counter."""
    statistics = ""

    def __init__(self, library: Library, port: Port) -> None:
        super().__init__(library.cls(self.class_name), port.state.port)
        self.port = port
        self._seen = dict.fromkeys(self.counters, 0)

    def read(self, name: str) -> Any:
        if name == "AdminStatus":
            return int(self.port.admin)
        if name == self.statistics:
            return {
                field: self.port.counter(counter) - self._seen[field]
                for field, counter in self.counters.items()
            }
        return super().read(name)

    def was_read(self, name: str) -> None:
        for field, counter in self.counters.items():
            self._seen[field] = self.port.counter(counter)

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name in FLOW_CONTROL:
            raise refuse(ResultCode.NOT_SUPPORTED, "no flow control")

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "AdminStatus":
            self.port.admin = PortStatus(new)
        else:
            super().put(name, index, old, new)

    def plan(self, changes: Changes, plan: Plan) -> None:
        for _, new, edit in changes.get("AdminStatus", {}).values():
            plan.add(SetPort(self.id, admin_up=new == PortStatus.Up), edit)


class EtherPhyCop(PortInstance):
    class_name = "EtherPHYCop"
    event_filters = frozenset({"eventHysteresis", "eventCount", "eventInterval"})

    def read(self, name: str) -> Any:
        state = self.port.state
        match name:
            case "PHYPortID" | "OperStatus" | "CarrierStatus":
                status = PortStatus.Up if self.port.up else PortStatus.Down
                return {
                    "PHYPortID": self.id,
                    "OperStatus": int(status),
                    "CarrierStatus": state.carrier,
                }[name]
            case "OperLinkSpeed":
                if not self.port.up or state.speed_mbit is None:
                    return SPEED_NONE
                return SPEED_BY_MBIT.get(state.speed_mbit, SPEED_OTHER)
            case "OperDuplexMode":
                if state.full_duplex is None:
                    return DUPLEX_AUTO
                return DUPLEX_FULL if state.full_duplex else DUPLEX_HALF
            case "SupportedLinkSpeed":
                speeds = {SPEED_BY_MBIT.get(m.speed_mbit or 0, SPEED_OTHER) for m in state.media}
                return dict(enumerate([SPEED_AUTO, *sorted(speeds)]))
            case "SupportedDuplexMode":
                modes = {DUPLEX_FULL if m.full_duplex else DUPLEX_HALF for m in state.media}
                return dict(enumerate([DUPLEX_AUTO, *sorted(modes)]))
        return super().read(name)

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "AdminLinkSpeed" and new not in MBIT_BY_SPEED and new != SPEED_AUTO:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"no speed to set: {new}")

    def plan(self, changes: Changes, plan: Plan) -> None:
        super().plan(changes, plan)
        wanted = Media(
            MBIT_BY_SPEED.get(self.values["AdminLinkSpeed"]),
            FULL_BY_DUPLEX[self.values["AdminDuplexMode"]],
        )
        for name in ("AdminLinkSpeed", "AdminDuplexMode"):
            for _, _, edit in changes.get(name, {}).values():
                plan.add(SetPort(self.id, media=wanted), edit)


class EtherMacIn(PortInstance):
    class_name = "EtherMACIn"
    fixed = frozenset({"L2BridgingPathEnable"})  # RFC 6956 section 5.1.2.2: no bridging, no switch
    counters: Mapping[str, str] = {
        "NumPacketsReceived": "rx_packets",
        "NumPacketsDropped": "rx_dropped",
    }
    statistics = "MACInStats"

    def __init__(self, library: Library, port: Port) -> None:
        super().__init__(library, port)
        port.followers.append(self._follow)
        self._follow()

    def _follow(self) -> None:
        self.values[ADDRESSES] = {0: self.port.state.mac} if self.port.state.mac else {}

    def read(self, name: str) -> Any:
        if name == "PromiscuousMode":
            return self.port.state.promiscuous
        return super().read(name)

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == ADDRESSES and new is not MISSING:
            if index != 0:
                raise refuse(ResultCode.INVALID_ARRAY_CREATION, "a port has one MAC address")
            if not is_station(new):
                raise refuse(ResultCode.VALUE_OUT_OF_RANGE, "not the address of a station")
        super().admit(name, index, old, new)

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "PromiscuousMode":
            self.port.state = replace(self.port.state, promiscuous=new)
            return
        super().put(name, index, old, new)
        if name == ADDRESSES and new is not MISSING:
            self.port.state = replace(self.port.state, mac=new)

    def complete(self, changes: Changes) -> tuple[int, ProtocolError] | None:
        for _, new, edit in changes.get(ADDRESSES, {}).values():
            if new is MISSING:
                return edit, refuse(ResultCode.INVALID_PARAMETERS, "a port has a MAC address")
        return None

    def plan(self, changes: Changes, plan: Plan) -> None:
        super().plan(changes, plan)
        for _, new, edit in changes.get("PromiscuousMode", {}).values():
            plan.add(SetPort(self.id, promiscuous=new), edit)
        for _, new, edit in changes.get(ADDRESSES, {}).values():
            if new is not MISSING:
                plan.add(SetPort(self.id, mac=new), edit)


class EtherMacOut(PortInstance):
    class_name = "EtherMACOut"
    counters: Mapping[str, str] = {
        "NumPacketsTransmitted": "tx_packets",
        "NumPacketsDropped": "tx_dropped",
    }
    statistics = "MACOutStats"

    def read(self, name: str) -> Any:
        if name == "MTU":
            return self.port.state.mtu
        return super().read(name)

    def admit(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "MTU" and new not in MTU_RANGE:
            raise refuse(ResultCode.VALUE_OUT_OF_RANGE, f"MTU {new}")
        super().admit(name, index, old, new)

    def put(self, name: str, index: int | None, old: Any, new: Any) -> None:
        if name == "MTU":
            self.port.state = replace(self.port.state, mtu=new)
        else:
            super().put(name, index, old, new)

    def plan(self, changes: Changes, plan: Plan) -> None:
        super().plan(changes, plan)
        for _, new, edit in changes.get("MTU", {}).values():
            plan.add(SetPort(self.id, mtu=new), edit)
