"""Tables are looked at until they agree, or until the patience ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lab.emulated.meters import last_look


class Tables:
    """fe1 agrees at once, fe2 at its third look, fe3 never."""

    def __init__(self) -> None:
        self.looks = dict.fromkeys(("fe1", "fe2", "fe3"), 0)

    def look(self, waiting: Sequence[str]) -> dict[str, dict[str, object]]:
        for fe in waiting:
            self.looks[fe] += 1
        needed = {"fe1": 1, "fe2": 3, "fe3": 10**9}
        return {
            fe: {"agree": self.looks[fe] >= needed[fe], "look": self.looks[fe]} for fe in waiting
        }


def test_who_agrees_is_not_looked_at_again_and_the_last_look_is_kept(tmp_path: Path) -> None:
    tables = Tables()
    assert last_look.write(tmp_path, ["fe1", "fe2"], tables.look, 60, 0.001) == []
    assert tables.looks == {"fe1": 1, "fe2": 3, "fe3": 0}
    record = json.loads((tmp_path / "kernel-fe2.json").read_text())
    assert record == {"agree": True, "look": 3}


def test_patience_ends_and_who_does_not_agree_is_named(tmp_path: Path) -> None:
    tables = Tables()
    assert last_look.write(tmp_path, tables.looks, tables.look, 0, 0.001) == ["fe2", "fe3"]
    assert {path.name for path in tmp_path.iterdir()} == {f"kernel-fe{n}.json" for n in (1, 2, 3)}
