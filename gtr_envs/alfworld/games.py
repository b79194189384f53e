"""Games of the ALFWorld data set: found by split and task type, and read.

The data set is a tree of folders, `json_2.1.1/<split>/<task>-<object>-<movable>-<receptacle>-<scene>/trial_<id>/`, and
each of the innermost ones holds a `game.tw-pddl`. Walking through the thousands of folders of a split takes long, so
what was found is kept in a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtr_envs.errors import GameError, SettingError
from gtr_envs.storage import write_atomic

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
SPLITS = ("train", "valid_seen", "valid_unseen")
DATA_FOLDER = "json_2.1.1"
GAME_FILE = "game.tw-pddl"
GAME_TEXTS = ("pddl_domain", "grammar", "pddl_problem")
_MEND = "run alfworld-download, or leave data out to play generated rooms"
_FORMAT = 1


@dataclass(frozen=True)
class GameFile:
    """Where a game is, and what can be told from that.

    Attributes:
        path: its game.tw-pddl.
        split: "train", "valid_seen" or "valid_unseen".
        task_type: one of `TASK_TYPES`.
        task_id: the folder's name, such as "pick_and_place_simple-Mug-None-SideTable-329".
        trial: the inner folder's name, such as "trial_T20190909_032329_497305".
    """

    path: Path
    split: str
    task_type: str
    task_id: str
    trial: str


def check_split(split: str) -> str:
    """The split, if there is one of that name.

    Raises:
        SettingError: if there is none.
    """
    if split not in SPLITS:
        raise SettingError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    return split


def check_task_type(task_type: str) -> str:
    """The task type, if there is one of that name.

    Raises:
        SettingError: if there is none.
    """
    if task_type not in TASK_TYPES:
        raise SettingError(f"unknown task type {task_type!r}: expected one of {', '.join(TASK_TYPES)}")
    return task_type


def cache_folder() -> Path:
    """Where files are kept that can be made again: the environment variable GTR_CACHE, or ~/.cache/gtr-bench."""
    given = os.environ.get("GTR_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "gtr-bench"


def data_root(data: str | Path | None = None) -> Path | None:
    """The folder of the data set.

    Importing alfworld sets ALFWORLD_DATA to the folder that it downloads to, whether or not anything was downloaded.
    So that folder counts where it holds the data set, set by hand or not, and otherwise it is as if nothing were set.

    Args:
        data: the folder, if the user names one.

    Returns:
        That folder; else the one of the environment variable ALFWORLD_DATA; else the one that alfworld-download fills,
        if it did; else None, which means to play generated rooms.

    Raises:
        SettingError: if what the user names is no folder's name.
    """
    if data is not None:
        if not isinstance(data, str | Path) or not str(data).strip():
            raise SettingError(f"data={data!r}: expected a folder, 'generated', or None; for the current folder '.'")
        return Path(data).expanduser()
    downloads = Path.home() / ".cache" / "alfworld"
    given = os.environ.get("ALFWORLD_DATA")
    root = Path(given).expanduser() if given else downloads
    if root == downloads and not (root / DATA_FOLDER).is_dir():
        return None
    return root


def find_games(root: str | Path, split: str, task_types: Sequence[str] | None = None) -> tuple[GameFile, ...]:
    """The games of a split, in the order of their folders' names.

    Those with a movable receptacle or a sliced object are left out, as alfworld's own loader does, and so are folders
    without a game file. Whether a game can be won stands in its file, which is not read here: see `read_game`.
    What was found is looked up in `cache_folder` as long as the split's folder has the same time of change; a trial
    that is added to or taken from a task's folder does not change that, so remove the cache then.

    Args:
        root: a folder that holds json_2.1.1, or that folder itself.
        split: "train", "valid_seen" or "valid_unseen".
        task_types: which ones to keep; all by default.

    Returns:
        At least one game.

    Raises:
        GameError: if there is no such folder, it cannot be read, or there is no such game in it.
        SettingError: if there is no such split or task type.
    """
    check_split(split)
    if isinstance(task_types, str):
        raise SettingError(f"task_types is a list of task types, not {task_types!r}: write [{task_types!r}]")
    kept = [check_task_type(task_type) for task_type in task_types] if task_types is not None else list(TASK_TYPES)
    folder = _split_folder(Path(root).expanduser(), split)
    try:
        found = _indexed(folder)
    except OSError as error:
        raise GameError(f"cannot look through {folder} ({error.strerror}): make it readable, or {_MEND}") from error
    games = tuple(_game_file(folder, task, trial) for task, trial in found if task.split("-")[0] in kept)
    if not games:
        wanted = f" of the types {', '.join(kept)}" if found else ""
        raise GameError(f"no games{wanted} in {folder}: {_MEND}")
    return games


def read_game(path: str | Path) -> dict[str, Any]:
    """What a game file says.

    Args:
        path: a game.tw-pddl.

    Returns:
        The texts "pddl_domain", "grammar" and "pddl_problem", and usually "solvable" and "walkthrough".

    Raises:
        GameError: if the file cannot be read, is damaged, or says that the game cannot be won.
    """
    try:
        game = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise GameError(f"cannot read the game {path} ({error.strerror}): {_MEND}") from error
    except (ValueError, RecursionError) as error:
        raise GameError(f"the game {path} is damaged, it is no JSON ({error}): delete it, then {_MEND}") from error
    missing = [key for key in GAME_TEXTS if not isinstance(game, dict) or not isinstance(game.get(key), str)]
    if missing:
        raise GameError(f"the game {path} is damaged, it lacks {', '.join(missing)}: delete it, then {_MEND}")
    if game.get("solvable") is False:
        raise GameError(f"the game {path} cannot be won, as it says itself (solvable: false): leave it out")
    result: dict[str, Any] = game
    return result


def _split_folder(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise GameError(f"there is no data folder {root}: {_MEND}")
    base = root / DATA_FOLDER if (root / DATA_FOLDER).is_dir() else root
    folder = (base / split).absolute()
    if not folder.is_dir():
        raise GameError(f"no games in {root}, which lacks {DATA_FOLDER}/{split}: {_MEND}")
    return folder


def _game_file(folder: Path, task: str, trial: str) -> GameFile:
    return GameFile(folder / task / trial / GAME_FILE, folder.name, task.split("-")[0], task, trial)


def _scan(folder: Path) -> list[tuple[str, str]]:
    """The names of task and trial of each game in a split's folder, sorted."""
    found = []
    for task in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        fields = task.split("-")
        if len(fields) != 5 or fields[0] not in TASK_TYPES or fields[2] != "None" or "Sliced" in task:
            continue
        trials = sorted(entry.name for entry in os.scandir(folder / task) if entry.is_dir())
        found += [(task, trial) for trial in trials if (folder / task / trial / GAME_FILE).is_file()]
    return found


def _indexed(folder: Path) -> list[tuple[str, str]]:
    """What `_scan` found, now or at an earlier time."""
    key = {"format": _FORMAT, "folder": str(folder), "changed": folder.stat().st_mtime_ns}
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    file = cache_folder() / "alfworld-index" / f"{digest}.json"
    known = _read_index(file, key)
    if known is not None:
        return known
    found = _scan(folder)
    # Without a place to keep it, the index is made anew each time, which is slow and does no harm. An empty one is not
    # kept, because a download that is under way would be taken for an empty folder.
    if found:
        with suppress(OSError):
            write_atomic(file, json.dumps({**key, "games": found}))
    return found


def _read_index(file: Path, key: dict[str, Any]) -> list[tuple[str, str]] | None:
    """The games of an index file, if it is whole and still holds."""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        games = [(task, trial) for task, trial in index.pop("games")]
        strings = all(isinstance(task, str) and isinstance(trial, str) for task, trial in games)
        return games if strings and games and index == key else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
