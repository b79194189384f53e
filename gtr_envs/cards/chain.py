"""Thoughts that compute: how to get from four values to 24, one reduction at a time.

A *reduction* takes two of the values left and puts their result in their place. A *plan* is three reductions that end
in 24 and the formula they amount to. Its text reads, for 6 2 3 7 with ``7 * 6`` on the table::

    7 * 6 = 42 2 3; 42 / 2 = 21 3; 21 + 3 = 24: 7 * 6 > / 2 + 3 =

Each reduction names the values left after it; behind the colon stands the whole formula, with ``>`` where the one on
the table ends, so that the next action is the first token after ``>``. A small model that learns such thoughts plays
hands that it has never seen; one that learns bare formulas remembers the hands it was taught.

The plans use a narrow grammar that is quick to learn: the larger operand first, whole results that are not negative,
and a formula that starts with the first reduction's pair. It covers most solvable hands; the others get their plan from
the exact solver, which knows fractions and any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from operator import add, mul, sub, truediv

from gtr_envs.cards.formula import winning_continuation

TARGET = 24
OPERATORS = ("+", "*", "-", "/")
"""In the order in which the ordered search tries them."""

EXACT: dict[str, Callable[[Fraction, Fraction], Fraction]] = {"+": add, "*": mul, "-": sub, "/": truediv}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True)
class Term:
    """A value and the formula that made it.

    ``operator`` is that of the formula's root, None for a card; ``leads`` says that the first reduction is part of it.
    """

    value: int
    tokens: tuple[str, ...]
    operator: str | None = None
    leads: bool = False


@dataclass(frozen=True)
class Reduction:
    """``left operator right = result`` and the values that are left beside the result."""

    left: Fraction | int
    operator: str
    right: Fraction | int
    result: Fraction | int
    rest: tuple[Fraction | int, ...]

    def __str__(self) -> str:
        left_over = "".join(f" {value}" for value in self.rest)
        return f"{self.left} {self.operator} {self.right} = {self.result}{left_over}"


@dataclass(frozen=True)
class Plan:
    """Reductions that end in 24 and the formula they make, without the final '='."""

    reductions: tuple[Reduction, ...]
    formula: tuple[str, ...]

    def text(self, done: Sequence[str]) -> str:
        """The plan in words, with the formula on the table ``done`` marked off."""
        steps = "; ".join(str(reduction) for reduction in self.reductions)
        return f"{steps}: {mark_progress(self.formula, len(done))}"


def mark_progress(formula: Sequence[str], n_done: int) -> str:
    """The formula and its '=' with ``>`` between what is on the table and what is to come."""
    tokens = (*formula, "=")
    return " ".join((*tokens[:n_done], ">", *tokens[n_done:]))


def whole_result(larger: int, operator: str, smaller: int) -> int | None:
    """The result where it is whole; None where it is not, or does not exist."""
    if operator == "+":
        return larger + smaller
    if operator == "-":
        return larger - smaller
    if operator == "*":
        return larger * smaller
    return larger // smaller if smaller and larger % smaller == 0 else None


def combine(left: Term, operator: str, right: Term, value: int) -> Term:
    """The term ``left operator right`` with no more parentheses than it needs."""
    precedence = PRECEDENCE[operator]
    needs_left = left.operator is not None and PRECEDENCE[left.operator] < precedence
    needs_right = right.operator is not None and (
        PRECEDENCE[right.operator] < precedence or (operator in "-/" and PRECEDENCE[right.operator] == precedence)
    )
    left_tokens = ("(", *left.tokens, ")") if needs_left else left.tokens
    right_tokens = ("(", *right.tokens, ")") if needs_right else right.tokens
    return Term(value, (*left_tokens, operator, *right_tokens), operator)


def reductions_of(terms: Sequence[Term], wanted: int | None = None) -> Iterator[tuple[Reduction, tuple[Term, ...]]]:
    """All reductions of the grammar, in a fixed order: by operator, then by the operands' places.

    Args:
        terms: what there is to take two from.
        wanted: only reductions with this result, or None for all.

    Yields:
        the reduction, and the terms after it with the result first.
    """
    is_first = not any(term.leads for term in terms)
    for operator in OPERATORS:
        for i in range(len(terms)):
            for j in range(i + 1, len(terms)):
                left, right = terms[i], terms[j]
                if right.value > left.value:
                    left, right = right, left
                value = whole_result(left.value, operator, right.value)
                if value is None or (wanted is not None and value != wanted):
                    continue
                rest = tuple(term for k, term in enumerate(terms) if k not in (i, j))
                # The larger operand comes first in the thought; in the formula the leading part does, if it may.
                lead_is_right = right.leads and operator in "+*"
                term = combine(right, operator, left, value) if lead_is_right else combine(left, operator, right, value)
                term = Term(value, term.tokens, term.operator, is_first or left.leads or right.leads)
                yield Reduction(left.value, operator, right.value, value, tuple(t.value for t in rest)), (term, *rest)


@lru_cache(maxsize=16_384)
def grammar_plans(numbers: tuple[int, ...]) -> tuple[Plan, ...]:
    """All plans of the narrow grammar for these values, in a fixed order, one for each formula."""
    ordered = tuple(sorted(numbers))
    if ordered != numbers:  # the same plans; only what is left after a reduction is named in the hand's order
        return tuple(Plan(reductions_in(plan.formula, numbers), plan.formula) for plan in grammar_plans(ordered))
    cards = tuple(Term(number, (str(number),)) for number in numbers)
    found: dict[tuple[str, ...], Plan] = {}
    for _, after_first in reductions_of(cards):
        opening = after_first[0].tokens
        for _, after_second in reductions_of(after_first):
            for _, (whole,) in reductions_of(after_second, wanted=TARGET):
                bare = tuple(token for token in whole.tokens if token != "(")
                if bare[: len(opening)] == opening and whole.tokens not in found:
                    found[whole.tokens] = Plan(reductions_in(whole.tokens, numbers), whole.tokens)
    return tuple(found.values())


def plans(numbers: Sequence[int], done: Sequence[str] = ()) -> tuple[Plan, ...]:
    """The plans that go on from the formula on the table.

    Args:
        numbers: the hand's four values.
        done: the tokens on the table.

    Returns:
        the grammar's plans that begin with ``done``; failing that, one plan of the exact solver; empty if 24 is out of
        reach from here.
    """
    done = tuple(done)
    fitting = tuple(plan for plan in grammar_plans(tuple(numbers)) if plan.formula[: len(done)] == done)
    if fitting:
        return fitting
    continuation = winning_continuation(done, tuple(numbers))
    if continuation is None:
        return ()
    formula = (*done, *continuation)[:-1]
    return (Plan(reductions_in(formula, tuple(numbers)), formula),)


@lru_cache(maxsize=65_536)
def reductions_in(formula: tuple[str, ...], numbers: tuple[int, ...]) -> tuple[Reduction, ...]:
    """The reductions of any formula that can be read, innermost first, the larger operand of a sum or product first.

    Args:
        formula: its tokens.
        numbers: the hand's values, whose order is that of the values left.
    """
    rest = [Fraction(number) for number in numbers]
    values: list[Fraction] = []
    operators: list[str] = []
    reductions: list[Reduction] = []

    def reduce() -> None:
        operator, right, left = operators.pop(), values.pop(), values.pop()
        if operator in "+*" and right > left:
            left, right = right, left
        result = EXACT[operator](left, right)
        rest.remove(left)
        rest.remove(right)
        reductions.append(Reduction(left, operator, right, result, tuple(rest)))
        rest.insert(0, result)
        values.append(result)

    for token in formula:
        if token == "(":
            operators.append(token)
        elif token == ")":
            while operators[-1] != "(":
                reduce()
            operators.pop()
        elif token in PRECEDENCE:
            while operators and operators[-1] != "(" and PRECEDENCE[operators[-1]] >= PRECEDENCE[token]:
                reduce()
            operators.append(token)
        else:
            values.append(Fraction(int(token)))
    while operators:
        reduce()
    return tuple(reductions)


@lru_cache(maxsize=65_536)
def last_reductions(values: tuple[int, int, int]) -> tuple[tuple[Reduction, Reduction], ...]:
    """The ways from three values to 24, where the first of them is what the first reduction gave.

    Args:
        values: the first reduction's result and the two cards left.

    Returns:
        the two reductions of each way of the narrow grammar, in a fixed order.
    """
    first, *cards = values
    terms = (Term(first, ("*",), "*", leads=True), *(Term(card, (str(card),)) for card in cards))
    return tuple(
        (second, third)
        for second, after in reductions_of(terms)
        for third, (whole,) in reductions_of(after, wanted=TARGET)
        if next(token for token in whole.tokens if token != "(") == "*"
    )
