"""Cards, the solvable multisets, the split and the deal."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import pytest

from gtr_envs.cards.deal import deal
from gtr_envs.cards.hands import (
    HAND_FILTERS,
    RANKS,
    SPLITS,
    SUITS,
    Game,
    all_multisets,
    card_value,
    check_hand,
    hand_split,
    hand_values,
    is_solvable,
    solvable_multisets,
)
from gtr_envs.errors import HandError, SettingError


@cache
def can_make(numbers: tuple[Fraction, ...], target: int = 24) -> bool:
    """Whether replacing two numbers by a result, again and again, can end in the target: nothing of the package's."""
    if len(numbers) == 1:
        return numbers[0] == target
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            a, b = numbers[i], numbers[j]
            rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
            results = {a + b, a - b, b - a, a * b} | ({a / b} if b else set()) | ({b / a} if a else set())
            if any(can_make(tuple(sorted([*rest, result])), target) for result in results):
                return True
    return False


def test_an_independent_solver_finds_the_same_566_of_715_multisets_solvable() -> None:
    found = {multiset for multiset in all_multisets() if can_make(tuple(map(Fraction, multiset)))}
    assert len(all_multisets()) == 715
    assert len(found) == 566
    assert found == set(solvable_multisets())
    assert {multiset for multiset in all_multisets() if is_solvable(multiset)} == found


def test_split_is_exact_disjoint_and_follows_the_hash() -> None:
    solvable, unsolvable = set(solvable_multisets()), set(all_multisets()) - set(solvable_multisets())
    for group, n_test in ((solvable, 113), (unsolvable, 30)):
        in_order = sorted(group, key=lambda m: hashlib.sha256("-".join(map(str, m)).encode()).hexdigest())
        assert [hand_split(multiset) for multiset in in_order] == ["test"] * n_test + ["train"] * (len(group) - n_test)


def test_split_and_solvability_ignore_the_order_of_the_values() -> None:
    assert is_solvable((8, 3, 8, 3))
    assert is_solvable((3, 3, 8, 8))
    assert not is_solvable((1, 1, 1, 1))
    assert hand_split((10, 1, 7, 2)) == hand_split((1, 2, 7, 10))


def test_card_values() -> None:
    assert [card_value(rank + "S") for rank in RANKS] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]
    assert hand_values(["AH", "10S", "KD", "4C"]) == (1, 10, 10, 4)


@pytest.mark.parametrize("card", ["1S", "11H", "S", "", "AX", "ah", "10", "KSS", None, 7, ["AS"]])
def test_unknown_cards_are_named(card: object) -> None:
    with pytest.raises(HandError, match="such as '10S'"):
        card_value(card)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (["AH", "2H", "3H"], "has 4 cards, not 3"),
        (["AH", "2H", "3H", "4H", "5H"], "has 4 cards, not 5"),
        (["AH", "AH", "3H", "4H"], "same card twice"),
        (["AH", "ZZ", "3H", "4H"], "'ZZ'"),
        ("AH2H", "a list of 4 cards"),
        (5, "a list of 4 cards"),
    ],
)
def test_impossible_hands_are_refused(cards: object, message: str) -> None:
    with pytest.raises(HandError, match=message):
        check_hand(cards)  # type: ignore[arg-type]


def test_face_cards_count_ten_or_by_rank() -> None:
    assert [card_value(rank + "S", "rank") for rank in RANKS] == list(range(1, 14))
    assert Game(face_cards="rank").numbers(["JH", "QS", "KD", "4C"]) == (11, 12, 13, 4)
    assert Game().numbers(["JH", "QS", "KD", "4C"]) == (10, 10, 10, 4)


@pytest.mark.parametrize(("numbers", "target"), [((2, 12), 24), ((3, 4), 12), ((11, 13), 24), ((1, 2, 3, 4, 5), 15)])
def test_other_games_are_solved_too(numbers: tuple[int, ...], target: int) -> None:
    assert is_solvable(numbers, target)
    assert not is_solvable(numbers, 977)


def test_the_split_of_other_hands_is_about_a_fifth_and_knows_no_option() -> None:
    for size, highest in ((2, 13), (3, 10), (3, 13), (5, 10)):
        hands = list(combinations_with_replacement(range(1, highest + 1), size))
        share = sum(hand_split(hand) == "test" for hand in hands) / len(hands)
        assert abs(share - 0.2) < 5 * (0.16 / len(hands)) ** 0.5
    # Four values up to ten are on the same side whatever face cards count.
    standard = {hand: hand_split(hand) for hand in all_multisets()}
    assert Counter(standard.values()) == {"train": 572, "test": 143}


@pytest.mark.parametrize("game", [Game(2, 12), Game(3, 24), Game(5, 24), Game(4, 7), Game(4, 24, "rank")])
def test_other_games_are_dealt(game: Game) -> None:
    rng = np.random.default_rng(0)
    for _ in range(15):
        numbers = game.numbers(check_hand(deal(rng, "solvable", "train", game), game.num_cards))
        assert is_solvable(numbers, game.target)
        assert hand_split(numbers) == "train"


def test_a_game_that_no_hand_can_win_is_named() -> None:
    with pytest.raises(SettingError, match="hands of 2 cards could make 997: choose another target"):
        deal(np.random.default_rng(0), "solvable", "all", Game(2, 997))


def test_five_of_a_rank_are_never_dealt_from_one_deck() -> None:
    class Fives(np.random.Generator):
        """Draws the same rank five times at first."""

        calls = 0

        def integers(self, low: int, high: int, size: object) -> np.ndarray:  # type: ignore[override]
            self.calls += 1
            if self.calls == 1:
                return np.full(16 * 5, 3)
            return super().integers(low, high, size=size)  # type: ignore[call-overload, no-any-return]

    cards = deal(Fives(np.random.PCG64(0)), "all", "all", Game(5))
    assert len(set(cards)) == 5


@pytest.mark.parametrize("numbers", [(1,), (0, 1, 2, 3), (1, 2, 3, 14), (1, 2, 3, 4, 5, 6), ()])
def test_values_outside_the_game_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(HandError):
        is_solvable(numbers)
    with pytest.raises(HandError):
        hand_split(numbers)


@pytest.mark.parametrize("hands", HAND_FILTERS)
@pytest.mark.parametrize("split", SPLITS)
def test_deals_fit_the_filter_and_the_split(hands: str, split: str) -> None:
    rng = np.random.default_rng(3)
    kinds = set()
    for _ in range(300):
        cards = deal(rng, hands, split)  # type: ignore[arg-type]
        values = hand_values(check_hand(cards))
        kinds.add((is_solvable(values), hand_split(values)))
    wanted = {(s, p) for s in ((True,) if hands == "solvable" else (True, False)) for p in ("train", "test")}
    assert kinds == {(s, p) for s, p in wanted if split in ("all", p)}


def test_deals_are_uniform_over_ranks_and_suits() -> None:
    rng = np.random.default_rng(5)
    n_hands = 6000
    ranks: Counter[str] = Counter()
    suits: Counter[str] = Counter()
    n_solvable = 0
    for _ in range(n_hands):
        cards = deal(rng, "all", "all")
        ranks.update(card[:-1] for card in cards)
        suits.update(card[-1] for card in cards)
        n_solvable += is_solvable(hand_values(cards))
    # Five standard deviations: sqrt(24000 * p * (1 - p)) is about 41 for a rank and 67 for a suit.
    assert all(abs(ranks[rank] - 4 * n_hands / 13) < 5 * 41.3 for rank in RANKS)
    assert all(abs(suits[suit] - n_hands) < 5 * 67.1 for suit in SUITS)
    # 73.1% of these deals can make 24; the deviation is 0.57%.
    assert abs(n_solvable / n_hands - 0.731) < 5 * 0.0057


def test_the_same_generator_state_deals_the_same_hands() -> None:
    first, second = np.random.default_rng(11), np.random.default_rng(11)
    assert [deal(first) for _ in range(20)] == [deal(second) for _ in range(20)]
    assert deal(np.random.default_rng(11)) != deal(np.random.default_rng(12))
