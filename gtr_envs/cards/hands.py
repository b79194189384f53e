"""Cards, hands, and which hands can make 24: the value multisets, their split into training and test, and the deal.

A card is a string, rank then suit: "AH", "10S", "KD". Its value is 1 for an ace, the number for 2 to 10, and 10 for
J, Q and K, so a hand of four cards has one of the 715 multisets of four values in 1..10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np

from gtr_envs.errors import HandError

HandFilter = Literal["solvable", "all"]
Split = Literal["all", "train", "test"]

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
SUITS = ("S", "H", "D", "C")
HAND_SIZE = 4
HAND_FILTERS: tuple[HandFilter, ...] = ("solvable", "all")
SPLITS: tuple[Split, ...] = ("all", "train", "test")
TEST_SHARE = 0.2

# The 149 multisets of four values in 1..10 that cannot make 24 (t = 10). Kept as data, because finding them takes a
# search over all 715; the tests make that search and compare.
_UNSOLVABLE_TEXT = """
1111 1112 1113 1114 1115 1116 1117 1119 111t 1122 1123 1124 1125 1133 1159 115t 1167 116t 1177 1178 1179 1189 118t 1199
119t 11tt 1222 1223 1299 129t 12tt 1355 147t 148t 1499 1557 1558 1577 1667 1677 1678 16tt 1777 1778 17tt 1899 189t 18tt
1999 199t 19tt 1ttt 2222 2226 2279 2299 2334 2555 2556 2599 2677 2777 2779 278t 2799 2999 299t 2ttt 334t 3358 337t 33tt
3467 3488 349t 3555 355t 3577 358t 378t 3ttt 4459 4466 4467 4499 449t 4779 477t 4999 49tt 4ttt 5557 5558 555t 5569 556t
5579 567t 5777 5778 5799 5899 589t 58tt 5999 599t 5ttt 6667 6677 6678 6699 66tt 6777 6778 6779 6788 679t 68tt 6999 69tt
7777 7778 7779 777t 7788 7789 778t 7799 77tt 7888 7899 7999 799t 79tt 7ttt 8888 8889 8899 889t 88tt 8999 899t 89tt 8ttt
9999 999t 99tt 9ttt tttt
"""

_CARD_VALUES = {rank + suit: min(index + 1, 10) for index, rank in enumerate(RANKS) for suit in SUITS}


def card_value(card: str) -> int:
    """The number that a card stands for.

    Args:
        card: rank and suit, such as "AH", "10S" or "KD".

    Returns:
        1 for an ace, 2 to 10 for the number cards, 10 for jack, queen and king.

    Raises:
        HandError: if there is no such card.
    """
    try:
        return _CARD_VALUES[card]
    except (KeyError, TypeError):
        ranks, suits = ", ".join(RANKS), ", ".join(SUITS)
        raise HandError(
            f"unknown card {card!r}: expected a rank ({ranks}) and a suit ({suits}), such as '10S'"
        ) from None


def check_hand(cards: Sequence[str]) -> tuple[str, ...]:
    """The hand as a tuple, if it can be dealt from one deck.

    Args:
        cards: four card strings, all different.

    Returns:
        The same cards as a tuple.

    Raises:
        HandError: if there are not four cards, one is unknown, or one appears twice.
    """
    if isinstance(cards, str) or not isinstance(cards, Sequence):
        raise HandError(f"a hand is a list of {HAND_SIZE} cards such as ['AH', '10S', 'KD', '4C'], not {cards!r}")
    hand = tuple(cards)
    if len(hand) != HAND_SIZE:
        raise HandError(f"a hand has {HAND_SIZE} cards, not {len(hand)}: {list(hand)!r}")
    for card in hand:
        card_value(card)
    if len(set(hand)) != HAND_SIZE:
        raise HandError(f"the same card twice in {list(hand)!r}: a hand comes from one deck, so its cards differ")
    return hand


def hand_values(cards: Sequence[str]) -> tuple[int, ...]:
    """The values of the cards, in their order.

    Raises:
        HandError: if one of them is unknown.
    """
    return tuple(card_value(card) for card in cards)


def _multiset(numbers: Sequence[int]) -> tuple[int, ...]:
    """The values in ascending order, checked."""
    multiset = tuple(sorted(numbers))
    if len(multiset) != HAND_SIZE or not all(number in range(1, 11) for number in multiset):
        raise HandError(f"expected {HAND_SIZE} values between 1 and 10, got {tuple(numbers)!r}")
    return multiset


@lru_cache(maxsize=1)
def _unsolvable() -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(10 if digit == "t" else int(digit) for digit in word) for word in _UNSOLVABLE_TEXT.split())


@lru_cache(maxsize=1)
def all_multisets() -> tuple[tuple[int, ...], ...]:
    """The 715 multisets of four values in 1..10, each ascending, in lexicographic order."""
    return tuple(combinations_with_replacement(range(1, 11), HAND_SIZE))


@lru_cache(maxsize=1)
def solvable_multisets() -> tuple[tuple[int, ...], ...]:
    """The 566 multisets of four values in 1..10 that can make 24, each ascending, in lexicographic order."""
    return tuple(multiset for multiset in all_multisets() if multiset not in _unsolvable())


def is_solvable(numbers: Sequence[int]) -> bool:
    """Whether four values can make 24 with + - * / and parentheses, each used once.

    Args:
        numbers: four values between 1 and 10, in any order.

    Raises:
        HandError: for anything else.
    """
    return _multiset(numbers) not in _unsolvable()


@lru_cache(maxsize=1)
def _test_multisets() -> frozenset[tuple[int, ...]]:
    """The held-out multisets: the first fifth of the solvable and of the unsolvable ones in the order of a hash.

    The hash of a text such as "1-5-5-7" depends on nothing but the values, so the split is the same everywhere, for
    ever.
    """

    def digest(multiset: tuple[int, ...]) -> str:
        return hashlib.sha256("-".join(map(str, multiset)).encode()).hexdigest()

    held_out: set[tuple[int, ...]] = set()
    for group in (solvable_multisets(), _unsolvable()):
        held_out.update(sorted(group, key=digest)[: round(TEST_SHARE * len(group))])
    return frozenset(held_out)


def hand_split(numbers: Sequence[int]) -> Literal["train", "test"]:
    """Which side of the fixed split a hand's multiset of values is on.

    A fifth of the 715 multisets, taken separately from the solvable and the unsolvable ones, is held out as "test":
    113 of 566 and 30 of 149.

    Args:
        numbers: four values between 1 and 10, in any order.

    Returns:
        "train" or "test".

    Raises:
        HandError: if the values are not four in 1..10.
    """
    return "test" if _multiset(numbers) in _test_multisets() else "train"


@lru_cache(maxsize=len(HAND_FILTERS) * len(SPLITS))
def _allowed(hands: HandFilter, split: Split) -> frozenset[tuple[int, ...]]:
    candidates = solvable_multisets() if hands == "solvable" else all_multisets()
    return frozenset(multiset for multiset in candidates if split in ("all", hand_split(multiset)))


def deal(rng: np.random.Generator, hands: HandFilter = "solvable", split: Split = "all") -> tuple[str, ...]:
    """Deal four different cards whose values fit the filter and the split.

    Each rank is uniform over the thirteen and independent of the others (so a value of 10 is four times as likely as
    any other), the suits are uniform among those that leave the cards different; hands that do not fit are dealt
    again.

    Args:
        rng: the generator that all randomness comes from.
        hands: "solvable" for hands that can make 24, "all" for any.
        split: "train" or "test" for hands of that side of `hand_split`, "all" for both.

    Returns:
        Four card strings, in the order of the deal.
    """
    allowed = _allowed(hands, split)
    while True:
        # A block of candidates costs as much as one: most of the time goes into the call.
        for ranks in rng.integers(0, len(RANKS), size=(16, HAND_SIZE)).tolist():
            if tuple(sorted(min(rank + 1, 10) for rank in ranks)) in allowed:
                return _with_suits(rng, ranks)


def _with_suits(rng: np.random.Generator, ranks: Sequence[int]) -> tuple[str, ...]:
    """Give each rank a suit, uniformly over the ways that leave the cards different."""
    while True:
        suits = rng.integers(0, len(SUITS), size=HAND_SIZE).tolist()
        cards = tuple(RANKS[rank] + SUITS[suit] for rank, suit in zip(ranks, suits, strict=True))
        if len(set(cards)) == HAND_SIZE:
            return cards
