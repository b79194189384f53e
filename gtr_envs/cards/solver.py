"""Every way to make the target from some numbers, and whether there is one at all; exactly.

A pair of parentheses is superfluous if the formula without it has the same value whatever its numbers are. Formulas
without superfluous parentheses are trees of a simple kind: what is added (multiplied) on the right is no sum (product)
itself, and only operands that need them have parentheses. So each formula is made once, from its last operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from gtr_envs.cards.formula import TARGET, check_numbers, check_target, winning_continuation

MAX_SOLVED = 5
"""The most numbers that all formulas are listed for."""

Numbers = tuple[int, ...]  # ascending

# How tightly a formula holds together, by its last operator.
_SUM, _PRODUCT, _NUMBER = 1, 2, 3
_TIGHTNESS = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}


class _Formula(NamedTuple):
    """A formula without superfluous parentheses."""

    tokens: tuple[str, ...]
    tightness: int


_Table = dict[Fraction, list[_Formula]]  # a value -> all formulas that have it


def solutions(numbers: Sequence[int], target: int = TARGET) -> tuple[tuple[str, ...], ...]:
    """All formulas without superfluous parentheses that make the target and use each number exactly once.

    Formulas that differ only in the order of their operands count as different, as "1 + 2" and "2 + 1" do; equal
    numbers cannot be told apart.

    Args:
        numbers: one to five whole numbers between 0 and 99, in any order.
        target: the whole number to make.

    Returns:
        The formulas as tokens, without "=": shorter ones first, those of one length in the order of their texts.

    Raises:
        HandError: if these are not such numbers.
        SettingError: if the target is not a whole number of at most a million.
    """
    return _solutions(check_numbers(numbers, MAX_SOLVED), check_target(target))


def can_make(numbers: Sequence[int], target: int = TARGET) -> bool:
    """Whether there is a formula that makes the target and uses each number exactly once.

    Args:
        numbers: one to six whole numbers between 0 and 99, in any order.
        target: the whole number to make.

    Raises:
        HandError: if these are not such numbers.
        SettingError: if the target is not a whole number of at most a million.
    """
    return winning_continuation((), numbers, target) is not None


@lru_cache(maxsize=1024)
def _splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """All ways to cut a multiset into a left and a right part, neither empty."""
    found: dict[tuple[Numbers, Numbers], None] = {}
    for chosen in product((True, False), repeat=len(numbers)):
        if any(chosen) and not all(chosen):
            left = tuple(number for number, is_left in zip(numbers, chosen, strict=True) if is_left)
            right = tuple(number for number, is_left in zip(numbers, chosen, strict=True) if not is_left)
            found[left, right] = None
    return tuple(found)


def _results(left: Fraction, right: Fraction) -> Iterator[tuple[str, Fraction]]:
    """What two values make with each operator."""
    yield "+", left + right
    yield "-", left - right
    yield "*", left * right
    if right != 0:
        yield "/", left / right


@lru_cache(maxsize=128)
def _solutions(numbers: Numbers, target: int) -> tuple[tuple[str, ...], ...]:
    """`solutions` of numbers in ascending order."""
    formulas = [formula.tokens for formula in _formulas_for(numbers, Fraction(target))]
    return tuple(sorted(formulas, key=lambda tokens: (len(tokens), " ".join(tokens))))


def _join(lefts: list[_Formula], sign: str, rights: list[_Formula]) -> list[_Formula]:
    """All formulas with this last operator and these operands, each of which gets parentheses if it needs them."""
    tightness = _TIGHTNESS[sign]
    before = [tokens if own >= tightness else ("(", *tokens, ")") for tokens, own in lefts]
    # a + (b - c) and a * (b / c) are left out: without parentheses they are (a + b) - c and (a * b) / c.
    after = [
        tokens if own > tightness else ("(", *tokens, ")")
        for tokens, own in rights
        if own != tightness or sign in ("-", "/")
    ]
    return [_Formula((*left, sign, *right), tightness) for left, right in product(before, after)]


@lru_cache(maxsize=64)
def _table(numbers: Numbers) -> _Table:
    """All formulas that use exactly these numbers, by their value."""
    if len(numbers) == 1:
        return {Fraction(numbers[0]): [_Formula((str(numbers[0]),), _NUMBER)]}
    table: _Table = {}
    for left, right in _splits(numbers):
        for (left_value, lefts), (right_value, rights) in product(_table(left).items(), _table(right).items()):
            for sign, value in _results(left_value, right_value):
                table.setdefault(value, []).extend(_join(lefts, sign, rights))
    return table


def _formulas_for(numbers: Numbers, goal: Fraction) -> Iterator[_Formula]:
    """All formulas that use exactly these numbers and have this value; only smaller hands need a table for it."""
    if len(numbers) == 1:
        yield from _table(numbers).get(goal, ())
    for left, right in _splits(numbers):
        table = _table(left)
        for value, rights in _table(right).items():
            wanted = [("+", goal - value), ("-", goal + value)]
            if value != 0:
                wanted += [("*", goal / value), ("/", goal * value)]
            elif goal == 0:
                wanted += [("*", other) for other in table]
            for sign, other in wanted:
                if other in table:
                    yield from _join(table[other], sign, rights)
