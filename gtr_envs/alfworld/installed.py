"""Files and tables of the alfworld package, read without importing the package.

Importing alfworld makes a folder in the user's home, or fails where it cannot, and sets ALFWORLD_DATA.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from gtr_envs.errors import GameError, MissingExtraError


def alfworld_file(*parts: str) -> Path:
    """A file that is part of the alfworld package.

    Args:
        parts: the folders and the name, such as "data", "alfred.pddl".

    Raises:
        MissingExtraError: if alfworld is not installed.
        GameError: if that file is not where alfworld 0.4.2 has it.
    """
    package = find_spec("alfworld")
    if package is None or package.origin is None:
        raise MissingExtraError("ALFWorld needs alfworld: pip install 'gtr-bench[alfworld]'")
    file = Path(package.origin).parent.joinpath(*parts)
    if not file.is_file():
        raise GameError(f"alfworld is incomplete, {file} is missing: pip install --force-reinstall alfworld==0.4.2")
    return file


@lru_cache(maxsize=4)
def alfworld_tables(name: str) -> ModuleType:
    """A module of `alfworld.gen` that holds nothing but tables, such as "constants" and "goal_library".

    Raises:
        MissingExtraError: if alfworld is not installed.
        GameError: if that file is not where alfworld 0.4.2 has it.
    """
    spec = spec_from_file_location(f"_tables_of_alfworld_{name}", alfworld_file("gen", f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
