"""The library's public names: listed, sorted, there, and documented."""

from __future__ import annotations

import inspect
from types import FunctionType, ModuleType

import pytest

import forces
import forces.model

PUBLIC = pytest.mark.parametrize("module", [forces, forces.model], ids=lambda m: m.__name__)


@PUBLIC
def test_public_names_are_sorted_and_exist(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (not name.isupper(), name.islower(), name)
    )
    for name in module.__all__:
        assert hasattr(module, name), name


@PUBLIC
def test_public_classes_and_functions_say_what_they_are(module: ModuleType) -> None:
    for name in module.__all__:
        item = getattr(module, name)
        if isinstance(item, type | FunctionType):
            assert item.__doc__, name
            assert not item.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"


@PUBLIC
def test_public_methods_say_what_they_do(module: ModuleType) -> None:
    """Those that a class has itself, but for the dunder ones, or the class that it derives from
    says it; a property's name may say it all."""
    for name in module.__all__:
        item = getattr(module, name)
        if isinstance(item, type):
            for method, body in vars(item).items():
                if callable(body) and not method.startswith("_"):
                    assert inspect.getdoc(getattr(item, method)), f"{name}.{method}"


def test_values_compare_and_hash_by_their_fields_and_have_no_dict() -> None:
    """Frozen to type checkers (`forces.values`): mypy refuses an assignment."""
    one, other = forces.FullData(b"1"), forces.FullData(b"1")
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, forces.FullData(b"2")}) == 2
    assert not hasattr(one, "__dict__")
    assert forces.PathData((1,)) != (1,)


def test_the_module_says_how_to_begin() -> None:
    assert "decode" in (forces.__doc__ or "")
