"""Points24: read four cards from a picture and write, token by token, a formula that makes exactly 24 from them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gtr_envs.cards.deal import deal
from gtr_envs.cards.formula import TARGET, winning_continuation
from gtr_envs.cards.formula_env import FormulaEnv
from gtr_envs.cards.formula_rules import IllegalRule, Rules
from gtr_envs.cards.hands import (
    FACE_CARDS,
    HAND_FILTERS,
    HAND_SIZE,
    HAND_SIZES,
    SPLITS,
    TARGETS,
    FaceCards,
    Game,
    HandFilter,
    Split,
    hand_split,
    is_solvable,
)
from gtr_envs.cards.themes import ThemeName
from gtr_envs.options import check_choice, check_whole

OPERATORS = ("+", "-", "*", "/", "(", ")", "=")
ACTIONS = (*(str(number) for number in range(1, 11)), *OPERATORS)
MAX_ACTIONS = 20


class Points24Env(FormulaEnv):
    """Read four cards from a picture and write, token by token, a formula that makes exactly 24 from them.

    ## Actions
    `Discrete(17)`, an index into `action_names`: the numbers 1 to 10, then + - * / ( ) and =. An ace counts 1, a king,
    queen or jack 10. With `face_cards="rank"` these count 11, 12 and 13, and it is `Discrete(20)`: 1 to 13, then the
    same seven. A number is illegal if no unused card has that value or if it would directly follow a number.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the picture of the cards with the formula so far under them. Each
    observation is an array of its own that is never changed afterwards, except with `copy=False`.

    ## Rewards
    +10 for "=" when the formula is readable, makes exactly the target (in rational arithmetic) and uses each card once;
    -1 for any other "="; -1 for an illegal number, which leaves the formula as it was; 0 for everything else. A formula
    has the usual precedence, no unary signs and no implied products.

    ## Episode end
    Terminated by "=", and by an illegal number if `illegal="terminate"`. Truncated by the 21st action, legal or not.

    ## Options
    - `illegal`: what an illegal number does to the episode, "continue" (default) or "terminate".
    - `hands`: "solvable" deals hands that can make the target, "all" deals any. The default, None, is "solvable" with
      strict rules and "all" with those of gym_cards.
    - `split`: "train" or "test" deals from that side of a fixed split of the value multisets, "all" (default) from
      both.
    - `rules`: "strict" (default) as described here, or "gym_cards", step for step what that package does, see
      `formula_rules.gym_cards_ruling`.
    - `num_cards`: 2 to 5 cards, 4 by default. `target`: what to make, 1 to 1000, 24 by default.
    - `face_cards`: "ten" (default) or "rank".
    - `theme`: "classic" (default), "four_color", "minimal", "night" or "distorted".
    - `image_size`: height and width of the picture in pixels, 300 by default.
    - `render_mode`: None, "rgb_array" or "ansi".
    - `copy`: False hands out the one array that is painted on, which later steps change.

    `reset(options={"cards": ["AH", "10S", "KD", "4C"]})` deals that hand, whatever `hands` and `split` say.

    ## Info
    - `cards`, `numbers`: the cards as strings and their values, in the order of the picture.
    - `formula`: the tokens so far.
    - `action_mask`: int8 array (17,) or (20,), 1 = not illegal.
    - `solvable`: whether the hand can make the target in rational arithmetic; `hand_split`: "train" or "test", the side
      that its values are on.
    - `distance`: the fewest further tokens to a win, its "=" included, whether or not that many actions are left;
      None if the formula cannot be won any more. Strict rules only: for all that Python reads as a formula (powers,
      joined digits, ...) there is no exact solver here.
    - `illegal`: whether the last action was.
    - `is_success`: whether the formula won; only at the end of an episode.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        illegal: see Options, as the others.
        hands: which hands to deal.
        split: from which side of the split.
        rules: whose rules.
        num_cards: how many cards.
        target: what to make.
        face_cards: what face cards count.
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
        hands: HandFilter | None = None,
        split: Split = "all",
        rules: Rules = "strict",
        num_cards: int = HAND_SIZE,
        target: int = TARGET,
        face_cards: FaceCards = "ten",
        theme: ThemeName = "classic",
        image_size: int = 300,
        render_mode: str | None = None,
        copy: bool = True,
    ) -> None:
        check_choice("hands", hands, (*HAND_FILTERS, None))
        check_choice("split", split, SPLITS)
        check_choice("face_cards", face_cards, FACE_CARDS)
        game = Game(
            check_whole("num_cards", num_cards, *HAND_SIZES), check_whole("target", target, *TARGETS), face_cards
        )
        super().__init__(game, OPERATORS, MAX_ACTIONS, illegal, rules, theme, image_size, render_mode, copy)
        self.hands: HandFilter = hands or ("solvable" if rules == "strict" else "all")
        self.split = split

    def _draw_hand(self) -> tuple[str, ...]:
        return deal(self.np_random, self.hands, self.split, self.game, repeats=self.rules == "gym_cards")

    def _continuation(self) -> tuple[str, ...] | None:
        return _cached_continuation(self._formula, self._multiset, self.game.target)

    def _describe_hand(self) -> dict[str, Any]:
        solvable, split = _facts(self._multiset, self.game.target)
        return {"cards": self._cards, "numbers": self._numbers, "solvable": solvable, "hand_split": split}


@lru_cache(maxsize=1 << 15)
def _facts(multiset: tuple[int, ...], target: int) -> tuple[bool, str]:
    return is_solvable(multiset, target), hand_split(multiset)


# Formulas are met again and again, in training above all; a look into this cache is quicker than reading one.
_cached_continuation = lru_cache(maxsize=1 << 15)(winning_continuation)
