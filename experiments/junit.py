"""A run as JUnit XML, for CI: a test suite for each cell, a test case for each expectation, and
one for the trials themselves (a violated invariant fails it, too few `ok` trials are its error).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from xml.etree import ElementTree as ET

from experiments.expectations import Checked
from experiments.results import CellResult

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


def as_junit(
    scenario: str,
    cells: Sequence[CellResult],
    expectations: Sequence[Checked],
    lacking: Collection[str],
) -> str:
    """`lacking`: names of the cells with fewer `ok` trials than asked for."""
    root = ET.Element("testsuites", name=scenario)
    for cell in cells:
        name = cell.cell.name
        suite = ET.SubElement(root, "testsuite", name=f"{scenario}.{name}")
        trials = ET.SubElement(suite, "testcase", classname=f"{scenario}.{name}", name="trials")
        reasons = _text("; ".join(cell.reasons))
        if cell.counts["violated"]:
            ET.SubElement(trials, "failure", message=f"{cell.counts['violated']} trials violated "
                          "an invariant").text = reasons  # fmt: skip
        elif name in lacking:
            ET.SubElement(trials, "error", message="too few trials are ok").text = reasons
        for checked in (each for each in expectations if each.cell == name):
            case = ET.SubElement(suite, "testcase", classname=f"{scenario}.{name}",
                                 name=_text(checked.expression))  # fmt: skip
            if checked.held is None:
                ET.SubElement(case, "skipped", message=_text(checked.values))
            elif not checked.held:
                ET.SubElement(case, "failure", message=_text(checked.values))
        suite.set("tests", str(len(suite)))
        for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(key, str(len(suite.findall(f"testcase/{kind}"))))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _text(text: str) -> str:
    return _NOT_XML.sub("?", text)
