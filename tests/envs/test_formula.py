"""The value of a formula and the way to a win, against oracles that share no code with the package."""

from __future__ import annotations

import operator
import string
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtr_envs.cards.formula import MAX_CHARACTERS, distance, evaluate, tokenize, winning_continuation
from gtr_envs.cards.formula_state import MAX_DIGITS, MAX_TOKENS
from gtr_envs.cards.hands import all_multisets, is_solvable
from tests.envs.formula_oracle import exact_value

NUMBERS = [str(number) for number in range(1, 11)]
TOKENS = [*NUMBERS, "+", "-", "*", "/", "(", ")"]
JUNK = ["=", "", " ", "**", "//", "-1", "+2", "1.5", "007", "1_0", "\u0663", "x", "9" * 5000]
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def oracle_value(tokens: Sequence[str]) -> Fraction | None:
    """Python's own grammar for the shape of the formula, Fractions for its value."""
    if any(token in JUNK for token in tokens):
        return None
    return exact_value(tokens)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8 / ( 3 - 8 / 3 )", 24),
        ("5 * ( 5 - 1 / 5 )", 24),
        ("2 - 3 - 4", -5),
        ("8 / 4 / 2", 1),
        ("2 + 3 * 4 - 6 / 2", 11),
        ("( ( 7 ) )", 7),
        ("1 / 3", Fraction(1, 3)),
        ("3 / ( 2 - 2 )", None),
        ("0 / 0", None),
        ("", None),
        ("( )", None),
        ("- 3", None),
        ("3 + - 3", None),
        ("2 ( 3 )", None),
        ("( 2 ) 3", None),
        ("( 2 ) ( 3 )", None),
        ("2 4", None),
        ("( 1 + 2", None),
        ("1 + 2 )", None),
        ("1 +", None),
        ("8 * 3 =", None),
    ],
)
def test_values_worked_by_hand(text: str, value: object) -> None:
    assert evaluate(text.split()) == value


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14))
def test_any_tokens_have_the_oracles_value(tokens: list[str]) -> None:
    assert evaluate(tokens) == oracle_value(tokens)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=6), st.sampled_from(JUNK), st.integers(0, 6))
def test_a_foreign_token_makes_it_no_formula(tokens: list[str], junk: str, place: int) -> None:
    assert evaluate([*tokens[:place], junk, *tokens[place:]]) is None


@st.composite
def formulas(draw: st.DrawFn) -> list[str]:
    """Well-formed formulas with random, often superfluous, parentheses."""

    def grow(depth: int) -> list[str]:
        if depth == 0 or draw(st.booleans()):
            return [draw(st.sampled_from(NUMBERS))]
        inner = [*grow(depth - 1), draw(st.sampled_from("+-*/")), *grow(depth - 1)]
        return ["(", *inner, ")"] if draw(st.booleans()) else inner

    return grow(4)


@settings(max_examples=400, deadline=None)
@given(formulas())
def test_well_formed_formulas_have_the_oracles_value(tokens: list[str]) -> None:
    assert evaluate(tokens) == oracle_value(tokens)


def test_formulas_up_to_the_limit_have_a_value_and_longer_ones_have_none() -> None:
    assert MAX_TOKENS % 2 == 0
    n_pairs = MAX_TOKENS // 2 - 1
    assert evaluate(["("] * n_pairs + ["7"] + [")"] * n_pairs) == 7
    assert evaluate(["("] * (n_pairs + 1) + ["7"] + [")"] * (n_pairs + 1)) is None
    assert evaluate(["1", *["+", "1"] * n_pairs]) == n_pairs + 1
    assert evaluate(["1", *["+", "1"] * (n_pairs + 1)]) is None
    assert evaluate(["1", *["+", "1"] * 100_000]) is None
    assert evaluate(["9" * MAX_DIGITS]) == 10**MAX_DIGITS - 1
    assert evaluate(["9" * (MAX_DIGITS + 1)]) is None


def test_no_way_is_known_from_a_formula_beyond_the_limit() -> None:
    assert distance(["("] * (MAX_TOKENS - 1), (24,)) == MAX_TOKENS + 1
    assert distance(["("] * (MAX_TOKENS + 1), (24,)) is None
    assert winning_continuation(["("] * 10_000, (6, 6, 6, 6)) is None


# Texts.


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("8/(3 - 8/3)", "8 / ( 3 - 8 / 3 )"),
        ("  10*2+4 ", "10 * 2 + 4"),
        ("2 4", "2 4"),
        ("2**3", "2 * * 3"),
        ("007", "007"),
        ("", ""),
        (" ", ""),
    ],
)
def test_texts_are_cut_into_tokens(text: str, tokens: str) -> None:
    assert tokenize(text) == tuple(tokens.split())


@pytest.mark.parametrize(
    "text",
    ["8*3=24", "8 x 3", "8\t*3", "8*3\n", "1.5", "2%3", "²", "\u0663", "1_0", "3\x00", "−3", "1" * 2001, " " * 9**7],
)
def test_texts_that_are_no_formulas_have_no_tokens_and_no_value(text: str) -> None:
    assert tokenize(text) is None
    assert evaluate(tokenize(text)) is None


@settings(max_examples=300)
@given(formulas(), st.data())
def test_a_formula_written_with_any_spacing_is_cut_into_its_tokens(tokens: list[str], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(0, 3), min_size=len(tokens), max_size=len(tokens)))
    text = "".join(" " * gap + token for gap, token in zip(gaps, tokens, strict=True)) + " " * data.draw(
        st.integers(0, 2)
    )
    assert tokenize(text) == tuple(tokens)
    assert evaluate(tokenize(text)) == oracle_value(tokens)


@settings(max_examples=500)
@given(st.text("0123456789+-*/() ", max_size=16))
def test_any_text_of_the_language_has_the_oracles_value(text: str) -> None:
    tokens = tokenize(text)
    assert tokens is not None
    assert "".join(tokens) == text.replace(" ", "")
    leading_zeros = any(len(token) > 1 and token[0] == "0" for token in tokens)
    assert evaluate(tokens) == (None if leading_zeros else oracle_value(tokens))


@settings(max_examples=300)
@given(st.text(max_size=20) | st.text(string.printable, max_size=20))
@example("(" * MAX_CHARACTERS)
@example("(" * (MAX_CHARACTERS + 1))
def test_no_text_and_no_tokens_raise_an_error(text: str) -> None:
    tokens = tokenize(text)
    assert (tokens is not None) == (len(text) <= MAX_CHARACTERS and set(text) <= set("0123456789+-*/() "))
    for read in (tokens, list(text), text.split()):
        value = evaluate(read)
        assert value is None or isinstance(value, Fraction)


# Distance and plan.


def brute_force_distance(tokens: tuple[str, ...], numbers: tuple[int, ...], target: int) -> int | None:
    """Try every continuation, shorter ones first. Only grammar that no winning continuation can need is left out."""

    def left_of(formula: tuple[str, ...]) -> list[str] | None:
        left = [str(number) for number in numbers]
        for token in formula:
            if token.isdigit():
                if token not in left:
                    return None
                left.remove(token)
        return left

    if left_of(tokens) is None:
        return None
    # A shortest continuation opens no parentheses around fewer than two of the numbers left.
    frontier = [(tokens, 0)]
    limit = len(left_of(tokens) or []) - 1
    for steps in range(1, 40):
        following = []
        for formula, opened in frontier:
            left = left_of(formula)
            assert left is not None
            if not left and oracle_value(formula) == target:
                return steps
            after_operand = bool(formula) and (formula[-1].isdigit() or formula[-1] == ")")
            options = ["+", "-", "*", "/", ")"] if after_operand else [*dict.fromkeys(left), "("]
            for token in options:
                if token == ")" and formula.count("(") <= formula.count(")"):
                    continue
                if (token == "(" and (opened >= limit or len(left) < 2)) or (token in "+-*/" and not left):
                    continue
                following.append(((*formula, token), opened + (token == "(")))
        if not following:
            return None
        frontier = following
    raise AssertionError("no limit reached")


def readable_prefixes(rng: np.random.Generator, numbers: tuple[int, ...], n_used: int) -> tuple[str, ...]:
    """A random beginning of a formula that uses at least n_used of the numbers."""
    left, formula = [str(number) for number in rng.permutation(numbers)], []
    while len(numbers) - len(left) < n_used or rng.random() < 0.5:
        if formula and (formula[-1].isdigit() or formula[-1] == ")"):
            closable = formula.count("(") > formula.count(")")
            formula.append(")" if closable and rng.random() < 0.3 else str(rng.choice(list("+-*/"))))
        elif left and rng.random() < 0.7:
            formula.append(left.pop())
        elif len(formula) < 12 and left:
            formula.append("(")
        else:
            break
    return tuple(formula)


@pytest.mark.parametrize("seed", range(6))
def test_distance_agrees_with_trying_everything_on_small_hands(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(40):
        size = int(rng.integers(1, 4))
        numbers = tuple(int(number) for number in rng.integers(1, 11, size))
        prefix = readable_prefixes(rng, numbers, n_used=max(0, size - 2))
        target = int(rng.choice([0, 1, 2, 6, 10, 24])) if rng.random() < 0.5 else _reachable(rng, prefix, numbers)
        expected = brute_force_distance(prefix, numbers, target)
        assert distance(prefix, numbers, target) == expected, (prefix, numbers, target)
        outcomes.add(expected is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_distance_agrees_with_trying_everything_late_in_a_real_hand(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    for _ in range(25):
        numbers = tuple(int(number) for number in rng.integers(1, 11, 4))
        prefix = readable_prefixes(rng, numbers, n_used=2)
        target = _reachable(rng, prefix, numbers) if rng.random() < 0.7 else 24
        assert distance(prefix, numbers, target) == brute_force_distance(prefix, numbers, target), (prefix, numbers)


def _reachable(rng: np.random.Generator, prefix: tuple[str, ...], numbers: tuple[int, ...]) -> int:
    """A whole number that some random way of finishing the formula makes, or 24 if none turns up."""
    for _ in range(50):
        left = [str(number) for number in numbers]
        for token in prefix:
            if token.isdigit():
                left.remove(token)
        formula = list(prefix)
        while left or formula.count("(") > formula.count(")"):
            if not formula or formula[-1] in "+-*/(":
                if not left:
                    break
                formula.append(left.pop(int(rng.integers(len(left)))))
            elif formula.count("(") > formula.count(")") and (not left or rng.random() < 0.4):
                formula.append(")")
            else:
                formula.append(str(rng.choice(list("+-*"))))
        value = oracle_value(formula)
        if value is not None and value.denominator == 1:
            return int(value)
    return 24


Tree = tuple[Fraction, int, int]  # value, tokens, precedence


@cache
def shortest_whole_formula(numbers: tuple[int, ...], target: int) -> int | None:
    """Fewest tokens, "=" included, over all orders, operators and trees, with the parentheses that each tree needs."""

    def join(left: Tree, op: str, right: Tree) -> Tree:
        # A right-hand operand of the same precedence keeps its parentheses.
        level = 1 if op in "+-" else 2
        tokens = left[1] + right[1] + 1 + 2 * (left[2] < level) + 2 * (right[2] <= level)
        return SIGNS[op](left[0], right[0]), tokens, level

    def trees(leaves: tuple[int, ...]) -> list[Tree]:
        if len(leaves) == 1:
            return [(Fraction(leaves[0]), 1, 3)]
        best: dict[tuple[Fraction, int], int] = {}
        for cut in range(1, len(leaves)):
            for left, op, right in product(trees(leaves[:cut]), "+-*/", trees(leaves[cut:])):
                if op != "/" or right[0] != 0:
                    value, tokens, level = join(left, op, right)
                    best[value, level] = min(tokens, best.get((value, level), tokens))
        return [(value, tokens, level) for (value, level), tokens in best.items()]

    lengths = [tokens for order in set(permutations(numbers)) for value, tokens, _ in trees(order) if value == target]
    return min(lengths) + 1 if lengths else None


@pytest.mark.parametrize("target", [24, 0, 1])
def test_distance_from_the_start_of_a_hand_is_that_of_the_shortest_formula(target: int) -> None:
    for multiset in [*all_multisets()[::43], (3, 3, 8, 8), (1, 5, 5, 5), (4, 4, 7, 7), (1, 3, 4, 6), (1, 1, 5, 9)]:
        assert distance((), multiset, target) == shortest_whole_formula(multiset, target), multiset


def test_every_solvable_hand_has_a_plan_that_wins_and_no_other_has_one() -> None:
    for multiset in all_multisets():
        plan = winning_continuation((), multiset)
        assert (plan is not None) == is_solvable(multiset)
        if plan is not None:
            assert plan[-1] == "="
            assert oracle_value(plan[:-1]) == 24
            assert sorted(int(token) for token in plan if token.isdigit()) == list(multiset)


@pytest.mark.parametrize("seed", range(3))
def test_plans_win_and_each_of_their_steps_comes_one_nearer(seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    found = 0
    for _ in range(150):
        numbers = tuple(int(number) for number in rng.integers(1, 11, 4))
        formula = readable_prefixes(rng, numbers, n_used=0)
        plan = winning_continuation(formula, numbers)
        if plan is None:
            continue
        found += 1
        whole = (*formula, *plan)
        assert oracle_value(whole[:-1]) == 24
        assert sorted(int(token) for token in whole if token.isdigit()) == sorted(numbers)
        for n_done in range(len(plan) + 1):
            assert distance((*formula, *plan[:n_done]), numbers) == len(plan) - n_done
    assert found > 10


@pytest.mark.parametrize(
    ("text", "numbers", "expected"),
    [
        ("", (6, 6, 6, 6), 8),
        ("6 + 6 + 6 + 6", (6, 6, 6, 6), 1),
        ("6 + 6 + 6 + 6 =", (6, 6, 6, 6), 0),
        ("6 + 6 + 6 * 6 =", (6, 6, 6, 6), None),
        ("( ( 6 + 6 + 6 + 6", (6, 6, 6, 6), 3),
        ("6 6", (6, 6, 6, 6), None),
        ("7", (6, 6, 6, 6), None),
        (")", (6, 6, 6, 6), None),
        ("= 6", (6, 6, 6, 6), None),
        ("( 3 - 3 ) * (", (3, 3, 4, 6), None),
        ("( 1 - 1 ) * (", (1, 1, 4, 24), 5),
        ("24 + ( 1 - 1 ) * (", (1, 1, 4, 24), 3),
        ("24 + ( 1 - 1 ) / (", (1, 1, 4, 24), 3),
        ("( 24 + ( 1 - 1 ) * (", (1, 1, 4, 24), 4),
        ("( 24 + ( 1 - 1 ) / (", (1, 1, 4, 24), 4),
        ("8 / (", (3, 3, 8, 8), 7),
        ("24 + 8 / (", (1, 3, 8, 24), None),
        ("27 + 3 /", (1, 2, 3, 27), 6),
        ("", (1, 1, 1, 1), None),
    ],
)
def test_distances_worked_by_hand(text: str, numbers: tuple[int, ...], expected: int | None) -> None:
    assert distance(text.split(), numbers) == expected
