"""What sticking and hitting are worth in Blackjack with an infinite deck, exactly, by dynamic programming.

Sutton and Barto, "Reinforcement Learning: An Introduction", example 5.1. A plain win pays 1, so the values hold for the
rules without `natural` and `sab`.
"""

from __future__ import annotations

from functools import cache

from gtr_envs.cards.blackjack import DEALER_STANDS_AT, HIGHEST_SUM

VALUES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10)  # each as likely as the others
CHANCE = 1 / len(VALUES)
BUST = 0


def add_card(total: int, usable_ace: bool, value: int) -> tuple[int, bool]:
    """What a hand counts with one card more.

    Args:
        total: what it counts now, a usable ace as 11.
        usable_ace: whether it has one.
        value: of the new card, an ace as 1.

    Returns:
        The new count and whether it has a usable ace; the count is above 21 if the hand is lost.
    """
    if value == 1 and not usable_ace and total + 11 <= HIGHEST_SUM:
        return total + 11, True
    total += value
    if total > HIGHEST_SUM and usable_ace:
        return total - 10, False
    return total, usable_ace


@cache
def _dealer_ends(total: int, usable_ace: bool) -> dict[int, float]:
    """With which chance the dealer ends with which sum, `BUST` for above 21."""
    if total > HIGHEST_SUM:
        return {BUST: 1.0}
    if total >= DEALER_STANDS_AT:
        return {total: 1.0}
    ends: dict[int, float] = {}
    for value in VALUES:
        for end, chance in _dealer_ends(*add_card(total, usable_ace, value)).items():
            ends[end] = ends.get(end, 0.0) + CHANCE * chance
    return ends


@cache
def action_values(total: int, usable_ace: bool, dealer_card: int) -> tuple[float, float]:
    """The expected reward of each action, with the best play after it.

    Args:
        total: what the player's hand counts, 4 to 21, a usable ace as 11.
        usable_ace: whether it has one.
        dealer_card: the value of the card that shows, 1 to 10.

    Returns:
        That of sticking and that of hitting.
    """
    ends = _dealer_ends(*add_card(0, False, dealer_card))
    stick = sum(chance * ((total > end) - (total < end)) for end, chance in ends.items())
    hit = 0.0
    for value in VALUES:
        after, ace = add_card(total, usable_ace, value)
        hit += CHANCE * (-1.0 if after > HIGHEST_SUM else max(action_values(after, ace, dealer_card)))
    return stick, hit
