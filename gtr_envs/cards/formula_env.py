"""What Points24 and EZPoints have in common: cards on a table, and a formula that is written token by token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from gtr_envs.cards.distortion import Place
from gtr_envs.cards.formula_rules import (
    ILLEGAL_RULES,
    RULES,
    IllegalRule,
    Rules,
    action_mask,
    gym_cards_ruling,
    strict_ruling,
)
from gtr_envs.cards.hands import EXAMPLE_HAND, Game, check_hand
from gtr_envs.cards.outcome import Outcome
from gtr_envs.cards.table import TableEnv
from gtr_envs.cards.themes import ThemeName
from gtr_envs.options import check_choice, check_options


class _Distance(int):
    """An int that Gymnasium's vector environments put into an array of objects, where None can stand beside it.

    For a plain int they make an array of integers, and fail at the first environment that cannot be won.
    """


class FormulaEnv(TableEnv):
    """A formula game. See the classes that are derived from it.

    Args:
        game: how many cards there are, how they count and what they have to make.
        operators: the actions that are no numbers, in order.
        max_actions: the action after so many truncates the episode; with `rules="gym_cards"` it is the tokens of the
            formula that are counted.
        illegal: whether an illegal number lets the episode "continue" or "terminate".
        rules: "strict" or "gym_cards".
        theme: as the following, see `TableEnv`.
        image_size: pixels.
        render_mode: what `render` returns.
        copy: whether each observation is an array of its own.
    """

    def __init__(
        self,
        game: Game,
        operators: Sequence[str],
        max_actions: int,
        illegal: IllegalRule,
        rules: Rules,
        theme: ThemeName,
        image_size: int,
        render_mode: str | None,
        copy: bool,
    ) -> None:
        check_choice("illegal", illegal, ILLEGAL_RULES)
        check_choice("rules", rules, RULES)
        numbers = tuple(str(number) for number in range(1, game.highest + 1))
        super().__init__((*numbers, *operators), theme, image_size, render_mode, copy)
        self.game = game
        self.max_actions = max_actions
        self.illegal = illegal
        self.rules = rules
        self._n_operators = len(operators)
        self._cards: tuple[str, ...] = ()
        self._numbers: tuple[int, ...] = ()
        self._multiset: tuple[int, ...] = ()  # the numbers in ascending order
        self._unused: tuple[int, ...] = ()
        self._formula: tuple[str, ...] = ()
        self._after_number = False
        self._plan: tuple[str, ...] | None = None  # a shortest way to a win from here; strict rules only
        self._actions_taken = 0
        self._illegal = False
        self._hand_info: dict[str, Any] = {}

    @abstractmethod
    def _draw_hand(self) -> tuple[str, ...]:
        """Draw the cards of an episode from `self.np_random`."""

    @abstractmethod
    def _continuation(self) -> tuple[str, ...] | None:
        """A shortest way to win from the formula so far, its "=" included; None if there is none."""

    @abstractmethod
    def _describe_hand(self) -> dict[str, Any]:
        """The part of the info that is the same for the whole episode."""

    def _deal(self, options: Mapping[str, Any]) -> None:
        check_options(options, ["cards"], f"{{'cards': {EXAMPLE_HAND[: self.game.num_cards]}}}")
        if "cards" in options:
            cards = check_hand(options["cards"], self.game.num_cards, repeats=self.rules == "gym_cards")
        else:
            cards = self._draw_hand()
        self._cards = cards
        self._numbers = self.game.numbers(cards)
        self._formula = ()
        self._after_number = False
        self._multiset = self._unused = tuple(sorted(self._numbers))
        self._plan = self._continuation() if self.rules == "strict" else None
        self._actions_taken = 0
        self._illegal = False
        self._hand_info = self._describe_hand()

    def _play(self, action: int) -> Outcome:
        token = self.action_names[action]
        self._actions_taken += 1
        target, formula, unused = self.game.target, self._formula, self._unused
        if self.rules == "strict":
            is_last = self._actions_taken > self.max_actions
            ruling = strict_ruling(token, formula, unused, target, is_last, self.illegal)
        else:
            ruling = gym_cards_ruling(token, formula, unused, target, self.max_actions, self.illegal)
        self.changed = None if ruling.written is None else self._write(ruling.written)
        self._illegal = ruling.illegal
        return ruling.outcome

    def _write(self, token: str) -> Place:
        place = self.painter.token(self.canvas, len(self._formula), token)
        self._formula = (*self._formula, token)
        self._after_number = token.isdigit()
        if self._after_number:
            used = self._unused.index(int(token))
            self._unused = self._unused[:used] + self._unused[used + 1 :]
        # What is left of a shortest way is a shortest way, and what cannot be won stays so: no search needed.
        if self._plan and self._plan[0] == token:
            self._plan = self._plan[1:]
        elif self._plan is not None:
            self._plan = self._continuation()
        return place

    def _paint(self) -> None:
        self.painter.formula_table(self.canvas, self._cards)
        for position, token in enumerate(self._formula):
            self.painter.token(self.canvas, position, token)

    def _info(self) -> dict[str, Any]:
        strict = self.rules == "strict"
        info = self._hand_info.copy()
        info["formula"] = self._formula
        info["action_mask"] = action_mask(
            self._unused, strict and self._after_number, self.game.highest, self._n_operators
        )
        info["illegal"] = self._illegal
        if strict:
            info["distance"] = None if self._plan is None else _Distance(len(self._plan))
        return info

    def _describe(self) -> str:
        return f"{' '.join(self._cards)} | {' '.join(self._formula)}"
