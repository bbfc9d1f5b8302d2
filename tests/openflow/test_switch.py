"""The switch and its two instruments against a real Open vSwitch, in a sandbox."""

from __future__ import annotations

import struct

import pytest

from lab.backend import LabError
from lab.openflow import flow_listener
from lab.openflow.switch import check_possible
from lab.openflow.tables import parse_flows
from tests.lab.sandboxed import in_sandbox


def full_update(event: int, destination: int) -> bytes:
    """nx_flow_update_full (nicira-ext.h) with an exact nw_dst."""
    match = struct.pack("!IHII", 0x00000602, 0x0800, 0x00001004, destination)
    body = struct.pack("!HHHHHBxQ", 0, 132, 0, 0, len(match), 0, 0) + match + b"\0\0"
    return struct.pack("!HH", 4 + len(body), event) + body


def test_every_notice_of_a_reply_is_read_and_a_cut_one_is_not() -> None:
    header = struct.pack("!HHII4x", 0xFFFF, 0, 0x2320, 2)
    whole = header + full_update(0, 0xC6128001) + full_update(1, 0xC6128000)
    assert list(flow_listener.updates(whole)) == [(True, 0xC6128001), (False, 0xC6128000)]
    assert list(flow_listener.updates(whole[:-1])) == [(True, 0xC6128001)]
    assert list(flow_listener.updates(b"\0" * len(whole))) == []


def test_dumped_flows_become_rows_and_the_beacon_is_left_out() -> None:
    text = """\
 cookie=0x1, priority=124,ip,nw_dst=20.0.0.0/24 actions=dec_ttl,set_field:0a:00:00:00:00:01->eth_src,set_field:0a:00:00:00:00:02->eth_dst,output:3
 cookie=0x2, priority=132,ip,nw_dst=198.18.128.5 actions=dec_ttl,set_field:0a:00:00:00:00:01->eth_src,set_field:0a:00:00:00:00:02->eth_dst,output:3
 cookie=0x3, priority=132,ip,nw_dst=10.9.9.9 actions=drop
"""  # noqa: E501
    rows = parse_flows(text, {(3, "0a:00:00:00:00:02"): "10.1.2.2"})
    assert rows == ["10.9.9.9/32 ? ?", "20.0.0.0/24 3 10.1.2.2"]


@pytest.mark.lab
def test_the_listener_sees_what_ovs_ofctl_changes_when_it_changes_it() -> None:
    try:
        check_possible()
    except LabError as error:
        pytest.skip(str(error))
    seen = in_sandbox("tests.openflow.inside:listener", beats=40)
    assert seen["exit_code"] == 0
    assert seen["destinations"] == seen["programmed"]
    assert seen["other_flows_seen"] == 0
    assert all(before <= at for before, at in zip(seen["before_ns"], seen["at_ns"], strict=True))
    after = [end - at for at, end in zip(seen["at_ns"], seen["after_ns"], strict=True)]
    # ovs-ofctl ends some ms after its change; a stamp that came later still would be useless.
    assert sorted(after)[len(after) // 2] > 0
