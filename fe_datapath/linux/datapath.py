"""`Datapath` on the kernel of the network namespace that this process is in.

Two threads: programming is done by one worker, strictly in order, so that the event loop stays
free (sending drops the interpreter lock); link events and readings are the event loop's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from fe_datapath.config import ROUTE_PROTOCOL, PortConfig
from fe_datapath.datapath import Change, Failure, LinkListener, PortState
from fe_datapath.linux import sysctl
from fe_datapath.linux.ports import Ports
from fe_datapath.linux.programmer import Programmer
from fe_datapath.linux.reading import KernelReader

logger = logging.getLogger(__name__)


class LinuxDatapath:
    """See `fe_datapath.datapath.Datapath`. Opens nothing before `start`, so that it can be made
    before a fork."""

    def __init__(self, ports: Sequence[PortConfig], protocol: int = ROUTE_PROTOCOL) -> None:
        self._configured = tuple(ports)
        self._protocol = protocol
        self._running: _Running | None = None

    async def start(self, on_link: LinkListener) -> None:
        """OSError with a clear text if a port's interface is not there, or we may not."""
        if self._running is not None:
            raise RuntimeError("already started")
        running = _Running(self._configured, self._protocol)
        try:
            running.ports.find()
            sysctl.prepare_namespace()
            for port in self._configured:
                sysctl.prepare_port(port.interface)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(running.worker, running.programmer.sweep)
            running.ports.watch(loop, on_link, running.port_lost)
        except BaseException:
            running.close()
            raise
        self._running = running

    def ports(self) -> Mapping[int, PortState]:
        return self._started().ports.read()

    async def apply(self, changes: Sequence[Change], stop_on_failure: bool) -> Sequence[Failure]:
        running = self._started()
        return await asyncio.get_running_loop().run_in_executor(
            running.worker, running.programmer.apply, changes, stop_on_failure
        )

    def routes(self) -> Mapping[tuple[bytes, int], int]:
        return self._started().reader.routes()

    def nexthops(self) -> Mapping[int, tuple[int, str]]:
        running = self._started()
        return {
            identifier: (running.ports.port_of(ifindex) or 0, gateway)
            for identifier, (ifindex, gateway) in running.reader.nexthops().items()
        }

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            # What is being programmed is programmed to its end.
            await asyncio.get_running_loop().run_in_executor(running.worker, lambda: None)
            running.close()

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("not started")
        return self._running


class _Running:
    """The sockets and the worker thread of a started datapath."""

    def __init__(self, configured: Sequence[PortConfig], protocol: int) -> None:
        self.ports = Ports(configured)
        self.reader = KernelReader(protocol)
        self.programmer = Programmer(self.ports.ifindex_of, protocol)
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="datapath")

    def port_lost(self, port: int) -> None:
        self.worker.submit(self.programmer.ledger.port_lost, port).add_done_callback(_report)

    def close(self) -> None:
        self.ports.close()
        self.worker.shutdown(wait=True)
        self.reader.close()
        self.programmer.close()


def _report(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        logger.error("after a carrier loss", exc_info=error)
