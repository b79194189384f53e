"""Every way to make a target, against all token sequences, and the known counts of hands that can make 24."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_envs.cards.formula import distance, evaluate
from gtr_envs.cards.formula_tables import HIGHEST_NUMBER, HIGHEST_TARGET
from gtr_envs.cards.solver import can_make, solutions
from gtr_envs.errors import HandError, SettingError
from tests.envs.formula_oracle import exact_value

# What stands for the numbers of a formula where only its form matters: no two forms agree on all of these by chance.
SUBSTITUTES = [
    ("1000003", "998244353", "67867967", "2147483647"),
    ("982451653", "10000019", "1000000007", "15485863"),
    ("32452843", "86028121", "122949823", "141650939"),
]
Tokens = tuple[str, ...]


def forms(n_numbers: int, n_pairs: int) -> Iterator[Tokens]:
    """All formulas with "n" for each of so many numbers and at most so many pairs of parentheses, wherever they may be.

    An operand is a number or what follows a "("; an operator or a ")" follows an operand; nothing else is left out.
    """

    def grow(form: Tokens) -> Iterator[Tokens]:
        n_open = form.count("(") - form.count(")")
        if form and form[-1] in ("n", ")"):
            if form.count("n") == n_numbers and n_open == 0:
                yield form
            following = [*"+-*/"] if form.count("n") < n_numbers else []
            following += [")"] if n_open else []
        else:
            following = ["n"] if form.count("n") < n_numbers else []
            following += ["("] if form.count("(") < n_pairs else []
        for token in following:
            yield from grow((*form, token))

    return grow(())


def fill(form: Tokens, numbers: Sequence[str]) -> Tokens:
    """The form with these numbers in the places of its "n"s."""
    left = iter(numbers)
    return tuple(next(left) if token == "n" else token for token in form)


@cache
def has_superfluous_pair(form: Tokens) -> bool:
    """Whether the form, for all of some large primes, keeps its value without one of its pairs of parentheses."""
    opened = []
    for place, token in enumerate(form):
        if token == "(":
            opened.append(place)
        elif token == ")":
            start = opened.pop()
            without = form[:start] + form[start + 1 : place] + form[place + 1 :]
            if all(exact_value(fill(form, primes)) == exact_value(fill(without, primes)) for primes in SUBSTITUTES):
                return True
    return False


@cache
def needed_forms(n_numbers: int, n_pairs: int) -> tuple[Tokens, ...]:
    return tuple(form for form in forms(n_numbers, n_pairs) if not has_superfluous_pair(form))


def all_formulas(numbers: Sequence[int], n_pairs: int) -> dict[Fraction, set[Tokens]]:
    """All formulas of these numbers without superfluous parentheses, by their value."""
    found = defaultdict(set)
    for form in needed_forms(len(numbers), n_pairs):
        for order in set(permutations(map(str, numbers))):
            value = exact_value(fill(form, order))
            if value is not None:
                found[value].add(fill(form, order))
    return found


def test_forms_with_and_without_superfluous_parentheses() -> None:
    for text in ["( n )", "( ( n - n ) ) * n", "n + ( n - n )", "n * ( n / n )", "( n * n ) + n", "( n - n ) - n"]:
        assert has_superfluous_pair(tuple(text.split())), text
    for text in ["n", "n - ( n - n )", "n / ( n * n )", "( n + n ) * n", "n * ( n + n )", "n - ( n + n )"]:
        assert not has_superfluous_pair(tuple(text.split())), text


def test_the_forms_are_all_that_python_can_read_among_all_sequences_of_tokens() -> None:
    for n_numbers, length in [(1, 5), (2, 5)]:
        readable = set()
        for size in range(1, length + 1):
            for form in product(("n", "+", "-", "*", "/", "(", ")"), repeat=size):
                if form.count("n") == n_numbers and exact_value(fill(form, SUBSTITUTES[0])) is not None:
                    readable.add(form)
        assert readable == {form for form in forms(n_numbers, 2) if len(form) <= length}


SMALL_HANDS = [
    *(hand for size in (1, 2, 3) for hand in combinations_with_replacement(range(1, 5), size)),
    *[(7,), (99,), (6, 9), (10, 10), (12, 8), (5, 7, 10), (2, 8, 13), (9, 9, 3), (98, 99, 1), (6, 6, 11)],
]


@pytest.mark.parametrize("numbers", SMALL_HANDS)
def test_small_hands_have_all_solutions_that_trying_everything_finds(numbers: tuple[int, ...]) -> None:
    # At most one pair is needed with three numbers; two are tried.
    expected = all_formulas(numbers, n_pairs=2)
    targets = {int(value) for value in expected if value.denominator == 1}
    for target in {*targets, 0, 1, 24, -3}:
        found = solutions(numbers, target)
        assert len(set(found)) == len(found)
        assert set(found) == expected.get(Fraction(target), set()), target
        assert can_make(numbers, target) == (target in targets)


@pytest.mark.parametrize(
    "numbers",
    [(1, 2, 3, 4), (3, 3, 8, 8), (1, 1, 4, 6), (4, 4, 7, 10), (12, 13, 2, 5)],
    ids=lambda numbers: str(numbers),
)
def test_real_hands_have_all_solutions_that_trying_everything_finds(numbers: tuple[int, ...]) -> None:
    expected = all_formulas(numbers, n_pairs=2)
    for target in (24, 0, 1, 2, 10, -1, 100, 997):
        found = solutions(numbers, target)
        assert len(set(found)) == len(found)
        assert set(found) == expected.get(Fraction(target), set()), target
        assert can_make(numbers, target) == bool(found)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 13), min_size=4, max_size=4), st.sampled_from([24, 24, 24, 0, 12, 36]))
def test_solutions_win_are_in_order_and_the_first_is_a_shortest(numbers: list[int], target: int) -> None:
    found = solutions(numbers, target)
    assert list(found) == sorted(found, key=lambda tokens: (len(tokens), " ".join(tokens)))
    assert found == solutions(sorted(numbers, reverse=True), target)
    for tokens in found:
        assert exact_value(tokens) == evaluate(tokens) == target
        assert sorted(int(token) for token in tokens if token.isdigit()) == sorted(numbers)
    assert distance((), numbers, target) == (len(found[0]) + 1 if found else None)
    assert can_make(numbers, target) == bool(found)


@pytest.mark.parametrize(
    ("numbers", "target", "texts"),
    [
        ((24,), 24, "24"),
        ((2, 12), 24, "12 * 2, 2 * 12"),
        ((8, 3, 8, 3), 24, "8 / ( 3 - 8 / 3 )"),
        ((1, 5, 5, 5), 24, "( 5 - 1 / 5 ) * 5, 5 * ( 5 - 1 / 5 )"),
        ((9, 5, 1), 5, "1 + 9 - 5, 1 - 5 + 9, 9 + 1 - 5, 9 - 5 + 1, 1 - ( 5 - 9 ), 9 - ( 5 - 1 )"),
        ((8, 2, 4), 2, "8 - 2 - 4, 8 - 4 - 2, ( 8 - 4 ) / 2, 8 - ( 2 + 4 ), 8 - ( 4 + 2 )"),
        ((1, 1, 1, 1), 24, ""),
    ],
)
def test_solutions_worked_by_hand(numbers: tuple[int, ...], target: int, texts: str) -> None:
    assert ", ".join(" ".join(tokens) for tokens in solutions(numbers, target)) == texts


def test_five_numbers() -> None:
    found = solutions((1, 2, 3, 4, 5))
    assert len(set(found)) == len(found)
    assert all(evaluate(tokens) == 24 for tokens in found)
    assert all(sorted(token for token in tokens if token.isdigit()) == [*"12345"] for tokens in found)
    assert len(found[0]) + 1 == distance((), (1, 2, 3, 4, 5))


@pytest.mark.parametrize(("highest", "n_hands", "n_solvable"), [(10, 715, 566), (13, 1820, 1362)])
def test_the_known_counts_of_hands_that_can_make_24(highest: int, n_hands: int, n_solvable: int) -> None:
    hands = list(combinations_with_replacement(range(1, highest + 1), 4))
    assert len(hands) == n_hands
    assert sum(can_make(hand) for hand in hands) == n_solvable


def test_a_hand_can_make_24_where_it_has_solutions() -> None:
    for hand in combinations_with_replacement(range(1, 11), 4):
        assert bool(solutions(hand)) == can_make(hand), hand


@cache
def reduces_to(numbers: tuple[Fraction, ...], target: int) -> bool:
    """Whether replacing two numbers by a result, again and again, can end in the target."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i, j in permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
        results = {a + b, a - b, a * b} | ({a / b} if b else set())
        if any(reduces_to(tuple(sorted([*rest, result])), target) for result in results):
            return True
    return False


@pytest.mark.parametrize("seed", range(3))
def test_can_make_agrees_with_reducing_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(12):
        numbers = tuple(int(number) for number in rng.integers(1, 14, size=int(rng.integers(1, 5))))
        target = int(rng.integers(-5, 60))
        outcomes.append(can_make(numbers, target))
        assert outcomes[-1] == reduces_to(tuple(sorted(map(Fraction, numbers))), target), (numbers, target)
    assert set(outcomes) == {True, False}


@pytest.mark.parametrize(
    ("numbers", "target", "expected"),
    [
        ((1, 1, 1, 1, 1), 24, False),
        ((1, 1, 1, 1, 1), 6, True),
        ((1, 1, 1, 1, 1), 7, False),
        ((1, 1, 1, 1, 1, 1), 9, True),
        ((1, 1, 1, 1, 1, 1), 10, False),
        ((13, 13, 13, 13, 13, 13), 0, True),
        ((7, 7, 7, 11, 13, 13), 24, True),
        ((99, 99, 99, 99, 99), 4, True),
        ((99, 99, 99, 99, 99), 5, False),
        ((1, 2, 3, 4, 5, 6), 720, True),
        ((2, 2, 2, 2, 2, 2), 65, False),
    ],
)
def test_more_than_four_numbers(numbers: tuple[int, ...], target: int, expected: bool) -> None:
    assert can_make(numbers, target) is expected
    assert reduces_to(tuple(map(Fraction, numbers)), target) is expected
    if len(numbers) <= 5:
        assert bool(solutions(numbers, target)) is expected


@pytest.mark.parametrize(
    "numbers", [(), (-1, 2), (1, HIGHEST_NUMBER + 1), (1.5, 2), ("1", "2"), "12", 7, None, (None,)]
)
def test_impossible_numbers_are_refused(numbers: object) -> None:
    for solve, most in ((solutions, 5), (can_make, 6)):
        with pytest.raises(HandError, match=f"expected 1 to {most} whole numbers between 0 and 99, got ") as caught:
            solve(numbers)  # type: ignore[operator]
        assert str(caught.value).endswith(repr(numbers))


def test_too_many_numbers_are_refused() -> None:
    with pytest.raises(HandError, match="1 to 5 whole numbers"):
        solutions((1,) * 6)
    with pytest.raises(HandError, match="1 to 6 whole numbers"):
        can_make((1,) * 7)


@pytest.mark.parametrize("target", [24.0, "24", None, Fraction(1, 2), HIGHEST_TARGET + 1])
def test_a_target_that_is_no_whole_number_is_refused(target: object) -> None:
    for solve in (solutions, can_make):
        with pytest.raises(SettingError, match="expected a whole number such as 24, at most"):
            solve((1, 2, 3, 4), target)  # type: ignore[operator]


def test_numbers_of_numpy_are_numbers_too() -> None:
    hand = np.array([3, 3, 8, 8])
    assert solutions(hand, np.int64(24)) == solutions((3, 3, 8, 8))  # type: ignore[arg-type]
    assert can_make(hand)  # type: ignore[arg-type]
