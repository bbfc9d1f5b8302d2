"""Message ladders of RFC 7121 Figures 2 and 5, and of a planned switch, as golden transcripts.

To rewrite them on purpose: `CEHA_REWRITE_LADDERS=1 pytest tests/fe_datapath/test_ladders.py`,
and read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fe_datapath.datapath import Change
from forces.effects import Connect, Disconnect, Effect, Journal, Program, Send
from forces.events import LossCause
from forces.header import MessageType
from forces.messages import Message
from forces.paths import FullData
from tests.fe_datapath.rig import (
    CE1,
    CE2,
    CE3,
    Rig,
    hop,
    prefix,
    rig,
    set_hop,
    set_prefix,
    set_value,
)

FOLDER = Path(__file__).parent / "ladders"


def name(ce: int) -> str:
    return f"CE{ce & 7}"


def describe(effect: Effect) -> str | None:
    match effect:
        case Connect(peer):
            return f"FE -> {name(peer)}  connect"
        case Disconnect(peer, abort):
            return f"FE -> {name(peer)}  {'abort' if abort else 'disconnect'}"
        case Send(peer, message):
            return f"FE -> {name(peer)}  {told(message)}"
        case Program(_, changes):
            return f"FE => kernel  {', '.join(map(changed, changes))}"
        case Journal(event, fields):
            shown = ", ".join(f"{k}={v}" for k, v in fields.items() if k != "octets")
            return f"journal  {event}: {shown}"
    return None


def changed(change: Change) -> str:
    values = (getattr(change, slot) for slot in change.__slots__)
    return f"{type(change).__name__}({', '.join(map(shown, values))})"


def shown(value: object) -> str:
    return ".".join(map(str, value)) if isinstance(value, bytes) else str(value)


EVENTS = {(61, 1): "PrimaryCEDown", (61, 2): "PrimaryCEChanged"}


def told(message: Message) -> str:
    if message.type is not MessageType.EVENT_NOTIFICATION:
        return message.type.name
    path = message.lfbs[0].operations[0].paths[0]
    assert isinstance(path.content, FullData)
    ce = int.from_bytes(path.content.value, "big")
    return f"{EVENTS[path.ids]}({name(ce) if ce else 'none'})"  # type: ignore[index]


class Ladder:
    """What is fed, and indented below it what comes of it."""

    def __init__(self, made: Rig) -> None:
        self.made = made
        self.lines: list[str] = []
        self._seen = 0
        self._flush("FE starts")

    def step(self, title: str, action: Callable[[], object]) -> None:
        action()
        self._flush(title)

    def _flush(self, title: str) -> None:
        self.lines.append(f"{self.made.now / 1e6:8.1f} ms  {title}")
        for effect in self.made.log[self._seen :]:
            text = describe(effect)
            if text is not None:
                self.lines.append(f"                 {text}")
        self._seen = len(self.made.log)


def update(ladder: Ladder, ce: int) -> None:
    made = ladder.made
    ladder.step(
        f"{name(ce)} -> FE  state update",
        lambda: made.config(set_hop(5, hop()), set_prefix(1, prefix(1, 5)), ce=ce),
    )


def figure_2_cold() -> list[str]:
    made = rig(ha_mode=1)
    ladder = Ladder(made)
    ladder.step("CE1 accepts", lambda: made.associate(CE1))
    update(ladder, CE1)
    made.advance(10)
    ladder.step("FAILURE: CE1 crashes", lambda: made.lose(CE1, LossCause.ICMP))
    ladder.step("CE2 accepts", lambda: made.associate(CE2))
    update(ladder, CE2)
    return ladder.lines


def figure_2_cold_policy_0() -> list[str]:
    made = rig(ha_mode=1, failover_policy=0)
    ladder = Ladder(made)
    ladder.step("CE1 accepts", lambda: made.associate(CE1))
    update(ladder, CE1)
    ladder.step("FAILURE: CE1 crashes", lambda: made.lose(CE1, LossCause.ICMP))
    ladder.step("CE2 is not there", lambda: made.fail(CE2))
    ladder.step("CE3 accepts", lambda: made.associate(CE3))
    update(ladder, CE3)
    ladder.step(
        "CE3 -> FE  SET FEState OperEnable",
        lambda: made.config(set_value("FEObject", "FEState", value=2), ce=CE3),
    )
    return ladder.lines


def figure_5_hot() -> list[str]:
    made = rig(cehdi_ms=100, fe_heartbeat_ms=25)
    ladder = Ladder(made)
    ladder.step("CE1 accepts", lambda: made.associate(CE1))
    update(ladder, CE1)
    ladder.step("CE2 accepts", lambda: made.associate(CE2))
    ladder.step("CE3 accepts", lambda: made.associate(CE3))
    ladder.step("CE2 -> FE  SET", lambda: made.config(set_hop(6, hop(2)), ce=CE2))
    made.advance(80)
    ladder.step("CE2 and CE3 heartbeat, CE1 hangs", lambda: (made.beat(CE2), made.beat(CE3)))
    ladder.step("20 ms pass", lambda: made.advance(20))
    update(ladder, CE2)
    return ladder.lines


def planned_switch_hot() -> list[str]:
    made = rig()
    ladder = Ladder(made)
    for ce in (CE1, CE2, CE3):
        ladder.step(f"{name(ce)} accepts", lambda ce=ce: made.associate(ce))  # type: ignore[misc]
    ladder.step(
        "CE1 -> FE  SET CEID CE2", lambda: made.config(set_value("FEPO", "CEID", value=CE2))
    )
    ladder.step("CE1 -> FE  SET", lambda: made.config(set_hop(5, hop()), ce=CE1))
    update(ladder, CE2)
    return ladder.lines


def planned_switch_cold() -> list[str]:
    made = rig(ha_mode=1)
    ladder = Ladder(made)
    ladder.step("CE1 accepts", lambda: made.associate(CE1))
    ladder.step(
        "CE1 -> FE  SET CEID CE2", lambda: made.config(set_value("FEPO", "CEID", value=CE2))
    )
    ladder.step("CE2 accepts", lambda: made.associate(CE2))
    return ladder.lines


def cefti_expires() -> list[str]:
    made = rig(ha_mode=1, cefti_ms=200, connect_retry_ms=50)
    ladder = Ladder(made)
    ladder.step("CE1 accepts", lambda: made.associate(CE1))
    update(ladder, CE1)
    ladder.step("FAILURE: CE1 closes", lambda: made.lose(CE1, LossCause.SHUTDOWN))
    for ce in (CE2, CE3, CE1):
        ladder.step(f"{name(ce)} is not there", lambda ce=ce: made.fail(ce))  # type: ignore[misc]
    ladder.step("200 ms pass", lambda: made.advance(200))
    ladder.step("CE2 accepts", lambda: made.associate(CE2))
    return ladder.lines


@pytest.mark.parametrize(
    "scenario",
    [
        figure_2_cold,
        figure_2_cold_policy_0,
        figure_5_hot,
        planned_switch_hot,
        planned_switch_cold,
        cefti_expires,
    ],
)
def test_ladder(scenario: Callable[[], list[str]]) -> None:
    text = "\n".join(scenario()) + "\n"
    golden = FOLDER / f"{scenario.__name__}.txt"
    if os.environ.get("CEHA_REWRITE_LADDERS"):
        golden.write_text(text)
    assert text == golden.read_text()
