"""Tests on real time that fail run again, and the output says `RERUN`.

`lab` tests boot a network of twenty processes on whatever machine this is: as the lab repeats its
own trials that are not `ok`, they are repeated, at most twice. `kernel` and `realtime` tests only
if the machine stood still meanwhile, or its cores worked for others. No other test ever is.
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
        booted = item.get_closest_marker("lab") is not None
        again = True if booted else partial(_stood_still, item, watch)
        item.add_marker(pytest.mark.flaky(reruns=RERUNS, condition=again))


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
