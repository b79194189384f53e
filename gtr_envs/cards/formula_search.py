"""The shortest way to finish a formula, exactly.

The search does not walk through token sequences. A level of parentheses stands for a running sum and an open product
(`formula_state.Level`), and what can still be appended to it with a given set of numbers is one of few tables, shared
by all hands: values with the shortest tokens that make them. A continuation is found by looking up in one table what
another one needs; none is ever made for a whole hand, so with four cards the largest tables hold about a hundred values
of three numbers (with five cards, up to two thousand of four).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product as choices
from typing import NamedTuple

from gtr_envs.cards.formula_state import Level
from gtr_envs.cards.formula_tables import (
    PRIME,
    Numbers,
    Residue,
    Table,
    Tokens,
    divisors,
    expressions,
    factors,
    inverse,
    keep,
    product_tails,
    products,
    splits,
    sum_tails,
    terms,
)


class _Level(NamedTuple):
    """A `Level` in residues."""

    total: Residue
    product: Residue
    pending: str | None


_START = _Level(0, 1, "*")


def finish(outer: tuple[Level, ...], level: Level, remaining: Numbers, goal: int) -> Tokens | None:
    """The fewest tokens that close all levels with the value `goal` and use exactly the remaining numbers.

    The numbers, those already in the levels included, are at most `MAX_NUMBERS` and none above `HIGHEST_NUMBER`.

    Args:
        outer: the levels around the current one, outermost first, each waiting for an operand.
        level: the current level.
        remaining: the numbers to use, ascending.
        goal: the value that the whole formula must have.

    Returns:
        The tokens, without a final "="; None if there is no way.
    """
    return _finish(tuple(map(_in_residues, outer)), _in_residues(level), remaining, goal % PRIME)


def _in_residues(level: Level) -> _Level:
    return _Level(_residue(level.total), _residue(level.product), level.pending)


def _residue(value: Fraction) -> Residue:
    numerator, denominator = value.numerator, value.denominator
    return (numerator if denominator == 1 else numerator * inverse(denominator)) % PRIME


@lru_cache(maxsize=1 << 15)
def _finish(outer: tuple[_Level, ...], level: _Level, remaining: Numbers, goal: Residue) -> Tokens | None:
    if not outer:
        return _close_level(level, remaining, goal)
    best: Tokens | None = None
    known_goal = all(around.product != 0 for around in outer)
    for inside, outside in sorted(splits(remaining), key=lambda split: len(split[1])):
        if not outside and known_goal:
            candidates = _close_all(outer, level, inside, goal)
        else:
            candidates = _close_one(outer, level, inside, outside, goal, best)
        for tokens in candidates:
            if best is None or len(tokens) < len(best):
                best = tokens
    return best


def _close_all(outer: tuple[_Level, ...], level: _Level, numbers: Numbers, goal: Residue) -> Iterator[Tokens]:
    """Use all the numbers in the current level: its value then follows from the levels around it."""
    for around in outer:
        needed = (goal - around.total) % PRIME
        if around.pending == "/":
            if needed == 0:
                return
            goal = around.product * inverse(needed) % PRIME
        else:
            goal = needed * inverse(around.product) % PRIME
    tokens = _close_level(level, numbers, goal)
    if tokens is not None:
        yield (*tokens, *(")" for _ in outer))


def _close_one(
    outer: tuple[_Level, ...], level: _Level, inside: Numbers, outside: Numbers, goal: Residue, best: Tokens | None
) -> Iterator[Tokens]:
    """Use some numbers in the current level, close it with every value that they can give it, and go on outside."""
    limit = None if best is None else len(best)
    for value, tokens in _level_values(level, inside).items():
        # Each number left costs itself and an operator, each level left its parenthesis.
        if limit is not None and len(tokens) + len(outer) + 2 * len(outside) >= limit:
            continue
        around = _with_operand(outer[-1], value)
        rest = None if around is None else _finish(outer[:-1], around, outside, goal)
        if rest is not None:
            yield (*tokens, ")", *rest)
            limit = min(limit or 1 << 30, len(tokens) + 1 + len(rest))


def _with_operand(level: _Level, value: Residue) -> _Level | None:
    """The level after its pending operand turned out to be `value`; None for a division by zero."""
    if level.pending == "/":
        return None if value == 0 else _Level(level.total, level.product * inverse(value) % PRIME, None)
    return _Level(level.total, level.product * value % PRIME, None)


def _heads(level: _Level, numbers: Numbers) -> Table:
    """What may come next in a level, up to the next + or -, by the ratio that it changes the product by."""
    if level.pending is None:
        return product_tails(numbers)
    if not numbers:
        return {}
    return terms(numbers) if level.pending == "*" else divisors(numbers)


def _level_values(level: _Level, numbers: Numbers) -> Table:
    """The values that a level can be closed with, using exactly these numbers."""
    if level == _START:
        return expressions(numbers) if numbers else {}
    table: Table = {}
    for first, rest in splits(numbers):
        for (ratio, head), (change, tail) in choices(_heads(level, first).items(), sum_tails(rest).items()):
            keep(table, (level.total + level.product * ratio + change) % PRIME, head, tail)
    return table


def _close_level(level: _Level, numbers: Numbers, goal: Residue) -> Tokens | None:
    """The fewest tokens that bring a level to the value `goal` with exactly these numbers."""
    found: Table = {}
    needed = (goal - level.total) % PRIME
    for first, rest in splits(numbers):
        if level.pending is not None and not first:
            continue
        if level == _START and not rest:
            _find_product(found, first, goal)
            continue
        heads, tails = _heads(level, first), sum_tails(rest)
        if level.product != 0 and len(tails) < len(heads):
            unit = inverse(level.product)
            for change, tail in tails.items():
                match = heads.get((needed - change) * unit % PRIME)
                if match is not None:
                    keep(found, goal, match, tail)
        else:
            for ratio, head in heads.items():
                match = tails.get((needed - level.product * ratio) % PRIME)
                if match is not None:
                    keep(found, goal, head, match)
    return found.get(goal)


def _find_product(found: Table, numbers: Numbers, goal: Residue) -> None:
    """Note the shortest product with the value `goal`, without building the table of all products of the whole hand."""
    if len(numbers) < 2:
        match = products(numbers).get(goal) if numbers else None
        if match is not None:
            keep(found, goal, match)
        return
    for first, rest in splits(numbers):
        if first and rest:
            heads, tails = factors(first), product_tails(rest)
            if len(tails) < len(heads) and goal != 0:
                for ratio, tail in tails.items():
                    match = heads.get(goal * inverse(ratio) % PRIME) if ratio != 0 else None
                    if match is not None:
                        keep(found, goal, match, tail)
            else:
                # A first factor of 0 is no loss: a product of 0 is as short with that factor further back.
                for value, tokens in heads.items():
                    match = tails.get(goal * inverse(value) % PRIME) if value != 0 else None
                    if match is not None:
                        keep(found, goal, tokens, match)
