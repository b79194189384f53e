"""The deal: hands drawn from a generator, to the taste of a filter and a split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gtr_envs.cards.hands import RANKS, SUITS, Game, HandFilter, Split, hand_split, is_solvable
from gtr_envs.errors import SettingError

STANDARD = Game()
MAX_BLOCKS = 20_000
_BLOCK = 16
_VALUES = {highest: [min(rank + 1, highest) for rank in range(len(RANKS))] for highest in (10, len(RANKS))}


def deal(
    rng: np.random.Generator,
    hands: HandFilter = "solvable",
    split: Split = "all",
    game: Game = STANDARD,
    repeats: bool = False,
) -> tuple[str, ...]:
    """Deal cards whose values fit the filter and the split.

    Each rank is uniform over the thirteen and independent of the others (so a value of 10 is four times as likely as
    any other where face cards count ten), the suits are uniform among those that leave the cards different; hands that
    do not fit are dealt again.

    Args:
        rng: the generator that all randomness comes from.
        hands: "solvable" for hands that can make the target, "all" for any.
        split: "train" or "test" for hands of that side of `hand_split`, "all" for both.
        game: how many cards, how they count, and what they have to make.
        repeats: whether the same card may be dealt twice, as if each came from a deck of its own.

    Returns:
        Card strings, in the order of the deal.

    Raises:
        SettingError: if no hand that fits turned up in a very long search.
    """
    values, count = _VALUES[game.highest], game.num_cards
    for _ in range(MAX_BLOCKS):
        # A block of candidates costs as much as one: most of the time goes into the call.
        drawn = rng.integers(0, len(RANKS), size=_BLOCK * count).tolist()
        for start in range(0, len(drawn), count):
            ranks = drawn[start : start + count]
            if count > len(SUITS) and len(set(ranks)) == 1 and not repeats:
                continue  # there is no fifth suit
            if _fits(tuple(sorted([values[rank] for rank in ranks])), hands, split, game.target):
                return _with_suits(rng, ranks, repeats)
    raise SettingError(
        f"none of {MAX_BLOCKS * _BLOCK:,} hands of {game.num_cards} cards could make {game.target}: "
        "choose another target or num_cards, or hands='all'"
    )


@lru_cache(maxsize=1 << 16)
def _fits(multiset: tuple[int, ...], hands: HandFilter, split: Split, target: int) -> bool:
    return (hands == "all" or is_solvable(multiset, target)) and (split == "all" or hand_split(multiset) == split)


def _with_suits(rng: np.random.Generator, ranks: Sequence[int], repeats: bool) -> tuple[str, ...]:
    """Give each rank a suit, uniformly over the ways that are allowed."""
    while True:
        suits = rng.integers(0, len(SUITS), size=len(ranks)).tolist()
        cards = tuple(RANKS[rank] + SUITS[suit] for rank, suit in zip(ranks, suits, strict=True))
        if repeats or len(set(cards)) == len(cards):
            return cards
