"""An FE process: `python -m fe_datapath.main CONFIG.json`. Wires the core to the kernel and the
transport; importing does nothing (the lab's fork server imports it once for all FEs).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import numpy  # noqa: F401  # now, and not in the middle of the first large table

from fe_datapath.config import FeConfig
from fe_datapath.datapath import PortState
from fe_datapath.element import ForwardingElement
from fe_datapath.linux.datapath import LinuxDatapath
from forces.effects import FollowPort, InjectPacket
from forces.events import Event, LinkChanged, PacketPunted
from forces.io.api import serve_api
from forces.io.configured import run_configured
from forces.io.driver import Driver
from forces.io.journal import JournalWriter
from forces.io.process import run_core
from forces.io.select_tml import make_tml
from forces.io.tml import TmlConfig
from forces.model import ModelError


async def start_fe(config: FeConfig, closing: AsyncExitStack) -> Driver:
    """Open everything; what has to be closed goes to `closing`. ValueError or OSError, with one
    sentence, for what cannot be."""
    tml = make_tml(
        config.tml,
        TmlConfig(
            local_address=config.control_address,
            peers={ce.id: ce.address for ce in config.ces},
            listen=False,
        ),
    )
    datapath = LinuxDatapath(config.ports, redirect=config.redirect)
    links = _Links()
    await datapath.start(links, links.packet)
    closing.push_async_callback(datapath.close)
    links.waiting.clear()  # the reading that follows has them
    core = ForwardingElement(config, datapath.ports(), readings=datapath, found=datapath.found())

    def packets(effect: InjectPacket | FollowPort) -> None:
        if isinstance(effect, InjectPacket):
            datapath.inject(effect.port, effect.packet)

    journal = JournalWriter(config.journal or None, config.name)
    driver = Driver(
        core,
        tml,
        own_id=config.id,
        journal=journal,
        program=datapath.apply,
        packets=packets,
        strict=config.strict,
        preferred=lambda: core.ha.master,
    )
    await driver.start()
    closing.push_async_callback(driver.close)
    links.go_to(driver)
    if config.api_socket:
        api = await serve_api(driver, config.api_socket)
        closing.push_async_callback(api.close)
    return driver


class _Links:
    """A `LinkListener` that holds link events back until the core has begun."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self._driver: Driver | None = None

    def __call__(self, state: PortState, at_ns: int) -> None:
        event = LinkChanged(
            port=state.port,
            up=state.admin_up and state.carrier,
            at_ns=at_ns,
            attributes={
                "admin_up": state.admin_up,
                "mtu": state.mtu,
                "mac": state.mac,
                "speed_mbit": state.speed_mbit,
                "duplex": state.full_duplex,
                "promiscuous": state.promiscuous,
            },
        )
        if self._driver is None:
            self.waiting.append(event)
        else:
            self._driver.inject(event)

    def packet(self, port: int, frame: bytes, exception: int | None = None) -> None:
        """A `PacketListener`: before the core has begun there is no CE to send packets to."""
        if self._driver is not None:
            self._driver.inject(PacketPunted(port, frame, exception=exception))

    def go_to(self, driver: Driver) -> None:
        self._driver = driver
        for event in self.waiting:
            driver.inject(event)
        self.waiting.clear()


def run_fe(config: FeConfig) -> int:
    """Run until SIGTERM or SIGINT; exit codes: 0 stopped, 2 could not start, 70 a bug of ours."""

    async def start(closing: AsyncExitStack) -> None:
        try:
            await start_fe(config, closing)
        except (OSError, ValueError, ModelError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise OSError(f"{config.name}: {text}") from None

    return run_core(start)


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured("fe_datapath.main", FeConfig, run_fe, argv)


if __name__ == "__main__":
    raise SystemExit(main())
