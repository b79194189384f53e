"""The three packages import in one direction only, and what is heavy is imported where it is used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("gtr_envs", "gtr_agent", "leaderboard")  # a package may import itself and those before it
FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
HEAVY = ("torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "tensorboard")
NOT_AT_START = (*HEAVY, "pandas", "scipy", "matplotlib", "jinja2", "alfworld", "textworld", "openai")


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, with relative imports made absolute.

    Args:
        source: the file's text.
        package: the dotted name of the package that the file is in.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(part.value) for part in node.args if isinstance(part, ast.Constant))


def top_levels(path: Path) -> set[str]:
    package = ".".join(path.parent.relative_to(ROOT).parts)
    return {module.split(".")[0] for module in imported_modules(path.read_text("utf-8"), package)}


def test_the_reader_of_imports_sees_every_form() -> None:
    source = """
import numpy as np, torch.nn
from . import sibling
from ..other import name
def later():
    from gtr_agent.ties import trim
    import importlib
    importlib.import_module("leaderboard.cli")
"""
    found = set(imported_modules(source, "gtr_envs.cards"))
    expected = {
        "numpy",
        "torch.nn",
        "gtr_envs.cards.sibling",
        "gtr_envs.other",
        "gtr_agent.ties",
        "importlib",
        "leaderboard.cli",
    }
    assert expected <= found


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_files(layer: str) -> None:
    assert any(path.is_relative_to(ROOT / layer) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    assert not top_levels(path) & above


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(ROOT / "gtr_envs")], ids=lambda path: path.name
)
def test_the_environments_need_no_deep_learning(path: Path) -> None:
    assert not top_levels(path) & set(HEAVY)


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that are loaded in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import gtr_envs",
        "import gtr_envs, gymnasium; gymnasium.make('gtr/Points24-v0').reset(seed=0)",
        "import gtr_agent",
        "import leaderboard",
    ],
)
def test_importing_is_light(statement: str) -> None:
    assert not loaded_after(statement) & set(NOT_AT_START)
