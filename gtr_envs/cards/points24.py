"""Points24: read four cards from a picture and write, token by token, a formula that makes exactly 24 from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gtr_envs.cards.draw import draw_frame, draw_table, draw_token
from gtr_envs.cards.formula import TARGET, evaluate, winning_continuation
from gtr_envs.cards.hands import (
    HAND_FILTERS,
    SPLITS,
    HandFilter,
    Split,
    check_hand,
    deal,
    hand_split,
    hand_values,
    is_solvable,
)
from gtr_envs.errors import ActionError, SettingError

IllegalRule = Literal["continue", "terminate"]

ACTIONS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "+", "-", "*", "/", "(", ")", "=")
NUMBER_ACTIONS = ACTIONS[:10]
MAX_ACTIONS = 20
REWARD_WIN, REWARD_WRONG, REWARD_ILLEGAL = 10.0, -1.0, -1.0
IMAGE_SIZES = (64, 1024)
ILLEGAL_RULES: tuple[IllegalRule, ...] = get_args(IllegalRule)


def unused_numbers(numbers: Sequence[int], formula: Sequence[str]) -> list[int]:
    """The values of the hand that the formula has not used yet, ascending."""
    left = sorted(numbers)
    for token in formula:
        if token in NUMBER_ACTIONS:
            left.remove(int(token))
    return left


def action_mask(numbers: Sequence[int], formula: Sequence[str]) -> np.ndarray:
    """Which actions are not illegal.

    A number is illegal if no unused card has its value or if it would directly follow a number. Everything else is allowed, even
    where it makes the formula unreadable.

    Args:
        numbers: the values of the hand.
        formula: the tokens so far.

    Returns:
        A read-only int8 array (17,): 1 = not illegal.
    """
    mask = np.ones(len(ACTIONS), dtype=np.int8)
    mask[: len(NUMBER_ACTIONS)] = 0
    if not (formula and formula[-1] in NUMBER_ACTIONS):
        for number in unused_numbers(numbers, formula):
            mask[number - 1] = 1
    mask.flags.writeable = False
    return mask


def is_win(numbers: Sequence[int], formula: Sequence[str]) -> bool:
    """Whether the formula, without "=", makes exactly 24 and uses every card once.

    Args:
        numbers: the values of the hand.
        formula: tokens, each number among which is a card of the hand.
    """
    return not unused_numbers(numbers, formula) and evaluate(formula) == TARGET


class _Distance(int):
    """An int that Gymnasium's vector environments put into an object array, where None may stand for "cannot be won"."""


class Points24Env(gym.Env[np.ndarray, np.int64]):
    """Make 24 from four cards."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self,
        illegal: IllegalRule = "continue",
        hands: HandFilter = "solvable",
        split: Split = "all",
        image_size: int = 300,
        render_mode: str | None = None,
    ) -> None:
        _check_choice("illegal", illegal, ILLEGAL_RULES)
        _check_choice("hands", hands, HAND_FILTERS)
        _check_choice("split", split, SPLITS)
        _check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        low, high = IMAGE_SIZES
        if isinstance(image_size, bool) or not isinstance(image_size, int | np.integer) or not low <= image_size <= high:
            raise SettingError(f"image_size={image_size!r}: expected a whole number of pixels from {low} to {high}")
        self.illegal = illegal
        self.hands = hands
        self.split = split
        self.image_size = int(image_size)
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(ACTIONS))
        self._cards: tuple[str, ...] = ()
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Deal a hand.

        Args:
            seed: seeds the deal of this and the following episodes; None goes on with the generator.
            options: {"cards": [...]} deals exactly these four cards, whatever `hands` and `split` say.

        Returns:
            The picture (image_size, image_size, 3) uint8, and the info dictionary.

        Raises:
            SettingError: for any other key in options.
            HandError: if the cards are not four different cards.
        """
        super().reset(seed=seed)
        unknown = sorted(map(str, set(options or {}) - {"cards"}))
        if unknown:
            raise SettingError(f"unknown reset option {', '.join(unknown)}: the only one is 'cards', a list of four cards")
        given = (options or {}).get("cards")
        self._cards = deal(self.np_random, self.hands, self.split) if given is None else check_hand(given)
        self._numbers = hand_values(self._cards)
        self._fixed_info = {
            "cards": self._cards,
            "numbers": self._numbers,
            "solvable": is_solvable(self._numbers),
            "hand_split": hand_split(self._numbers),
        }
        self._formula: tuple[str, ...] = ()
        self._plan = winning_continuation((), self._numbers)
        self._actions_taken = 0
        self._playing = True
        self._canvas = draw_table(self._cards, self.image_size)
        return self._canvas.copy(), self._info(illegal=False)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Add one token to the formula.

        Args:
            action: an index into `ACTIONS`.

        Returns:
            Picture (image_size, image_size, 3) uint8, reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset and after the end of an episode.
            ActionError: if the action is not a whole number from 0 to 16.
        """
        if not self._playing:
            raise ResetNeeded("no episode is running: call reset() before step()")
        if not self.action_space.contains(action):
            raise ActionError(f"action {action!r}: expected a whole number from 0 to {len(ACTIONS) - 1}, an index into ACTIONS")
        token = ACTIONS[action]
        illegal = not action_mask(self._numbers, self._formula)[action]
        won = token == "=" and is_win(self._numbers, self._formula)
        self._actions_taken += 1
        if not illegal:
            self._append(token)
        reward = REWARD_ILLEGAL if illegal else 0.0
        if token == "=":
            reward = REWARD_WIN if won else REWARD_WRONG
        terminated = token == "=" or (illegal and self.illegal == "terminate")
        truncated = not terminated and self._actions_taken > MAX_ACTIONS
        self._playing = not (terminated or truncated)
        info = self._info(illegal)
        if not self._playing:
            info["is_success"] = won
        return self._canvas.copy(), reward, terminated, truncated, info

    def _append(self, token: str) -> None:
        draw_token(self._canvas, len(self._formula), token)
        self._formula = (*self._formula, token)
        # What is left of a shortest way is a shortest way, and what cannot be won stays so: no search needed.
        if self._plan and self._plan[0] == token:
            self._plan = self._plan[1:]
        elif self._plan is not None:
            self._plan = winning_continuation(self._formula, self._numbers)

    def _info(self, illegal: bool) -> dict[str, Any]:
        return {
            **self._fixed_info,
            "formula": self._formula,
            "action_mask": action_mask(self._numbers, self._formula),
            "distance": None if self._plan is None else _Distance(len(self._plan)),
            "illegal": illegal,
        }

    def render(self) -> np.ndarray | str | None:  # type: ignore[override]
        """The current picture ("rgb_array"), one line of text ("ansi"), or None without a render mode."""
        if not self._cards:
            raise ResetNeeded("nothing is dealt: call reset() before render()")
        if self.render_mode == "rgb_array":
            return draw_frame(self._cards, self._formula, self.image_size)
        if self.render_mode == "ansi":
            return f"{' '.join(self._cards)} | {' '.join(self._formula)}"
        return None


def _check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise SettingError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")
