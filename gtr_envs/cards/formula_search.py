"""The shortest way to finish a formula, exactly.

The search does not walk through token sequences. A level of parentheses stands for a running sum and an open product
(`formula_state.Level`), and what can still be appended to it with a given set of numbers is one of few tables, shared
by all hands: values with the shortest tokens that make them. A continuation is found by looking up in one table what
another one needs; the largest tables hold about a hundred values of three numbers, and none is ever made for a whole
hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache, lru_cache
from itertools import product as choices

from gtr_envs.cards.formula_state import START, Level, operand

Tokens = tuple[str, ...]
Numbers = tuple[int, ...]  # ascending
Table = dict[Fraction, Tokens]  # value -> the shortest tokens that make it

_ZERO, _ONE = Fraction(0), Fraction(1)


@lru_cache(maxsize=1 << 14)
def finish(outer: tuple[Level, ...], level: Level, remaining: Numbers, goal: Fraction) -> Tokens | None:
    """The fewest tokens that close all levels with the value `goal` and use exactly the remaining numbers.

    Args:
        outer: the levels around the current one, outermost first, each waiting for an operand.
        level: the current level.
        remaining: the numbers to use, ascending.
        goal: the value that the whole formula must have.

    Returns:
        The tokens, without a final "="; None if there is no way.
    """
    if not outer:
        return _close_level(level, remaining, goal)
    best: Tokens | None = None
    known_goal = all(around.product != 0 for around in outer)
    for inside, outside in sorted(_splits(remaining), key=lambda split: len(split[1])):
        if not outside and known_goal:
            candidates = _close_all(outer, level, inside, goal)
        else:
            candidates = _close_one(outer, level, inside, outside, goal, best)
        for tokens in candidates:
            if best is None or len(tokens) < len(best):
                best = tokens
    return best


def _close_all(outer: tuple[Level, ...], level: Level, numbers: Numbers, goal: Fraction) -> Iterator[Tokens]:
    """Use all the numbers in the current level: its value then follows from the levels around it."""
    for around in outer:
        needed = goal - around.total
        if around.pending == "/":
            if needed == 0:
                return
            goal = around.product / needed
        else:
            goal = needed / around.product
    tokens = _close_level(level, numbers, goal)
    if tokens is not None:
        yield (*tokens, *(")" for _ in outer))


def _close_one(
    outer: tuple[Level, ...], level: Level, inside: Numbers, outside: Numbers, goal: Fraction, best: Tokens | None
) -> Iterator[Tokens]:
    """Use some numbers in the current level, close it with every value that they can give it, and go on outside."""
    limit = None if best is None else len(best)
    for value, tokens in _level_values(level, inside).items():
        # Each number left costs itself and an operator, each level left its parenthesis.
        if limit is not None and len(tokens) + len(outer) + 2 * len(outside) >= limit:
            continue
        around = operand(outer[-1], value)
        rest = None if around is None else finish(outer[:-1], around, outside, goal)
        if rest is not None:
            yield (*tokens, ")", *rest)
            limit = min(limit or 1 << 30, len(tokens) + 1 + len(rest))


def _heads(level: Level, numbers: Numbers) -> Table:
    """What may come next in a level, up to the next + or -, by the ratio that it changes the product by."""
    if level.pending is None:
        return _product_tails(numbers)
    if not numbers:
        return {}
    return _terms(numbers) if level.pending == "*" else _divisors(numbers)


def _level_values(level: Level, numbers: Numbers) -> Table:
    """The values that a level can be closed with, using exactly these numbers."""
    if level == START:
        return _expressions(numbers) if numbers else {}
    table: Table = {}
    for first, rest in _splits(numbers):
        for (ratio, head), (change, tail) in choices(_heads(level, first).items(), _sum_tails(rest).items()):
            _keep(table, level.total + level.product * ratio + change, head, tail)
    return table


def _close_level(level: Level, numbers: Numbers, goal: Fraction) -> Tokens | None:
    """The fewest tokens that bring a level to the value `goal` with exactly these numbers."""
    found: Table = {}
    needed = goal - level.total
    for first, rest in _splits(numbers):
        if level.pending is not None and not first:
            continue
        if level == START and not rest:
            _find_product(found, first, goal)
            continue
        heads, tails = _heads(level, first), _sum_tails(rest)
        if level.product != 0 and len(tails) < len(heads):
            for change, tail in tails.items():
                match = heads.get((needed - change) / level.product)
                if match is not None:
                    _keep(found, goal, match, tail)
        else:
            for ratio, head in heads.items():
                match = tails.get(needed - level.product * ratio)
                if match is not None:
                    _keep(found, goal, head, match)
    return found.get(goal)


def _find_product(found: Table, numbers: Numbers, goal: Fraction) -> None:
    """Note the shortest product with the value `goal`, without building the table of all products of the whole hand."""
    if len(numbers) < 2:
        match = _products(numbers).get(goal) if numbers else None
        if match is not None:
            _keep(found, goal, match)
        return
    for first, rest in _splits(numbers):
        if first and rest:
            factors, tails = _factors(first), _product_tails(rest)
            if len(tails) < len(factors) and goal != 0:
                for ratio, tail in tails.items():
                    match = factors.get(goal / ratio) if ratio != 0 else None
                    if match is not None:
                        _keep(found, goal, match, tail)
            else:
                # A first factor of 0 is no loss: a product of 0 is as short with that factor further back.
                for value, tokens in factors.items():
                    match = tails.get(goal / value) if value != 0 else None
                    if match is not None:
                        _keep(found, goal, tokens, match)


# The tables. Each maps a value to the shortest tokens that make it from exactly these numbers.


@cache
def _splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """All ways to cut a multiset in two, either part may be empty."""
    seen: dict[tuple[Numbers, Numbers], None] = {}
    for mask in choices((True, False), repeat=len(numbers)):
        part = tuple(number for number, chosen in zip(numbers, mask, strict=True) if chosen)
        rest = tuple(number for number, chosen in zip(numbers, mask, strict=True) if not chosen)
        seen[part, rest] = None
    return tuple(seen)


def _keep(table: Table, value: Fraction, *parts: Tokens) -> None:
    """Note the joined parts as a way to make `value`, unless a way at least as short is known."""
    known = table.get(value)
    if known is None or sum(map(len, parts)) < len(known):
        table[value] = tuple(token for part in parts for token in part)


@cache
def _expressions(numbers: Numbers) -> Table:
    """Whole expressions that use exactly these numbers."""
    table: Table = {}
    for first, rest in _splits(numbers):
        if first:
            terms = _terms(first) if rest else _products(first)
            for (value, tokens), (change, tail) in choices(terms.items(), _sum_tails(rest).items()):
                _keep(table, value + change, tokens, tail)
    return table


@cache
def _factors(numbers: Numbers) -> Table:
    """What may stand beside * or /: a number, or an expression in parentheses."""
    if len(numbers) == 1:
        return {Fraction(numbers[0]): (str(numbers[0]),)}
    return {value: ("(", *tokens, ")") for value, tokens in _expressions(numbers).items()}


@cache
def _products(numbers: Numbers) -> Table:
    """A number alone, or a product of at least two factors: `_terms` without those that are one parenthesis."""
    if len(numbers) == 1:
        return _factors(numbers)
    table: Table = {}
    for first, rest in _splits(numbers):
        if first and rest:
            for (value, tokens), (ratio, tail) in choices(_factors(first).items(), _product_tails(rest).items()):
                _keep(table, value * ratio, tokens, tail)
    return table


@cache
def _terms(numbers: Numbers) -> Table:
    """What may stand beside + or -."""
    table = dict(_products(numbers))
    for value, tokens in _factors(numbers).items():
        _keep(table, value, tokens)
    return table


@cache
def _divisors(numbers: Numbers) -> Table:
    """What may follow a "/", up to the next + or -, by the ratio that it changes the product by."""
    table: Table = {}
    for first, rest in _splits(numbers):
        if first:
            for (value, tokens), (ratio, tail) in choices(_factors(first).items(), _product_tails(rest).items()):
                if value != 0:
                    _keep(table, ratio / value, tokens, tail)
    return table


@cache
def _product_tails(numbers: Numbers) -> Table:
    """What may be appended to a product with * and /, by the ratio that it changes the product by."""
    if not numbers:
        return {_ONE: ()}
    table: Table = {}
    for last, rest in _splits(numbers):
        if last:
            for (ratio, tail), (value, tokens) in choices(_product_tails(rest).items(), _factors(last).items()):
                _keep(table, ratio * value, tail, ("*",), tokens)
                if value != 0:
                    _keep(table, ratio / value, tail, ("/",), tokens)
    return table


@cache
def _sum_tails(numbers: Numbers) -> Table:
    """What may be appended to a sum with + and -, by the change that it makes."""
    if not numbers:
        return {_ZERO: ()}
    table: Table = {}
    for last, rest in _splits(numbers):
        if last:
            for (change, tail), (value, tokens) in choices(_sum_tails(rest).items(), _terms(last).items()):
                _keep(table, change + value, tail, ("+",), tokens)
                _keep(table, change - value, tail, ("-",), tokens)
    return table
