"""Who is master among the controllers of the OpenFlow baseline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.openflow.election import Election, Follow, MasterLost, TakeOver

MS = 1_000_000
DEAD = 100 * MS
ORDER = (1, 2, 3)


def standby(me: int, master: int = 1, term: int = 0x100, now: int = 0) -> Election:
    """One that has heard everybody."""
    election = Election(me, ORDER, DEAD, now)
    for peer in ORDER:
        if peer != me:
            election.heard(peer, term, peer == master, now)
    assert election.master == master
    return election


def test_the_first_one_takes_over_as_soon_as_everybody_was_heard() -> None:
    first = Election(1, ORDER, DEAD, 0)
    assert first.heard(2, 0, False, MS) == []
    assert first.heard(3, 0, False, 2 * MS) == [TakeOver(0x100, None)]


def test_a_fresh_one_waits_for_those_that_may_be_at_work() -> None:
    first = Election(1, ORDER, DEAD, 0)
    assert first.tick(5 * DEAD - 1) == []
    assert first.deadline() == 5 * DEAD
    assert first.tick(5 * DEAD) == [TakeOver(0x100, None)]


def test_one_that_was_restarted_follows_whoever_is_master() -> None:
    again = Election(1, ORDER, DEAD, 0)
    assert again.heard(2, 0x201, True, MS) == [Follow(2, 0x201)]
    assert again.tick(10 * MS) == []
    assert again.master == 2


def test_the_end_of_the_masters_connection_is_a_takeover_at_once_with_a_newer_term() -> None:
    second = standby(2)
    assert second.lost(1, 5 * MS) == [MasterLost(1, "tml"), TakeOver(0x201, 1)]
    assert second.is_master


def test_silence_is_a_takeover_after_the_dead_interval_and_not_before() -> None:
    second = standby(2)
    second.heard(3, 0, False, DEAD - 1)
    assert second.tick(DEAD - 1) == []
    assert second.tick(DEAD) == [MasterLost(1, "heartbeat"), TakeOver(0x201, 1)]


def test_the_third_one_leaves_the_second_a_dead_interval() -> None:
    third = standby(3)
    assert third.lost(1, 5 * MS) == [MasterLost(1, "tml")]
    third.heard(2, 0x100, False, 100 * MS)
    assert third.tick(104 * MS) == []
    assert third.tick(105 * MS) == [TakeOver(0x202, 1)]


def test_the_third_one_is_next_when_the_second_is_dead_too() -> None:
    third = standby(3)
    third.lost(2, 4 * MS)
    assert third.lost(1, 5 * MS) == [MasterLost(1, "tml"), TakeOver(0x202, 1)]


def test_a_thawed_master_steps_down_before_a_newer_term() -> None:
    first = standby(2)
    first.lost(1, 5 * MS)
    assert first.heard(1, 0x100, True, 6 * MS) == [], "an older term changes nothing"
    assert first.is_master
    assert first.heard(3, 0x302, True, 7 * MS) == [Follow(3, 0x302)]
    assert not first.is_master


def test_the_end_of_a_connection_to_a_slave_is_nobodys_loss() -> None:
    assert standby(2).lost(3, 5 * MS) == []


Steps = st.lists(
    st.tuples(
        st.sampled_from(["beat", "crash", "restart", "wait"]),
        st.sampled_from(ORDER),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(Steps)
def test_whatever_ends_and_starts_the_terms_of_two_masters_differ_and_one_is_left(
    steps: list[tuple[str, int, int]],
) -> None:
    """Beats reach everybody alive; after a quiet second there is exactly one master."""
    now = 0
    alive = {number: Election(number, ORDER, DEAD, now) for number in ORDER}
    terms: dict[int, int] = {}

    def take_in(number: int, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, TakeOver):
                assert terms.setdefault(effect.term, number) == number
                assert effect.term & 0xFF == ORDER.index(number)

    def everybody_beats() -> None:
        for number, sender in list(alive.items()):
            for other, receiver in list(alive.items()):
                if other != number:
                    heard = receiver.heard(number, sender.term, sender.is_master, now)
                    take_in(other, heard)

    for what, number, milliseconds in [*steps, *[("beat", 1, 20)] * 50]:
        now += milliseconds * MS
        if what == "crash" and number in alive:
            del alive[number]
            for other, election in alive.items():
                take_in(other, election.lost(number, now))
        elif what == "restart" and number not in alive:
            alive[number] = Election(number, ORDER, DEAD, now)
        elif what == "beat":
            everybody_beats()
        for other, election in alive.items():
            take_in(other, election.tick(now))
    if alive:
        masters = [number for number, election in alive.items() if election.is_master]
        assert len(masters) == 1
        assert {election.master for election in alive.values()} == set(masters)
