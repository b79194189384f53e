"""Formulas: their exact value, the fewest tokens from here to a win, and a shortest winning continuation.

A formula is a sequence of tokens: whole numbers, + - * / and parentheses (see `formula_state`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from fractions import Fraction

from gtr_envs.cards.formula_search import finish
from gtr_envs.cards.formula_state import is_number, read
from gtr_envs.cards.formula_tables import HIGHEST_NUMBER, HIGHEST_TARGET, MAX_NUMBERS
from gtr_envs.errors import HandError, SettingError

TARGET = 24
MAX_CHARACTERS = 2000
"""The longest text that is cut into tokens: more than the longest formula with single spaces has."""

_TEXT = re.compile(r"[0-9+\-*/() ]*")
_TOKEN = re.compile(r"[0-9]+|[-+*/()]")


def tokenize(text: str) -> tuple[str, ...] | None:
    """The tokens of a formula that is written as a text, such as "8/(3 - 8/3)".

    Args:
        text: any text. Spaces may stand between the tokens; digits side by side are one number.

    Returns:
        The tokens, which need not be a formula (see `evaluate`), or None if the text has characters other than digits,
        + - * / ( ) and spaces, or more than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS or not _TEXT.fullmatch(text):
        return None
    return tuple(_TOKEN.findall(text))


def evaluate(tokens: Sequence[str] | None) -> Fraction | None:
    """The exact value of a formula.

    Args:
        tokens: whole numbers in decimal digits, "+", "-", "*", "/", "(" and ")"; no unary signs, no implied products.
            None, which `tokenize` gives for a text that is no formula, has no value.

    Returns:
        The value, or None if the tokens are not a complete formula, divide by zero, or are too long (more than
        `formula_state.MAX_TOKENS` tokens or `MAX_DIGITS` digits in a number).
    """
    state = None if tokens is None else read(tokens)
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

    Raises:
        HandError: if the numbers are not one to six whole numbers between 0 and 99.
        SettingError: if the target is not a whole number of at most a million.
    """
    remaining = list(check_numbers(numbers))
    target = check_target(target)
    finished = bool(tokens) and tokens[-1] == "="
    body = tokens[:-1] if finished else tokens
    state = read(body)
    if state is None:
        return None
    for token in body:
        if is_number(token):
            if int(token) not in remaining:
                return None
            remaining.remove(int(token))
    if finished:
        won = not remaining and not state.outer and state.level.pending is None and state.level.value == target
        return () if won else None
    rest = finish(state.outer, state.level, tuple(remaining), target)
    return None if rest is None else (*rest, "=")


def check_numbers(numbers: Sequence[int], most: int = MAX_NUMBERS) -> tuple[int, ...]:
    """The numbers of a hand in ascending order, if they can be solved.

    Raises:
        HandError: if these are not one to `most` whole numbers between 0 and 99.
    """
    try:
        ascending = tuple(sorted(map(operator.index, numbers)))
    except TypeError:
        ascending = ()
    if not 1 <= len(ascending) <= most or ascending[0] < 0 or ascending[-1] > HIGHEST_NUMBER:
        raise HandError(f"expected 1 to {most} whole numbers between 0 and {HIGHEST_NUMBER}, got {numbers!r}")
    return ascending


def check_target(target: int) -> int:
    """The target as an int.

    Raises:
        SettingError: if it is not a whole number of at most a million.
    """
    try:
        whole = operator.index(target)
    except TypeError:
        whole = HIGHEST_TARGET + 1
    if abs(whole) > HIGHEST_TARGET:
        raise SettingError(f"target {target!r}: expected a whole number such as {TARGET}, at most {HIGHEST_TARGET:,}")
    return whole
