"""The JUnit export says what the exit code says."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from experiments.expectations import Checked
from experiments.junit import as_junit
from experiments.plan import Cell
from experiments.results import CellResult
from lab.backend import CellSettings

COUNTS = {"ok": 10, "disagree": 0, "invalid": 0, "violated": 0}
CELL = Cell("hot", CellSettings(mode="hot"), "crash", (), 10, 300, 800, False, ())
GOOD = CellResult(CELL, COUNTS, {}, 10, 0, 0.3, {}, ())


def suite(result: CellResult, *checked: Checked, lacking: tuple[str, ...] = ()) -> ET.Element:
    root = ET.fromstring(as_junit("crash", [result], checked, lacking))
    (only,) = root
    return only


def test_each_expectation_is_a_case_and_a_failed_one_has_its_figures() -> None:
    found = suite(
        GOOD,
        Checked("hot", "data_lost.max < 3 & \x00", False, "data_lost.max = 7"),
        Checked("hot", "violated == 0", True, ""),
        Checked("hot", 'ok == cells["cold"].ok', None, "cell cold was not run"),
        Checked("cold", "ok > 1", False, "another cell's"),
    )
    assert {k: found.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    failure = found.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "data_lost.max = 7"
    assert [case.get("name") for case in found][1] == "data_lost.max < 3 & ?"


def test_violated_trials_fail_and_too_few_are_an_error() -> None:
    broken = replace(GOOD, counts=COUNTS | {"violated": 2}, reasons=("invariant 3: lost",))
    assert suite(broken, lacking=("hot",)).get("failures") == "1"
    assert suite(GOOD, lacking=("hot",)).get("errors") == "1"
    assert suite(GOOD).get("failures") == suite(GOOD).get("errors") == "0"
