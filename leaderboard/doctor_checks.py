"""What ``gtr-bench doctor`` tries out: whether the parts of the project work here, and how to mend those that do not.

Nothing is imported before the check that needs it, and a check that raises becomes a line of the report, so that the
report comes whatever is missing.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

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


def installed_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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

        from gtr_agent.precision import describe_precision, device_name

        gpu = torch.cuda.is_available()
        device = "cuda" if gpu else "cpu"
        torch.ones(2, device=device).sum().item()
        place = device_name(device) if gpu else f"{device_name(device)} (no GPU that torch can use)"
        found = f"{device}, {place}; model.precision=auto is {describe_precision(device)}"
        if gpu:
            found += f"; on the CPU ({device_name('cpu')}) {describe_precision('cpu')}"
        return Check("torch device", True, found, "", "agent")

    return guarded("torch device", look, "agent", "pip install --force-reinstall torch")


def check_packaged() -> Check:
    """Whether the tiny agents that come with the package are whole."""
    name, mend = (
        "packaged agents",
        "pip install --force-reinstall gtr-bench (in a clone: git checkout gtr_agent/tiny_agents)",
    )

    def look() -> Check:
        from gtr_agent.packaged import packaged_folder, packaged_names

        for agent in packaged_names():
            packaged_folder(agent)
        names = packaged_names()
        return Check(name, bool(names), ", ".join(names) or "none", "" if names else mend, "agent")

    return guarded(name, look, "agent", mend)


def check_data() -> Check:
    """Where the ALFWorld data set is, and whether its games can be read. Without it, generated rooms are played."""
    name, mend = "ALFWorld data", "run alfworld-download, or unset ALFWORLD_DATA to play generated rooms"

    def look() -> Check:
        from gtr_envs.alfworld.games import data_root

        root = data_root()
        if root is None:
            return Check(name, True, "none, generated rooms are played", "for the real ones: alfworld-download")
        try:
            return Check(name, True, f"{root}, {count_games(root)}", "", "alfworld")
        except OSError as error:  # a GameError among them: with such a folder, the environment does not start
            return Check(name, False, str(error), mend, "alfworld")

    return guarded(name, look, "", mend)


def count_games(root: Path) -> str:
    """How many games the splits of a data set hold, in words.

    The first game of each split is read. A split whose folder is not there is left out, since one may have fetched a
    part; one that is there must have games.

    Raises:
        GameError: a split holds no games or a damaged one, or there is no split at all.
    """
    from gtr_envs.alfworld.games import DATA_FOLDER, SPLITS, find_games, read_game

    base = root / DATA_FOLDER if (root / DATA_FOLDER).is_dir() else root
    counts = []
    for split in [split for split in SPLITS if (base / split).is_dir()] or SPLITS[:1]:
        games = find_games(root, split)
        read_game(games[0].path)
        counts.append(f"{len(games)} of {split}")
    return f"games: {', '.join(counts)}"


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
    try:
        with tempfile.TemporaryDirectory(dir=there):  # permissions do not tell: /proc lets nobody write
            pass
    except OSError:
        return Check(name, False, f"{folder} cannot be written to", "choose another folder")
    free = shutil.disk_usage(there).free
    found = f"{free / 10**9:.1f} GB free in {folder}"
    return Check(name, free >= LOW_SPACE, found, "" if free >= LOW_SPACE else "free some space: 2 GB or more")
