"""What ``gtr-bench doctor`` looks at: whether each part of the project has what it needs here, and how to mend it.

Nothing is imported before the check that needs it, and a check that raises becomes a line of the report, so that the
report comes whatever is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

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
LOW_SPACE = 2 * 10**9
CARD_GAMES = ("gtr/Points24-v0", "gtr/EZPoints-v0", "gtr/NumberLine-v0", "gtr/Blackjack-v0")


@dataclass(frozen=True)
class Check:
    """What was looked at, and what came of it.

    Attributes:
        name: what was looked at.
        ok: whether it is as it should be.
        found: what is there.
        mend: what to do about it; empty where there is nothing to do.
        feature: the feature that does not work without it; empty where none needs it.
    """

    name: str
    ok: bool
    found: str
    mend: str = ""
    feature: str = ""

    @property
    def state(self) -> str:
        """One word: ok, missing, or a note where every feature works all the same."""
        return "ok" if self.ok else "missing" if self.feature else "note"


def installed_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_all() -> list[Check]:
    """Look at everything. Takes a few seconds, most of them to import torch and to play the games."""
    checks = [check_python()]
    checks += [check_package(name, bounds, of) for of, names in PACKAGES.items() for name, bounds in names.items()]
    checks += check_engine_packages()
    return [*checks, check_fonts(), check_cards(), check_device(), check_data(), check_engine(), *check_disk()]


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


def check_fonts() -> Check:
    """Whether Pillow draws text with scalable fonts."""
    mend = "pip install --force-reinstall pillow"

    def look() -> Check:
        from PIL import ImageFont, features

        if not features.check("freetype2"):
            return Check("fonts", False, "this Pillow was built without FreeType", mend, "envs")
        ImageFont.load_default(size=20)
        return Check("fonts", True, f"FreeType {features.version('freetype2')}", "", "envs")

    return guarded("fonts", look, "envs", mend)


def check_cards() -> Check:
    """Whether the card environments play, an episode each."""

    def look() -> Check:
        from gtr_envs.episode import play
        from gtr_envs.experts import SolverPolicy
        from gtr_envs.text_actions import make_text_env

        begun = time.perf_counter()
        for env_id in CARD_GAMES:
            for episode in play(SolverPolicy(), partial(make_text_env, env_id), [0]):
                if episode.error is not None:
                    return Check("card environments", False, f"{env_id}: {first_line(episode.error)}", mend, "envs")
        took = time.perf_counter() - begun
        return Check("card environments", True, f"an episode of each of {len(CARD_GAMES)} in {took:.1f} s", "", "envs")

    mend = "mend the lines above; then pip install --force-reinstall gtr-bench"
    return guarded("card environments", look, "envs", mend)


def check_device() -> Check:
    """What torch computes on. A CPU will do."""
    mend = "pip install 'gtr-bench[agent]'"
    try:
        absent = installed_version("torch") is None
    except Exception:
        absent = False  # importing it tells more
    if absent:
        return Check("torch device", False, "torch is not installed", mend, "agent")

    def look() -> Check:
        import torch

        gpu = torch.cuda.is_available()
        found = f"cuda, {torch.cuda.get_device_name()}" if gpu else "cpu (no GPU that torch can use)"
        torch.ones(2, device="cuda" if gpu else "cpu").sum().item()
        return Check("torch device", True, found, "", "agent")

    return guarded("torch device", look, "agent", "pip install --force-reinstall torch")


def check_data() -> Check:
    """Where the ALFWorld data set is. Without it, generated rooms are played."""
    name = "ALFWorld data"

    def look() -> Check:
        from gtr_envs.alfworld.games import DATA_FOLDER, SPLITS, data_root

        root = data_root()
        if root is None:
            return Check(name, True, "none, generated rooms are played", "for the real ones: alfworld-download")
        if any((base / split).is_dir() for base in (root / DATA_FOLDER, root) for split in SPLITS):
            return Check(name, True, str(root))
        return Check(name, False, f"ALFWORLD_DATA={root} holds no games", "run alfworld-download, or unset it")

    return guarded(name, look, "", "run alfworld-download, or play generated rooms: data=generated")


def check_engine() -> Check:
    """Whether the ALFWorld engine plays a generated game to its end."""

    def look() -> Check:
        begun = time.perf_counter()
        steps, won = play_generated_game()
        took = time.perf_counter() - begun
        if not won:
            return Check("ALFWorld engine", False, f"a generated game was not won in {steps} steps", mend, "alfworld")
        return Check("ALFWorld engine", True, f"won a generated game of {steps} steps in {took:.1f} s", "", "alfworld")

    mend = "pip install 'gtr-bench[alfworld]'"
    return guarded("ALFWorld engine", look, "alfworld", mend)


def play_generated_game() -> tuple[int, bool]:
    """Play a generated game with the solver.

    Returns:
        How many steps it took, and whether it was won.
    """
    from gtr_envs.alfworld.env import ALFWorldEnv
    from gtr_envs.alfworld.solver import next_command

    env = ALFWorldEnv(data="generated")
    try:
        _, info = env.reset(seed=0)
        steps, over = 0, False
        while not over:
            command = next_command(info["goal"], info["household"], info["admissible_commands"])
            if command is None:
                break
            _, _, terminated, truncated, info = env.step(command)
            steps, over = steps + 1, terminated or truncated
        return steps, bool(info["won"])
    finally:
        env.close()


def check_disk() -> list[Check]:
    """The space that is free in the current folder and in the cache."""

    def look_here() -> Check:
        return _space("disk, this folder", Path.cwd())

    def look_at_cache() -> Check:
        from gtr_envs.alfworld.games import cache_folder

        return _space("disk, cache", cache_folder())

    return [
        guarded("disk, this folder", look_here, "", "change to a folder that exists"),
        guarded("disk, cache", look_at_cache, "", "let the environment variable GTR_CACHE name a folder"),
    ]


def _space(name: str, folder: Path) -> Check:
    """The space that is free in a folder, or where it would be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 10**9:.1f} GB free in {folder}"
    if not os.access(there, os.W_OK):
        return Check(name, False, f"{folder} cannot be written to", "choose another folder")
    return Check(name, free >= LOW_SPACE, found, "" if free >= LOW_SPACE else "free some space: 2 GB or more")


def guarded(name: str, look: Callable[[], Check], feature: str, mend: str) -> Check:
    """What a look finds; one that raises is a failed check that says why."""
    try:
        return look()
    except Exception as error:
        return Check(name, False, one_line(error), mend, feature)


def one_line(error: Exception) -> str:
    """An error in one line."""
    return first_line(f"{type(error).__name__}: {error}")


def first_line(text: str) -> str:
    """The first line of a text, without what would not fit on a screen."""
    line = next(iter(text.strip().splitlines()), "").strip()
    return line if len(line) <= 200 else f"{line[:199]}…"


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
