"""What can be made of some numbers, and what can be appended to a formula with them: tables shared by all hands.

Each maps a value to the shortest tokens that make it from exactly these numbers.

Values are residues modulo a large prime, p / q standing as p times the inverse of q, which is several times as fast as
`fractions.Fraction` and as exact. Take k numbers, each at most n, and a formula of them that uses each once. Its value
is a fraction with |p| and q at most h = 2**(k - 1) * n**k, as one sees by induction over the formula. Two such values
are equal if and only if p1 * q2 - p2 * q1, which is at most 2 * h * h in size, is 0; and a number of at most that size
is 0 if and only if its residue is, as long as the prime is larger. For the same reason no q is a multiple of the prime.
With k = 6 and n = 99 it is larger by a factor of nearly a hundred thousand, which leaves room for the target.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import product as choices
from typing import TypeVar

Tokens = tuple[str, ...]
Numbers = tuple[int, ...]  # ascending
Residue = int
Table = dict[Residue, Tokens]  # value -> the shortest tokens that make it

Made = TypeVar("Made")

PRIME = 2**107 - 1
SMALL, SMALL_KEPT, LARGE_KEPT = 3, 4096, 16  # tables of up to three numbers are small, and most hands share them
MAX_NUMBERS, HIGHEST_NUMBER, HIGHEST_TARGET = 6, 99, 1_000_000


def kept(make: Callable[[Numbers], Made]) -> Callable[[Numbers], Made]:
    """Keep what a function makes of numbers: all small tables that hands of cards have, and the last few large ones."""
    small, large = lru_cache(maxsize=SMALL_KEPT)(make), lru_cache(maxsize=LARGE_KEPT)(make)

    @wraps(make)
    def look_up(numbers: Numbers) -> Made:
        return small(numbers) if len(numbers) <= SMALL else large(numbers)

    return look_up


@lru_cache(maxsize=1 << 16)
def inverse(value: Residue) -> Residue:
    """One divided by the value, which is not 0."""
    return pow(value, -1, PRIME)


@lru_cache(maxsize=1 << 14)
def splits(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """All ways to cut a multiset in two, either part may be empty."""
    seen: dict[tuple[Numbers, Numbers], None] = {}
    for mask in choices((True, False), repeat=len(numbers)):
        part = tuple(number for number, chosen in zip(numbers, mask, strict=True) if chosen)
        rest = tuple(number for number, chosen in zip(numbers, mask, strict=True) if not chosen)
        seen[part, rest] = None
    return tuple(seen)


def keep(table: Table, value: Residue, *parts: Tokens) -> None:
    """Note the joined parts as a way to make `value`, unless a way at least as short is known."""
    known = table.get(value)
    if known is None or sum(map(len, parts)) < len(known):
        table[value] = tuple(token for part in parts for token in part)


@kept
def expressions(numbers: Numbers) -> Table:
    """Whole expressions that use exactly these numbers."""
    table: Table = {}
    for first, rest in splits(numbers):
        if first:
            heads = terms(first) if rest else products(first)
            for (value, tokens), (change, tail) in choices(heads.items(), sum_tails(rest).items()):
                keep(table, (value + change) % PRIME, tokens, tail)
    return table


@kept
def factors(numbers: Numbers) -> Table:
    """What may stand beside * or /: a number, or an expression in parentheses."""
    if len(numbers) == 1:
        return {numbers[0]: (str(numbers[0]),)}
    return {value: ("(", *tokens, ")") for value, tokens in expressions(numbers).items()}


@kept
def products(numbers: Numbers) -> Table:
    """A number alone, or a product of at least two factors: `terms` without those that are one parenthesis."""
    if len(numbers) == 1:
        return factors(numbers)
    table: Table = {}
    for first, rest in splits(numbers):
        if first and rest:
            for (value, tokens), (ratio, tail) in choices(factors(first).items(), product_tails(rest).items()):
                keep(table, value * ratio % PRIME, tokens, tail)
    return table


@kept
def terms(numbers: Numbers) -> Table:
    """What may stand beside + or -."""
    table = dict(products(numbers))
    for value, tokens in factors(numbers).items():
        keep(table, value, tokens)
    return table


@kept
def divisors(numbers: Numbers) -> Table:
    """What may follow a "/", up to the next + or -, by the ratio that it changes the product by."""
    table: Table = {}
    for first, rest in splits(numbers):
        if first:
            for (value, tokens), (ratio, tail) in choices(factors(first).items(), product_tails(rest).items()):
                if value != 0:
                    keep(table, ratio * inverse(value) % PRIME, tokens, tail)
    return table


@kept
def product_tails(numbers: Numbers) -> Table:
    """What may be appended to a product with * and /, by the ratio that it changes the product by."""
    if not numbers:
        return {1: ()}
    table: Table = {}
    for last, rest in splits(numbers):
        if last:
            for (ratio, tail), (value, tokens) in choices(product_tails(rest).items(), factors(last).items()):
                keep(table, ratio * value % PRIME, tail, ("*",), tokens)
                if value != 0:
                    keep(table, ratio * inverse(value) % PRIME, tail, ("/",), tokens)
    return table


@kept
def sum_tails(numbers: Numbers) -> Table:
    """What may be appended to a sum with + and -, by the change that it makes."""
    if not numbers:
        return {0: ()}
    table: Table = {}
    for last, rest in splits(numbers):
        if last:
            for (change, tail), (value, tokens) in choices(sum_tails(rest).items(), terms(last).items()):
                keep(table, (change + value) % PRIME, tail, ("+",), tokens)
                keep(table, (change - value) % PRIME, tail, ("-",), tokens)
    return table
