"""Cards, the values they have, which hands can make their target, and the split of hands into training and test.

A card is a string, rank then suit: "AH", "10S", "KD". Its value is 1 for an ace and the number for 2 to 10; jack, queen
and king count 10, or 11, 12 and 13 where face cards count by rank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Literal, get_args

from gtr_envs.cards.formula import TARGET, winning_continuation
from gtr_envs.errors import HandError

HandFilter = Literal["solvable", "all"]
Split = Literal["all", "train", "test"]
FaceCards = Literal["ten", "rank"]

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
SUITS = ("S", "H", "D", "C")
HAND_SIZE = 4
HAND_SIZES = (2, 5)
TARGETS = (1, 1000)
HAND_FILTERS: tuple[HandFilter, ...] = get_args(HandFilter)
SPLITS: tuple[Split, ...] = get_args(Split)
FACE_CARDS: tuple[FaceCards, ...] = get_args(FaceCards)
TEST_SHARE = 0.2
EXAMPLE_HAND = ["AH", "10S", "KD", "4C", "7S"]

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

_BY_RANK = {rank + suit: index + 1 for index, rank in enumerate(RANKS) for suit in SUITS}
_VALUES: dict[str, dict[str, int]] = {
    "ten": {card: min(value, 10) for card, value in _BY_RANK.items()},
    "rank": _BY_RANK,
}


@dataclass(frozen=True)
class Game:
    """What a hand is, and what it has to make.

    Attributes:
        num_cards: how many cards a hand has, 2 to 5.
        target: what the formula has to make, 1 to 1000.
        face_cards: whether jack, queen and king count "ten", or by "rank" 11, 12 and 13.
    """

    num_cards: int = HAND_SIZE
    target: int = TARGET
    face_cards: FaceCards = "ten"

    @property
    def highest(self) -> int:
        """The highest value of a card."""
        return 10 if self.face_cards == "ten" else 13

    def numbers(self, cards: Sequence[str]) -> tuple[int, ...]:
        """The values of known cards, in their order."""
        values = _VALUES[self.face_cards]
        return tuple([values[card] for card in cards])


def card_value(card: str, face_cards: FaceCards = "ten") -> int:
    """The number that a card stands for.

    Args:
        card: rank and suit, such as "AH", "10S" or "KD".
        face_cards: whether jack, queen and king count "ten" or by "rank".

    Returns:
        1 for an ace, 2 to 10 for the number cards, 10 or 11 to 13 for jack, queen and king.

    Raises:
        HandError: if there is no such card.
    """
    try:
        return _VALUES[face_cards][card]
    except (KeyError, TypeError):
        ranks, suits = ", ".join(RANKS), ", ".join(SUITS)
        raise HandError(
            f"unknown card {card!r}: expected a rank ({ranks}) and a suit ({suits}), such as '10S'"
        ) from None


def check_hand(cards: Sequence[str], num_cards: int = HAND_SIZE, repeats: bool = False) -> tuple[str, ...]:
    """The hand as a tuple, if it can be dealt.

    Args:
        cards: card strings.
        num_cards: how many there have to be.
        repeats: whether a card may appear twice; else a hand comes from one deck.

    Returns:
        The same cards as a tuple.

    Raises:
        HandError: if their number is another one, one is unknown, or one appears twice.
    """
    if isinstance(cards, str) or not isinstance(cards, Sequence):
        raise HandError(f"a hand is a list of {num_cards} cards such as {EXAMPLE_HAND[:num_cards]}, not {cards!r}")
    hand = tuple(cards)
    if len(hand) != num_cards:
        raise HandError(f"a hand has {num_cards} cards, not {len(hand)}: {list(hand)!r}")
    for card in hand:
        card_value(card)
    if len(set(hand)) != num_cards and not repeats:
        raise HandError(f"the same card twice in {list(hand)!r}: a hand comes from one deck, so its cards differ")
    return hand


def hand_values(cards: Sequence[str]) -> tuple[int, ...]:
    """The values of the cards, in their order, where face cards count ten.

    Raises:
        HandError: if one of them is unknown.
    """
    return tuple(card_value(card) for card in cards)


def _multiset(numbers: Sequence[int]) -> tuple[int, ...]:
    """The values in ascending order, checked."""
    multiset = tuple(sorted(numbers))
    fewest, most = HAND_SIZES
    if not fewest <= len(multiset) <= most or not all(number in range(1, len(RANKS) + 1) for number in multiset):
        raise HandError(f"expected {fewest} to {most} values between 1 and {len(RANKS)}, got {tuple(numbers)!r}")
    return multiset


@lru_cache(maxsize=1)
def _unsolvable() -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(10 if digit == "t" else int(digit) for digit in word) for word in _UNSOLVABLE_TEXT.split())


@lru_cache(maxsize=1)
def all_multisets() -> tuple[tuple[int, ...], ...]:
    """The 715 multisets of four values in 1..10, each ascending, in lexicographic order."""
    return tuple(combinations_with_replacement(range(1, 11), HAND_SIZE))


@lru_cache(maxsize=1)
def _standard_multisets() -> frozenset[tuple[int, ...]]:
    return frozenset(all_multisets())


@lru_cache(maxsize=1)
def solvable_multisets() -> tuple[tuple[int, ...], ...]:
    """The 566 multisets of four values in 1..10 that can make 24, each ascending, in lexicographic order."""
    return tuple(multiset for multiset in all_multisets() if multiset not in _unsolvable())


def is_solvable(numbers: Sequence[int], target: int = TARGET) -> bool:
    """Whether the values can make the target with + - * / and parentheses, each used once.

    Args:
        numbers: two to five values between 1 and 13, in any order.
        target: what they have to make.

    Raises:
        HandError: for other values.
    """
    return _is_solvable(_multiset(numbers), target)


@lru_cache(maxsize=1 << 15)
def _is_solvable(multiset: tuple[int, ...], target: int) -> bool:
    if target == TARGET and multiset in _standard_multisets():
        return multiset not in _unsolvable()
    return winning_continuation((), multiset, target) is not None


def _digest(multiset: tuple[int, ...]) -> str:
    """The hash of a text such as "1-5-5-7": it depends on nothing but the values, so it is the same for ever."""
    return hashlib.sha256("-".join(map(str, multiset)).encode()).hexdigest()


@lru_cache(maxsize=1)
def _test_multisets() -> frozenset[tuple[int, ...]]:
    """The held-out ones of the 715: the first fifth of the solvable and of the unsolvable, in the order of the hash."""
    held_out: set[tuple[int, ...]] = set()
    for group in (solvable_multisets(), _unsolvable()):
        held_out.update(sorted(group, key=_digest)[: round(TEST_SHARE * len(group))])
    return frozenset(held_out)


def hand_split(numbers: Sequence[int]) -> Literal["train", "test"]:
    """Which side of the fixed split a hand's multiset of values is on; no option of an environment moves it.

    A fifth of the 715 multisets of four values in 1..10, taken separately from those that can make 24 and from the
    others, is held out as "test": 113 of 566 and 30 of 149. Of all other multisets (of another size, or with a value
    above 10) those are held out whose hash lies in the first fifth of all possible ones.

    Args:
        numbers: two to five values between 1 and 13, in any order.

    Returns:
        "train" or "test".

    Raises:
        HandError: for other values.
    """
    return _hand_split(_multiset(numbers))


@lru_cache(maxsize=1 << 15)
def _hand_split(multiset: tuple[int, ...]) -> Literal["train", "test"]:
    if multiset in _standard_multisets():
        return "test" if multiset in _test_multisets() else "train"
    return "test" if int(_digest(multiset)[:12], 16) < TEST_SHARE * 16**12 else "train"
