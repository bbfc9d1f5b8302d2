"""The library's public names: listed, sorted, there, and documented."""

from __future__ import annotations

import forces


def test_public_names_are_sorted_and_exist() -> None:
    assert list(forces.__all__) == sorted(
        forces.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    )
    for name in forces.__all__:
        assert hasattr(forces, name), name


def test_public_classes_and_functions_say_what_they_are() -> None:
    for name in forces.__all__:
        item = getattr(forces, name)
        if callable(item):
            assert item.__doc__, name
            assert not item.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_the_module_says_how_to_begin() -> None:
    assert "decode" in (forces.__doc__ or "")
