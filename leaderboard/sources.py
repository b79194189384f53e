"""Where the games come from that an environment plays, for environments with an option ``data``.

Left out, that option means whatever ALFWORLD_DATA says on this machine and today, and given, it is a path. Neither may
stand in a record: two runs that look alike would have played other games. So a source is looked up once, before
anything is played, and recorded by a name that means the same everywhere, with the number and a digest of its games.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtr_envs.errors import ResultError
from leaderboard.options import option_defaults, played_split
from leaderboard.records import RunMeta

OPTION = "data"
GENERATED = "generated"
DATA_SET = "alfworld"


@dataclass(frozen=True)
class Source:
    """Where games come from.

    Attributes:
        name: what is recorded: "generated", or "alfworld" for the data set.
        games: the split's games, such as "140 games, 1f2e3d4c" (a digest of their names); None for generated ones.
        folder: where the data set lies on this machine, which is not recorded; None for generated games.
    """

    name: str
    games: str | None = None
    folder: Path | None = None


def game_source(env_id: str, env_kwargs: Mapping[str, Any]) -> Source | None:
    """Where an environment with these options takes its games from, here and now.

    Args:
        env_id: its Gymnasium id.
        env_kwargs: its options, as a user gives them.

    Returns:
        the source; None for an environment without an option ``data``.

    Raises:
        GameError: the data set has no such games.
        SettingError: there is no such split.
    """
    if OPTION not in option_defaults(env_id):
        return None
    from gtr_envs.alfworld.games import data_root, find_games

    given = env_kwargs.get(OPTION)
    root = None if given == GENERATED else data_root(given)
    if root is None:
        return Source(GENERATED)
    games = find_games(root, played_split(env_id, env_kwargs))
    names = "\n".join(f"{game.task_id}/{game.trial}" for game in games)
    digest = hashlib.sha256(names.encode()).hexdigest()[:8]
    return Source(DATA_SET, f"{len(games)} games, {digest}", root)


def game_of(gamefile: object) -> str:
    """A game by its own folders: the data set it belongs to lies elsewhere on another machine."""
    return "/".join(Path(str(gamefile)).parts[-3:])


def recorded_options(options: Mapping[str, Any], source: Source | None) -> dict[str, Any]:
    """Options as they are recorded: the source by its name. Sorted by name."""
    return dict(sorted({**options, **({OPTION: source.name} if source else {})}.items()))


def playable_options(options: Mapping[str, Any], source: Source | None) -> dict[str, Any]:
    """Recorded options as the environment takes them: the source as what it is here, a folder or "generated"."""
    if source is None:
        return dict(options)
    return {**options, OPTION: source.name if source.folder is None else str(source.folder)}


def options_again(meta: RunMeta) -> dict[str, Any]:
    """The options to play a recorded evaluation's episodes again.

    Raises:
        ResultError: they were played from the data set, and that is not here, or is another one; or they name a
            folder, which no evaluation records: a result from elsewhere must not choose what is read here.
    """
    if meta.env_kwargs.get(OPTION, GENERATED) not in (GENERATED, DATA_SET):
        raise ResultError(
            f"{meta.agent} played {meta.env_id} with {OPTION}={meta.env_kwargs[OPTION]!r:.100}; a record names "
            f"{GENERATED!r} or {DATA_SET!r}"
        )
    if meta.env_kwargs.get(OPTION) != DATA_SET:
        return dict(meta.env_kwargs)
    options = {name: value for name, value in meta.env_kwargs.items() if name != OPTION}
    there = f"{meta.agent} played {meta.env_id} from the ALFWorld data set ({meta.split}: {meta.games})"
    mend = "let ALFWORLD_DATA name the folder of that data set"
    try:
        source = game_source(meta.env_id, options)
    except OSError as error:
        raise ResultError(f"{there}, which cannot be found ({error}); {mend}") from error
    if source is None or source.games != meta.games:
        here = "none" if source is None or source.games is None else source.games
        raise ResultError(f"{there}; here is {here}; {mend}")
    return playable_options(options, source)
