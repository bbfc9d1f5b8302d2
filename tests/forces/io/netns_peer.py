"""One end of a measurement, as a process: `python -m tests.forces.io.netns_peer ROLE TML [N]`.

Role `ce` (10.9.9.1) echoes what comes on HP, `guarded` does the same under a guard. Role `fe`
(10.9.9.101) connects, measures, then sends 24 octets on LP every 25 ms until the CE is lost.
`silent` is an FE that connects and sends nothing. What they find out they print as JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from forces.channels import Channel
from forces.events import LossCause
from forces.io.guard import Guard
from forces.io.select_tml import make_guard, make_tml
from forces.io.tml import TmlConfig
from tests.forces.io.tmlkit import CE, FE, Recorder, message, until

ADDRESSES = {CE: "10.9.9.1", FE: "10.9.9.101"}
BEAT_S = 0.025


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Peer(Recorder):
    """Stamps the loss where it is told."""

    lost_ns = 0
    cause = ""

    def peer_lost(self, peer: int, cause: LossCause, detail: str) -> None:
        self.lost_ns, self.cause = time.monotonic_ns(), cause.value
        super().peer_lost(peer, cause, detail)


async def ce(name: str, guard: Guard | None = None) -> None:
    tml = make_tml(name, TmlConfig(ADDRESSES[CE], {FE: ADDRESSES[FE]}, listen=True), guard)
    user = Peer()
    user.on_received = lambda peer, channel, data: (
        None if channel is not Channel.HP else tml.send(peer, channel, data) and None
    )
    await tml.start(user)
    say(listening=os.getpid())
    await asyncio.get_running_loop().create_future()


async def fe(name: str, count: int) -> None:
    tml = make_tml(name, TmlConfig(ADDRESSES[FE], {CE: ADDRESSES[CE]}, listen=False))
    user = Peer()
    await tml.start(user)
    begin = time.monotonic_ns()
    tml.connect(CE)
    loop = asyncio.get_running_loop()
    up = loop.create_future()
    user.peer_up = lambda peer: up.set_result(time.monotonic_ns())  # type: ignore[method-assign]
    say(setup_ms=((await up) - begin) / 1e6)

    data, times = message(100), []
    echoed: asyncio.Future[None]
    user.on_received = lambda *_: echoed.set_result(None)
    cpu = time.process_time_ns()
    for _ in range(count):
        echoed = loop.create_future()
        begin = time.monotonic_ns()
        tml.send(CE, Channel.HP, data)
        await echoed
        times.append(time.monotonic_ns() - begin)
    times.sort()
    say(
        rtt_us_p50=times[count // 2] / 1e3,
        rtt_us_p99=times[count * 99 // 100] / 1e3,
        cpu_us_per_round_trip=(time.process_time_ns() - cpu) / count / 1e3,
    )
    user.calls.clear()
    user.on_received = lambda *_: None
    cpu = time.process_time_ns()
    for sent in range(count):
        while not tml.send(CE, Channel.MP, data):
            await asyncio.sleep(0)
        if sent % 64 == 0:
            await asyncio.sleep(0)
    say(cpu_us_per_message_sent=(time.process_time_ns() - cpu) / count / 1e3)
    for size in (65536, 262140):
        user.calls.clear()
        tml.send(CE, Channel.HP, message(size, 3))
        await until(lambda: user.all("received"))
        say(echoed=len(user.all("received")[0][4]))

    cpu, begin = time.process_time_ns(), time.monotonic_ns()
    say(beating=os.getpid())
    while not user.lost_ns:
        tml.send(CE, Channel.LP, message(24))
        await asyncio.sleep(BEAT_S)
    took = time.monotonic_ns() - begin
    say(
        lost_ns=user.lost_ns,
        cause=user.cause,
        cpu_percent_beating=100 * (time.process_time_ns() - cpu) / took,
    )
    begin = time.monotonic_ns()
    failed = loop.create_future()
    user.connect_failed = lambda peer, cause, detail: failed.set_result(cause)  # type: ignore[method-assign]
    tml.connect(CE)
    cause = await failed
    say(refused_ms=(time.monotonic_ns() - begin) / 1e6, refused_cause=cause.value)
    await tml.close()


async def silent(name: str) -> None:
    config = TmlConfig(ADDRESSES[FE], {CE: ADDRESSES[CE]}, listen=False, heartbeat_ms=60_000)
    tml = make_tml(name, config)
    user = Peer()
    await tml.start(user)
    tml.connect(CE)
    await until(lambda: user.all("up"))
    say(silent=os.getpid())
    await until(lambda: user.lost_ns, 30)
    say(lost_ns=user.lost_ns, cause=user.cause)


def main() -> None:
    role, name, *rest = sys.argv[1:]
    signal.alarm(60)  # never an orphan
    if role == "fe":
        asyncio.run(fe(name, int(rest[0])))
    elif role == "silent":
        asyncio.run(silent(name))
    else:
        guard = make_guard(name, ADDRESSES[CE]) if role == "guarded" else None
        asyncio.run(ce(name, guard))


if __name__ == "__main__":
    main()
