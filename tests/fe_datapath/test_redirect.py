"""RedirectIn and RedirectOut (RFC 5810 section 7.9, RFC 6956 section 5.5, RFC 7121 section 3.2)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fe_datapath.config import RedirectConfig
from forces.effects import InjectPacket, Send
from forces.events import LossCause, PacketPunted, PeerLost
from forces.header import Header, MessageType
from forces.messages import Message, Redirect, flags_for
from forces.wire import encode
from tests.fe_datapath import frames
from tests.fe_datapath.rig import CE1, CE2, MS, Rig, rig

HELLO = frames.ipv4("224.0.0.5")
TO_US = frames.ipv4("10.1.0.1", ttl=64)


def redirecting(**settings: object) -> Rig:
    made = rig(redirect=RedirectConfig(**settings))  # type: ignore[arg-type]
    for ce in (CE1, CE2):
        made.associate(ce)
    assert made.core.ha.master == CE1
    return made


def up(made: Rig, frame: bytes, port: int = 1) -> list[tuple[int, Redirect]]:
    sent = []
    for effect in made.feed(PacketPunted(port, frame)):
        if isinstance(effect, Send) and effect.message.type is MessageType.PACKET_REDIRECT:
            assert effect.message.header.flags.priority == 2
            sent += [(effect.peer, redirect) for redirect in effect.message.redirects]
    return sent


def down(made: Rig, ce: int, frame: bytes, *metadata: tuple[int, int]) -> list[InjectPacket]:
    kind = MessageType.PACKET_REDIRECT
    packed = tuple((name, struct.pack("!I", value)) for name, value in metadata)
    message = Message(Header(kind, ce, 1, 0, flags_for(kind)), redirects=(Redirect(packed, frame),))
    return [e for e in made.say(ce, message) if isinstance(e, InjectPacket)]


@pytest.mark.parametrize("frame", [HELLO, TO_US], ids=["multicast", "unicast"])
def test_rfc5810_7_9_a_chosen_protocol_goes_to_the_master_with_its_metadata(frame: bytes) -> None:
    made = redirecting()
    ((ce, redirect),) = up(made, frame)
    assert ce == CE1
    assert redirect.packet == frame
    metadata = {name: int.from_bytes(value) for name, value in redirect.metadata}
    assert metadata == {1: 1, 13: 1, 11: 10}
    assert made.core.store.instances  # the LFBs are there
    assert made.core.redirection is not None
    assert made.core.redirection.exit.read("NumPacketsSent") == 1


@pytest.mark.parametrize(
    "frame",
    [
        frames.ipv4("224.0.0.5", protocol=17),
        frames.ipv4("10.1.1.1", ttl=64),  # another port's address
        frames.ipv4("10.9.9.9", ttl=1),
        frames.ipv4("239.1.1.1"),
        frames.arp(1),
        frames.ether(0x86DD, bytes(40)),
        HELLO[:30],
        b"",
    ],
)
def test_what_nobody_chose_stays(frame: bytes) -> None:
    made = redirecting()
    assert up(made, frame) == []
    assert made.state()["redirect"]["dropped"]["unwanted"] == 1


def test_rfc6956_exceptions_are_told_apart() -> None:
    made = redirecting(protocols=(), for_us=True, ttl_expired=True)

    def exception(frame: bytes) -> int:
        ((_, redirect),) = up(made, frame)
        return int.from_bytes(dict(redirect.metadata)[11])

    assert exception(frames.ipv4("10.9.9.9", ttl=1)) == 4
    assert exception(frames.ipv4("10.1.1.1", protocol=6, ttl=1)) == 10
    assert exception(frames.arp(2)) == 0
    assert up(made, frames.ipv4("10.9.9.9", ttl=2)) == []


def test_rfc7121_3_2_a_new_master_gets_the_packets_and_the_old_one_none() -> None:
    made = redirecting()
    made.feed(PeerLost(CE1, LossCause.ABORT))
    assert made.core.ha.master == CE2
    assert [ce for ce, _ in up(made, HELLO)] == [CE2]
    made.feed(PeerLost(CE2, LossCause.ABORT))
    assert up(made, HELLO) == []
    assert made.state()["redirect"]["dropped"]["no_master"] == 1


def test_packets_of_the_master_leave_by_the_port_it_chose() -> None:
    made = redirecting()
    assert down(made, CE1, HELLO, (14, 2)) == [InjectPacket(2, HELLO)]
    assert down(made, CE1, HELLO, (1, 1)) == [InjectPacket(1, HELLO)]
    assert down(made, CE1, HELLO, (1, 1), (14, 2)) == [InjectPacket(2, HELLO)]
    for nowhere in ((), ((14, 3),), ((14, 0),), ((14, 0xFFFFFFFF),)):
        assert down(made, CE1, HELLO, *nowhere) == []
    assert down(made, CE1, b"short", (14, 2)) == []
    assert made.state()["redirect"] == {
        "received": 3,
        "sent": 0,
        "dropped": {"limit": 0, "no_master": 0, "unwanted": 0, "no_port": 5},
    }


def test_rfc7121_3_2_packets_of_a_backup_are_dropped_and_counted() -> None:
    made = redirecting()
    assert down(made, CE2, HELLO, (14, 2)) == []
    assert made.figures(CE2)["RecvErrPackets"] == 1
    assert made.state()["redirect"]["received"] == 0


def test_the_limit_holds_on_each_port_and_in_each_direction_by_itself() -> None:
    made = redirecting(rate_pps=100, burst=10)
    assert sum(bool(up(made, HELLO)) for _ in range(10_000)) == 10
    assert len(up(made, frames.ipv4("224.0.0.5", source="10.1.1.2"), port=2)) == 1
    assert sum(bool(down(made, CE1, HELLO, (14, 1))) for _ in range(1000)) == 10
    made.now += 1000 * MS
    assert sum(bool(up(made, HELLO)) for _ in range(1000)) == 10, "no more than a burst is saved"
    made.now += 50 * MS
    assert sum(bool(up(made, HELLO)) for _ in range(1000)) == 5
    dropped = made.state()["redirect"]["dropped"]["limit"]
    assert dropped == 9990 + 990 + 990 + 995


def test_without_redirect_an_fe_has_neither_the_lfbs_nor_the_packets() -> None:
    plain, made = rig(), redirecting()

    def classes(of: Rig) -> set[int]:
        selectors = of.core.fe_object.values["LFBSelectors"].values()
        return {selector["LFBClassID"] for selector in selectors}

    assert classes(made) - classes(plain) == {14, 15}
    plain.associate(CE1)
    assert plain.feed(PacketPunted(1, HELLO)) == []
    assert down(plain, CE1, HELLO, (14, 1)) == []
    assert plain.figures(CE1)["RecvErrPackets"] == 1


def test_tcpdump_decodes_our_packet_redirect(tmp_path: Path) -> None:
    """A decoder that is not ours. It reads ForCES in SCTP only (ports 6704-6706, RFC 5811)."""
    if shutil.which("tcpdump") is None:
        pytest.skip("needs tcpdump")
    made = redirecting()
    (effect,) = made.feed(PacketPunted(1, HELLO))
    assert isinstance(effect, Send)
    octets = encode(effect.message)
    chunk = struct.pack("!BBHIHHI", 0, 3, 16 + len(octets), 1, 0, 0, 0) + octets
    sctp = struct.pack("!HHII", 40000, 6706, 1, 0) + chunk
    frame = frames.ipv4("10.255.0.1", protocol=132, ttl=64, body=sctp)
    capture = tmp_path / "redirect.pcap"
    pcap = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    capture.write_bytes(pcap + struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame)
    shown = subprocess.run(
        ["tcpdump", "-n", "-vvv", "-r", str(capture)], check=True, capture_output=True, text=True
    ).stdout
    assert "Packet Redirect" in shown, shown
    for word in ("META", "MetaID 0xb length 12", "0000 000a", "Redirect Data length 54"):
        assert word.lower() in shown.lower(), shown


def test_rfc6956_5_3_1_1_what_has_no_route_goes_up_as_lpm_lookup_failed_within_the_limit() -> None:
    """The datapath says so; an FE that was not told to redirect it does not."""
    frame = frames.ipv4("21.0.0.9", 17, 64)
    event = PacketPunted(2, frame, exception=11)
    made = redirecting(no_route=True, rate_pps=10, burst=2)
    sent = [e for _ in range(5) for e in made.feed(event) if isinstance(e, Send)]
    assert len(sent) == 2
    (redirect,) = sent[0].message.redirects
    assert redirect.packet == frame
    metadata = {name: int.from_bytes(value) for name, value in redirect.metadata}
    assert metadata == {1: 2, 13: 2, 11: 11}
    assert made.state()["redirect"]["dropped"]["limit"] == 3
    assert [e for e in redirecting().feed(event) if isinstance(e, Send)] == []
