"""How fast an FE takes and gives a table: Config octets -> tables -> kernel -> response octets.

    python -m benchmarks.bench_fe_config [--routes 100000] [--rounds 3]

The FE's own driver, core and Linux datapath in one process and one network namespace; its transport
is the benchmark. References, in turns with the subject: `ip -batch` with the same routes, the
same netlink messages from a ready buffer; for a read-back `ip route show`, and the kernel's dump
received and not looked at. JSON lines as of bench_datapath.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.bench_datapath import HOPS, PORTS, Bench, enter_namespace, report, routes
from fe_datapath.config import ROUTE_PROTOCOL, CePeer, FeConfig
from fe_datapath.datapath import DelRoute, SetRoute
from fe_datapath.element import ForwardingElement
from fe_datapath.lfbs.family import IPV4, IPV6, Family
from fe_datapath.linux import messages
from fe_datapath.linux.datapath import LinuxDatapath
from fe_datapath.linux.netlink import NetlinkSocket
from forces.channels import CHANNEL_OF, Channel
from forces.header import Ack, ExecMode, Header
from forces.io.driver import Driver
from forces.io.journal import JournalWriter
from forces.io.process import GC_YOUNG
from forces.io.tml import TmlUser
from forces.messages import LfbSelect, Message, MessageType, Operation, OperType, flags_for
from forces.model import ArrayType, library
from forces.paths import FullData, PathData, SparseData
from forces.runs import rows_run
from forces.wire import decode, encode

CE, FE = 0x40000001, 1
SELECT_ROWS = 1250
"""Rows of one LFBselect: 16 bits of length hold 1,489 IPv6 rows."""
MESSAGE_ROWS = 2500
LFBS = library()
_ANSWERS = frozenset(
    {
        MessageType.ASSOCIATION_SETUP,
        MessageType.CONFIG_RESPONSE,
        MessageType.QUERY_RESPONSE,
    }
)
"""The others are heartbeats and events."""


class Peer:
    """A `Tml`: what the FE sends to its one CE ends here."""

    name = "benchmark"

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.told = asyncio.Event()
        self.user: TmlUser

    async def start(self, user: TmlUser) -> None:
        self.user = user

    def connect(self, peer: int) -> None:
        pass

    def disconnect(self, peer: int, abort: bool = False) -> None:
        raise RuntimeError("the FE has given its CE up")

    def send(self, peer: int, channel: Channel, data: bytes) -> bool:
        if data[1] in _ANSWERS:
            self.heard.append(data)
            self.told.set()
        return True

    async def close(self) -> None:
        pass

    def say(self, message: Message) -> None:
        self.tell(message.type, encode(message))

    def tell(self, kind: MessageType, octets: bytes) -> None:
        channel = CHANNEL_OF[kind]
        self.user.received(CE, channel, channel.ppid, octets)

    async def answers(self, count: int) -> list[bytes]:
        while len(self.heard) < count:
            self.told.clear()
            await self.told.wait()
        heard, self.heard = self.heard, []
        return heard


def request(kind: MessageType, number: int, *lfbs: LfbSelect) -> bytes:
    ack = Ack.ALWAYS_ACK if kind is MessageType.CONFIG else Ack.NO_ACK
    mode = ExecMode.ALL_OR_NONE if kind is MessageType.CONFIG else ExecMode.RESERVED
    return encode(Message(Header(kind, CE, FE, number, flags_for(kind, ack, mode)), lfbs))


def table_of(family: Family) -> tuple[int, tuple[int, ...], Any]:
    cls = LFBS.cls(family.lpm)
    kind = cls.component(family.prefix_table).type
    assert isinstance(kind, ArrayType)
    return cls.id, cls.path(family.prefix_table), kind.row


def rows_of(family: Family, given: list[SetRoute], selector: int) -> dict[int, bytes]:
    _, _, row = table_of(family)
    fixed = {"ECMPFlag": False, "DefaultRouteFlag": False, "Reserved": 0, "HopSelector": selector}
    return {
        index: row.pack({family.address: route.prefix, "Prefixlen": route.length} | fixed)
        for index, route in enumerate(given, 1000)
    }


def configs(family: Family, rows: Mapping[int, bytes], kind: OperType) -> list[bytes]:
    """One path to each row, as `ce.lfbs.write_select` makes them."""
    class_id, table, _ = table_of(family)
    items = list(rows.items())
    found = []
    for at in range(0, len(items), MESSAGE_ROWS):
        part = items[at : at + MESSAGE_ROWS]
        lfbs = []
        for start in range(0, len(part), SELECT_ROWS):
            some = dict(part[start : start + SELECT_ROWS])
            if kind is OperType.DEL:
                paths: Any = tuple(PathData((*table, index)) for index in some)
            else:
                paths = rows_run(table, some) or tuple(
                    PathData((*table, index), content=FullData(row)) for index, row in some.items()
                )
            lfbs.append(LfbSelect(class_id, 1, (Operation(kind, paths),)))
        found.append(request(MessageType.CONFIG, at + 1, *lfbs))
    return found


class FeBench(Bench):
    """A started FE whose CE is `peer`."""

    def __init__(self, datapath: LinuxDatapath, peer: Peer, count: int, rounds: int) -> None:
        super().__init__(datapath, count, rounds)
        self.peer = peer

    async def associate(self) -> None:
        self.peer.user.peer_up(CE)
        setup = decode((await self.peer.answers(1))[0])
        kind = MessageType.ASSOCIATION_SETUP_RESPONSE
        self.peer.say(Message(setup.header.reply(kind, flags_for(kind)), result=0))

    async def configure(self, octets: list[bytes]) -> float:
        """As they come, all at once; until the last response is there."""
        start = time.perf_counter()
        for one in octets:
            self.peer.tell(MessageType.CONFIG, one)
        answers = await self.peer.answers(len(octets))
        took = time.perf_counter() - start
        for answer in answers:
            for lfb in decode(answer).lfbs:
                assert all(p.content.code == 0 for p in lfb.operations[0].paths[:2]), lfb  # type: ignore[union-attr]
        return took

    async def hop(self, family: Family, selector: int) -> None:
        cls = LFBS.cls(family.next_hop)
        gateway = ipaddress.ip_address(HOPS[family.octets][0])
        kind = cls.component(family.next_hop_table).type
        assert isinstance(kind, ArrayType)
        row = dict(kind.row.default()) | {
            "L3PortID": 1,
            "MTU": 1500,
            "NextHopIPAddr": gateway.packed,
        }
        path = PathData(
            (*cls.path(family.next_hop_table), selector), content=FullData(kind.row.pack(row))
        )
        lfb = LfbSelect(cls.id, 1, (Operation(OperType.SET, (path,)),))
        await self.configure([request(MessageType.CONFIG, 1, lfb)])

    async def table(self, family: Family) -> None:
        name = f"ipv{family.version}"
        await self.hop(family, 4)
        mine = routes(self.count, family.octets, family.hop_id(4))
        deletions = [DelRoute(route.prefix, route.length) for route in mine]
        rows = rows_of(family, mine, 4)
        setting = configs(family, rows, OperType.SET)
        deleting = configs(family, rows, OperType.DEL)
        times: dict[str, list[float]] = {
            f"{way}{verb}": [] for way in ("", "ip ", "ready ") for verb in ("add", "del")
        }
        gc.collect()
        gc.freeze()
        for _ in range(self.rounds):
            times["add"].append(await self.configure(setting))
            assert len(self.datapath.routes()) == self.count
            times["del"].append(await self.configure(deleting))
            assert not self.datapath.routes()
            times["ready add"].append(self.ready(mine))
            times["ready del"].append(self.ready(deletions))
            times["ip add"].append(self.ip_batch("add", mine))
            times["ip del"].append(self.ip_batch("del", mine))
        for verb in ("add", "del"):
            for label, other, goal in (
                ("ip -batch", f"ip {verb}", 2.0),
                ("the same netlink messages from a ready buffer", f"ready {verb}", 0.5),
            ):
                self.met &= report(
                    f"fe_config.{name}.{verb}.vs_{other.split()[0]}",
                    "routes/s",
                    [self.count / took for took in times[verb]],
                    label,
                    [self.count / took for took in times[other]],
                    goal,
                )
        await self.configure(setting)
        await self.read_back(family, name)
        await self.configure(deleting)

    async def read_back(self, family: Family, name: str) -> None:
        """The kernel's routes, and the QueryResponses with the table's rows; both have to say the
        same (which is looked at when the time has been taken)."""
        class_id, table, _ = table_of(family)
        whole = LfbSelect(class_id, 1, (Operation(OperType.GET, (PathData(table),)),))
        query = request(MessageType.QUERY, 7, whole)
        show = ["ip", f"-{family.version}", "route", "show", "proto", str(ROUTE_PROTOCOL)]
        times: dict[str, list[float]] = {"ours": [], "ip": [], "raw": []}
        for _ in range(self.rounds):
            start = time.perf_counter()
            kernel = self.datapath.route_columns(family.octets)
            self.peer.tell(MessageType.QUERY, query)
            answers = self.peer.heard
            times["ours"].append(time.perf_counter() - start)
            self.peer.heard = []
            assert len(kernel) == self.count
            assert routes_in(family, answers) == {
                (route.prefix, route.length): route.nexthop for route in kernel.singles()
            }
            start = time.perf_counter()
            subprocess.run(show, check=True, stdout=subprocess.DEVNULL)
            times["ip"].append(time.perf_counter() - start)
            times["raw"].append(raw_dump(family))
        for label, other, goal in (
            ("ip route show", "ip", 2.0),
            ("the same dump, received and not looked at", "raw", 0.5),
        ):
            self.met &= report(
                f"fe_config.{name}.get.vs_{other}",
                "routes/s",
                [self.count / took for took in times["ours"]],
                label,
                [self.count / took for took in times[other]],
                goal,
            )


def routes_in(family: Family, answers: list[bytes]) -> dict[tuple[bytes, int], int]:
    """Of the rows in QueryResponses: (prefix, length) -> next hop."""
    _, _, kind = table_of(family)
    contents = [
        octets
        for answer in answers
        for lfb in decode(answer).lfbs
        for path in lfb.operations[0].paths
        if isinstance(path.content, SparseData)
        for _, octets in path.content.items
    ]
    rows = [kind.unpack(octets) for octets in contents]
    found = {family.prefix_of(row): family.target(row) for row in rows}
    assert len(found) == len(rows), "a prefix twice"
    return found


def raw_dump(family: Family) -> float:
    netlink = NetlinkSocket(strict=True)
    code = {4: 2, 6: 10}[family.version]
    start = time.perf_counter()
    for _ in netlink.dump(
        messages.dump_routes(netlink.sequences(1), ROUTE_PROTOCOL, code), is_not_the_last
    ):
        raise AssertionError("a datagram with DONE and routes")
    took = time.perf_counter() - start
    netlink.close()
    return took


def is_not_the_last(datagram: bytes, sequence: int) -> bool:
    return datagram[4:6] != b"\x03\0"


def families() -> Iterator[Family]:
    yield IPV4
    yield IPV6


async def measure(count: int, rounds: int) -> bool:
    datapath = LinuxDatapath(PORTS)
    await datapath.start(lambda state, at_ns: None)
    config = FeConfig(
        id=FE,
        name="fe",
        control_address="127.0.0.1",
        ces=(CePeer(CE, "ce", "127.0.0.1"),),
        ports=PORTS,
        cehdi_ms=3_600_000,
    )
    core, peer = ForwardingElement(config, datapath.ports()), Peer()
    driver = Driver(
        core, peer, own_id=FE, journal=JournalWriter(None, "fe"), program=datapath.apply
    )
    await driver.start()
    bench = FeBench(datapath, peer, count, rounds)
    await bench.associate()
    for family in families():
        await bench.table(family)
    await driver.close()
    await datapath.close()
    return bench.met


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench_fe_config: needs root", file=sys.stderr)
        return 2
    os.nice(-20)  # subject and references alike, so that what else runs on the machine counts less
    enter_namespace()
    gc.set_threshold(GC_YOUNG, 20, 100)  # as an FE process has it
    return 0 if asyncio.run(measure(arguments.routes, arguments.rounds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
