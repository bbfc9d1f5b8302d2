"""The hunt finds nothing in the cores as they are, and everything in damaged ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.backend import LabError
from lab.simulated import hunt as hunting
from lab.simulated.schedules import draw, parse, written
from lab.verbs.hunt import run
from tests.simulated.mutants import MUTANTS, Mutant
from topologies.loader import load_topology

ROOT = Path(__file__).parents[2]


def test_the_cores_as_they_are_survive_a_hunt() -> None:
    result = hunting.hunt(range(7000, 7060))
    assert not result.failures, result.failures[0].text
    assert result.schedules == 60
    assert result.events > 6_000, "a hunt in which little happens proves little"


@pytest.mark.parametrize("seed", [10, 14, 35, 130, 227, 100885, 101430, 202142])
def test_what_was_found_once_stays_away(seed: int) -> None:
    """docs/track-record.md. These seeds are of a time when schedules had one beacon's interval and
    one of the heartbeats between CEs."""
    topology = load_topology(hunting.TOPOLOGY)
    now = draw(seed, topology)
    settings = replace(now.settings, beacon_ms=100, fr_heartbeat_ms=now.settings.cehdi_ms // 8)
    for schedule in (now, replace(now, settings=settings)):
        failure, events = hunting.run_one(schedule, topology)
        assert failure is None, failure.text
        assert events > 50


def test_a_replica_that_is_ahead_of_the_fe_for_good_starts_over() -> None:
    """docs/track-record.md: it waited for changes that a master without any to make never made."""
    strikes = parse("stream ce1 293 250; hang fe2 264 400")
    assert draw(3090188, load_topology(hunting.TOPOLOGY)).settings.mode == "hot+sync"
    assert not hunting.hunt([3090188], strikes).failures


@pytest.mark.parametrize("seed", [101534, 101815])
def test_two_masters_without_synchronisation_do_not_share_a_picture(seed: int) -> None:
    """By design (docs/track-record.md); with it, and standby associations, they do."""
    topology = load_topology(hunting.TOPOLOGY)
    schedule = draw(seed, topology)
    together = replace(schedule.settings, mode="hot+sync", policy=1)
    for settings, outdated in ((schedule.settings, True), (together, False)):
        run = hunting._Run(replace(schedule, settings=settings), topology)
        run.go()
        assert run.invariants._pictures() == ([], outdated)
        assert bool(run.ne.data.broken()) is outdated


def test_a_ce_that_cannot_hear_another_does_not_spin() -> None:
    """docs/track-record.md: a timer that was due again a nanosecond later."""
    strikes = parse("fr-cut ce2>ce1 50 400")
    result = hunting.hunt(range(10, 40), strikes)
    assert not result.failures, result.failures[0].text
    assert result.events < 30 * 3000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.apply(monkeypatch)
    strikes = None if mutant.faults is None else parse(mutant.faults)
    result = hunting.hunt(range(mutant.seeds), strikes, shrinking=False)
    assert result.failures, f"{mutant.name} survived {result.schedules} schedules"


def test_a_failure_is_shrunk_to_what_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mutant = next(m for m in MUTANTS if m.name == "CEFTI not started")
    mutant.apply(monkeypatch)
    failure = hunting.hunt(range(mutant.seeds)).failures[0]
    whole = draw(failure.schedule.seed, load_topology(hunting.TOPOLOGY))
    assert 0 < len(failure.schedule.strikes) <= len(whole.strikes)
    assert failure.replay.startswith(f"ceha hunt --seeds {failure.schedule.seed}..")
    faults = failure.replay.partition('--faults "')[2].rstrip('"')
    seed = failure.schedule.seed
    assert run(f"{seed}..{seed}", faults, 1, as_json=True) == 1
    again = json.loads(capsys.readouterr().out)["failures"][0]
    assert (again["text"], again["at_ms"]) == (failure.text, failure.at_ms)


def test_a_seed_decides_everything_whatever_the_hash_seed() -> None:
    told = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from lab.simulated.hunt import hunt; print(hunt(range(40, 60)).events)",
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        told.append(done.stdout)
    assert told[0] == told[1]


def test_two_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunting, "CHUNK", 10)
    seeds = range(7000, 7025)
    one, two = hunting.hunt(seeds), hunting.hunt_in_parallel(seeds, 2)
    assert (two.schedules, two.events, two.failures) == (one.schedules, one.events, ())
    mutant = next(m for m in MUTANTS if m.name == "CEFTI not started")
    mutant.apply(monkeypatch)  # the processes are copies of this one
    seeds = range(mutant.seeds)
    assert hunting.hunt_in_parallel(seeds, 2).failures == hunting.hunt(seeds).failures


def test_strikes_are_read_as_they_are_written() -> None:
    for seed in range(200):
        strikes = draw(seed, load_topology(hunting.TOPOLOGY)).strikes
        assert parse(written(strikes)) == strikes


@pytest.mark.parametrize("text", ["crash ce1 1", "crush ce1 1 2", "crash ce1 -1 2"])
def test_wrong_faults_are_one_line(text: str) -> None:
    with pytest.raises(LabError, match="is not KIND TARGET AT_MS FOR_MS"):
        parse(text)


@pytest.mark.parametrize("seeds", ["5", "5..4", "a..b", ".."])
def test_wrong_seeds_are_one_line(seeds: str) -> None:
    with pytest.raises(LabError, match=r"is not A\.\.B"):
        run(seeds, None, 1, False)
