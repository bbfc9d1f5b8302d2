"""The FE's core on a real kernel: what a refused row leaves, and how a cut is repaired by the FE
itself (no driver and no CE: events and effects are carried by hand)."""

from __future__ import annotations

import pytest

from fe_datapath.datapath import PortState, SetNextHopGroup
from fe_datapath.element import ForwardingElement
from fe_datapath.lfbs.family import IPV4
from fe_datapath.lfbs.prefixes import MANY
from forces.errors import ResultCode as C
from forces.events import LinkChanged, ProgramDone
from forces.messages import LfbSelect, MessageType, Operation, OperType
from tests.datapath.namespaces import ip_batch
from tests.datapath.rigs import KernelRig, Session
from tests.fe_datapath.rig import (
    CE1,
    LFBS,
    Rig,
    codes,
    config,
    hop,
    key,
    prefix,
    set_hop,
    set_prefix,
    set_value,
)
from tests.fe_datapath.test_ipv6_and_groups import ecmp, group, prefix6, set_group, set_hop6

pytestmark = pytest.mark.kernel

GATEWAYS = {1: bytes((10, 1, 0, 2)), 2: bytes((10, 1, 0, 6))}


class KernelFe:
    """A core whose programs go to a started datapath."""

    def __init__(self, session: Session) -> None:
        self.datapath = session.datapath
        ports = dict(self.datapath.ports())
        self.rig = Rig(ForwardingElement(config(), ports), hold=True).start()

    async def follow(self) -> None:
        """Carry out what the core has asked for, until it asks for nothing more."""
        while self.rig.programs:
            program = self.rig.programs.pop(0)
            failures = await self.datapath.apply(program.changes, program.stop_on_failure)
            self.rig.feed(
                ProgramDone(
                    program.token,
                    {failure.index: failure.reason for failure in failures},
                    {failure.index: int(failure.code) for failure in failures},
                )
            )

    async def config(self, *lfbs: LfbSelect) -> list[C]:
        """The codes of its ConfigResponse."""
        start = len(self.rig.log)
        self.rig.config(*lfbs)
        await self.follow()
        return codes(self.rig.sent(self.rig.log[start:], MessageType.CONFIG_RESPONSE)[-1])

    def notice(self, state: PortState, at_ns: int) -> None:
        up = state.admin_up and state.carrier
        self.rig.feed(LinkChanged(state.port, up, at_ns, {"admin_up": state.admin_up}))


def via(port: int) -> dict[str, object]:
    return hop(port) | {"NextHopIPAddr": GATEWAYS[port]}


async def started(session: Session) -> KernelFe:
    fe = KernelFe(session)
    await fe.follow()
    fe.rig.associate(CE1)
    await fe.follow()
    answer = await fe.config(set_hop(1, via(1)), set_hop(2, via(2)))
    assert set(answer) == {C.SUCCESS}
    return fe


def test_row_7_of_10_refused_by_the_kernel_leaves_the_kernel_as_it_was(kernel: KernelRig) -> None:
    """RFC 5810 section 4.3.1.1.1 (execute-all-or-none). Row 7 is a next hop whose gateway is on no
    link: nothing that the tables could know."""

    async def scenario(session: Session) -> None:
        fe = await started(session)
        assert await fe.config(set_prefix(1, prefix(1, 1))) == [C.SUCCESS]
        before = session.datapath.nexthops(), session.datapath.routes()
        rows = [via(1) | {"NextHopIPAddr": GATEWAYS[1]} for _ in range(10)]
        rows[6]["NextHopIPAddr"] = bytes((192, 0, 2, 1))
        answer = await fe.config(*(set_hop(11 + n, row) for n, row in enumerate(rows)))
        assert (
            answer == [C.UNSPECIFIED_ERROR] * 6 + [C.INVALID_PARAMETERS] + [C.UNSPECIFIED_ERROR] * 3
        )
        assert (session.datapath.nexthops(), session.datapath.routes()) == before
        assert fe.rig.core.next_hops.rows.keys() == {1, 2}

    kernel.play(scenario)


def test_route_7_of_10_refused_by_the_kernel_leaves_the_kernel_as_it_was(kernel: KernelRig) -> None:
    """A batch of routes, of which the kernel refuses one in the middle: its next hop has gone
    behind our back. Some rows replace routes, some are new."""

    async def scenario(session: Session) -> None:
        fe = await started(session)
        old = [set_prefix(n, prefix(n, 1)) for n in (1, 2, 8)]
        assert set(await fe.config(*old, set_hop(3, via(2)))) == {C.SUCCESS}
        ip_batch("nexthop del id 3")
        before = session.datapath.routes()
        hops = [2] * 6 + [3] + [2] * 3
        answer = await fe.config(*(set_prefix(n, prefix(n, h)) for n, h in enumerate(hops, 1)))
        assert answer[6] not in (C.SUCCESS, C.UNSPECIFIED_ERROR)
        assert answer[:6] + answer[7:] == [C.UNSPECIFIED_ERROR] * 9
        assert session.datapath.routes() == before == {key(n): 1 for n in (1, 2, 8)}

    kernel.play(scenario)


@pytest.mark.parametrize("count", [3, MANY, 1000], ids=["few", "many", "very many"])
def test_what_the_kernel_drops_with_a_port_comes_back_with_it(
    kernel: KernelRig, count: int
) -> None:
    """PLATFORM trap 2: next hops and their routes, of both families; those of the other port are
    not touched. Rows that changed meanwhile come back as they are now."""

    async def scenario(session: Session) -> None:
        fe = await started(session)
        assert set(await fe.config(set_hop6(1, 1), set_hop6(2, 2))) == {C.SUCCESS}
        for lfb, table, row in (
            ("IPv4UcastLPM", "IPv4PrefixTable", prefix),
            ("IPv6UcastLPM", "IPv6PrefixTable", prefix6),
        ):
            rows = {n: row(n, 1 if n <= count else 2) for n in range(1, count + 6)}
            assert await fe.config(set_value(lfb, table, value=rows)) == [C.SUCCESS]
        before = session.datapath.nexthops(), dict(session.datapath.routes())
        assert len(before[1]) == 2 * count + 10
        await session.cut(1)
        fe.notice(*session.links[-1])
        await fe.follow()
        assert len(session.datapath.routes()) == 10, "the kernel has dropped them"
        moved = await fe.config(set_prefix(1, prefix(1, 2)), set_prefix(2, prefix(5000, 1)))
        assert set(moved) == {C.SUCCESS}
        await session.mend(1)
        fe.notice(*session.links[-1])
        await fe.follow()
        wanted = before[1] | {key(1): 2, key(5000): 1}
        del wanted[key(2)]
        assert session.datapath.routes() == wanted
        assert session.datapath.nexthops() == before[0]

    kernel.play(scenario)


def test_a_cut_is_repaired_by_one_small_change_and_no_route_is_lost(kernel: KernelRig) -> None:
    """1,000 routes go over the group, and are all there before, during and after. What a cut costs
    is one group replacement, which is small enough for the event loop's own thread."""

    async def scenario(session: Session) -> None:
        fe = await started(session)
        assert await fe.config(set_group(9, group((1, 1, False), (2, 1, True)))) == [C.SUCCESS]
        table = LFBS.cls("IPv4UcastLPM")
        routes = [set_prefix(n, ecmp(n, 9)).operations[0].paths[0] for n in range(1, 1001)]
        many = LfbSelect(table.id, 1, (Operation(OperType.SET, tuple(routes)),))
        assert set(await fe.config(many)) == {C.SUCCESS}
        whole = {IPV4.group_id(9): frozenset({1, 2})}
        over_backup = {IPV4.group_id(9): frozenset({2})}
        wanted = {key(n): IPV4.group_id(9) for n in range(1, 1001)}
        for _ in range(3):
            assert session.datapath.groups() == whole
            await session.cut(1)
            fe.notice(*session.links[-1])
            (program,) = fe.rig.programs
            assert program.changes == (SetNextHopGroup(IPV4.group_id(9), ((2, 1),)),)
            await fe.follow()
            assert session.datapath.groups() == over_backup
            assert session.datapath.routes() == wanted
            await session.mend(1)
            fe.notice(*session.links[-1])
            await fe.follow()
            assert session.datapath.routes() == wanted

    kernel.play(scenario)
