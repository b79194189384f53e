"""What the card environments share: one picture that is painted in place, and the contract with Gymnasium.

An environment says how an episode begins, what an action does, what is known of the state and how it is painted; this
class does the rest. `start` and `advance` are `reset` and `step` without the picture, for the vectorised form, which
lets many environments paint into one array.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gtr_envs.cards.distortion import Place
from gtr_envs.cards.outcome import Outcome
from gtr_envs.cards.painter import Painter
from gtr_envs.cards.themes import ThemeName
from gtr_envs.errors import ActionError, GtrError
from gtr_envs.options import IMAGE_SIZES, check_choice, check_whole, checked_options

EVERYWHERE: Place = (slice(None), slice(None))
_LOOKS = 1  # sets the stream of an episode's looks apart from that of its deal


class TableEnv(gym.Env[np.ndarray, np.int64]):
    """A game on a table, seen as a picture.

    Args:
        action_names: what each action is called, in order.
        theme: how the table looks, see `themes`.
        image_size: height and width of the picture in pixels, from 64 to 1024.
        render_mode: what `render` returns: None, "rgb_array" or "ansi".
        copy: whether each observation is an array of its own (True), or all of them the one that is painted on.

    Raises:
        SettingError: for any other value.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self, action_names: Sequence[str], theme: ThemeName, image_size: int, render_mode: str | None, copy: bool
    ) -> None:
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        check_choice("copy", copy, (True, False))
        self.action_names = tuple(action_names)
        self.image_size = check_whole("image_size", image_size, *IMAGE_SIZES, unit=" pixels")
        self.render_mode = render_mode
        self.copy = copy
        self.painter = Painter(theme, self.image_size)
        self.canvas = np.zeros((self.image_size, self.image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Box(0, 255, self.canvas.shape, np.uint8)
        self.action_space = gym.spaces.Discrete(len(self.action_names))
        self.changed: Place | None = EVERYWHERE  # what the last action or reset painted on, None for nothing
        self._looks: np.random.Generator | None = None
        self._playing = False
        self._dealt = False

    # What a game says of itself.

    @abstractmethod
    def _deal(self, options: Mapping[str, Any]) -> None:
        """Begin an episode, from `self.np_random` or as the options say; raise before anything is changed."""

    @abstractmethod
    def _play(self, action: int) -> Outcome:
        """Do what the action does to the state, and paint what it changes; `changed` may be narrowed to that."""

    @abstractmethod
    def _paint(self) -> None:
        """Paint the whole state on `self.canvas`."""

    @abstractmethod
    def _info(self) -> dict[str, Any]:
        """What is known of the state; a new dictionary of values that are never changed afterwards."""

    @abstractmethod
    def _describe(self) -> str:
        """The state in one line of text."""

    # The contract with Gymnasium.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: seeds this and the following episodes; None goes on with the generator.
            options: what the environment's documentation names; else the episode is drawn.

        Returns:
            The picture (image_size, image_size, 3) uint8, and the info dictionary.

        Raises:
            SettingError: for an unknown option.
            HandError: for an option that names cards which cannot be dealt.
        """
        info = self.start(seed=seed, options=options)
        return self._observation(), info

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do one action.

        Args:
            action: an index into `action_names`.

        Returns:
            Picture (image_size, image_size, 3) uint8, reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset and after the end of an episode.
            ActionError: if there is no such action.
        """
        if not self._playing:
            raise ResetNeeded("no episode is running: call reset() before step()")
        reward, terminated, truncated, info = self.advance(self._checked(action))
        return self._observation(), reward, terminated, truncated, info

    def render(self) -> np.ndarray | str | None:
        """The current picture ("rgb_array"), one line of text ("ansi"), or None without a render mode."""
        if not self._dealt:
            raise ResetNeeded("nothing is dealt: call reset() before render()")
        if self.render_mode == "rgb_array":
            return self.canvas.copy()
        return self._describe() if self.render_mode == "ansi" else None

    # The same without pictures.

    @property
    def is_playing(self) -> bool:
        """Whether an episode is running."""
        return self._playing

    def start(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`reset` that leaves the picture on `canvas`.

        Returns:
            The info dictionary.
        """
        before = self._np_random, self._np_random_seed
        try:
            super().reset(seed=seed)
            self._deal(checked_options(options))
        except GtrError:
            # What is refused leaves no trace: the running episode, and those after it, go on as they would have.
            self._np_random, self._np_random_seed = before
            raise
        if self.painter.is_distorted:
            self._new_look(seed)
        self._paint()
        self.changed = EVERYWHERE
        self._playing = self._dealt = True
        return self._info()

    def advance(self, action: int) -> tuple[float, bool, bool, dict[str, Any]]:
        """`step` that leaves the picture on `canvas`, for an action that exists and an episode that is running.

        Returns:
            Reward, terminated, truncated, info.
        """
        self.changed = EVERYWHERE
        reward, terminated, truncated, success = self._play(action)
        info = self._info()
        if terminated or truncated:
            self._playing = False
            info["is_success"] = success
        return reward, terminated, truncated, info

    def _observation(self) -> np.ndarray:
        return self.canvas.copy() if self.copy else self.canvas

    def _checked(self, action: Any) -> int:
        try:
            index = operator.index(action)
        except TypeError:
            index = -1
        if not 0 <= index < len(self.action_names):
            raise ActionError(
                f"action {action!r}: expected a whole number from 0 to {len(self.action_names) - 1}, that is one of "
                f"{' '.join(self.action_names)}"
            )
        return index

    def _new_look(self, seed: int | None) -> None:
        # A stream of its own, so that the same seed deals the same episodes in every theme.
        if seed is not None or self._looks is None:
            self._looks = np.random.default_rng([max(self.np_random_seed, 0), _LOOKS])
        self.painter.new_episode(self._looks)


def all_allowed(count: int) -> np.ndarray:
    """The mask of an environment where every action is allowed: a new int8 array (count,) of ones."""
    return np.ones(count, dtype=np.int8)
