"""What is fuzzed: the decoder, the model's codecs, a live FE core, and a live CE core, each fed
with any octets. The FE redirects packets, and its master has a transaction open or not; every class
that is shipped, the IPv6 ones too, is the model's.

A target takes octets and returns; whatever is wrong raises. The laws (issue 3, DESIGN section 8.7):
a message or a ProtocolError, nothing else out of the decoder; the core never raises, what it sends
can be encoded, it stays within its limits, and a refused message changes no table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from fe_datapath.config import RedirectConfig
from forces.channels import CHANNEL_OF, Channel
from forces.effects import Deliver, Send
from forces.errors import ProtocolError
from forces.events import Command, LinkChanged, PacketPunted
from forces.header import HEADER_LENGTH, Header, MessageType, TransPhase
from forces.messages import Message, Operation, OperType, Redirect, flags_for
from forces.model import DataType, library
from forces.paths import TableRange
from forces.wire import decode, encode, encoded_length
from tests.ce.dictionary_fe import DictionaryFe
from tests.conformance.ce_rig import CE1 as OWN_CE
from tests.conformance.ce_rig import FE1, CeRig
from tests.conformance.fe_rig import (
    CE1,
    CE2,
    FE,
    FEPO,
    HOPS,
    LPM,
    STATE_SYNC,
    FeRig,
    lfb,
    operation,
    path,
    set_hop,
    set_prefix,
)
from tests.conformance.rig import MS

MAX_MESSAGES = 24
"""Of one input: a conversation."""
MAX_OUT = 4_000
"""Effects that one message may cause: a DEL of every row of the tables here causes fewer."""

Target = Callable[[bytes], None]


def fuzz_decoder(data: bytes) -> None:
    _decode(data)
    if len(data) >= HEADER_LENGTH:  # and what is behind the length check
        octets = data[: len(data) & ~3]
        _decode(b"\x10" + octets[1:2] + struct.pack("!H", len(octets) // 4) + octets[4:])


def _decode(data: bytes) -> None:
    try:
        message = decode(data)
    except ProtocolError:
        return
    octets = encode(message)
    assert decode(octets) == message
    assert encoded_length(message) == len(octets)


def fuzz_model(data: bytes) -> None:
    """A type of the library, by the first two octets, unpacks what follows."""
    if len(data) < 2:
        return
    kinds = _kinds()
    kind = kinds[struct.unpack_from("!H", data)[0] % len(kinds)]
    try:
        value = kind.unpack(data[2:])
        kind.check(value)
    except ProtocolError:
        return
    octets = kind.pack(value)
    assert repr(kind.unpack(octets)) == repr(value)  # == would not do: not-a-numbers
    kind.embed(value)


@cache
def _kinds() -> list[DataType]:
    """What components, capabilities, their rows and the reports of events are made of."""
    kinds: list[DataType] = list(library().types.values())
    for cls in library().classes:
        kinds += [component.type for component in cls.components.values()]
        kinds += [event.report_type for event in cls.events.values() if event.report_type]
    kinds.append(library().event_property_type)
    return kinds


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A conversation: (control octet, message). The first octet of each chooses peer and channel,
    the header's length field is put right so that the rest gets past the length check."""
    start = 0
    for _ in range(MAX_MESSAGES):
        if len(data) - start < 1 + HEADER_LENGTH:
            return
        control = data[start]
        words = struct.unpack_from("!H", data, start + 3)[0]
        length = max(HEADER_LENGTH, min(words * 4, (len(data) - start - 1) & ~3))
        message = bytearray(data[start + 1 : start + 1 + length])
        if not control & 0x80:
            message[0] = 0x10
            struct.pack_into("!H", message, 2, length // 4)
        yield control, bytes(message)
        start += 1 + length


def _addressed(octets: bytes, source: int, destination: int, control: int) -> bytes:
    """Mostly from the right peer to us: fuzzers do not guess IDs."""
    if control & 0x40:
        return octets
    return octets[:4] + struct.pack("!II", source, destination) + octets[12:]


def _channel(octets: bytes, control: int) -> Channel:
    try:
        return CHANNEL_OF[MessageType(octets[1])]
    except ValueError:
        return Channel(control % 3)


def fuzz_fe(data: bytes) -> None:
    rig = FeRig(redirect=RedirectConfig(for_us=True, ttl_expired=True))
    rig.associate(CE1)
    rig.associate(CE2)
    rig.config(set_hop(1), set_prefix(1, "20.0.0.0"))
    for control, octets in messages(data):
        ce = CE2 if control & 1 else CE1
        rig.now += (control >> 1 & 3) * MS
        octets = _addressed(octets, ce, FE, control)
        if control & 0x20:  # a firing timer in between
            rig.fire_due(rig.now + 30 * MS)
        if control & 0x08:  # a packet comes in by a port, or the port's cable is pulled
            rig.event(PacketPunted(1, octets))
            rig.event(LinkChanged(2, bool(control & 1), rig.now))
        before = rig.picture() if ce != rig.core.ha.master else None
        at = len(rig.effects)
        rig.octets(ce, octets, _channel(octets, control), strict=not control & 0x10)
        assert len(rig.effects) - at < MAX_OUT
        if before is not None and not control & 0x20 and _is_config(octets):
            assert rig.picture() == before, "a CE that is not the master changed something"
        _tables_agree(rig)


def _is_config(octets: bytes) -> bool:
    try:
        return Header.decode(octets).type is MessageType.CONFIG
    except ProtocolError:
        return False


def _tables_agree(rig: FeRig) -> None:
    """The datapath has what the committed tables say, of ports that are up."""
    core = rig.core
    wanted = {
        prefix: core.prefixes.rows[row]["HopSelector"]
        for prefix, row in core.prefixes.by_prefix.items()
        if core.next_hops.usable(core.prefixes.rows[row]["HopSelector"])
    }
    if all(state.carrier for state in rig.datapath.ports().values()):
        assert rig.datapath.routes() == wanted
    assert len(core.configs.two_phase) <= 2
    assert not core.configs.waiting


def fuzz_ce(data: bytes) -> None:
    """All FEs are ready, and a transaction over them waits for their answers."""
    rig = _ready_ce()
    fes = set(rig.core.sessions)
    route = {"prefix": "10.77.0.0/24", "fe": "fe4", "port": 3, "gateway": "10.102.1.10"}
    rig.event(Command("transaction", {"routes": [route]}, 1))
    assert rig.sent(FE1)[-1].header.flags.transaction
    for control, octets in messages(data):
        rig.now += (control >> 1 & 3) * MS
        octets = _addressed(octets, FE1, OWN_CE, control)
        if control & 0x20:
            rig.fire_due(rig.now + 30 * MS)
        if control & 0x08:  # the answer to one of its questions: correlators are not guessed
            asked = rig.sent(FE1)[-1].header.correlator
            octets = octets[:12] + struct.pack("!Q", asked) + octets[20:]
        if control & 0x01:  # a daemon beside it sends
            rig.event(PacketPunted(3, octets, FE1))
        at = len(rig.effects)
        rig.octets(FE1, octets, _channel(octets, control), strict=not control & 0x10)
        assert len(rig.effects) - at < MAX_OUT
        assert set(rig.core.sessions) <= fes
    rig.fire_due(rig.now + 10_000 * MS)  # whatever was said: the transaction ends, once
    assert len([effect for effect in rig.effects if isinstance(effect, Deliver)]) == 1


def _ready_ce() -> CeRig:
    rig = CeRig(redirect=True)
    ces = tuple(peer.id for peer in rig.config.ces)
    fes = {
        view.id: DictionaryFe(view.id, view.name, tuple(port.id for port in view.ports), ces)
        for view in rig.config.network
    }
    for fe, element in fes.items():
        element.associated.add(OWN_CE)
        rig.setup(fe)
    done = 0
    while done < len(rig.effects):
        effect = rig.effects[done]
        done += 1
        if isinstance(effect, Send):
            for answer in fes[effect.peer].handle(effect.message):
                rig.receive(effect.peer, answer)
    assert all(session.ready for session in rig.core.sessions.values())
    return rig


def _two_phase() -> Iterator[Message]:
    """A transaction of the master's: two messages, commit, another one, abort."""
    rig = FeRig()
    rig.associate(CE1)
    commit = lfb(HOPS, Operation(OperType.COMMIT))
    for phase, select in (
        (TransPhase.SOT, set_hop(2, 1, "10.1.0.3")),
        (TransPhase.MOT, set_prefix(2, "20.0.1.0", 2)),
        (TransPhase.EOT, commit),
        (TransPhase.SOT, lfb(LPM, operation(OperType.DEL, path(1, selector=TableRange())))),
        (TransPhase.ABT, commit),
        (TransPhase.EOT, lfb(HOPS, Operation(OperType.TRCOMP))),
    ):
        yield rig.config_message(select, phase=phase)


def _questions() -> Iterator[Message]:
    """The vendor class, everything of FEPO, properties of an event; packets for a port."""
    rig = FeRig()
    sync = [operation(OperType.GET, path(number)) for number in (1, 2, 3)]
    everything = operation(OperType.GET, path())
    event = operation(OperType.GET_PROP, path(61, 1))
    kind = MessageType.QUERY
    header = Header(kind, CE1, FE, rig.correlator(), flags_for(kind))
    yield Message(header, (lfb(STATE_SYNC, *sync), lfb(FEPO, everything, event)))
    port = struct.pack("!I", 1)
    kind = MessageType.PACKET_REDIRECT
    yield Message(
        Header(kind, CE1, FE, 0, flags_for(kind)),
        redirects=(Redirect(((1, port), (14, port)), bytes(64)), Redirect((), bytes(20))),
    )


def seeds() -> Iterator[bytes]:
    """Conversations to begin with: every kind of message that the conformance tests speak."""
    rig = FeRig()
    rig.associate(CE1)
    rig.config(set_hop(1), set_prefix(1, "20.0.0.0"))
    rig.get("FEObject", "LFBTopology")
    ce = CeRig()
    setup = ce.setup(FE1)
    sent = [*rig.sent(CE1), *ce.sent(FE1), setup, *_two_phase(), *_questions()]
    yield b"".join(b"\0" + encode(message) for message in _two_phase())
    for message in sent:
        octets = encode(message)
        yield b"\0" + octets
        header = replace(message.header, source=CE1, destination=FE)
        yield b"\x08" + encode(replace(message, header=header))


def seeds_of(name: str) -> Iterator[bytes]:
    """The same, as this target takes them."""
    if name == "model":
        for number, kind in enumerate(_kinds()):
            yield struct.pack("!H", number) + kind.pack(kind.default())
        return
    for octets in seeds():
        yield octets[1:] if name == "decoder" else octets


TARGETS: dict[str, Target] = {
    "decoder": fuzz_decoder,
    "model": fuzz_model,
    "fe": fuzz_fe,
    "ce": fuzz_ce,
}
