"""Formulas: their exact value, the fewest tokens from here to a win, and a shortest winning continuation.

A formula is a sequence of tokens: whole numbers, + - * / and parentheses (see `formula_state`).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from gtr_envs.cards.formula_search import finish
from gtr_envs.cards.formula_state import is_number, read

TARGET = 24


def evaluate(tokens: Sequence[str]) -> Fraction | None:
    """The exact value of a formula.

    Args:
        tokens: whole numbers in decimal digits, "+", "-", "*", "/", "(" and ")"; no unary signs, no implied products.

    Returns:
        The value, or None if the tokens are not a complete formula or divide by zero.
    """
    state = read(tokens)
    if state is None or state.outer or state.level.pending is not None:
        return None
    return state.level.value


def distance(tokens: Sequence[str], numbers: Sequence[int], target: int = TARGET) -> int | None:
    """The fewest further tokens that win, the final "=" included.

    Args:
        tokens: the formula so far.
        numbers: the values of the whole hand, those already in the formula included.
        target: the number to make.

    Returns:
        0 for a formula that ends in a winning "=", else the number of tokens to add, or None if none lead to a win.
    """
    plan = winning_continuation(tokens, numbers, target)
    return None if plan is None else len(plan)


def winning_continuation(tokens: Sequence[str], numbers: Sequence[int], target: int = TARGET) -> tuple[str, ...] | None:
    """A shortest way to finish the formula so that it makes the target from all the numbers, each used once.

    Args:
        tokens: the formula so far.
        numbers: the values of the whole hand, those already in the formula included.
        target: the number to make.

    Returns:
        The tokens to add, the last of them "="; empty if the formula already ends in a winning "="; None if it cannot
        be won.
    """
    finished = bool(tokens) and tokens[-1] == "="
    body = tokens[:-1] if finished else tokens
    state = read(body)
    remaining = sorted(numbers)
    for token in body:
        if is_number(token):
            if int(token) not in remaining:
                return None
            remaining.remove(int(token))
    if state is None:
        return None
    if finished:
        won = not remaining and not state.outer and state.level.pending is None and state.level.value == target
        return () if won else None
    rest = finish(state.outer, state.level, tuple(remaining), Fraction(target))
    return None if rest is None else (*rest, "=")
