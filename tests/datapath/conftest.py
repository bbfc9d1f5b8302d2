"""The fixture that runs a test on the fake and on a kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datapath.rigs import FakeRig, KernelRig, Rig


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.kernel)])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made: Rig = FakeRig() if request.param == "fake" else KernelRig()
    yield made
    made.close()


@pytest.fixture
def kernel() -> Iterator[KernelRig]:
    made = KernelRig()
    yield made
    made.close()
