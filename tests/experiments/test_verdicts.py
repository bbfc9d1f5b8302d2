"""Every verdict against a truth that is known: the synthetic laboratory has knobs for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.measures.path import STEPS
from experiments.plan import Cell, make_plan
from experiments.results import cell_results
from experiments.table import verdicts
from tests.experiments.conftest import Make
from tests.experiments.synthetic import Knobs


def test_dtimes_are_those_of_the_last_fe_and_the_beacon_agrees(make: Make) -> None:
    outcome = make(Knobs(dtime1_ms=20, dtime2_ms=6, dtime3_ms=9, spread_ms=1))
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is not None
    assert outcome.ne.fe == "fe4"
    assert outcome.ne.dtime1_ms == pytest.approx(20)
    assert outcome.ne.dtime2_ms == pytest.approx(9)
    assert outcome.ne.dtime3_ms == pytest.approx(9)
    assert [f.dtime2_ms for f in outcome.failovers] == pytest.approx([6, 7, 8, 9])
    assert outcome.control_outage_ms == pytest.approx(38, abs=6)
    assert outcome.detected_by == "tml"
    assert outcome.tml == "memory"
    assert (outcome.data_lost, outcome.data_outage_ms) == (0, 0.0)


def test_without_a_standby_the_restarted_master_ends_the_outage(make: Make) -> None:
    outcome = make(Knobs(dtime2_ms=320, dtime3_ms=30), mode="none", heal_after_ms=300)
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is not None
    assert (outcome.ne.old_master, outcome.ne.new_master) == ("ce1", "ce1")
    assert outcome.control_outage_ms == pytest.approx(370, abs=6)


def test_planned_switch_is_detected_when_set_ceid_is_processed(make: Make) -> None:
    outcome = make(Knobs(dtime1_ms=0.7), fault="planned-switch", mode="hot")
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.detected_by == "planned"
    assert outcome.ne is not None
    assert outcome.ne.dtime1_ms == 0  # there was nothing to notice before
    assert outcome.ne.t_detect_ns is not None
    assert outcome.ne.t_detect_ns > outcome.ne.t_fault_ns


def test_a_link_cut_has_packets_to_lose_and_no_dtimes(make: Make) -> None:
    knobs = Knobs(outages=(("a", "fwd", 2, 12), ("a", "rev", 2, 4)))
    outcome = make(knobs, fault="link-cut", must_lose=True)
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is None
    assert outcome.control_outage_ms is None
    assert outcome.data_lost == 16
    assert outcome.data_outage_ms == pytest.approx(12)
    assert outcome.disruptions == 2


def test_policy_0_loses_the_whole_outage(make: Make) -> None:
    outcome = make(Knobs(dtime1_ms=20, dtime2_ms=30, dtime3_ms=9), policy=0, must_lose=True)
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.data_outage_ms == pytest.approx(39, abs=1)
    assert outcome.data_lost == pytest.approx(4 * 39, abs=4)


def test_beacon_gap_beyond_interval_and_jitter_is_disagree(make: Make) -> None:
    assert make(Knobs(beacon_extra_ms=4)).verdict == "ok"
    outcome = make(Knobs(beacon_extra_ms=25))
    assert outcome.verdict == "disagree"
    assert "the beacon's gap" in outcome.reasons[0]


@pytest.mark.parametrize(("call_ms", "verdict"), [(55, "ok"), (35, "disagree")])
def test_the_first_change_may_wait_for_a_kernel_that_takes_a_link_down(
    make: Make, call_ms: float, verdict: str
) -> None:
    """dtime1+2+3 is about 40 ms, the gap 25 ms more."""

    def cut(folder: Path) -> None:
        path = folder / "trial.json"
        about = json.loads(path.read_text())
        (crash,) = about["faults"]
        spec = crash["spec"] | {"kind": "link-cut", "target": "fe1-fe2"}
        after_ns = crash["before_ns"] + round(call_ms * 1e6)
        about["faults"].append(crash | {"spec": spec, "target": "fe1-fe2", "after_ns": after_ns})
        path.write_text(json.dumps(about))

    outcome = make(Knobs(beacon_extra_ms=25), change=cut)
    assert outcome.verdict == verdict, outcome.reasons


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        (Knobs(dead_flow="a"), "the meter saw none of"),
        (Knobs(receiver_ends_ms=200), "traffic did not come back"),
        (Knobs(sender_pause_ms=35), "the sender paused 3"),
        (Knobs(overflow=3), "the receiver dropped 3 packets"),
        (Knobs(calibration_loss=2), "2 packets lost before the fault"),
        (Knobs(foreign=4), "4 received packets were never sent"),
        (Knobs(blind_beacon="fe3"), "beacon of fe3: 0 of about 60 beats"),
        (Knobs(verified=False), "the check that it happened failed"),
        (Knobs(outages=(("b", "rev", 100, 1900),)), "b rev: traffic did not come back"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_meter_makes_the_trial_invalid(make: Make, knobs: Knobs, why: str) -> None:
    outcome = make(knobs)
    assert outcome.verdict == "invalid"
    assert any(why in reason for reason in outcome.reasons), outcome.reasons


def test_a_meter_that_saw_no_loss_in_a_cut_without_protection_is_blind(make: Make) -> None:
    outcome = make(fault="link-cut", must_lose=True)
    assert outcome.verdict == "invalid"
    assert "must lose packets" in outcome.reasons[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "probe-a-fwd.rx.npy").unlink(),
        lambda folder: (folder / "beacon-fe1.npy").write_bytes(b"\x93NUMPY"),
        lambda folder: (folder / "fe1.journal.jsonl").write_text("{}\n"),
        lambda folder: (folder / "probe-a-rev.json").write_text("[1]"),
    ],
    ids=["no rx", "cut beacon", "bad journal", "bad description"],
)
def test_records_that_cannot_be_read_make_the_trial_invalid(make: Make, damage: object) -> None:
    outcome = make(change=damage)
    assert outcome.verdict == "invalid"
    assert outcome.reasons[0].startswith("records: ")


def test_a_journal_line_cut_by_the_crash_is_dropped(make: Make) -> None:
    def cut(folder: Path) -> None:
        with (folder / "ce1.journal.jsonl").open("a") as file:
            file.write('{"t": 12, "node": "ce')

    assert make(change=cut).verdict == "ok"


def test_invariant_1_two_hands_in_one_kernel(make: Make) -> None:
    outcome = make(Knobs(old_master_beats_on_ms=60))
    assert outcome.verdict == "violated"
    assert outcome.reasons[0].startswith("invariant 1: the kernel of fe1 changed hands")


def test_invariant_1_is_of_profile_rfc7121_only(make: Make) -> None:
    outcome = make(Knobs(old_master_beats_on_ms=60), profile="slides")
    assert not any("invariant 1" in reason for reason in outcome.reasons)


def test_invariant_2_stray_route(make: Make) -> None:
    outcome = make(Knobs(stray_routes=1))
    assert outcome.verdict == "violated"
    assert outcome.reasons[0] == "invariant 2: the kernel of fe1 has 1 stray routes and lacks 0"


def test_what_broke_while_the_machine_stood_still_is_invalid_and_told(make: Make) -> None:
    outcome = make(Knobs(stray_routes=1, sender_pause_ms=35))
    assert outcome.verdict == "invalid"
    assert outcome.reasons[0].startswith("invariant 2: ")


def test_a_sender_that_never_got_to_send_stood_still_all_the_time(make: Make) -> None:
    def nothing_sent(folder: Path) -> None:
        for end in ("tx", "rx"):
            path = folder / f"probe-a-fwd.{end}.npy"
            np.save(path, np.load(path)[:0])

    outcome = make(Knobs(stray_routes=1), change=nothing_sent)
    assert outcome.verdict == "invalid"
    assert any("nothing was sent" in reason for reason in outcome.reasons)


def test_no_stall_excuses_two_masters(make: Make) -> None:
    outcome = make(Knobs(old_master_beats_on_ms=60, sender_pause_ms=35))
    assert outcome.verdict == "violated"


def test_invariant_3_loss_under_policy_1(make: Make) -> None:
    outcome = make(Knobs(outages=(("a", "fwd", 1, 3),)))
    assert outcome.verdict == "violated"
    assert outcome.reasons == ("invariant 3: 3 packets lost by a CE failure under policy 1",)


def test_invariant_3_needs_a_sound_meter(make: Make) -> None:
    outcome = make(Knobs(outages=(("a", "fwd", 1, 3),), overflow=3))
    assert outcome.verdict == "invalid"


def test_invariant_4_policy_1_must_not_stop_before_cefti(make: Make) -> None:
    outcome = make(Knobs(stop_forwarding=True))
    assert outcome.verdict == "violated"
    assert any("stopped forwarding without CEFTI's end" in r for r in outcome.reasons)


def test_invariant_4_policy_0_must_stop_at_once(make: Make) -> None:
    outcome = make(Knobs(stop_forwarding=False), policy=0)
    assert outcome.verdict == "violated"
    assert any("did not stop forwarding within 50 ms" in r for r in outcome.reasons)


def test_invariant_4_a_stopped_network_element_passes_nothing(make: Make) -> None:
    def leak(folder: Path) -> None:
        tx = np.load(folder / "probe-a-fwd.tx.npy")
        rx = np.load(folder / "probe-a-fwd.rx.npy")
        missing = tx[~np.isin(tx["seq"], rx["seq"])][20:22]
        more = np.zeros(2, rx.dtype)
        more["seq"], more["sent_ns"] = missing["seq"], missing["sent_ns"]
        more["kernel_ns"] = missing["sent_ns"] + 90_000
        np.save(folder / "probe-a-fwd.rx.npy", np.concatenate((rx, more)))

    outcome = make(Knobs(dtime2_ms=50), policy=0, change=leak)
    assert outcome.verdict == "violated"
    assert "2 packets of a fwd passed while no FE forwarded" in outcome.reasons[0]


def test_invariant_5_ha_event_once_per_ce(make: Make) -> None:
    outcome = make(Knobs(doubled_event=True))
    assert outcome.verdict == "violated"
    assert "fe1 sent PrimaryCEChanged 2 times to ce2" in outcome.reasons[0]


@pytest.mark.parametrize(("last", "verdict"), [("ce1", "ok"), ("ce2", "violated")])
def test_a_ce_may_be_quicker_than_the_journal_of_the_fe_that_told_it(
    make: Make, last: str, verdict: str
) -> None:
    def hurry(folder: Path) -> None:
        path = folder / "ce2.journal.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        for entry in entries:
            if entry["event"] == "takeover" and entry["fe"] == "fe1":
                entry["t"] -= 160_000  # the FE's `master` stands 50 us before it
                entry["last"] = last
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    outcome = make(change=hurry)
    assert outcome.verdict == verdict, outcome.reasons


def relive(folder: Path, fe: str, lost_ms: float, last: str) -> None:
    """Write into the records that ce2 lost this FE and got it back so long after the failover."""
    path = folder / "lab.journal.jsonl"
    fault = next(json.loads(x) for x in path.read_text().splitlines() if '"fault"' in x)
    at = fault["before_ns"] + int(lost_ms * 1e6)
    with (folder / f"{fe}.journal.jsonl").open("a") as file:
        for line in (
            {"t": at, "node": fe, "event": "detect", "ce": "ce2", "source": "heartbeat"},
            {"t": at + 100, "node": fe, "event": "master", "ce": "ce2", "last": last},
        ):
            file.write(json.dumps(line) + "\n")
    with (folder / "ce2.journal.jsonl").open("a") as file:
        taken = {"t": at + 900, "node": "ce2", "event": "takeover", "fe": fe, "last": last}
        file.write(json.dumps(taken) + "\n")


@pytest.mark.parametrize(("last", "verdict"), [("ce2", "ok"), ("ce1", "violated")])
def test_invariant_5_the_last_one_is_the_last_one_had_not_the_first(
    make: Make, last: str, verdict: str
) -> None:
    """A master that is lost and found again was the last one before itself."""
    outcome = make(change=lambda folder: relive(folder, "fe2", 200, last))
    assert outcome.verdict == verdict, outcome.reasons


def backlog(folder: Path) -> None:
    """fe1's old master seems to beat on after 300 ms of silence: what had come meanwhile."""
    path = folder / "beacon-fe1.npy"
    beats = np.load(path)
    new = beats[beats["destination"] >> 15 & 3 == 2]
    old = beats[beats["destination"] >> 15 & 3 == 1]
    late = old[-4:].copy()
    late["at_ns"] = new["at_ns"].min() - np.array([9, 8, 7, 6], "i8") * 1_000_000
    late["added"] = 1
    np.save(path, np.concatenate((old, late, new)))


@pytest.mark.parametrize(("target", "verdict"), [("fe1", "ok"), ("master", "disagree")])
def test_an_fe_that_thaws_may_carry_out_what_came_meanwhile(
    make: Make, target: str, verdict: str
) -> None:
    knobs = Knobs(dtime1_ms=300, source="heartbeat")
    outcome = make(knobs, "hang", 300, target=target, change=backlog)
    assert outcome.verdict == verdict, outcome.reasons
    if target == "fe1":
        assert outcome.control_outage_ms == pytest.approx(306, abs=8), "the silence, not the gap"


def test_invariant_5_the_new_master_is_told_the_true_last_one(make: Make) -> None:
    def lie(folder: Path) -> None:
        path = folder / "ce2.journal.jsonl"
        path.write_text(path.read_text().replace('"last": "ce1"', '"last": "ce3"'))

    outcome = make(change=lie)
    assert outcome.verdict == "violated"
    assert "ce2 was told that fe1 had ce3, it had ce1" in outcome.reasons[0]


def test_what_is_lost_while_the_lab_heals_is_not_what_the_fault_cost(make: Make) -> None:
    late = Knobs(outages=(("a", "fwd", 2, 5), ("b", "fwd", 810, 9)))
    outcome = make(late, fault="link-cut", must_lose=True)
    assert outcome.verdict == "ok", outcome.reasons
    assert (outcome.data_lost, outcome.data_outage_ms) == (5, 5.0)
    assert sum(p.lost_after for p in outcome.probes) == 9


def test_a_takeover_after_the_observed_time_came_too_late(make: Make) -> None:
    outcome = make(Knobs(dtime2_ms=800))
    assert outcome.verdict == "violated"
    assert outcome.ne is None


@pytest.mark.parametrize(
    ("note", "verdict", "why"),
    [
        ('"unexpected_exits": [{"node": "fe2", "exit_code": 1}]', "invalid", "fe2 ended by itself"),
        ('"missing_records": ["a-fwd.rx"]', "invalid", "there is no record a-fwd.rx"),
        ('"not_settled": ["fe3 has no master"]', "violated", "after healing, fe3 has no master"),
    ],
)
def test_what_the_lab_noted_counts(make: Make, note: str, verdict: str, why: str) -> None:
    def add(folder: Path) -> None:
        path = folder / "trial.json"
        path.write_text(path.read_text().replace("{", "{" + note + ",", 1))

    outcome = make(change=add)
    assert outcome.verdict == verdict
    assert any(why in reason for reason in outcome.reasons), outcome.reasons


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        (Knobs(detects=False), "fe1 did not notice the loss of its master"),
        (Knobs(recovers=False), "fe1 found no new master"),
    ],
)
def test_invariant_8_no_ready_master_in_time(make: Make, knobs: Knobs, why: str) -> None:
    outcome = make(knobs)
    assert outcome.verdict == "violated"
    assert any(why in reason for reason in outcome.reasons)
    assert outcome.ne is None


def test_a_hang_shorter_than_the_dead_interval_need_not_be_noticed(make: Make) -> None:
    outcome = make(Knobs(detects=False), fault="hang", heal_after_ms=40)
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is None


def test_without_a_standby_and_without_a_restart_nobody_takes_over(make: Make) -> None:
    outcome = make(Knobs(recovers=False), mode="none")
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is None
    assert outcome.failovers[0].dtime1_ms == pytest.approx(20)


def test_the_first_ready_master_ends_the_outage_not_one_that_died(make: Make) -> None:
    """An FE tries ce1 again, in vain, before ce2."""

    def insert(folder: Path) -> None:
        path = folder / "fe1.journal.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if '"detect"' in line)
        t = int(lines[at].split('"t": ')[1].split(",")[0]) + 1_000_000
        lines.insert(
            at + 1, f'{{"t": {t}, "node": "fe1", "event": "master", "ce": "ce1", "last": "ce1"}}\n'
        )
        path.write_text("".join(lines))

    outcome = make(change=insert)
    first = outcome.failovers[0]
    assert first.new_master == "ce2"
    assert first.dtime2_ms == pytest.approx(6)


def test_faults_of_one_moment_that_struck_apart_are_no_double_fault(make: Make) -> None:
    def later(folder: Path) -> None:
        path = folder / "trial.json"
        raw = json.loads(path.read_text())
        second = json.loads(json.dumps(raw["faults"][0]))
        second["spec"] |= {"kind": "link-cut", "target": "fe1-fe2"}
        second |= {"target": "fe1-fe2", "before_ns": second["before_ns"] + 30_000_000}
        raw["faults"].append(second)
        path.write_text(json.dumps(raw))

    outcome = make(Knobs(), change=later)
    assert outcome.verdict == "invalid"
    assert "fault link-cut on fe1-fe2 struck 30.0 ms too late" in outcome.reasons


def test_a_master_declared_lost_without_a_fault_is_a_false_alarm(make: Make) -> None:
    def alarm(folder: Path) -> None:
        lines = (folder / "lab.journal.jsonl").read_text().splitlines()
        begin = next(e for e in map(json.loads, lines) if e["event"] == "fault")["t"]
        entry = {"t": begin - 100_000_000, "node": "fe1", "event": "detect", "ce": "ce1",
                 "source": "heartbeat"}  # fmt: skip
        with (folder / "fe1.journal.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    assert make(Knobs()).false_alarms == 0
    assert make(Knobs(), change=alarm).false_alarms == 1


def test_a_beat_that_is_due_and_does_not_come_is_missed(make: Make) -> None:
    """Synthetic beacons beat every 5 ms; the failover takes 35 ms."""
    outcome = make(Knobs())
    gaps = outcome.gaps or {}
    assert gaps
    expected = sum(round(gap.outage_ms / outcome.description.settings.beacon_ms) - 1
                   for gap in gaps.values())  # fmt: skip
    assert expected > 0
    assert outcome.beats_missed == expected

    def lost_in_the_kernel(folder: Path) -> None:
        beacon = np.load(folder / "beacon-fe1.npy")
        seen = np.flatnonzero(beacon["added"] == 1)
        np.save(folder / "beacon-fe1.npy", np.delete(beacon, seen[len(seen) // 4]))

    assert make(Knobs(), change=lost_in_the_kernel).beats_missed == expected + 1


def test_the_longest_gap_of_trials_that_disagree_is_told(make: Make) -> None:
    """They are in no median: a long outage must not vanish with them."""
    outcomes = [make(Knobs()), make(Knobs(beacon_extra_ms=60))]
    assert [outcome.verdict for outcome in outcomes] == ["ok", "disagree"]
    gap = outcomes[1].control_outage_ms
    assert gap is not None
    assert gap > 60
    about = outcomes[0].description
    cell = Cell("cell", about.settings, "crash", (), 10, 300, 800, False, ())
    (result,) = cell_results(make_plan("mine", "diamond", [cell], 1, 0), outcomes)
    assert result.metrics["control_outage_ms"].n == 1
    assert verdicts(result) == f"1 ok, 1 disagree, gap up to {gap:.1f} ms in those that disagree"


def test_a_ce_that_comes_back_beats_from_0_and_has_missed_nothing_by_that(make: Make) -> None:
    outcome = make(Knobs(), mode="none")
    gaps = outcome.gaps or {}
    assert {(gap.old, gap.new) for gap in gaps.values()} == {(1, 1)}
    silent = sum(round(gap.outage_ms / outcome.description.settings.beacon_ms) - 1
                 for gap in gaps.values())  # fmt: skip
    assert outcome.beats_missed == silent


def test_the_steps_of_a_failover_add_up_to_the_time_until_the_first_change(make: Make) -> None:
    outcome = make(Knobs(dtime1_ms=20, dtime2_ms=6, dtime3_ms=9))
    assert set(outcome.paths) == {"fe1", "fe2", "fe3", "fe4"}
    last = max(outcome.paths.values(), key=lambda path: path.total_ms)
    assert last.total_ms == pytest.approx(outcome.first_change_ms)
    for fe, path in outcome.paths.items():
        steps = dict(zip(STEPS, path.steps_ms, strict=True))
        assert steps["error"] + steps["fr"] + steps["look"] == pytest.approx(20, abs=0.5), fe
        assert steps["switch"] + steps["check"] == pytest.approx(15, abs=0.5), fe


def test_what_the_other_ce_saw_first_is_told_apart_from_the_fes_own_look(make: Make) -> None:
    def over_fr(folder: Path) -> None:
        lines = (folder / "fe1.journal.jsonl").read_text().splitlines()
        detect = next(e for e in map(json.loads, lines) if e["event"] == "detect")["t"]
        for node, entry in (
            ("ce2", {"t": detect - 3_000_000, "node": "ce2", "event": "tml_lost", "peer": "ce1"}),
            ("fe1", {"t": detect - 1_000_000, "node": "fe1", "event": "look", "ce": "ce1"}),
        ):
            with (folder / f"{node}.journal.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")

    path = make(Knobs(dtime1_ms=20), change=over_fr).paths["fe1"]
    assert path.steps_ms[:3] == pytest.approx((17, 2, 1), abs=0.01)


@pytest.mark.parametrize("heal_after_ms", [None, 300.0])
def test_nobody_has_to_take_over_while_every_ce_is_away(
    make: Make, heal_after_ms: float | None
) -> None:
    """The backup died with the master: no new master is no violation, unless one came back."""

    def both(folder: Path) -> None:
        path = folder / "trial.json"
        raw = json.loads(path.read_text())
        second = json.loads(json.dumps(raw["faults"][0]))
        second["spec"] |= {"target": "ce2", "heal_after_ms": heal_after_ms}
        raw["faults"].append(second | {"target": "ce2"})
        path.write_text(json.dumps(raw))

    outcome = make(Knobs(recovers=False), change=both)
    broken = [r for r in outcome.reasons if r.startswith("invariant 8")]
    assert bool(broken) is (heal_after_ms is not None), outcome.reasons


def _as(kind: str, arguments: dict[str, object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "trial.json"
        raw = json.loads(path.read_text())
        raw["faults"][0]["spec"] |= {"kind": kind, "arguments": arguments}
        path.write_text(json.dumps(raw))

    return change


@pytest.mark.parametrize("peers", [["fe1", "fe3"], "fe1, fe3"])
def test_an_fe_that_still_reaches_its_master_has_no_failover(make: Make, peers: object) -> None:
    outcome = make(Knobs(), change=_as("isolate-some", {"peers": peers}))
    assert [f.fe for f in outcome.failovers] == ["fe1", "fe3"]


def test_a_deaf_master_may_beat_on_and_a_mute_one_may_not(make: Make) -> None:
    shorter = Knobs(dtime1_ms=100, beacon_extra_ms=-60)
    deaf = make(shorter, change=_as("isolate-oneway", {"direction": "to"}))
    mute = make(shorter, change=_as("isolate-oneway", {"direction": "from"}))
    assert (deaf.verdict, mute.verdict) == ("ok", "disagree")
    longer = make(Knobs(beacon_extra_ms=60), change=_as("isolate-oneway", {"direction": "to"}))
    assert longer.verdict == "disagree"


def test_the_crash_of_an_fe_has_no_dtimes_and_must_lose_nothing(make: Make) -> None:
    outcome = make(target="fe2", heal_after_ms=50)
    assert outcome.verdict == "ok", outcome.reasons
    assert outcome.ne is None
    assert outcome.failovers == ()
    knobs = Knobs(outages=(("a", "fwd", 2, 12),))
    outcome = make(knobs, target="fe2", heal_after_ms=50)
    assert outcome.verdict == "violated"
    assert outcome.reasons == (
        "invariant 10: 12 packets lost by the restart of an FE under policy 1",
    )


def test_an_fe_that_comes_back_to_an_empty_kernel_may_lose(make: Make) -> None:
    knobs = Knobs(outages=(("a", "fwd", 2, 12),))
    outcome = make(
        knobs, target="fe2", heal_after_ms=50, must_lose=True, arguments={"state": "clean"}
    )
    assert outcome.verdict == "ok", outcome.reasons
