"""The rules of the formula games, as pure functions: what a token does to a formula, and what it is worth.

Two sets of rules. `strict` is the game as people play it: numbers are checked for their place too, and the formula is
judged exactly. `gym_cards` is what the released gym_cards package does, step for step, for comparison with published
work: its formula is a text that Python would evaluate, in floating point. Departures from gym_cards: everything random
is seeded, and an expression too large to evaluate is wrong instead of hanging the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from gtr_envs.cards.formula import evaluate
from gtr_envs.cards.outcome import Outcome
from gtr_envs.cards.python_expression import is_python_win

IllegalRule = Literal["continue", "terminate"]
Rules = Literal["strict", "gym_cards"]

ILLEGAL_RULES: tuple[IllegalRule, ...] = get_args(IllegalRule)
RULES: tuple[Rules, ...] = get_args(Rules)
REWARD_WIN, REWARD_WRONG, REWARD_ILLEGAL, REWARD_TOO_LONG = 10.0, -1.0, -1.0, -1.0


class Ruling(NamedTuple):
    """What a token does: what is written (if anything), what comes of it, and whether it was illegal."""

    written: str | None
    outcome: Outcome
    illegal: bool = False


GOES_ON, CUT_OFF = Outcome(0.0), Outcome(0.0, truncated=True)
WON, WRONG = Outcome(REWARD_WIN, terminated=True, success=True), Outcome(REWARD_WRONG, terminated=True)
TOO_LONG = Outcome(REWARD_TOO_LONG, truncated=True)


def _illegal(illegal_rule: IllegalRule, is_last: bool) -> Outcome:
    ends = illegal_rule == "terminate"
    return Outcome(REWARD_ILLEGAL, terminated=ends, truncated=is_last and not ends)


@lru_cache(maxsize=64)
def _written(token: str) -> Ruling:
    return Ruling(token, GOES_ON)


def action_mask(unused: tuple[int, ...], after_number: bool, highest: int, n_operators: int) -> np.ndarray:
    """Which actions are not illegal: all operators, and the numbers that an unused card has.

    Args:
        unused: the values that the formula has not used yet.
        after_number: whether a number was written last and no other may follow it.
        highest: the highest number among the actions.
        n_operators: how many actions follow the numbers.

    Returns:
        A new int8 array (highest + n_operators,): 1 = not illegal.
    """
    return _action_mask(() if after_number else unused, highest, n_operators).copy()


@lru_cache(maxsize=1 << 14)
def _action_mask(allowed: tuple[int, ...], highest: int, n_operators: int) -> np.ndarray:
    mask = np.ones(highest + n_operators, dtype=np.int8)
    mask[:highest] = 0
    for number in allowed:
        mask[number - 1] = 1
    return mask


def is_win(unused: Sequence[int], formula: Sequence[str], target: int) -> bool:
    """Whether the formula, without "=", makes exactly the target and no card is left."""
    return not unused and evaluate(formula) == target


def strict_ruling(
    token: str, formula: Sequence[str], unused: Sequence[int], target: int, is_last: bool, illegal_rule: IllegalRule
) -> Ruling:
    """What a token does under the strict rules.

    A number is illegal, and not written, if no unused card has its value or if it would directly follow a number.

    Args:
        token: a number, an operator, a parenthesis or "=".
        formula: the tokens so far.
        unused: the values that it has not used yet.
        target: what it has to make.
        is_last: whether this is the last action that is allowed.
        illegal_rule: whether an illegal number ends the episode.
    """
    if token == "=":
        return Ruling(token, WON if is_win(unused, formula, target) else WRONG)
    if token.isdigit() and ((formula and formula[-1].isdigit()) or int(token) not in unused):
        return Ruling(None, _illegal(illegal_rule, is_last), illegal=True)
    return Ruling(token, CUT_OFF) if is_last else _written(token)


def gym_cards_ruling(
    token: str, formula: Sequence[str], unused: Sequence[int], target: int, max_tokens: int, illegal_rule: IllegalRule
) -> Ruling:
    """What a token does in gym_cards.

    A formula that is too long ends the episode, whatever the token. A number that no unused card has costs one and
    writes a space, so that the formula grows. "=" is judged, and not written.

    Args:
        token: a number, an operator, a parenthesis or "=".
        formula: the tokens so far, spaces among them.
        unused: the values that it has not used yet.
        target: what it has to make, as Python would evaluate it.
        max_tokens: a formula with more tokens than this is too long.
        illegal_rule: "continue" as gym_cards has it; "terminate" ends the episode, as some trainers do around it.
    """
    if len(formula) > max_tokens:
        return Ruling(None, TOO_LONG)
    if token == "=":
        return Ruling(None, WON if not unused and is_python_win(formula, target) else WRONG)
    if token.isdigit() and int(token) not in unused:
        return Ruling(" ", _illegal(illegal_rule, is_last=False), illegal=True)
    return _written(token)
