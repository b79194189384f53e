"""Which game an episode plays: one of the data set, or one that is generated, by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gtr_envs.alfworld.damaged import GENERATED_GAMES
from gtr_envs.alfworld.games import SPLITS, check_split, check_task_type, data_root, find_games, read_game
from gtr_envs.alfworld.generate import generate_game
from gtr_envs.errors import SettingError
from gtr_envs.options import check_whole

Order = Literal["random", "seed"]

GENERATED = "generated"
MOST_GAMES = 1_000_000


class GameChoice:
    """The games that an environment plays.

    Args:
        data: the folder of the data set, "generated", or None for what is there.
        split: which games.
        task_types: which of them; None for all.
        num_games: how many different ones; None for all of the data set, and generated ones without end.
        order: "random" draws a game, "seed" plays that whose number is the seed, and then one after the other.

    Raises:
        SettingError: for any other value, and for "seed" among generated games without end.
        GameError: if the data folder has no such games.
    """

    def __init__(
        self,
        data: str | Path | None,
        split: str,
        task_types: Sequence[str] | None,
        num_games: int | None,
        order: Order = "random",
    ) -> None:
        self.split = check_split(split)
        self.task_types = None if task_types is None else tuple(map(check_task_type, _listed(task_types)))
        self.num_games = None if num_games is None else check_whole("num_games", num_games, 1, MOST_GAMES)
        self.order = order
        self._next = 0
        root = None if isinstance(data, str) and data == GENERATED else data_root(data)
        self._games = () if root is None else _spread(find_games(root, split, self.task_types), self.num_games)
        if order == "seed" and not self._games and self.num_games is None:
            raise SettingError(
                "order='seed' with generated rooms, which have no end: say how many there are, such as num_games=100"
            )

    def seed(self, seed: int) -> None:
        """Let the game with the seed's number be the next one, if they are played in order."""
        self._next = seed

    def next_number(self, random: np.random.Generator) -> int:
        """The number of the next game, drawn unless they are played in order."""
        if self.order == "random":
            return int(random.integers(2**62))
        number, self._next = self._next, self._next + 1
        return number

    def game(self, number: int) -> tuple[Mapping[str, Any], str]:
        """A game's content and where it is from: its path, or how it was generated.

        Args:
            number: counted modulo the number of games.

        Raises:
            GameError: if its file is missing or damaged.
        """
        if self._games:
            path = self._games[number % len(self._games)].path
            return read_game(path), str(path)
        if self.num_games is not None:
            number %= self.num_games
        random = np.random.default_rng([number, SPLITS.index(self.split)])
        kinds = self.task_types
        kind = kinds[int(random.integers(len(kinds)))] if kinds else None
        made = generate_game(random, self.split, kind)
        return made.game, f"{GENERATED_GAMES}{self.split}/{made.task_id}/{number}"


def game_at(path: Any) -> tuple[Mapping[str, Any], str]:
    """The content of the game that a reset option names, and its path.

    Raises:
        SettingError: if it is no path.
        GameError: if the file is missing or damaged.
    """
    if not isinstance(path, str | Path) or not str(path).strip():
        raise SettingError(f"reset option game={path!r:.80}: expected the path of a game.tw-pddl, text or Path")
    return read_game(path), str(path)


def _listed(task_types: Any) -> Sequence[str]:
    if isinstance(task_types, str) or not isinstance(task_types, Sequence) or not task_types:
        raise SettingError(f"task_types={task_types!r}: expected a list such as ['pick_and_place_simple'], or None")
    return task_types


def _spread(games: Sequence[Any], count: int | None) -> Sequence[Any]:
    """So many of the games, evenly spaced: side by side they are alike. All, if there are no more than that."""
    if count is None or count >= len(games):
        return games
    return tuple(games[index * len(games) // count] for index in range(count))
