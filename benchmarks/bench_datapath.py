"""How fast the Linux datapath programs, moves and reads back routes, beside what it could be.

    python -m benchmarks.bench_datapath [--routes 100000] [--rounds 3]

Runs as root, in a network namespace of its own that ends with it. Every figure and its reference
come from the same run, alternating; a value is the median of the rounds. One JSON line a figure:
name, value, unit, reference, reference_value, ratio (better than 1 is better than the reference),
goal (for the ratio) and whether it is met.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import ipaddress
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from fe_datapath.config import ROUTE_PROTOCOL, PortConfig
from fe_datapath.datapath import (
    Change,
    DelRoute,
    DelRoutes,
    SetNextHop,
    SetNextHopGroup,
    SetRoute,
    columns,
)
from fe_datapath.linux import messages, programmer
from fe_datapath.linux.datapath import LinuxDatapath
from fe_datapath.linux.netlink import NetlinkSocket
from fe_datapath.linux.templates import RouteEncoder
from forces.io.process import GC_YOUNG

_CLONE_NEWNET = 0x40000000
PORTS = (
    PortConfig(id=1, interface="fe-eth1", address="10.1.0.1/30"),
    PortConfig(id=2, interface="fe-eth2", address="10.1.0.5/30"),
)
HOPS = {4: ("10.1.0.2", "10.1.0.6"), 16: ("fe80::2", "fe80::6")}


def routes(count: int, octets: int, nexthop: int) -> list[SetRoute]:
    """IPv4 /24 from 20.0.0.0 up, or IPv6 /48 from 2001::/16 up."""
    if octets == 4:
        first = 20 << 16
        return [SetRoute((first + n << 8).to_bytes(4), 24, nexthop) for n in range(count)]
    first = 0x2001 << 32
    return [SetRoute((first + n << 80).to_bytes(16), 48, nexthop) for n in range(count)]


def enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        sys.exit(f"a network namespace of its own: {os.strerror(ctypes.get_errno())}")
    commands = ["link set lo up"]
    for port in PORTS:
        commands += [
            f"link add {port.interface} type veth peer name far{port.id}",
            f"addr add {port.address} dev {port.interface}",
            f"link set far{port.id} up",
            f"link set {port.interface} up",
        ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), check=True, text=True)


def report(
    name: str,
    unit: str,
    values: Sequence[float],
    reference: str,
    references: Sequence[float],
    goal: float,
    smaller_is_better: bool = False,
) -> bool:
    value, reference_value = statistics.median(values), statistics.median(references)
    ratio = reference_value / value if smaller_is_better else value / reference_value
    line = {
        "name": name,
        "value": round(value, 6),
        "unit": unit,
        "reference": reference,
        "reference_value": round(reference_value, 6),
        "ratio": round(ratio, 2),
        "goal": goal,
        "met": ratio >= goal,
    }
    print(json.dumps(line), flush=True)
    return ratio >= goal


class Bench:
    """One started datapath; figures are medians over `rounds`."""

    def __init__(self, datapath: LinuxDatapath, count: int, rounds: int) -> None:
        self.datapath = datapath
        self.count = count
        self.rounds = rounds
        self.met = True

    async def apply(self, changes: Sequence[Change]) -> float:
        start = time.perf_counter()
        failures = await self.datapath.apply(changes, True)
        took = time.perf_counter() - start
        assert not failures, failures
        return took

    async def late(self, changes: Sequence[Change]) -> list[float]:
        """How late a 1 ms timer of the event loop is while changes are programmed."""
        programming = asyncio.ensure_future(self.apply(changes))
        late = []
        while not programming.done():
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - due)
        await programming
        return late

    async def clear(self, changes: Sequence[SetRoute]) -> float:
        return await self.apply([DelRoute(change.prefix, change.length) for change in changes])

    def ready(self, changes: Sequence[SetRoute | DelRoute]) -> float:
        """The same messages from buffers made beforehand."""
        netlink, encoder = NetlinkSocket(), RouteEncoder(ROUTE_PROTOCOL)
        batches = []
        for at in range(0, len(changes), programmer.BATCH):
            part = changes[at : at + programmer.BATCH]
            first = netlink.sequences(len(part))
            packed, _ = encoder.encode(part, first, False)
            buffer = bytearray(b"".join(packed))
            buffer[len(buffer) - len(packed[-1]) + 6] |= messages.Flag.ACK
            batches.append((buffer, first, first + len(part) - 1))
        start = time.perf_counter()
        for batch in batches:
            refused = netlink.batch(*batch)
            assert not refused, refused
        took = time.perf_counter() - start
        netlink.close()
        return took

    def ip_batch(self, verb: str, changes: Sequence[SetRoute]) -> float:
        with tempfile.NamedTemporaryFile("w") as file:
            for change in changes:
                prefix = ipaddress.ip_address(change.prefix)
                hop = f" nhid {change.nexthop}" if verb != "del" else ""
                file.write(
                    f"route {verb} {prefix}/{change.length}{hop} proto {ROUTE_PROTOCOL} "
                    f"metric {messages.ROUTE_METRIC}\n"
                )
            file.flush()
            start = time.perf_counter()
            subprocess.run(["ip", "-batch", file.name], check=True)
            return time.perf_counter() - start

    async def family(self, octets: int) -> None:
        family = "ipv4" if octets == 4 else "ipv6"
        one = octets  # next hop identifiers 4 and 5, 16 and 17
        gateways = HOPS[octets]
        await self.apply([SetNextHop(one, 1, gateways[0]), SetNextHop(one + 1, 2, gateways[1])])
        mine = routes(self.count, octets, one)
        deletions = [DelRoute(change.prefix, change.length) for change in mine]
        times: dict[str, list[float]] = {
            f"{way}{verb}": [] for way in ("", "bulk ", "ip ", "ready ") for verb in ("add", "del")
        }
        adding = columns(mine, octets)
        deleting = DelRoutes(adding.prefixes, adding.lengths)
        late: list[float] = []
        gc.collect()
        gc.freeze()
        for _ in range(self.rounds):
            times["add"].append(await self.apply(mine))
            times["del"].append(await self.apply(deletions))
            times["bulk add"].append(await self.apply([adding]))
            times["bulk del"].append(await self.apply([deleting]))
            times["ready add"].append(self.ready(mine))
            times["ready del"].append(self.ready(deletions))
            times["ip add"].append(self.ip_batch("add", mine))
            times["ip del"].append(self.ip_batch("del", mine))
            late += await self.late(mine)
            await self.apply(deletions)
        for verb in ("add", "del", "bulk add", "bulk del"):
            rate = [self.count / took for took in times[verb]]
            kind = verb.split()[-1]
            for label, other, goal in (
                ("ip -batch", f"ip {kind}", 2.0),
                ("the same messages from a ready buffer", f"ready {kind}", 0.5),
            ):
                self.met &= report(
                    f"datapath.{family}.{verb.replace(' ', '_')}.vs_{other.split()[0]}",
                    "routes/s",
                    rate,
                    label,
                    [self.count / took for took in times[other]],
                    goal,
                )
        late.sort()
        self.met &= report(
            f"datapath.{family}.add.loop_late_p99",
            "s",
            [late[int(len(late) * 0.99)]],
            "the bound that heartbeats leave",
            [0.020],
            1.0,
            smaller_is_better=True,
        )
        await self.moves(family, mine, one)
        await self.reads(family, mine)
        await self.regroup(family, mine, one)

    async def moves(self, family: str, mine: Sequence[SetRoute], one: int) -> None:
        """Every route to the other next hop: by one replacement, and by rewriting."""
        gateways = HOPS[len(mine[0].prefix)]
        await self.apply(mine)
        replaced, rewritten = [], []
        moved = routes(self.count, len(mine[0].prefix), one + 1)
        for _ in range(self.rounds):
            for port in (2, 1):
                replaced.append(await self.apply([SetNextHop(one, port, gateways[port - 1])]))
            rewritten.append(await self.apply(moved))
            rewritten.append(await self.apply(mine))
        self.met &= report(
            f"datapath.{family}.move_all",
            "s",
            replaced,
            "rewriting every route",
            rewritten,
            # IPv6: the kernel walks all routes of the next hop to void their caches.
            self.count / 100 if family == "ipv4" else 5,
            smaller_is_better=True,
        )

    async def regroup(self, family: str, mine: Sequence[SetRoute], one: int) -> None:
        """Every route from one next hop to the other by one replacement of their group, and of its
        member; and by rewriting them from arrays."""
        group, octets = 1 << 31 | one, len(mine[0].prefix)
        over = columns([SetRoute(r.prefix, r.length, group) for r in mine], octets)
        await self.apply([SetNextHopGroup(group, ((one, 1),), one + 1), over])
        others = [
            columns([SetRoute(r.prefix, r.length, one + n) for r in mine], octets) for n in (1, 0)
        ]
        replaced, rewritten, by_member = [], [], []
        for _ in range(self.rounds):
            for hop in (one + 1, one):
                replaced.append(await self.apply([SetNextHopGroup(group, ((hop, 1),))]))
        for _ in range(self.rounds):
            for port in (2, 1):
                member = SetNextHop(one, port, HOPS[octets][port - 1])
                by_member.append(await self.apply([member]))
        for _ in range(self.rounds):
            rewritten += [await self.apply([other]) for other in others]
        # IPv6: the kernel walks all routes of what is replaced, and takes 10 ms for a member
        goal = 1000 * self.count / 100_000 if octets == 4 else 5
        for what, took in (("group", replaced), ("member", by_member)):
            self.met &= report(
                f"datapath.{family}.move_all_by_{what}",
                "s",
                took,
                "rewriting every route",
                rewritten,
                goal,
                smaller_is_better=True,
            )
        await self.clear(mine)

    async def reads(self, family: str, mine: Sequence[SetRoute]) -> None:
        read, shown = [], []
        show = ["ip", "-6" if family == "ipv6" else "-4", "route", "show", "proto"]
        for _ in range(self.rounds):
            start = time.perf_counter()
            found = self.datapath.routes()
            read.append(time.perf_counter() - start)
            assert len(found) == len(mine)
            start = time.perf_counter()
            subprocess.run([*show, str(ROUTE_PROTOCOL)], check=True, stdout=subprocess.DEVNULL)
            shown.append(time.perf_counter() - start)
        self.met &= report(
            f"datapath.{family}.read_back", "s", read, "ip route show", shown, 1.0, True
        )
        await self.clear(mine)


async def measure(count: int, rounds: int) -> bool:
    datapath = LinuxDatapath(PORTS)
    await datapath.start(lambda state, at_ns: None)
    bench = Bench(datapath, count, rounds)
    for octets in (4, 16):
        await bench.family(octets)
    await datapath.close()
    return bench.met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench_datapath: needs root", file=sys.stderr)
        return 2
    os.nice(-20)  # subject and references alike, so that what else runs on the machine counts less
    enter_namespace()
    gc.set_threshold(GC_YOUNG, 20, 100)  # as an FE process has it
    return 0 if asyncio.run(measure(arguments.routes, arguments.rounds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
