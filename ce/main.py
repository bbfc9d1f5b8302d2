"""A CE process: `python -m ce.main CONFIG.json`. Wires the core to the world; importing does
nothing (the lab's fork server imports it once for all CEs)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from ce.config import CeConfig, Peer
from ce.controller import Controller
from ce.taps import Taps
from forces.effects import FollowPort, InjectPacket
from forces.io.api import serve_api
from forces.io.configured import run_configured
from forces.io.driver import Driver
from forces.io.guard import Guard
from forces.io.journal import JournalWriter
from forces.io.process import EXIT_USAGE, run_core
from forces.io.select_tml import TmlUnavailable, make_guard, make_tml
from forces.io.tml import TmlConfig


async def start_ce(config: CeConfig, closing: AsyncExitStack, guard: Guard | None = None) -> Driver:
    """Open everything; what has to be closed goes to `closing`. ValueError or OSError, with one
    sentence, for what cannot be."""
    core = Controller(config)
    tml = make_tml(
        config.tml,
        TmlConfig(
            local_address=config.control_address,
            peers={peer.id: peer.address for peer in (*config.fes, *other_ces(config))},
            listen=True,
        ),
        guard,
    )
    journal = JournalWriter(config.journal or None, config.name)
    taps: Taps | None = None

    def packets(effect: InjectPacket | FollowPort) -> None:
        if taps is not None:
            taps.carry_out(effect)

    driver = Driver(
        core, tml, own_id=config.id, journal=journal, packets=packets, strict=config.strict
    )
    await driver.start()
    closing.push_async_callback(driver.close)
    if config.redirect:
        taps = Taps(config, driver.inject)
        closing.callback(taps.close)
    if config.api_socket or config.api_port:
        api = await serve_api(driver, config.api_socket, config.api_port)
        closing.push_async_callback(api.close)
    return driver


def other_ces(config: CeConfig) -> tuple[Peer, ...]:
    """Those that this one talks to."""
    if config.sync == "off":
        return ()
    return tuple(peer for peer in config.ces if peer.id != config.id)


def run_ce(config: CeConfig) -> int:
    """Run until SIGTERM or SIGINT; exit codes: 0 stopped, 2 could not start, 70 a bug of ours."""
    try:
        guard = make_guard(config.tml, config.control_address) if config.guard else None
    except TmlUnavailable as error:
        print(f"{config.name}: {error}", file=sys.stderr)
        return EXIT_USAGE

    async def start(closing: AsyncExitStack) -> None:
        try:
            await start_ce(config, closing, guard)
        except ValueError as error:
            raise OSError(f"{config.name}: {error}") from None

    return run_core(start)


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured("ce.main", CeConfig, run_ce, argv)


if __name__ == "__main__":
    raise SystemExit(main())
