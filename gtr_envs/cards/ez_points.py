"""EZPoints: the small sister of Points24. Two cards that add up or multiply to 12, and a formula that shows it."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from typing import Any

from gtr_envs.cards.formula import evaluate
from gtr_envs.cards.formula_env import FormulaEnv
from gtr_envs.cards.formula_rules import IllegalRule, Rules
from gtr_envs.cards.hands import RANKS, SUITS, Game
from gtr_envs.cards.themes import ThemeName

GAME = Game(num_cards=2, target=12)
OPERATORS = ("+", "*", "=")
MAX_ACTIONS = 5


class EZPointsEnv(FormulaEnv):
    """Read two cards from a picture and write, token by token, a formula that makes exactly 12 from them.

    ## Actions
    `Discrete(13)`, an index into `action_names`: the numbers 1 to 10, then + * and =. Face cards count 10. A number is
    illegal if no unused card has that value or if it would directly follow a number.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the picture of the cards with the formula so far under them. Each
    observation is an array of its own that is never changed afterwards, except with `copy=False`.

    ## Rewards
    As in Points24: +10 for "=" on a formula that makes exactly 12 from both cards, -1 for any other "=" and for an
    illegal number, else 0.

    ## Episode end
    Terminated by "=", and by an illegal number if `illegal="terminate"`. Truncated by the sixth action.

    ## Options
    - `illegal`: what an illegal number does to the episode, "continue" (default) or "terminate".
    - `rules`: "strict" (default), or "gym_cards", step for step what that package does.
    - `theme`, `image_size`, `render_mode`, `copy`: as in Points24.

    `reset(options={"cards": ["6H", "2S"]})` deals that hand.

    ## The deal
    As in gym_cards: the first card's rank is uniform on 2..13; the second card's value is 12 / first with probability
    a half where that is whole, else 12 - first; the order is swapped with probability a half. Every hand can be won.
    Suits are uniform; with strict rules the two cards differ.

    ## Info
    - `cards`, `numbers`, `formula`, `illegal`, `is_success`: as in Points24.
    - `action_mask`: int8 array (13,), 1 = not illegal.
    - `solvable`: whether the hand can make 12; always, unless the cards were given.
    - `distance`: the fewest further tokens to a win, its "=" included; None if there is none. Strict rules only.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        illegal: see Options, as the others.
        rules: whose rules.
        theme: how the table looks.
        image_size: pixels, from 64 to 1024.
        render_mode: what `render` returns.
        copy: whether each observation is an array of its own.

    Raises:
        SettingError: for any other value.
    """

    def __init__(
        self,
        illegal: IllegalRule = "continue",
        rules: Rules = "strict",
        theme: ThemeName = "classic",
        image_size: int = 300,
        render_mode: str | None = None,
        copy: bool = True,
    ) -> None:
        super().__init__(GAME, OPERATORS, MAX_ACTIONS, illegal, rules, theme, image_size, render_mode, copy)

    def _draw_hand(self) -> tuple[str, ...]:
        rank = int(self.np_random.integers(2, 14))
        value = min(rank, 10)
        by_product, swapped = (self.np_random.random(2) < 0.5).tolist()
        other = 12 // value if by_product and 12 % value == 0 else 12 - value
        while True:
            first, second = self.np_random.integers(0, len(SUITS), size=2).tolist()
            cards = (RANKS[rank - 1] + SUITS[first], RANKS[other - 1] + SUITS[second])
            if cards[0] != cards[1] or self.rules == "gym_cards":
                return cards[::-1] if swapped else cards

    def _continuation(self) -> tuple[str, ...] | None:
        # Without parentheses a formula that wins has exactly three tokens, so there are few to look at.
        done = self._formula
        for formula in winning_formulas(self._numbers):
            if (*formula, "=")[: len(done)] == done:
                return (*formula, "=")[len(done) :]
        return None

    def _describe_hand(self) -> dict[str, Any]:
        return {"cards": self._cards, "numbers": self._numbers, "solvable": bool(winning_formulas(self._numbers))}


@lru_cache(maxsize=256)
def winning_formulas(numbers: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
    """Every formula, without its "=", that wins with these two values."""
    formulas = [
        (str(left), operator, str(right)) for left, right in permutations(numbers) for operator in OPERATORS[:2]
    ]
    return tuple(formula for formula in dict.fromkeys(formulas) if evaluate(formula) == GAME.target)
