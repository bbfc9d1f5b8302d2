"""The CE process's wiring: what its configuration says reaches the driver."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from ce.main import start_ce
from forces.channels import Channel
from forces.header import Flags, Header, MessageType
from forces.io.tml import TmlConfig
from forces.io.tml_tcp import TcpTml
from forces.messages import Message
from forces.wire import encode
from tests.ce.network import diamond
from tests.forces.io.tmlkit import CE, FE, Recorder, loopback_address, never, run, until

pytestmark = pytest.mark.realtime


@pytest.mark.parametrize("strict", [True, False])
def test_rfc5811_4_2_1_the_configuration_says_whether_a_wrong_priority_is_tolerated(
    strict: bool,
) -> None:
    async def main() -> None:
        address, config = loopback_address(), diamond()
        fes = tuple(replace(fe, address=f"127.0.200.{fe.id}") for fe in config.fes)
        config = replace(
            config, control_address=address, fes=fes, tml="tcp", api_port=0, strict=strict
        )
        assert config.id == CE
        own = next(fe.address for fe in fes if fe.id == FE)
        user, tml = Recorder(), TcpTml(TmlConfig(own, {CE: address}, listen=False))
        async with AsyncExitStack() as closing:
            driver = await start_ce(config, closing)
            await tml.start(user)
            closing.push_async_callback(tml.close)
            tml.connect(CE)
            await until(lambda: user.all("up"))
            header = Header(MessageType.ASSOCIATION_SETUP, FE, CE, 1, Flags(priority=1))
            tml.send(CE, Channel.HP, encode(Message(header)))
            if strict:
                await until(lambda: driver.counters["bad_messages"] == 1)
                await never(lambda: user.all("received"), 0.05)
            else:
                await until(lambda: user.all("received"))
                assert driver.counters["bad_messages"] == 0

    run(main())
