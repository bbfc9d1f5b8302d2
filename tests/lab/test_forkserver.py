"""The fork server: processes in nodes, known by pidfd, reaped, their end told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.sandboxed import in_sandbox

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def facts() -> Any:
    return in_sandbox("tests.lab.inside:forks")


def test_exit_codes_are_those_of_the_functions(facts: Any) -> None:
    assert facts["exits"] == [5] * 8
    assert facts["spawned_s"] < 20  # some 0.05 s when the machine is quiet


def test_each_process_is_in_its_nodes_network_and_mount_namespace(facts: Any) -> None:
    assert facts["reports"][0].split()[:2] == ["ce1", "ce1-ctl,lo"]
    assert [line.split()[0] for line in facts["reports"]] == [
        "ce1", "ce2", "fe1", "fe2", "fe3", "fe4", "h1", "h2",
    ]  # fmt: skip
    assert "fe4-ctl,fe4-eth1,fe4-eth2,fe4-eth3,lo" in facts["reports"][5]


def test_fifo_is_given_where_asked_for_or_the_log_says_why_not(facts: Any) -> None:
    sched_fifo = "1"
    schedulers = {line.split()[-1] for line in facts["reports"] if line.count(" ") == 2}
    assert schedulers == {sched_fifo} or any("no SCHED_FIFO" in line for line in facts["reports"])


def test_a_running_process_has_no_exit_code_and_wait_times_out(facts: Any) -> None:
    assert facts["running"] == [None, True]
    assert "still runs after 0.05 s" in facts["timeout"]


def test_a_killed_process_is_told_reaped_and_never_signalled_again(facts: Any) -> None:
    assert facts["killed"] == [-9, False, -9]
    assert facts["reaped"]
    assert facts["signal_to_the_dead"] == "ProcessLookupError"


def test_stop_ends_a_frozen_process(facts: Any) -> None:
    assert facts["frozen_stops"] == -15


def test_a_function_that_fails_leaves_its_traceback_in_the_log(facts: Any) -> None:
    assert facts["broken"] == [1, "ModuleNotFoundError: No module named 'no'"]


def test_a_log_that_cannot_be_opened_is_the_callers_error(facts: Any) -> None:
    assert facts["no_log"] == (
        "tests.lab.forked:sleep on fe1: No such file or directory (/none/log)"
    )


def test_a_configuration_of_400_kilobytes_gets_through(facts: Any) -> None:
    assert facts["big_configuration"] == 0


def test_an_interrupt_never_swallows_the_word_of_how_a_process_ended(facts: Any) -> None:
    told, interrupts = facts["interrupted"]
    assert told == 200
    assert interrupts > 10, "else nothing was tried"


def test_stop_takes_the_processes_with_it(facts: Any) -> None:
    assert facts["stopped"] == [-9, False]
