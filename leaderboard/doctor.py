"""``gtr-bench doctor``: whether what is installed is what each feature needs, whether it works, and what to run next.

What is tried out is in `doctor_checks`; here are the features, the versions that they need, and the report.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaderboard.doctor_checks import (
    Check,
    check_cards,
    check_data,
    check_device,
    check_disk,
    check_engine,
    check_fonts,
    check_packaged,
    first_line,
    guarded,
    installed_version,
    one_line,
)

if TYPE_CHECKING:
    from rich.console import Console

NEEDS = {
    "envs": ("envs",),
    "eval": ("envs", "eval"),
    "agent": ("envs", "eval", "agent"),
    "alfworld": ("envs", "alfworld"),
}
"""The features that can be asked for, and those whose checks each of them needs."""

PACKAGES = {
    "envs": {"gymnasium": ">=1.2", "numpy": ">=1.26", "pillow": ">=10.3", "typer": ">=0.20", "rich": ">=13.8"},
    "eval": {"jinja2": ">=3.1", "pydantic": ">=2.7", "scipy": ">=1.12"},
    "agent": {
        "accelerate": ">=1.10",
        "peft": ">=0.19",
        "safetensors": ">=0.6",
        "tensorboard": ">=2.17",
        "tokenizers": ">=0.22",
        "tomli-w": ">=1.0",
        "torch": ">=2.8",
        "transformers": ">=5,<6",
    },
    "alfworld": {"pyyaml": ">=6"},
}
"""The packages of each feature with the versions that the installation asks for; the ALFWorld engine adds its own."""

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)


def check_all() -> list[Check]:
    """Look at everything. Takes a few seconds, most of them to import torch and to play the games."""
    checks = [check_python()]
    checks += [check_package(name, bounds, of) for of, names in PACKAGES.items() for name, bounds in names.items()]
    checks += check_engine_packages()
    checks += [check_fonts(), check_cards(), check_device(), check_packaged(), check_data(), check_engine()]
    return [*checks, *check_disk()]


def check_features(features: Sequence[str]) -> None:
    """Make sure that there are features of these names.

    Raises:
        SettingError: names one that is unknown, and those that there are.
    """
    for feature in features:
        if feature not in NEEDS:
            from gtr_envs.errors import SettingError

            raise SettingError(f"unknown feature {feature!r}: expected one of {', '.join(NEEDS)}")


def failures(checks: Sequence[Check], features: Sequence[str]) -> list[Check]:
    """The failed checks without which one of these features does not work."""
    needed = {part for feature in features for part in NEEDS[feature]}
    return [check for check in checks if not check.ok and check.feature in needed]


def check_python() -> Check:
    """Whether this is a Python that the project is tested with."""
    ok = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    mend = "" if ok else "install Python 3.11, 3.12 or 3.13, and gtr-bench with it"
    return Check("Python", ok, ".".join(map(str, sys.version_info[:3])), mend, "envs")


def check_package(package: str, bounds: str, feature: str) -> Check:
    """Whether a package is installed, in a version within its bounds."""
    extra = "gtr-bench" if feature == "envs" else f"'gtr-bench[{feature}]'"

    def look() -> Check:
        found = installed_version(package)
        if found is None:
            return Check(package, False, "not installed", f"pip install {extra}", feature)
        if not within(found, bounds):
            return Check(package, False, f"{found}, not {bounds}", f"pip install '{package}{bounds}'", feature)
        return Check(package, True, found, "", feature)

    return guarded(package, look, feature, f"pip install --force-reinstall '{package}{bounds}'")


def within(version: str, bounds: str) -> bool:
    """Whether a version is within bounds such as ">=5,<6"; what stands behind its numbers does not count."""
    numbers = _numbers(version)
    for bound in bounds.split(","):
        limit = _numbers(bound.lstrip("<>="))
        if (numbers < limit) if bound.startswith(">=") else (numbers >= limit):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def check_engine_packages() -> list[Check]:
    """Whether the packages of the ALFWorld engine are there, in the versions that it was written for."""
    try:
        from gtr_envs.alfworld.engine import KNOWN
    except Exception as error:
        mend = "mend the lines above first"
        return [Check("engine's packages", False, one_line(error), mend, "alfworld")]
    return [_check_engine_package(package, versions) for package, versions in KNOWN.items()]


def _check_engine_package(package: str, versions: Sequence[str]) -> Check:
    def look() -> Check:
        found = installed_version(package)
        if found is None:
            return Check(package, False, "not installed", "pip install 'gtr-bench[alfworld]'", "alfworld")
        if found in versions:
            return Check(package, True, found, "", "alfworld")
        wanted = f"{package}=={versions[-1]}"
        return Check(package, False, f"{found}, not {' or '.join(versions)}", f"pip install '{wanted}'", "alfworld")

    return guarded(package, look, "alfworld", "pip install 'gtr-bench[alfworld]'")


def conclusion(checks: Sequence[Check], features: Sequence[str]) -> str:
    """One sentence: what works, and what to run next."""
    works = [feature for feature in NEEDS if not failures(checks, [feature])]
    said = f"works here: {', '.join(works) or 'nothing yet'}"
    broken = [feature for feature in NEEDS if feature in features and feature not in works]
    if broken:
        return f"{said}; for {', '.join(broken)}, mend what is missing above, then run gtr-bench doctor again"
    return f"{said}; go on with: {_next_command(works)}"


def _next_command(works: Sequence[str]) -> str:
    if "agent" in works:
        return "gtr-bench quickstart"
    return "gtr-bench eval --agent expert" if "eval" in works else "pip install 'gtr-bench[eval]'"


def print_checks(terminal: Console, checks: Sequence[Check], features: Sequence[str]) -> None:
    """Print a line for each check and the conclusion."""
    from rich.text import Text

    styles = {"ok": "green", "missing": "bold red", "note": "yellow"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        line = Text(f"{check.state:<7}", style=styles[check.state])
        line.append(f"  {check.name:<{width}}  ", style="default not bold")
        line.append(first_line(check.found), style="default not bold")
        if check.mend:
            line.append(f"  -> {check.mend}", style="default not bold")
        terminal.print(line, soft_wrap=True)
    terminal.print(Text(conclusion(checks, features)), soft_wrap=True)


def run_doctor(features: Sequence[str], terminal: Console) -> int:
    """Check everything and print it.

    Args:
        features: those that must work; none for the environments alone.
        terminal: where to print.

    Returns:
        the exit code: 1 if one of the features lacks something, else 0.

    Raises:
        SettingError: for an unknown feature, before anything is checked.
    """
    check_features(features)
    chosen = list(features) or ["envs"]
    checks = check_all()
    print_checks(terminal, checks, chosen)
    return 1 if failures(checks, chosen) else 0
