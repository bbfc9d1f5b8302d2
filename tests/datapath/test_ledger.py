"""What the ledger enters late is what it would have entered at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fe_datapath.datapath import DelRoute, DelRoutes, SetRoute, columns
from fe_datapath.linux import ledger
from fe_datapath.linux.ledger import Ledger

LIMIT = 20

numbers = st.lists(st.integers(0, 9), min_size=1, max_size=7, unique=True)
steps = st.tuples(st.sampled_from(["set", "del"]), numbers, st.integers(1, 3), st.booleans())


def prefix(number: int) -> bytes:
    return bytes((20, 0, number, 0))


@settings(deadline=None)
@given(st.lists(steps, max_size=30), st.integers(0, 9))
def test_the_ledger_is_a_table_of_routes_whenever_it_is_asked(
    given_steps: list[tuple[str, list[int], int, bool]], ask_every: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "WAITING_ROWS", LIMIT)
        made, model = Ledger(), dict[bytes, int]()
        for turn, (verb, which, hop, in_bulk) in enumerate(given_steps):
            setting = [SetRoute(prefix(number), 24, hop) for number in which]
            many = columns(setting, 4)
            if verb == "set":
                model |= {prefix(number): hop for number in which}
                made.enter_bulk(many) if in_bulk else made.enter(setting)
            else:
                for number in which:
                    model.pop(prefix(number), None)
                gone = [DelRoute(route.prefix, 24) for route in setting]
                bulk = DelRoutes(many.prefixes, many.lengths)
                made.enter_bulk(bulk) if in_bulk else made.enter(gone)
            assert made.waiting_rows <= LIMIT
            if ask_every and turn % ask_every == 0:
                assert all(made.users(h) == list(model.values()).count(h) for h in (1, 2, 3))
                assert made.waiting_rows == 0
        assert {p: made.route((p, 24)) for p in map(prefix, range(10))} == {
            p: model.get(p) for p in map(prefix, range(10))
        }


def test_over_the_limit_the_oldest_are_entered_and_not_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once would be a standstill of the event loop, when its own change is the one too
    many."""
    monkeypatch.setattr(ledger, "WAITING_ROWS", LIMIT)
    made = Ledger()
    for number in range(4):
        routes = [SetRoute(prefix(5 * number + n), 24, 1) for n in range(5)]
        made.enter_bulk(columns(routes, 4))
    assert made.waiting_rows == LIMIT
    made.enter([SetRoute(prefix(200), 24, 1)])
    assert made.waiting_rows == LIMIT - 5 + 1
    assert made.users(1) == 21
