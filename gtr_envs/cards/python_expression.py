"""What Python itself makes of a formula's text: `8/(3-8/3)` is 23.99999999999999, `2**3` is 8 and `7//2` is 3.

The released gym_cards package joins the tokens of a formula and hands the text to Python. Here the same texts get the
same values from a parser of our own, which knows digits, + - * / ( ) and spaces and nothing else, and which refuses
what would take long: no text, however hostile, takes more than a millisecond.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

MAX_CHARACTERS = 200
"""Longer texts have no value here. No formula of the game comes near: 21 tokens of at most two characters."""
MAX_BITS = 4096
"""Whole numbers with more bits than this do not turn up: whatever they were part of has no value here."""

Number = int | float | complex

_LANGUAGE = re.compile(r"[0-9+\-*/() ]*")
_TOKEN = re.compile(r"\*\*|//|[0-9]+|[-+*/()]")
_SIGNS = {"-": "minus sign", "+": "plus sign"}
# How tightly the operators bind. A power binds tighter than a sign on its left, and its right operand may carry signs.
_TIGHTNESS = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "minus sign": 3, "plus sign": 3, "**": 4}
# One more than the tightest: powers are worked out from the right, everything else from the left.
_RIGHT_FIRST = 5


def python_value(text: str) -> Number | None:
    """The value that Python gives to a text of digits, + - * / ( ) and spaces.

    Two stars are a power and two slashes a division that rounds down; signs may be repeated; digits side by side are
    one number. Division gives a float, as it does in Python.

    Args:
        text: any text.

    Returns:
        What Python would compute, of the same type. None where Python would raise an error (it is no expression, it
        divides by zero, a float overflows, a number is called like a function) or give what is no number, for texts
        with other characters, and beyond `MAX_CHARACTERS` and `MAX_BITS`.
    """
    if len(text) > MAX_CHARACTERS or not _LANGUAGE.fullmatch(text):
        return None
    try:
        return _compute(_TOKEN.findall(text))
    except (ArithmeticError, TypeError):
        # TypeError: Python cannot round down the quotient of complex numbers.
        return None


def is_python_win(tokens: Sequence[str], target: int) -> bool:
    """Whether Python finds that the joined tokens equal the target.

    Args:
        tokens: the formula without "="; its tokens are joined as they are, spaces included.
        target: the number to make.
    """
    return len(tokens) <= MAX_CHARACTERS and python_value("".join(tokens)) == target


def _compute(tokens: Sequence[str]) -> Number | None:
    """The value of an expression, without recursion; None if it is none.

    Raises:
        ArithmeticError: where Python would raise one, or a whole number grows too large.
        TypeError: where Python would raise one.
    """
    values: list[Number] = []
    waiting: list[str] = []  # operators, signs and open parentheses, whose right-hand side is not yet complete
    after_value = False
    for token in tokens:
        if not after_value:
            if token.isdigit():
                if token[0] == "0" and token.strip("0"):
                    return None  # Python allows 0 and 00, but not 007.
                values.append(int(token))
                after_value = True
            elif token in _SIGNS:
                waiting.append(_SIGNS[token])
            elif token == "(":
                waiting.append(token)
            else:
                return None
        elif token == ")":
            _work_out(values, waiting, 1)
            if not waiting:
                return None
            waiting.pop()
        elif token == "(" or token not in _TIGHTNESS:
            return None  # A number that is called, or two numbers side by side.
        else:
            _work_out(values, waiting, _RIGHT_FIRST if token == "**" else _TIGHTNESS[token])
            waiting.append(token)
            after_value = False
    if not after_value:
        return None
    _work_out(values, waiting, 1)
    return None if waiting else values[0]


def _work_out(values: list[Number], waiting: list[str], tightness: int) -> None:
    """Apply the operators that have been waiting last, as long as they bind at least this tightly."""
    while waiting and _TIGHTNESS[waiting[-1]] >= tightness:
        name = waiting.pop()
        right = values.pop()
        if name == "minus sign":
            value: Number = -right
        elif name == "plus sign":
            value = right
        else:
            value = _OPERATIONS[name](values.pop(), right)
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise OverflowError("too large to go on with")
        values.append(value)


def _power(base: Any, exponent: Any) -> Any:
    """Python's power, but large whole exponents take no time: the result is simple, or refused before it is made."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        if base in (-1, 0, 1):
            return base if exponent % 2 else base * base
        if (base.bit_length() - 1) * exponent > MAX_BITS:
            raise OverflowError("too large to go on with")
    return base**exponent


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": _power,
}
