"""Who may import whom (DESIGN section 4): the imports in the source are held to the drawing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("forces", "fe_datapath", "ce", "topologies", "lab", "experiments")
MAY_IMPORT = {
    "forces": {"forces"},
    "fe_datapath": {"fe_datapath", "forces"},
    "ce": {"ce", "forces"},
    "topologies": {"topologies"},
    "lab": {"lab", "forces", "fe_datapath", "ce", "topologies"},
    "experiments": {"experiments", "lab", "topologies"},
}
CONFINED = {
    "pyroute2": ("fe_datapath/linux/", "lab/emulated/"),
    "mininet": ("lab/emulated/", "topologies/mininet_topos.py"),
    "ryu": ("lab/openflow/",),
    "matplotlib": ("experiments/report/",),
}
IMPURE = {
    "asyncio", "multiprocessing", "os", "random", "select", "socket", "subprocess", "threading",
    "time",
}  # fmt: skip
PURE = (
    "forces/",
    "ce/controller.py",
    "ce/ne_state.py",
    "ce/redirect.py",
    "ce/routes.py",
    "ce/routing.py",
    "ce/shortest_paths.py",
    "fe_datapath/element.py",
    "fe_datapath/query.py",
    "fe_datapath/store.py",
    "fe_datapath/lfbs/",
    "fe_datapath/punting.py",
    "experiments/measures/",
)
IMPURE_ALLOWED = ("forces/io/", "forces/model/library.py")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of every module that is imported, at any depth of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield node.module or ""


FILES = dict(sources())


@pytest.mark.parametrize("name", FILES)
def test_imports_follow_the_layers(name: str) -> None:
    package = name.split("/")[0]
    for module in imported(FILES[name]):
        top = module.split(".")[0]
        if top in OURS:
            assert top in MAY_IMPORT[package], f"{name} imports {module}"
        for library, places in CONFINED.items():
            if top == library:
                assert name.startswith(places), f"{name} imports {module}"


@pytest.mark.parametrize("name", [n for n in FILES if n.startswith(PURE)])
def test_cores_import_no_clock_socket_or_randomness(name: str) -> None:
    if name.startswith(IMPURE_ALLOWED):
        return
    impure = {module.split(".")[0] for module in imported(FILES[name])} & IMPURE
    assert not impure, f"{name} imports {sorted(impure)}"


def test_the_library_stands_on_its_own() -> None:
    for name, tree in FILES.items():
        if name.startswith("forces/") and not name.startswith("forces/io/"):
            tops = {module.split(".")[0] for module in imported(tree)}
            assert not tops & {"pyroute2", "aiohttp", "pydantic", "typer"}, name
