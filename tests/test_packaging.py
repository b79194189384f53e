"""What pyproject.toml, constraints.txt and the Makefile promise fits together."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)
REQUIREMENTS = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    if not line.startswith(PROJECT["name"])
]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_makefile_installs_the_torch_that_is_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.findall(r"torch==([\w.]+)", makefile) == [PINS["torch"]]


def test_the_base_install_is_light() -> None:
    names = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert names == {"gymnasium", "numpy", "packaging", "pillow", "typer", "rich"}


def test_all_means_every_extra() -> None:
    (everything,) = (Requirement(line) for line in EXTRAS["all"])
    (of_agent,) = (Requirement(line).extras for line in EXTRAS["agent"] if line.startswith(PROJECT["name"]))
    assert everything.extras | of_agent | {"all"} == set(EXTRAS)


@pytest.mark.parametrize("package", ["gtr_envs", "gtr_agent", "leaderboard"])
def test_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
