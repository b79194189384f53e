"""``gtr-bench doctor``: whether what is installed is what each feature needs, whether it works, and what to run next.

Which packages a feature needs, and in which versions, is what the metadata of the installed distribution says of the
extra of that name. Nothing is imported before the check that needs it, and a check that raises becomes a line of the
report, so that the report comes whatever is missing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from rich.console import Console

    from gtr_envs.episode import Episode

DISTRIBUTION = "gtr-bench"
NEEDS = {
    "envs": ("envs",),
    "eval": ("envs", "eval"),
    "agent": ("envs", "eval", "agent"),
    "alfworld": ("envs", "alfworld"),
}
"""The features that can be asked for, and those whose checks each of them needs. All but "envs" are extras as well."""

LOW_SPACE = 2 * 10**9
CARD_GAMES = ("gtr/Points24-v0", "gtr/EZPoints-v0", "gtr/NumberLine-v0", "gtr/Blackjack-v0")


@dataclass(frozen=True)
class Check:
    """What was looked at, and what came of it."""

    name: str
    ok: bool
    found: str
    mend: str = ""  # what to do about it; empty where there is nothing to do
    feature: str = ""  # what does not work without it; empty where every feature works all the same

    @property
    def state(self) -> str:
        return "ok" if self.ok else "missing" if self.feature else "note"


class Problem(Exception):
    """What a look found wrong, in words, and how to mend it where the check's own way does not."""

    def __init__(self, found: str, mend: str = "") -> None:
        super().__init__(found)
        self.mend = mend


def guarded(name: str, feature: str, mend: str, look: Callable[[], str]) -> Check:
    """What a look finds; one that raises is a failed check that says why."""
    try:
        return Check(name, True, look(), "", feature)
    except Problem as problem:
        return Check(name, False, str(problem), problem.mend or mend, feature)
    except Exception as error:
        return Check(name, False, in_words(error), mend, feature)


def check(name: str, feature: str, mend: str) -> Callable[[Callable[[], str]], Callable[[], Check]]:
    """Make a check of a look, as a decorator."""
    return lambda look: partial(guarded, name, feature, mend, look)


def in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def check_python() -> Check:
    """Whether this is a Python that the project is tested with."""
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    mend = "" if ok else "install Python 3.11, 3.12 or 3.13, and gtr-bench with it"
    return Check("Python", ok, ".".join(map(str, sys.version_info[:3])), mend, "envs")


def check_packages() -> list[Check]:
    """Whether the packages that the installation asks for are there, in versions within its bounds."""
    try:
        from packaging.requirements import Requirement

        asked = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        found = "not installed, and without its metadata the packages of the features are not checked"
        return [Check(DISTRIBUTION, False, found, f"pip install {DISTRIBUTION} (in a clone: pip install -e .)")]
    except Exception as error:
        return [Check("packages", False, in_words(error), "pip install --upgrade packaging", "envs")]
    checks: dict[Requirement, Check] = {}
    for feature, wanted in product(NEEDS, asked):
        needed = wanted.name != DISTRIBUTION and (wanted.marker is None or wanted.marker.evaluate({"extra": feature}))
        if needed and wanted not in checks:  # what the base needs, no extra needs again
            bounds = ",".join(sorted(map(str, wanted.specifier), reverse=True))  # the lower one first
            checks[wanted] = check_package(wanted.name, feature, partial(within, wanted.specifier), bounds, bounds)
    return list(checks.values())


def within(bounds: SpecifierSet, version: str) -> bool:
    """Whether a version is within bounds; what stands behind its numbers (a0, .dev1, +cpu) does not count."""
    from packaging.version import Version

    return bounds.contains(Version(version).base_version)


def check_engine_packages() -> list[Check]:
    """Whether the packages of the ALFWorld engine are there, in the versions that it was written for."""
    try:
        from gtr_envs.alfworld.engine import KNOWN
    except Exception as error:
        return [Check("engine's packages", False, in_words(error), "mend the lines above first", "alfworld")]
    return [
        check_package(package, "alfworld", versions.__contains__, " or ".join(versions), f"=={versions[-1]}")
        for package, versions in KNOWN.items()
    ]


def check_package(package: str, feature: str, fits: Callable[[str], bool], wanted: str, choice: str) -> Check:
    """Whether a package is there, in a version that fits; `wanted` says which do, `choice` tells pip."""

    def look() -> str:
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            extra = DISTRIBUTION if feature == "envs" else f"'{DISTRIBUTION}[{feature}]'"
            raise Problem("not installed", f"pip install {extra}") from None
        if not fits(found):
            raise Problem(f"{found}, not {wanted}", f"pip install '{package}{choice}'")
        return found

    return guarded(package, feature, f"pip install --force-reinstall '{package}{choice}'", look)


@check("fonts", "envs", "pip install --force-reinstall pillow")
def check_fonts() -> str:
    """Whether Pillow draws text with scalable fonts."""
    from PIL import ImageFont, features

    if not features.check("freetype2"):
        raise Problem("this Pillow was built without FreeType")
    ImageFont.load_default(size=20)
    return f"FreeType {features.version('freetype2')}"


def play_one(env_id: str, **options: Any) -> Episode:
    """An episode of the solver's, which must not crash."""
    from gtr_envs.episode import play
    from gtr_envs.experts import SolverPolicy
    from gtr_envs.text_actions import make_text_env

    (episode,) = play(SolverPolicy(), partial(make_text_env, env_id, **options), [0])
    if episode.error is not None:
        raise Problem(f"{env_id}: {episode.error}")
    return episode


@check("card environments", "envs", "mend the lines above; then pip install --force-reinstall gtr-bench")
def check_cards() -> str:
    """Whether the card environments play, an episode each."""
    begun = time.perf_counter()
    for env_id in CARD_GAMES:
        play_one(env_id)
    return f"an episode of each of {len(CARD_GAMES)} in {time.perf_counter() - begun:.1f} s"


@check("torch device", "agent", "pip install --force-reinstall torch")
def check_device() -> str:
    """What torch computes on. A CPU will do."""
    if find_spec("torch") is None:
        raise Problem("torch is not installed", "pip install 'gtr-bench[agent]'")
    import torch

    from gtr_agent.precision import describe_precision, device_name

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.ones(2, device=device).sum().item()
    place = device_name(device) + ("" if device == "cuda" else " (no GPU that torch can use)")
    found = f"{device}, {place}; model.precision=auto is {describe_precision(device)}"
    if device == "cuda":
        found += f"; on the CPU ({device_name('cpu')}) {describe_precision('cpu')}"
    return found


REPACKAGE = "pip install --force-reinstall gtr-bench (in a clone: git checkout gtr_agent/tiny_agents)"


@check("packaged agents", "agent", REPACKAGE)
def check_packaged() -> str:
    """Whether the tiny agents that come with the package are whole."""
    from gtr_agent.packaged import packaged_folder, packaged_names

    for agent in packaged_names():
        packaged_folder(agent)
    if not packaged_names():
        raise Problem("none")
    return ", ".join(packaged_names())


def check_data() -> Check:
    """Where the ALFWorld data set is, and whether the first game of each split can be read.

    Without a data set, generated rooms are played. A split whose folder is not there is left out, since one may have
    fetched a part; one that is there must have games, or the environment does not start.
    """
    name, feature = "ALFWorld data", ""
    try:
        from gtr_envs.alfworld.games import DATA_FOLDER, SPLITS, data_root, find_games, read_game

        root = data_root()
        if root is None:
            return Check(name, True, "none, generated rooms are played", "for the real ones: alfworld-download")
        feature, counts = "alfworld", []
        base = root / DATA_FOLDER if (root / DATA_FOLDER).is_dir() else root
        for split in [split for split in SPLITS if (base / split).is_dir()] or SPLITS[:1]:
            games = find_games(root, split)
            read_game(games[0].path)
            counts.append(f"{len(games)} of {split}")
        return Check(name, True, f"{root}, games: {', '.join(counts)}", "", feature)
    except Exception as error:
        found = str(error) if isinstance(error, OSError) else in_words(error)  # a GameError is an OSError
        mend = "run alfworld-download, or unset ALFWORLD_DATA to play generated rooms"
        return Check(name, False, found, mend, feature)


@check("ALFWorld engine", "alfworld", "pip install 'gtr-bench[alfworld]'")
def check_engine() -> str:
    """Whether the ALFWorld engine plays a generated game to its end."""
    begun = time.perf_counter()
    episode = play_one("gtr/ALFWorld-v0", data="generated")
    if not episode.success:
        raise Problem(f"a generated game was not won in {episode.steps} steps")
    return f"won a generated game of {episode.steps} steps in {time.perf_counter() - begun:.1f} s"


def check_disk() -> list[Check]:
    """The space that is free in the current folder and in the cache."""

    def look_at_cache() -> str:
        from gtr_envs.alfworld.games import cache_folder

        return free_space(cache_folder())

    return [
        guarded("disk, this folder", "", "change to a folder that exists", lambda: free_space(Path.cwd())),
        guarded("disk, cache", "", "let the environment variable GTR_CACHE name a folder", look_at_cache),
    ]


def free_space(folder: Path) -> str:
    """The space that is free in a folder, or where it would be made, in words."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):  # permissions do not tell: /proc lets nobody write
            pass
    except OSError:
        raise Problem(f"{folder} cannot be written to", "choose another folder") from None
    free = shutil.disk_usage(there).free
    found = f"{free / 10**9:.1f} GB free in {folder}"
    if free < LOW_SPACE:
        raise Problem(found, "free some space: 2 GB or more")
    return found


def check_all() -> list[Check]:
    """Look at everything. Takes a few seconds, most of them to import torch and to play the games."""
    engine = check_engine_packages()
    exact = {check.name for check in engine}
    checks = [check_python(), *(check for check in check_packages() if check.name not in exact), *engine]
    checks += [check_fonts(), check_cards(), check_device(), check_packaged(), check_data(), check_engine()]
    return [*checks, *check_disk()]


def failures(checks: Sequence[Check], features: Sequence[str]) -> list[Check]:
    """The failed checks without which one of these features does not work."""
    needed = {part for feature in features for part in NEEDS[feature]}
    return [check for check in checks if not check.ok and check.feature in needed]


def conclusion(checks: Sequence[Check], features: Sequence[str]) -> str:
    """One sentence: what works, and what to run next."""
    works = [feature for feature in NEEDS if not failures(checks, [feature])]
    said = f"works here: {', '.join(works) or 'nothing yet'}"
    if broken := [feature for feature in NEEDS if feature in features and feature not in works]:
        return f"{said}; for {', '.join(broken)}, mend what is missing above, then run gtr-bench doctor again"
    commands = {"agent": "gtr-bench quickstart", "eval": "gtr-bench eval --agent expert"}
    command = next((commands[feature] for feature in commands if feature in works), "pip install 'gtr-bench[eval]'")
    return f"{said}; go on with: {command}"


def print_checks(terminal: Console, checks: Sequence[Check], features: Sequence[str]) -> None:
    """Print a line for each check and the conclusion."""
    from rich.text import Text

    styles = {"ok": "green", "missing": "bold red", "note": "yellow"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        found = next(iter(check.found.strip().splitlines()), "").strip()
        found = found if len(found) <= 200 else f"{found[:199]}…"
        rest = f"  {check.name:<{width}}  {found}" + (f"  -> {check.mend}" if check.mend else "")
        line = Text(f"{check.state:<7}", style=styles[check.state]).append(rest, style="default not bold")
        terminal.print(line, soft_wrap=True)
    terminal.print(Text(conclusion(checks, features)), soft_wrap=True)


def run_doctor(features: Sequence[str], terminal: Console) -> int:
    """Check everything and print it; the exit code is 1 if one of the features lacks something, else 0.

    Args:
        features: those that must work; none for the environments alone.
        terminal: where to print.

    Raises:
        SettingError: for an unknown feature, before anything is checked.
    """
    for feature in features:
        if feature not in NEEDS:
            from gtr_envs.errors import SettingError

            raise SettingError(f"unknown feature {feature!r}: expected one of {', '.join(NEEDS)}")
    chosen = list(features) or ["envs"]
    checks = check_all()
    print_checks(terminal, checks, chosen)
    return 1 if failures(checks, chosen) else 0
