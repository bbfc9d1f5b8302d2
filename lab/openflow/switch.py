"""An FE as an Open vSwitch bridge: started by hand in the FE's namespaces, nothing of the host's.

The fork server calls `run`, which writes a database, starts ovsdb-server on it and then *becomes*
ovs-vswitchd: the node's pid is the switch's, so that crash and hang strike the switch itself.
Everything lies in a folder of its own (OVS_RUNDIR). The datapath is the one in user space
(datapath_type=netdev) also where the kernel has another one: ports keep their addresses in the
FE's own stack, where the witnesses of the lab's link faults talk to each other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forces.io.journal import JournalWriter
from lab.backend import LabError
from lab.emulated.namespaces import die_with_parent
from lab.emulated.sandbox import PRIVATE

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
OPENFLOW_PORT = 6653
START_BUDGET_S = 5.0
MAX_BACKOFF_MS = 1000
"""The shortest that OVS takes."""
INACTIVITY_PROBE_MS = 1000
"""After three of these without a controller OVS goes into its fail mode."""
_PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd", "ovs-ofctl")


def check_possible() -> None:
    """LabError unless Open vSwitch is installed and can make its bridge's own port."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing or not SCHEMA.exists():
        raise LabError(
            f"system openflow needs Open vSwitch ({', '.join(missing) or SCHEMA} is missing):"
            " apt-get install --no-install-recommends openvswitch-switch"
        )
    if not os.path.exists("/dev/net/tun"):
        raise LabError("system openflow needs /dev/net/tun (modprobe tun)")


def folder_of(fe: str) -> Path:
    """OVS_RUNDIR of an FE's switch; short, for it holds sockets."""
    return PRIVATE / f"{fe}.ovs"


def bridge_of(fe: str) -> str:
    """Name of the bridge; an interface of that name appears in the FE's namespace."""
    return f"{fe}-of"


def management_socket(fe: str) -> Path:
    """Where ovs-ofctl and the listener talk OpenFlow to the bridge."""
    return folder_of(fe) / f"{bridge_of(fe)}.mgmt"


def run(config: Mapping[str, Any]) -> int:
    """Keys: `name`, `id`, `ports` (interface, number), `controllers` (addresses), `fail_mode`,
    `journal`. Returns only where the switch cannot be started."""
    name = str(config["name"])
    folder = folder_of(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "OVS_RUNDIR": str(folder),
        "OVS_DBDIR": str(folder),
        "OVS_LOGDIR": str(folder),
    }
    database, door = folder / "conf.db", folder / "db.sock"
    subprocess.run(["ovsdb-tool", "create", database, SCHEMA], env=environment, check=True)
    subprocess.Popen(
        ["ovsdb-server", database, f"--remote=punix:{door}", "-vsyslog:off", "-vconsole:warn"],
        env=environment,
        preexec_fn=lambda: die_with_parent(signal.SIGKILL),
    )
    deadline = time.monotonic() + START_BUDGET_S
    while not door.exists():
        if time.monotonic() > deadline:
            print(f"ovsdb-server is not there after {START_BUDGET_S:g} s")
            return 1
        time.sleep(0.002)
    subprocess.run(
        ["ovs-vsctl", f"--db=unix:{door}", "--no-wait", *_commands(config)],
        env=environment,
        check=True,
    )
    JournalWriter(config["journal"], name).write(
        "start", {"pid": os.getpid(), "tml": "openflow"}, time.monotonic_ns()
    )
    os.execvpe(
        "ovs-vswitchd",
        ["ovs-vswitchd", f"unix:{door}", "-vsyslog:off", "-vconsole:warn"],
        environment,
    )


def _commands(config: Mapping[str, Any]) -> list[str]:
    bridge = bridge_of(str(config["name"]))
    words = [
        # One thread each: four switches share the machine's cores with everything else.
        "set Open_vSwitch . other_config:n-handler-threads=1",
        "set Open_vSwitch . other_config:n-revalidator-threads=1",
        f"add-br {bridge}",
        f"set bridge {bridge} datapath_type=netdev fail_mode={config['fail_mode']}"
        f" other_config:datapath-id={int(config['id']):016x}"
        # No switching by learned addresses, no rewriting of a flow's rate: it is a router.
        " other_config:disable-in-band=true mcast_snooping_enable=false",
    ]
    for interface, number in config["ports"]:
        words.append(f"add-port {bridge} {interface}")
        words.append(f"set interface {interface} ofport_request={int(number)}")
    command = " -- ".join(words).split()
    for number, address in enumerate(config["controllers"]):
        command += ["--", f"--id=@c{number}", "create", "controller"]
        command += [f'target="tcp:{address}:{OPENFLOW_PORT}"', f"max_backoff={MAX_BACKOFF_MS}"]
        command += [f"inactivity_probe={INACTIVITY_PROBE_MS}"]
    everyone = ",".join(f"@c{number}" for number in range(len(config["controllers"])))
    return [*command, "--", "set", "bridge", bridge, f"controller={everyone}"]
