"""What only a kernel can show: whose objects are touched, settings, packets, time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fe_datapath.config import PortConfig
from fe_datapath.datapath import (
    Change,
    DelNextHop,
    DelRoute,
    Found,
    SetForwarding,
    SetNextHop,
    SetNextHopGroup,
    SetPort,
    SetRoute,
    columns,
)
from fe_datapath.linux import reading
from fe_datapath.linux.datapath import LinuxDatapath
from fe_datapath.linux.messages import ROUTE_METRIC
from tests.datapath.chain import CHAIN_PORTS, Chain, Traffic
from tests.datapath.namespaces import Namespace, ip_batch
from tests.datapath.rigs import GATEWAYS, PORTS, KernelRig, Session

pytestmark = pytest.mark.kernel

NET = bytes((20, 0, 0, 0))
HOP1 = SetNextHop(1, 1, GATEWAYS[1])
HOP2 = SetNextHop(2, 2, GATEWAYS[2])


def nets(count: int, nexthop: int) -> list[Change]:
    return [SetRoute(bytes((20, n >> 8, n & 255, 0)), 24, nexthop) for n in range(count)]


async def done(session: Session, *changes: Change) -> None:
    assert await session.datapath.apply(changes, True) == []


FOREIGN = (
    "nexthop add id 900 via 10.1.0.2 dev fe-eth1 proto 201",
    "route add 30.0.0.0/24 nhid 900 proto 201",
    "route add 20.0.0.0/24 via 10.1.0.6 proto static",
    "route add 31.0.0.0/24 via 10.1.0.2 proto static metric 1200",
    "route add 2001:db8:9::/48 dev fe-eth1 proto static",
    "rule add from 99.0.0.0/8 lookup main pref 99",
)


def test_no_route_or_next_hop_but_ours_is_touched(kernel: KernelRig) -> None:
    """Not by a start, not by the same prefix, not by deleting it, not at the end."""
    kernel.namespace.ip(*FOREIGN)
    compat_mode = Path("/proc/sys/net/ipv4/nexthop_compat_mode")  # changes what `ip` shows
    kernel.namespace.run(compat_mode.write_text, "0")

    def foreign() -> str:
        shown = "".join(
            kernel.namespace.show(what)
            for what in ("route show table all", "-6 route show table main", "rule")
        )
        # The kernel gives itself link-local addresses, some time after a link is there.
        passing = ("proto 200", "fe80::", "ff00::/8")
        lines = shown.splitlines()
        return "\n".join(line for line in lines if not any(word in line for word in passing))

    before = foreign()

    async def scenario(session: Session) -> None:
        connected = SetRoute(bytes((10, 1, 0, 0)), 30, 2)
        await done(session, HOP1, HOP2, SetRoute(NET, 24, 1), connected)
        assert session.datapath.routes() == {(NET, 24): 1, (connected.prefix, 30): 2}
        assert set(session.datapath.nexthops()) == {1, 2}
        await done(session, DelRoute(NET, 24), DelRoute(NET, 24), DelRoute(bytes(4), 0))

    kernel.play(scenario)
    assert foreign() == before
    kernel.play(scenario)
    assert foreign() == before
    assert "nexthop" not in kernel.namespace.show("nexthop show proto 201").replace("nhid", "")
    assert "id 900 " in kernel.namespace.show("nexthop show")


def test_a_start_drops_routes_of_ours_that_no_change_could_speak_of(kernel: KernelRig) -> None:
    kernel.namespace.ip(
        "nexthop add id 5 via 10.1.0.2 dev fe-eth1 proto 200",
        "route add 30.0.0.0/24 nhid 5 proto 200 metric 7",
        "route add 30.0.0.0/24 via 10.1.0.2 proto 200",
        "route add 30.0.0.0/24 via 10.1.0.2 proto 200 table 1000",
        "route add 2001:db8:9::/48 dev fe-eth1 proto 200",
    )

    async def scenario(session: Session) -> None:
        assert session.datapath.found() == Found(False, frozenset(), frozenset((5,)))
        await done(session, DelNextHop(5))

    kernel.play(scenario)
    for what in ("route show table all", "-6 route show table all", "nexthop show"):
        assert "proto 200" not in kernel.namespace.show(what)


def test_what_the_kernel_shows(kernel: KernelRig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, SetRoute(NET, 24, 1))

    kernel.play(scenario)
    shown = kernel.namespace.show("route show proto 200")
    assert f"20.0.0.0/24 nhid 1 scope global metric {ROUTE_METRIC}" in shown
    assert "id 1 via 10.1.0.2 dev fe-eth1 scope link proto 200" in kernel.namespace.show(
        "nexthop show"
    )


def test_what_is_programmed_stays_when_the_process_ends(kernel: KernelRig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, *nets(50, 1), SetForwarding(True))

    kernel.play(scenario)
    assert kernel.namespace.show("route show proto 200").count("20.0.") == 50
    assert kernel.namespace.sysctl("ipv4/ip_forward") == "1"


def test_settings_are_those_of_the_own_namespace(kernel: KernelRig) -> None:
    names = ["ipv4/ip_forward", "ipv4/nexthop_compat_mode", "ipv4/conf/all/rp_filter"]

    def host() -> list[str]:
        return [Path(f"/proc/sys/net/{name}").read_text().strip() for name in names]

    before = host()

    async def scenario(session: Session) -> None:
        for on in (True, False, True):
            await done(session, SetForwarding(on))

    kernel.play(scenario)
    assert [kernel.namespace.sysctl(name) for name in names] == ["1", "0", "0"]
    assert kernel.namespace.sysctl("ipv6/conf/all/forwarding") == "1"
    assert kernel.namespace.sysctl("ipv4/conf/fe-eth1/rp_filter") == "0"
    assert kernel.namespace.sysctl("ipv4/conf/fe-eth1/ignore_routes_with_linkdown") == "1"
    assert host() == before


def test_a_missing_interface_is_one_clear_line(kernel: KernelRig) -> None:
    datapath = LinuxDatapath((*PORTS, PortConfig(id=3, interface="fe-eth3", address="10.9.0.1/30")))

    def start() -> None:
        asyncio.run(datapath.start(lambda state, at_ns: None))

    with pytest.raises(OSError, match="port 3: this namespace has no interface 'fe-eth3'"):
        kernel.namespace.run(start)


def test_equal_indexes_at_both_ends_of_a_link_are_warned_of(
    kernel: KernelRig, caplog: pytest.LogCaptureFixture
) -> None:
    other = Namespace()
    kernel.namespace.ip(
        f"link add fe-eth7 index 77 type veth peer name far7 index 77 netns {other.tid}"
    )
    datapath = LinuxDatapath([PortConfig(id=7, interface="fe-eth7", address="10.7.0.1/30")])

    async def start() -> None:
        await datapath.start(lambda state, at_ns: None)
        await datapath.close()

    with caplog.at_level(logging.WARNING):
        kernel.namespace.run(lambda: asyncio.run(start()))
    other.close()
    assert [r for r in caplog.records if "fe-eth7" in r.message and "77" in r.message]


def test_an_interface_that_goes_and_comes_back_is_the_same_port(kernel: KernelRig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, *nets(3, 1))
        ip_batch("link del fe-eth1")
        await session.until(lambda: bool(session.links) and not session.links[-1][0].carrier)
        assert session.datapath.ports()[1].admin_up is False
        failures = await session.datapath.apply([HOP1, SetPort(1, admin_up=True)], False)
        assert [failure.index for failure in failures] == [0, 1]
        ip_batch(
            "link add fe-eth1 type veth peer name far1\naddr add 10.1.0.1/30 dev fe-eth1\n"
            "link set far1 up\nlink set fe-eth1 up"
        )
        await session.until(lambda: session.links[-1][0].carrier)
        await done(session, HOP1, *nets(3, 1))
        assert session.datapath.nexthops() == {1: (1, GATEWAYS[1])}

    kernel.play(scenario)


def test_the_event_loop_stays_free_while_20000_routes_are_programmed(kernel: KernelRig) -> None:
    """Half a second of work; a loop that did it itself would be late by all of it."""

    async def scenario(session: Session) -> None:
        await done(session, HOP1)
        programming = asyncio.create_task(_apply(session, nets(20_000, 1)))
        late = []
        while not programming.done():
            due = time.monotonic() + 0.001
            await asyncio.sleep(0.001)
            late.append(time.monotonic() - due)
        await programming
        assert len(session.datapath.routes()) == 20_000
        assert sorted(late)[len(late) // 2] < 0.02, f"median {sorted(late)[len(late) // 2]:.4f} s"

    async def _apply(session: Session, changes: list[Change]) -> None:
        await done(session, *changes)

    kernel.play(scenario)


@pytest.mark.parametrize("together", [1, 1 << 16, reading.TOGETHER])
def test_columns_of_messages_of_different_lengths(
    kernel: KernelRig, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Whole datagrams of one length, then of another, then of the first again."""
    monkeypatch.setattr(reading, "TOGETHER", together)

    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2, *nets(3000, 1))
        longer = [f"40.{n >> 8}.{n & 255}.0/24 nhid 2 mtu 1300" for n in range(3000)]
        again = [f"60.{n >> 8}.{n & 255}.0/24 nhid 1" for n in range(3000)]
        ours = f"proto 200 metric {ROUTE_METRIC}"
        ip_batch("\n".join(f"route add {route} {ours}" for route in longer + again))
        read = session.datapath.route_columns(4)
        assert len(read) == 9000
        found = {(r.prefix, r.length): r.nexthop for r in read.singles()}
        assert found == session.datapath.routes()
        assert Counter(found.values()) == {1: 6000, 2: 3000}

    kernel.play(scenario)


def test_alike_routes_are_read_by_the_datagram_and_the_others_one_by_one(
    kernel: KernelRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading 100,000 routes one by one would take a second."""
    slowly = []
    one_by_one = reading._route

    def counted(*arguments: Any) -> reading.KernelRoute | None:
        slowly.append(arguments)
        return one_by_one(*arguments)

    async def scenario(session: Session) -> None:
        hosts: list[Change] = [SetRoute(NET[:3] + bytes((n,)), 32, 2) for n in range(9)]
        six: list[Change] = [
            SetRoute(bytes((0x20, 1, n >> 8, n & 255)) + bytes(12), 32, 6) for n in range(5000)
        ]
        everything = [HOP1, HOP2, SetNextHop(6, 1, "fe80::2"), *nets(5000, 1), *hosts, *six]
        everything += [SetRoute(bytes(4), 0, 2), SetRoute(bytes(16), 0, 6)]
        await done(session, *everything)
        # Other lengths in between: a table number, no next hop object, a longer nexthop route.
        ip_batch(
            "route add 20.1.0.128/25 via 10.1.0.2 proto 200 table 1000\n"
            "route add 20.2.0.128/25 via 10.1.0.2 proto 200 realms 7\n"
            "route add 2001:1::/64 via fe80::9 dev fe-eth1 proto 200"
        )
        expected = {(c.prefix, c.length): c.nexthop for c in everything if isinstance(c, SetRoute)}
        for n in (0x01, 0x02):
            expected[bytes((20, n, 0, 128)), 25] = 0
        expected[bytes((0x20, 1, 0, 1)) + bytes(12), 64] = 0
        monkeypatch.setattr(reading, "_route", counted)
        assert session.datapath.routes() == expected
        assert 0 < len(slowly) < 3000

    kernel.play(scenario)


def test_programs_take_effect_in_the_order_asked_for(kernel: KernelRig) -> None:
    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2)
        results = await asyncio.gather(
            *(
                session.datapath.apply([*nets(300, 1 + n % 2), SetRoute(NET, 8, 1 + n % 2)], True)
                for n in range(8)
            )
        )
        assert results == [[]] * 8
        assert set(session.datapath.routes().values()) == {2}

    kernel.play(scenario)


def test_a_small_program_does_not_overtake_a_large_one(kernel: KernelRig) -> None:
    """A few changes are carried out at once, but only while nothing else is under way."""

    async def scenario(session: Session) -> None:
        await done(session, HOP1, HOP2)
        large = asyncio.ensure_future(session.datapath.apply(nets(5000, 1), True))
        await asyncio.sleep(0)
        last = nets(5000, 1)[-1]
        assert isinstance(last, SetRoute)
        await done(session, SetRoute(last.prefix, last.length, 2))
        assert await large == []
        routes = session.datapath.routes()
        assert routes[last.prefix, last.length] == 2
        assert len(routes) == 5000

    kernel.play(scenario)


@pytest.fixture
def chain() -> Iterator[Chain]:
    made = Chain()
    yield made
    made.close()


def test_only_what_stays_small_is_done_in_the_event_loop(kernel: KernelRig) -> None:
    """However many routes there are: heartbeats wait for it."""

    async def scenario(session: Session) -> None:
        datapath = session.datapath
        assert isinstance(datapath, LinuxDatapath)
        six = SetNextHop(6, 1, "fe80::2")
        group, group6 = SetNextHopGroup(100, ((1, 1),), 2), SetNextHopGroup(106, ((6, 1),))
        await done(session, HOP1, HOP2, six, group, group6)
        for small in (HOP1, group, SetRoute(NET, 24, 1), DelRoute(NET, 24)):
            assert datapath.apply_at_once([small], True) == []
        for large in (six, group6, DelNextHop(100), SetPort(1, mtu=1500), SetForwarding(True)):
            assert datapath.apply_at_once([large], True) is None
        await session.cut(1)
        assert datapath.apply_at_once([SetNextHopGroup(100, ((2, 1),))], True) == []
        await session.mend(1)
        assert datapath.apply_at_once([HOP1], True) is None, "its routes have to be forgotten"
        await done(session, HOP1)
        assert datapath.apply_at_once([HOP1, group], True) == []
        await done(session, *nets(3000, 1))
        routes = [change for change in nets(3000, 1) if isinstance(change, SetRoute)]
        await done(session, columns(routes, 4))
        assert datapath.apply_at_once(nets(2, 1), True) is None, "one of them may be refused"
        assert datapath.apply_at_once(nets(1, 1), True) == []

    kernel.play(scenario)


def test_no_packet_is_lost_while_routes_are_set_again_and_next_hops_replaced(chain: Chain) -> None:
    to_h2 = SetRoute(bytes((10, 3, 0, 10)), 32, 1)
    routes = [to_h2, *nets(999, 1)]
    traffic = Traffic(chain)

    async def scenario() -> None:
        datapath = LinuxDatapath(CHAIN_PORTS)
        await datapath.start(lambda state, at_ns: None)
        everything = [HOP1, HOP2, *routes, SetForwarding(True)]
        assert await datapath.apply(everything, True) == []
        await traffic.flows()
        for _ in range(20):
            assert await datapath.apply(everything, True) == []
        for n in range(200):  # the next hop of all routes: one link, the other
            port = 1 + n % 2
            assert await datapath.apply([SetNextHop(1, port, GATEWAYS[port])], True) == []
            await asyncio.sleep(0.001)
        for n in range(20):  # every route: one next hop, the other
            moved = [SetRoute(r.prefix, r.length, 1 + n % 2) for r in routes]  # type: ignore[union-attr]
            assert await datapath.apply(moved, True) == []
        await datapath.close()

    chain.fe.run(lambda: asyncio.run(scenario()))
    traffic.end()
    assert traffic.sent > 100
    assert traffic.lost == 0


def test_forwarding_off_stops_packets_and_on_lets_them_through(chain: Chain) -> None:
    """The meter of the test above can see a loss."""
    traffic = Traffic(chain)

    async def scenario() -> None:
        datapath = LinuxDatapath(CHAIN_PORTS)
        await datapath.start(lambda state, at_ns: None)
        changes = [HOP1, SetRoute(bytes((10, 3, 0, 10)), 32, 1), SetForwarding(True)]
        assert await datapath.apply(changes, True) == []
        await traffic.flows()
        await traffic.after(50)
        assert await datapath.apply([SetForwarding(False)], True) == []
        await traffic.after(50)
        assert await datapath.apply([SetForwarding(True)], True) == []
        await traffic.after(50)
        await datapath.close()

    chain.fe.run(lambda: asyncio.run(scenario()))
    traffic.end()
    assert 49 <= traffic.lost < traffic.sent
