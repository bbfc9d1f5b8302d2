"""Tests on real time (`lab`, `kernel`, `realtime`) that fail in a standstill, or while the cores
worked for others, run again.

The lab judges its own trials the same way: a standstill of the machine makes a trial `invalid`, and
it is repeated. A test that fails on a machine that ran is never repeated.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
from hypothesis import settings

from tests.standstill import CoreTime, Watch, core_time, was_taken

RERUNS = 2
ON_REAL_TIME = ("lab", "kernel", "realtime")

# The same examples each time, no deadline: a red suite means a change, not luck or a slow minute.
# To look for new ones: ceha test --hypothesis-profile search
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None)
settings.load_profile("suite")

_watch = pytest.StashKey[Watch]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    timed = [item for item in items if any(map(item.get_closest_marker, ON_REAL_TIME))]
    if not timed or config.option.collectonly:
        return
    watch = config.stash[_watch] = Watch()
    for item in timed:
        item.add_marker(
            pytest.mark.flaky(reruns=RERUNS, condition=partial(_stood_still, item, watch))
        )


_begun = pytest.StashKey[tuple[int, CoreTime]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_begun] = time.monotonic_ns(), core_time()


def _stood_still(item: pytest.Item, watch: Watch) -> bool:
    at_ns, ticks = item.stash[_begun]
    return watch.since(at_ns) or was_taken(ticks, core_time())


def pytest_unconfigure(config: pytest.Config) -> None:
    watch = config.stash.get(_watch, None)
    if watch is not None:
        watch.stop()
