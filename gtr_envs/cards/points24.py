"""Points24: read four cards from a picture and write, token by token, a formula that makes exactly 24 from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    A number is illegal if no unused card has its value or if it would directly follow a number. Everything else is
    allowed, even where it makes the formula unreadable.

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
    """An int that Gymnasium's vector environments put into an array of objects, where None can stand beside it.

    For a plain int they make an array of integers, and fail at the first environment that cannot be won.
    """


class Points24Env(gym.Env[np.ndarray, np.int64]):
    """Read four cards from a picture and write, token by token, a formula that makes exactly 24 from them.

    ## Actions
    `Discrete(17)`, an index into `ACTIONS`: the numbers 1 to 10, then + - * / ( ) and =. An ace counts 1, a king,
    queen or jack 10. A number is illegal if no unused card has that value or if it would directly follow a number.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the picture of the cards with the formula so far under them. Each
    observation is an array of its own that is never changed afterwards.

    ## Rewards
    +10 for "=" when the formula is readable, makes exactly 24 (in rational arithmetic) and uses each card once; -1
    for any other "="; -1 for an illegal number, which leaves the formula as it was; 0 for everything else. A formula
    has the usual precedence, no unary signs and no implied products.

    ## Episode end
    Terminated by "=", and by an illegal number if `illegal="terminate"`. Truncated by the 21st action, legal or not.

    ## Options
    - `illegal`: what an illegal number does to the episode, "continue" (default) or "terminate".
    - `hands`: "solvable" (default) deals hands that can make 24, "all" deals any.
    - `split`: "train" or "test" deals from that side of a fixed split of the value multisets, "all" (default) from
      both.
    - `image_size`: height and width of the picture in pixels, 300 by default.
    - `render_mode`: None, "rgb_array" or "ansi".

    `reset(options={"cards": ["AH", "10S", "KD", "4C"]})` deals that hand, whatever `hands` and `split` say.

    ## Info
    - `cards`, `numbers`: the cards as strings and their values, in the order of the picture.
    - `formula`: the tokens so far.
    - `action_mask`: int8 array (17,), 1 = not illegal.
    - `solvable`: whether the hand can make 24; `hand_split`: "train" or "test", the side that its values are on.
    - `distance`: the fewest further tokens to a win, its "=" included, whether or not that many actions are left;
      None if the formula cannot be won any more.
    - `illegal`: whether the last action was.
    - `is_success`: whether the formula won; only at the end of an episode.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        illegal: see Options, as the others.
        hands: which hands to deal.
        split: from which side of the split.
        image_size: pixels, from 64 to 1024.
        render_mode: what `render` returns.

    Raises:
        SettingError: for any other value.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium has it

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
        is_whole = isinstance(image_size, int | np.integer) and not isinstance(image_size, bool)
        if not is_whole or not low <= image_size <= high:
            raise SettingError(f"image_size={image_size!r}: expected a whole number of pixels from {low} to {high}")
        self.illegal = illegal
        self.hands = hands
        self.split = split
        self.image_size = int(image_size)
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(ACTIONS))
        self._cards: tuple[str, ...] = ()
        self._numbers: tuple[int, ...] = ()
        self._formula: tuple[str, ...] = ()
        self._plan: tuple[str, ...] | None = None  # a shortest way to a win from here
        self._actions_taken = 0
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
            SettingError: for anything else in options.
            HandError: if the cards are not four different cards.
        """
        super().reset(seed=seed)
        given = _cards_option(options)
        self._cards = deal(self.np_random, self.hands, self.split) if given is None else check_hand(given)
        self._numbers = hand_values(self._cards)
        self._fixed_info = {
            "cards": self._cards,
            "numbers": self._numbers,
            "solvable": is_solvable(self._numbers),
            "hand_split": hand_split(self._numbers),
        }
        self._formula = ()
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
            raise ActionError(f"action {action!r}: expected a whole number from 0 to {len(ACTIONS) - 1}, see ACTIONS")
        token = ACTIONS[int(action)]
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

    def render(self) -> np.ndarray | str | None:
        """The current picture ("rgb_array"), one line of text ("ansi"), or None without a render mode."""
        if not self._cards:
            raise ResetNeeded("nothing is dealt: call reset() before render()")
        if self.render_mode == "rgb_array":
            return draw_frame(self._cards, self._formula, self.image_size)
        if self.render_mode == "ansi":
            return f"{' '.join(self._cards)} | {' '.join(self._formula)}"
        return None


def _cards_option(options: Mapping[str, Any] | None) -> Any:
    """The cards that were asked for, or None."""
    if options is None:
        return None
    unknown = [repr(key) for key in options if key != "cards"]
    if unknown or not isinstance(options, Mapping):
        given = ", ".join(unknown) or repr(options)
        raise SettingError(
            f"unknown reset option {given}: the only one is 'cards', as in {{'cards': ['AH', '10S', 'KD', '4C']}}"
        )
    return options.get("cards")


def _check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise SettingError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")
