"""The beacon's instrument against a real kernel, and its parser against any bytes."""

from __future__ import annotations

import json
import signal
import socket
import struct
import time
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.emulated.meters.beacon_listener import beacon_changes
from lab.emulated.meters.beacon_record import BEACON_DTYPE
from tests.lab.namespaces import namespaces, wait_for


def route_message(kind: int, destination: str) -> bytes:
    attribute = struct.pack("=HH4s", 8, 1, socket.inet_aton(destination))
    table = struct.pack("=HHI", 8, 15, 254)
    rtmsg = struct.pack("=8BI", 2, 32, 0, 0, 254, 200, 0, 1, 0)
    body = rtmsg + table + attribute
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_additions_and_removals_of_beacon_rows_are_told_apart_and_others_skipped() -> None:
    datagram = (
        route_message(24, "198.18.0.7")
        + route_message(24, "20.0.0.0")
        + route_message(25, "198.19.255.255")
        + route_message(24, "198.20.0.0")
    )
    assert beacon_changes(datagram) == [(True, 0xC6120007), (False, 0xC613FFFF)]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_list_and_never_an_error(octets: bytes) -> None:
    assert isinstance(beacon_changes(octets), list)


@given(st.binary(max_size=60), st.integers(0, 3))
def test_a_damaged_message_gives_a_list_and_never_an_error(tail: bytes, cut: int) -> None:
    whole = route_message(24, "198.18.0.1")
    changes = beacon_changes(whole[: len(whole) - cut] + tail)
    assert cut or changes[0] == (True, 0xC6120001)


@pytest.mark.kernel
def test_one_listener_stamps_the_beacon_of_every_fe_and_nothing_else(tmp_path: Path) -> None:
    with namespaces(2) as fes:
        ready = tmp_path / "ready"
        config = {
            "fes": {f"fe{n}": fe.pid for n, fe in enumerate(fes, start=1)},
            "folder": str(tmp_path),
            "run_s": 30,
            "ready": str(ready),
        }
        listener = fes[0].start("lab.emulated.meters.beacon_listener:run", config)
        wait_for(ready.exists, 5, "listener ready")
        before = time.monotonic_ns()
        for fe in fes:
            fe.run(
                "sh",
                "-c",
                "ip route add 20.0.0.0/24 dev lo; ip route add 198.18.0.1/32 dev lo;"
                "ip route add 198.18.0.2/32 dev lo; ip route del 198.18.0.1/32 dev lo",
            )
        fes[1].ip("route", "replace", "198.18.0.2/32", "dev", "lo", "proto", "200")
        after = time.monotonic_ns()
        listener.terminate()
        assert listener.wait(5) == 0
    expected = [(1, "198.18.0.1"), (1, "198.18.0.2"), (0, "198.18.0.1")]
    for fe, more in (("fe1", []), ("fe2", [(1, "198.18.0.2")])):
        record = np.load(tmp_path / f"beacon-{fe}.npy")
        assert record.dtype == BEACON_DTYPE
        addresses = [str(IPv4Address(int(row["destination"]))) for row in record]
        seen = list(zip(record["added"].tolist(), addresses, strict=True))
        assert seen == expected + more
        assert before < record["at_ns"].min() <= record["at_ns"].max() < after + 5_000_000
        assert json.loads((tmp_path / f"beacon-{fe}.json").read_text())["blind_ns"] == []


@pytest.mark.kernel
def test_an_overrun_is_kept_as_a_time_of_blindness(tmp_path: Path) -> None:
    """With the smallest receive buffer, and 500 beacon changes while it does not read."""
    with namespaces(1) as (fe,):
        ready, batch = tmp_path / "ready", tmp_path / "batch"
        config = {
            "fes": {"fe1": fe.pid},
            "folder": str(tmp_path),
            "run_s": 30,
            "ready": str(ready),
            "receive_buffer": 2048,
        }
        listener = fe.start("lab.emulated.meters.beacon_listener:run", config)
        wait_for(ready.exists, 5, "listener ready")
        listener.send_signal(signal.SIGSTOP)
        lines = [f"route add 198.18.{n // 256}.{n % 256}/32 dev lo" for n in range(500)]
        batch.write_text("\n".join(lines))
        fe.ip("-batch", str(batch))
        listener.send_signal(signal.SIGCONT)
        listener.terminate()
        assert listener.wait(5) == 0
    assert len(np.load(tmp_path / "beacon-fe1.npy")) < 500
    assert json.loads((tmp_path / "beacon-fe1.json").read_text())["blind_ns"]
