"""docs/lfbs.md says what the FE answers."""

from __future__ import annotations

from tests.fe_datapath.lfb_page import PAGE, page, texts_without_a_component


def test_the_page_is_up_to_date() -> None:
    """Otherwise: python -m tests.fe_datapath.lfb_page"""
    assert PAGE.read_text() == page()


def test_the_page_speaks_of_nothing_that_there_is_not() -> None:
    assert texts_without_a_component() == set()
