"""The local API's picture of an FE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fe_datapath.lfbs.fepo import STATISTICS
from forces.mastership import CeStatus

if TYPE_CHECKING:
    from fe_datapath.element import ForwardingElement


def view(fe: ForwardingElement) -> dict[str, Any]:
    """The local API's picture of the FE."""
    machine, name = fe.ha.mastership, fe.context.name
    return {
        "id": fe.config.id,
        "name": fe.config.name,
        "state": machine.state.value,
        "ceid": name(machine.ceid),
        "last_ceid": name(machine.last_ceid) if machine.last_ceid else None,
        "ha_mode": int(machine.mode),
        "failover_policy": machine.policy,
        "fe_state": fe.fe_object.state.name,
        "all_ces": [
            {
                "id": ce,
                "name": name(ce),
                "status": CeStatus(machine.status[ce]).name,
                "statistics": dict(zip(STATISTICS, fe.fepo.figures(ce), strict=True)),
            }
            for ce in machine.all_ces
        ],
        "backups_online": fe.ha.standby.online,
        "backup_ces": [name(ce) for ce in machine.backups],
        "configs": {"applied": fe.applied, "waiting": len(fe.configs.waiting)},
        "tables": fe.unicast.sizes(),
        "redirect": fe.redirection.view(),
        "ports": [
            {
                "id": number,
                "name": port.state.name,
                "admin": port.admin.name,
                "up": port.up,
                "mtu": port.state.mtu,
            }
            for number, port in fe.ports.items()
        ],
    }
