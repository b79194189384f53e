"""The language of formulas: exact value, fewest tokens to a win, and a shortest winning continuation.

A formula is a sequence of tokens: whole numbers, + - * / and parentheses, with the usual precedence and no unary signs. It is read
from left to right by a small machine whose state is all that matters for what may follow, so one machine serves both the judge and
the search. Everything is `fractions.Fraction`: 8 / (3 - 8 / 3) is 24, not 23.999999999999993.

The search does not walk through token sequences. A level of parentheses stands for a running sum and an open product, and what can
still be appended to it with a given set of numbers is one of few tables, shared by all hands: values with the shortest tokens that
make them. A continuation is found by looking up, in one table, what another one needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product as choices
from typing import NamedTuple

TARGET = 24

Tokens = tuple[str, ...]
Numbers = tuple[int, ...]  # ascending
Table = dict[Fraction, Tokens]  # value -> the shortest tokens that make it

_ZERO, _ONE = Fraction(0), Fraction(1)


class _Level(NamedTuple):
    """One level of parentheses: its value is total + product, where product carries its sign.

    `pending` is "*" or "/" when an operand must follow (it multiplies or divides `product`), None when one has just been read.
    """

    total: Fraction
    product: Fraction
    pending: str | None

    @property
    def value(self) -> Fraction:
        return self.total + self.product


class _State(NamedTuple):
    """The levels around the current one, outermost first, all of which wait for an operand; and the current one."""

    outer: tuple[_Level, ...]
    level: _Level


_START = _Level(_ZERO, _ONE, "*")


def evaluate(tokens: Sequence[str]) -> Fraction | None:
    """The exact value of a formula.

    Args:
        tokens: whole numbers in decimal digits, "+", "-", "*", "/", "(" and ")"; no unary signs, no implied products.

    Returns:
        The value, or None if the tokens are not a complete formula or divide by zero.
    """
    state = _read(tokens)
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


def winning_continuation(tokens: Sequence[str], numbers: Sequence[int], target: int = TARGET) -> Tokens | None:
    """A shortest way to finish the formula so that it makes the target from all the numbers, each used once.

    Args:
        tokens: the formula so far.
        numbers: the values of the whole hand, those already in the formula included.
        target: the number to make.

    Returns:
        The tokens to add, the last of them "="; empty if the formula already ends in a winning "="; None if it cannot be won.
    """
    finished = bool(tokens) and tokens[-1] == "="
    body = tokens[:-1] if finished else tokens
    state = _read(body)
    remaining = sorted(numbers)
    for token in body:
        if _is_number(token):
            if int(token) not in remaining:
                return None
            remaining.remove(int(token))
    if state is None:
        return None
    if finished:
        won = not remaining and not state.outer and state.level.pending is None and state.level.value == target
        return () if won else None
    rest = _finish(state.outer, state.level, tuple(remaining), Fraction(target))
    return None if rest is None else (*rest, "=")


# ---------------------------------------------------------------------------------------------------------------- reading


def _is_number(token: str) -> bool:
    # int() also accepts signs, spaces, underscores and other scripts' digits, and raises on very long ones.
    return token.isascii() and token.isdigit() and len(token) <= 18


def _read(tokens: Sequence[str]) -> _State | None:
    """The state after these tokens, or None if no formula begins like this."""
    state: _State | None = _State((), _START)
    for token in tokens:
        if state is None:
            break
        state = _advance(state, token)
    return state


def _advance(state: _State, token: str) -> _State | None:
    outer, level = state
    total, product, pending = level
    if pending is not None:
        if token == "(":
            return _State((*outer, level), _START)
        if not _is_number(token):
            return None
        closed = _operand(level, Fraction(int(token)))
    elif token in ("*", "/"):
        return _State(outer, _Level(total, product, token))
    elif token in ("+", "-"):
        return _State(outer, _Level(total + product, _ONE if token == "+" else -_ONE, "*"))
    elif token == ")" and outer:
        closed = _operand(outer[-1], level.value)
        outer = outer[:-1]
    else:
        return None
    return None if closed is None else _State(outer, closed)


def _operand(level: _Level, value: Fraction) -> _Level | None:
    """The level after its pending operand turned out to be `value`; None for a division by zero."""
    if level.pending == "/":
        return None if value == 0 else _Level(level.total, level.product / value, None)
    return _Level(level.total, level.product * value, None)


# ----------------------------------------------------------------------------------------------------------------- tables


@lru_cache(maxsize=None)
def _splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """All ways to cut a multiset in two, either part may be empty."""
    seen = {}
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


@lru_cache(maxsize=None)
def _expressions(numbers: Numbers) -> Table:
    """Whole expressions that use exactly these numbers."""
    table: Table = {}
    for first, rest in _splits(numbers):
        if first:
            terms = _terms(first) if rest else _products(first)
            for (value, tokens), (change, tail) in choices(terms.items(), _sum_tails(rest).items()):
                _keep(table, value + change, tokens, tail)
    return table


@lru_cache(maxsize=None)
def _factors(numbers: Numbers) -> Table:
    """What may stand beside * or /: a number, or an expression in parentheses."""
    if len(numbers) == 1:
        return {Fraction(numbers[0]): (str(numbers[0]),)}
    return {value: ("(", *tokens, ")") for value, tokens in _expressions(numbers).items()}


@lru_cache(maxsize=None)
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


@lru_cache(maxsize=None)
def _terms(numbers: Numbers) -> Table:
    """What may stand beside + or -."""
    table = dict(_products(numbers))
    for value, tokens in _factors(numbers).items():
        _keep(table, value, tokens)
    return table


@lru_cache(maxsize=None)
def _divisors(numbers: Numbers) -> Table:
    """What may follow a "/", up to the next + or -, by the ratio that it changes the product by."""
    table: Table = {}
    for first, rest in _splits(numbers):
        if first:
            for (value, tokens), (ratio, tail) in choices(_factors(first).items(), _product_tails(rest).items()):
                if value != 0:
                    _keep(table, ratio / value, tokens, tail)
    return table


@lru_cache(maxsize=None)
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


@lru_cache(maxsize=None)
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


# ----------------------------------------------------------------------------------------------------------------- search


@lru_cache(maxsize=1 << 16)
def _finish(outer: tuple[_Level, ...], level: _Level, remaining: Numbers, goal: Fraction) -> Tokens | None:
    """The fewest tokens that close all levels with the value `goal` and use exactly the remaining numbers."""
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


def _close_all(outer: tuple[_Level, ...], level: _Level, numbers: Numbers, goal: Fraction) -> Iterator[Tokens]:
    """Use all the numbers in the current level: its value then follows from the levels around it."""
    for around in outer:
        needed = goal - around.total
        if around.pending == "/":
            if needed == 0:
                return
            goal = around.product / needed
        else:
            goal = needed / around.product
        if around.pending == "/" and goal == 0:
            return
    tokens = _close_level(level, numbers, goal)
    if tokens is not None:
        yield (*tokens, *(")" for _ in outer))


def _close_one(
    outer: tuple[_Level, ...], level: _Level, inside: Numbers, outside: Numbers, goal: Fraction, best: Tokens | None
) -> Iterator[Tokens]:
    """Use some numbers in the current level, close it with every value that they can give it, and go on outside."""
    limit = None if best is None else len(best)
    for value, tokens in _level_values(level, inside).items():
        # Each number left costs itself and an operator, each level left its parenthesis.
        if limit is not None and len(tokens) + len(outer) + 2 * len(outside) >= limit:
            continue
        around = _operand(outer[-1], value)
        rest = None if around is None else _finish(outer[:-1], around, outside, goal)
        if rest is not None:
            yield (*tokens, ")", *rest)
            limit = min(limit or 1 << 30, len(tokens) + 1 + len(rest))


def _heads(level: _Level, numbers: Numbers) -> Table:
    """What may come next in a level, up to the next + or -, by the ratio that it changes the product by."""
    if level.pending is None:
        return _product_tails(numbers)
    if not numbers:
        return {}
    return _terms(numbers) if level.pending == "*" else _divisors(numbers)


def _level_values(level: _Level, numbers: Numbers) -> Table:
    """The values that a level can be closed with, using exactly these numbers."""
    if level == _START:
        return _expressions(numbers) if numbers else {}
    table: Table = {}
    for first, rest in _splits(numbers):
        for (ratio, head), (change, tail) in choices(_heads(level, first).items(), _sum_tails(rest).items()):
            _keep(table, level.total + level.product * ratio + change, head, tail)
    return table


def _close_level(level: _Level, numbers: Numbers, goal: Fraction) -> Tokens | None:
    """The fewest tokens that bring a level to the value `goal` with exactly these numbers."""
    found: Table = {}
    needed = goal - level.total
    for first, rest in _splits(numbers):
        if level.pending is not None and not first:
            continue
        if level == _START and not rest:
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
                for value, tokens in factors.items():
                    if value != 0:
                        match = tails.get(goal / value)
                        if match is not None:
                            _keep(found, goal, tokens, match)
                    elif goal == 0:
                        _keep(found, goal, tokens, min(tails.values(), key=len))
