"""From a cut link to the report on the wire, and how much of that is the FE's own time.

    python -m benchmarks.bench_link_events [--cuts 200] [--routes 100]

Runs as root, in a network namespace of its own that ends with it. An FE watches a veth whose
far end is set down and up again; it is associated over TCP with this process, which has subscribed
to PHYPortStatusChanged. Four instants of each change: the call that makes it, the FE's read of the
kernel's notification (journal, `link`, `at_ns`), the return of the FE's send call, and the arrival
here. One JSON line a figure, in microseconds: name, n, p50, p99, max; of the FE's own time also
whether its 99th percentile is under a millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fe_datapath.config import FeConfig
from fe_datapath.linux import messages
from fe_datapath.linux.netlink import NetlinkSocket
from fe_datapath.main import start_fe
from forces.channels import CHANNEL_OF, Channel
from forces.events import LossCause
from forces.header import Ack, Header, MessageType
from forces.io.configured import read_config
from forces.io.journal import read_journal
from forces.io.select_tml import make_tml
from forces.io.tml import TmlConfig
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.model import library
from forces.paths import FullData, PathData
from forces.wire import decode, encode

_CLONE_NEWNET = 0x40000000
FE, CE = 1, 0x40000001
PHY = (3).to_bytes(4)
OWN_TIME = "the FE's own time"
OWN_TIME_US = 1000
BUDGET_S = 20.0
PAUSE_S = 0.02
"""Between two changes: the kernel takes its time over the next carrier event of a link."""


def is_link_event(data: bytes) -> bool:
    """And not one of HA's: its first LFBselect is EtherPHYCop's."""
    return data[1] == MessageType.EVENT_NOTIFICATION and data[28:32] == PHY


# The FE process


class _Stamping:
    """A Tml's `send`, with the time at which it returned."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.sent: list[int] = []

    def __call__(self, peer: int, channel: Channel, data: bytes) -> bool:
        taken: bool = self._send(peer, channel, data)
        if is_link_event(data):
            self.sent.append(time.monotonic_ns())
        return taken


async def run_fe(config: FeConfig, stamps: Path) -> None:
    """Until standard input ends."""
    async with AsyncExitStack() as closing:
        driver = await start_fe(config, closing)
        stamping = _Stamping(driver.tml.send)
        driver.tml.send = stamping  # type: ignore[method-assign]
        ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(0, lambda: ended.done() or ended.set_result(None))
        await ended
        stamps.write_text(json.dumps(stamping.sent))


# The CE


class Ce:
    """A `TmlUser` that associates, configures, and notes when events arrive."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.answers = 0
        self.associated = False
        self.tml = make_tml("tcp", TmlConfig("127.0.0.1", {FE: "127.0.0.1"}, listen=True))
        self._correlator = 0

    def received(self, peer: int, channel: Channel, ppid: int, data: bytes) -> None:
        at = time.monotonic_ns()
        if is_link_event(data):
            self.arrived.append(at)
            return
        message = decode(data)
        if message.type is MessageType.CONFIG_RESPONSE:
            self.answers += 1
        elif message.type is MessageType.ASSOCIATION_SETUP:
            kind = MessageType.ASSOCIATION_SETUP_RESPONSE
            self._say(Message(message.header.reply(kind, flags_for(kind)), result=0))
            self.associated = True

    def config(self, *lfbs: LfbSelect) -> None:
        self._correlator += 1
        kind = MessageType.CONFIG
        flags = flags_for(kind, Ack.ALWAYS_ACK)
        self._say(Message(Header(kind, CE, FE, self._correlator, flags), lfbs))

    def _say(self, message: Message) -> None:
        assert self.tml.send(FE, CHANNEL_OF[message.type], encode(message))

    def peer_up(self, peer: int) -> None: ...

    def peer_lost(self, peer: int, cause: LossCause, detail: str) -> None:
        sys.exit(f"the FE is lost: {cause} {detail}")

    def connect_failed(self, peer: int, cause: LossCause, detail: str) -> None: ...

    def writable(self, peer: int) -> None: ...


def select(name: str, kind: OperType, ids: tuple[int, ...], value: bytes) -> LfbSelect:
    path = PathData(ids, content=FullData(value))
    return LfbSelect(library().cls(name).id, 1, (Operation(kind, (path,)),))


def rows(routes: int) -> list[LfbSelect]:
    """A next hop on the port that is cut, and routes over it."""
    hop = {
        "L3PortID": 1,
        "MTU": 1500,
        "NextHopIPAddr": bytes((10, 1, 0, 2)),
        "MediaEncapInfoIndex": 0,
        "LFBOutputSelectIndex": 0,
    }
    row = {"Prefixlen": 24, "ECMPFlag": False, "DefaultRouteFlag": False, "Reserved": 0}
    hops, prefixes = library().cls("IPv4NextHop"), library().cls("IPv4UcastLPM")
    made = [select("IPv4NextHop", OperType.SET, (1, 1), hops.resolve((1, 1)).type.pack(hop))]
    kind = prefixes.resolve((1, 1)).type
    for number in range(routes):
        value = row | {"IPv4Address": (20 << 24 | number << 8).to_bytes(4), "HopSelector": 1}
        made.append(select("IPv4UcastLPM", OperType.SET, (1, number), kind.pack(value)))
    return made


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + BUDGET_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not within {BUDGET_S} s: {what}")
        await asyncio.sleep(0.001)


async def measure(cuts: int, routes: int, folder: Path) -> dict[str, list[int]]:
    ce = Ce()
    await ce.tml.start(ce)
    config, stamps = folder / "fe1.json", folder / "stamps.json"
    config.write_text(json.dumps(fe_config(folder)))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bench_link_events", "--fe", config, stamps],
        stdin=subprocess.PIPE,
    )
    made: list[int] = []
    try:
        subscription = select("EtherPHYCop", OperType.SET_PROP, (60, 1), bytes((0, 0, 0, 1)))
        await until(lambda: ce.associated, "the FE associates")
        ce.config(subscription, *rows(routes))
        await until(lambda: ce.answers == 1, "the Config is answered")
        netlink = NetlinkSocket()
        far = socket.if_nametoindex("far1")
        for number in range(2 * cuts):
            up = bool(number % 2)
            message = messages.set_link(netlink.sequences(1), far, up, None, None)
            made.append(time.monotonic_ns())
            netlink.request(message)
            await until(lambda number=number: len(ce.arrived) > number, f"report {number}")
            await asyncio.sleep(PAUSE_S)
        netlink.close()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(BUDGET_S)
        await ce.tml.close()
    read = [e["at_ns"] for e in read_journal(folder / "fe1.jsonl") if e["event"] == "link"]
    sent = json.loads(stamps.read_text())
    counts = len(made), len(read), len(sent), len(ce.arrived)
    assert len(set(counts)) == 1, f"made, read, sent, arrived: {counts}"
    return {
        "call to the FE's read": difference(made, read),
        OWN_TIME: difference(read, sent),
        "send call to arrival": difference(sent, ce.arrived),
        "call to arrival": difference(made, ce.arrived),
    }


def difference(earlier: Sequence[int], later: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip(earlier, later, strict=True)]


def fe_config(folder: Path) -> dict[str, Any]:
    return {
        "id": FE,
        "name": "fe1",
        "control_address": "127.0.0.1",
        "ces": [{"id": CE, "name": "ce1", "address": "127.0.0.1"}],
        "ports": [{"id": 1, "interface": "fe-eth1", "address": "10.1.0.1/30"}],
        "tml": "tcp",
        "journal": str(folder / "fe1.jsonl"),
        "cehdi_ms": 60_000,
        "fe_heartbeat_ms": 60_000,
    }


def enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        sys.exit(f"a network namespace of its own: {os.strerror(ctypes.get_errno())}")
    commands = (
        "link set lo up\n"
        "link add fe-eth1 type veth peer name far1\n"
        "addr add 10.1.0.1/30 dev fe-eth1\n"
        "link set far1 up\n"
        "link set fe-eth1 up\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=commands, check=True, text=True)


def report(name: str, values: Sequence[int], goal_us: int | None = None) -> bool:
    """`goal_us`: for the 99th percentile."""
    ordered = sorted(values)
    line: dict[str, Any] = {
        "name": f"link_event.{name}",
        "unit": "us",
        "n": len(ordered),
        "p50": round(ordered[len(ordered) // 2] / 1e3, 1),
        "p99": round(ordered[len(ordered) * 99 // 100] / 1e3, 1),
        "max": round(ordered[-1] / 1e3, 1),
    }
    if goal_us is not None:
        line |= {"goal": goal_us, "met": line["p99"] <= goal_us}
    print(json.dumps(line), flush=True)
    return bool(line.get("met", True))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--routes", type=int, default=100)
    parser.add_argument("--fe", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fe is not None:
        config, stamps = arguments.fe
        asyncio.run(run_fe(read_config(config, FeConfig), Path(stamps)))
        return 0
    if os.geteuid() != 0:
        print("bench_link_events: needs root", file=sys.stderr)
        return 2
    os.nice(-20)  # the FE and its CE, not what else runs on the machine
    enter_namespace()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.cuts, arguments.routes, Path(folder)))
    met = True
    for name, values in figures.items():
        goal_us = OWN_TIME_US if name == OWN_TIME else None
        for what, part in (("down", values[::2]), ("up", values[1::2])):
            met &= report(f"{name} ({what})", part, goal_us)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
