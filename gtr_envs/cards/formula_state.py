"""Reading a formula from left to right: the state after some tokens, which is all that matters for what may follow.

The language: whole numbers, + - * / and parentheses, with the usual precedence, no unary signs and no implied products.
Values are `fractions.Fraction`: 8 / (3 - 8 / 3) is 24, not 23.99999999999999. What is longer than the
limits below is no formula, so that none, however hostile, takes more than a millisecond to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_TOKENS = 64
"""The longest formula that is read. Those of the games have at most 21 tokens."""
MAX_DIGITS = 18
"""The most digits of a number."""

_ZERO, _ONE = Fraction(0), Fraction(1)


class Level(NamedTuple):
    """One level of parentheses: its value is total + product, where product carries its sign.

    `pending` is "*" or "/" when an operand must follow (it multiplies or divides `product`), None when one has just
    been read.
    """

    total: Fraction
    product: Fraction
    pending: str | None

    @property
    def value(self) -> Fraction:
        """What the level amounts to if it ends here."""
        return self.total + self.product


class State(NamedTuple):
    """The levels around the current one, outermost first, all of which wait for an operand; and the current one."""

    outer: tuple[Level, ...]
    level: Level


START = Level(_ZERO, _ONE, "*")


def is_number(token: str) -> bool:
    """Whether the token is a whole number, written in at most `MAX_DIGITS` digits and without leading zeros."""
    # int() alone would also take signs, spaces, underscores and other scripts' digits, and fail on very long texts.
    return len(token) <= MAX_DIGITS and token.isascii() and token.isdigit() and (token == "0" or token[0] != "0")


def read(tokens: Sequence[str]) -> State | None:
    """The state after these tokens, or None if no formula begins like this or there are more than `MAX_TOKENS`."""
    if len(tokens) > MAX_TOKENS:
        return None
    state: State | None = State((), START)
    for token in tokens:
        if state is None:
            break
        state = advance(state, token)
    return state


def advance(state: State, token: str) -> State | None:
    """The state after one more token, or None if no formula goes on like this (or it divides by zero)."""
    outer, level = state
    total, product, pending = level
    if pending is not None:
        if token == "(":
            return State((*outer, level), START)
        if not is_number(token):
            return None
        closed = operand(level, Fraction(int(token)))
    elif token in ("*", "/"):
        return State(outer, Level(total, product, token))
    elif token in ("+", "-"):
        return State(outer, Level(total + product, _ONE if token == "+" else -_ONE, "*"))
    elif token == ")" and outer:
        closed = operand(outer[-1], level.value)
        outer = outer[:-1]
    else:
        return None
    return None if closed is None else State(outer, closed)


def operand(level: Level, value: Fraction) -> Level | None:
    """The level after its pending operand turned out to be `value`; None for a division by zero."""
    if level.pending == "/":
        return None if value == 0 else Level(level.total, level.product / value, None)
    return Level(level.total, level.product * value, None)
