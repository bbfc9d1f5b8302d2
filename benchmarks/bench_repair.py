"""How long a cut lasts that an FE repairs by itself, with no CE alive.

    python -m benchmarks.bench_repair [--cuts 50] [--routes 1000]

An FE process gets its routes over one group, a primary and a backup (class Ext-ECMP), from a CE
that then goes away for good. Then the far end of the primary's port goes down, again and again. A
netlink listener that shares no code path with the FE stamps the kernel's word of the lost carrier,
and the kernel's word of the group that the FE put in its place; a probe of 5,000 packets a second
goes over the group meanwhile, and what it loses is counted at the far end. At last both ports are
cut, to see that the probe can lose. JSON lines as of bench_datapath; the reference is the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_datapath import PORTS, enter_namespace, report, routes
from benchmarks.bench_fe_config import CE, FE, LFBS, request, table_of
from benchmarks.bench_fe_load import Ce
from fe_datapath.lfbs.family import IPV4
from fe_datapath.linux.messages import MessageType as Rtm
from fe_datapath.linux.netlink import HEADER, NetlinkSocket
from forces.io.select_tml import make_tml
from forces.io.tml import TmlConfig
from forces.messages import LfbSelect, MessageType, Operation, OperType
from forces.model import ArrayType
from forces.paths import FullData, PathData
from forces.runs import rows_run

CE_ADDRESS, FE_ADDRESS = "127.0.0.1", "127.0.0.2"
TARGET, TARGET_PORT = "10.9.0.1", 9
GROUP = 9
PPS = 5000
BOUND_S = 0.002
SETTLE_S = 0.05
DARK_S = 0.1
BUDGET_S = 20.0
_LINKS, _NEXTHOPS = 1, 1 << 31
_IFF_LOWER_UP = 1 << 16
_SO_RCVBUFFORCE = 33


def row(lfb: str, table: str, index: int, value: dict[str, object]) -> LfbSelect:
    cls = LFBS.cls(lfb)
    kind = cls.component(table).type
    assert isinstance(kind, ArrayType)
    path = PathData((*cls.path(table), index), content=FullData(kind.row.pack(value)))
    return LfbSelect(cls.id, 1, (Operation(OperType.SET, (path,)),))


def configs(count: int) -> list[bytes]:
    fixed = {"MTU": 1500, "MediaEncapInfoIndex": 0, "LFBOutputSelectIndex": 0}
    hops = [
        row(
            "IPv4NextHop",
            "IPv4NextHopTable",
            3 + port,
            {"L3PortID": port, "NextHopIPAddr": bytes((10, 1, 0, last))} | fixed,
        )
        for port, last in ((1, 2), (2, 6))
    ]
    members = {
        0: {"HopSelector": 4, "Weight": 1, "Backup": False},
        1: {"HopSelector": 5, "Weight": 1, "Backup": True},
    }
    group = row("Ext-ECMP", "GroupTable", GROUP, {"Members": members})
    class_id, table, kind = table_of(IPV4)
    over = {"ECMPFlag": True, "DefaultRouteFlag": False, "Reserved": 0, "HopSelector": GROUP}
    prefixes = [(r.prefix, r.length) for r in routes(count, 4, 1)]
    prefixes.append((socket.inet_aton(TARGET), 32))
    packed = {
        n: kind.pack({"IPv4Address": prefix, "Prefixlen": length} | over)
        for n, (prefix, length) in enumerate(prefixes, 1)
    }
    found = [request(MessageType.CONFIG, 1, *hops), request(MessageType.CONFIG, 2, group)]
    for at in range(1, len(packed) + 1, 1000):
        some = {n: packed[n] for n in range(at, min(at + 1000, len(packed) + 1))}
        paths = rows_run(table, some) or tuple(
            PathData((*table, n), content=FullData(octets)) for n, octets in some.items()
        )
        lfb = LfbSelect(class_id, 1, (Operation(OperType.SET, paths),))
        found.append(request(MessageType.CONFIG, 2 + at, lfb))
    return found


class Listener(threading.Thread):
    """(ns, what) of every lost or found carrier of the primary's port, and of every group that a
    process has set."""

    def __init__(self, interface: str) -> None:
        super().__init__(daemon=True)
        self.heard: list[tuple[int, str]] = []
        self._index = socket.if_nametoindex(interface)
        self._netlink = NetlinkSocket(groups=_LINKS | _NEXTHOPS)

    def run(self) -> None:
        while True:
            try:
                datagram = self._netlink.socket.recv(1 << 16)
            except BlockingIOError:
                continue
            now = time.monotonic_ns()
            _, kind, _, _, process = HEADER.unpack_from(datagram)
            if kind == Rtm.NEWLINK:
                _, _, index, flags, _ = struct.unpack_from("=BxHiII", datagram, 16)
                if index == self._index:
                    self.heard.append((now, "up" if flags & _IFF_LOWER_UP else "down"))
            elif kind == Rtm.NEWNEXTHOP and process:
                self.heard.append((now, "set"))


class Probe(threading.Thread):
    """Numbered datagrams to the target, until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sent_ns: list[int] = []
        self.ended = False

    def run(self) -> None:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        due = time.monotonic_ns()
        while not self.ended:
            number = len(self.sent_ns)
            self.sent_ns.append(time.monotonic_ns())
            try:
                sender.sendto(struct.pack("!I", number), (TARGET, TARGET_PORT))
            except OSError:
                pass  # counted as lost: it never arrives
            due = max(due + 10**9 // PPS, time.monotonic_ns() - 10**9 // PPS)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)


@contextmanager
def far_end() -> Iterator[int]:
    """A namespace with both far ends and the target in it; gives the process that keeps it."""
    keeper = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo in; exec sleep infinity"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout is not None
    keeper.stdout.readline()
    try:
        moves = [f"link set far{port.id} netns {keeper.pid}" for port in PORTS]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(moves), check=True, text=True)
        inside = ["link set lo up", f"addr add {TARGET}/32 dev lo"]
        for number, last in ((1, 2), (2, 6)):
            inside += [
                f"link set far{number} address 02:00:00:00:00:0{number} up",
                f"addr add 10.1.0.{last}/30 dev far{number}",
            ]
        far(keeper.pid, *inside)
        known = [
            f"neigh replace 10.1.0.{last} lladdr 02:00:00:00:00:0{number} dev fe-eth{number}"
            for number, last in ((1, 2), (2, 6))
        ]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(known), check=True, text=True)
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait()


def far(pid: int, *commands: str) -> None:
    enter = ["nsenter", "--target", str(pid), "--net", "ip", "-batch", "-"]
    subprocess.run(enter, input="\n".join(commands), check=True, text=True)


def start_receiver(pid: int, folder: Path) -> subprocess.Popen[str]:
    """Writes the numbers that arrived when its standard input ends."""
    code = (
        "import socket, sys, threading, os\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.setsockopt(socket.SOL_SOCKET, {_SO_RCVBUFFORCE}, 64 << 20)\n"
        f"s.bind(('', {TARGET_PORT}))\n"
        "found = []\n"
        "def hear():\n"
        "    while True: found.append(s.recv(64))\n"
        "threading.Thread(target=hear, daemon=True).start()\n"
        "print('in', flush=True)\n"
        "sys.stdin.read()\n"
        f"open({str(folder / 'heard')!r}, 'wb').write(b''.join(found))\n"
    )
    enter = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", code]
    receiver = subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    receiver.stdout.readline()
    return receiver


async def program(count: int) -> None:
    """Be the FE's CE until everything is programmed, and then be gone."""
    ce = Ce()
    ce.tml = make_tml("tcp", TmlConfig(CE_ADDRESS, {FE: FE_ADDRESS}, listen=True))
    todo = configs(count)
    await ce.tml.start(ce)
    await asyncio.wait_for(ce.up.wait(), BUDGET_S)
    beating = asyncio.ensure_future(ce.beat())
    for octets in todo:
        ce.tell(MessageType.CONFIG, octets)
    await ce.answers(len(todo))
    beating.cancel()
    await ce.tml.close()


def wait(listener: Listener, what: str, since: int) -> int:
    """When it was heard first after that."""
    deadline = time.monotonic() + BUDGET_S
    while True:
        for at, heard in list(listener.heard):
            if heard == what and at > since:
                return at
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what}")
        time.sleep(0.005)


def cut_and_mend(listener: Listener, keeper: int) -> tuple[int, int]:
    """Stamps of the lost carrier, and of the group in the place of what had lost it."""
    time.sleep(SETTLE_S)
    begin = time.monotonic_ns()
    far(keeper, "link set far1 down")
    down = wait(listener, "down", begin)
    repaired = wait(listener, "set", begin)
    time.sleep(SETTLE_S)
    begin = time.monotonic_ns()
    far(keeper, "link set far1 up")
    wait(listener, "set", wait(listener, "up", begin))
    return down, repaired


def measure(cuts: int, count: int, folder: Path) -> bool:
    config = {
        "id": FE,
        "name": "fe",
        "control_address": FE_ADDRESS,
        "ces": [{"id": CE, "name": "ce", "address": CE_ADDRESS}],
        "ports": [
            {"id": port.id, "interface": port.interface, "address": port.address} for port in PORTS
        ],
        "cefti_ms": 3_600_000,
        "tml": "tcp",
    }
    (folder / "config").write_text(json.dumps(config))
    with far_end() as keeper:
        fe = subprocess.Popen([sys.executable, "-m", "fe_datapath.main", str(folder / "config")])
        receiver = start_receiver(keeper, folder)
        probe = Probe()
        try:
            asyncio.run(program(count))
            listener = Listener(PORTS[0].interface)
            listener.start()
            probe.start()
            stamps = [cut_and_mend(listener, keeper) for _ in range(cuts)]
            time.sleep(SETTLE_S)
            dark_from = time.monotonic_ns()
            far(keeper, "link set far2 down", "link set far1 down")
            time.sleep(DARK_S)
        finally:
            probe.ended = True
            fe.terminate()
            fe.wait(timeout=10)
            receiver.communicate(timeout=10)
        probe.join()
    heard = {number for (number,) in struct.iter_unpack("!I", (folder / "heard").read_bytes())}
    missing = [at for number, at in enumerate(probe.sent_ns) if number not in heard]
    lost = [at for at in missing if at < dark_from]
    assert len(missing) - len(lost) > DARK_S * PPS / 2, "the probe sees no loss where there is one"
    took = [max(0, repaired - down) / 1e9 for down, repaired in stamps]
    losses = [sum(abs(at - down) < 10**8 for at in lost) / PPS for down, _ in stamps]
    assert len(heard) > len(probe.sent_ns) / 2, "the probe does not get through at all"
    bound = "the bound"
    figures = {
        "name": "repair.detail",
        "cuts": cuts,
        "sent": len(probe.sent_ns),
        "lost_with_both_ports_cut": len(missing) - len(lost),
        "lost": len(lost),
        "lost_far_from_any_cut": len(lost) - round(sum(losses) * PPS),
        "took_ms": [round(value * 1e3, 3) for value in (statistics.median(took), max(took))],
        "loss_ms": [round(value * 1e3, 3) for value in (statistics.median(losses), max(losses))],
    }
    print(json.dumps(figures), flush=True)
    met = report("repair.carrier_lost_to_group_replaced", "s", took, bound, [BOUND_S], 1.0, True)
    # the median may be 0 lost packets: then the resolution is what is known
    known = [max(loss, 1 / PPS) for loss in losses]
    met &= report("repair.probe_loss", "s", known, bound, [BOUND_S], 1.0, True)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--routes", type=int, default=1000)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench_repair: needs root", file=sys.stderr)
        return 2
    os.nice(-20)  # the FE and the instruments, not what else runs on the machine
    enter_namespace()
    with tempfile.TemporaryDirectory() as name:
        return 0 if measure(arguments.cuts, arguments.routes, Path(name)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
