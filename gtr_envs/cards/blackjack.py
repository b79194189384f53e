"""Blackjack: read the cards from a picture, and take another one or stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtr_envs.cards.card_art import CARD_WIDTH
from gtr_envs.cards.hands import RANKS, SUITS, card_value, check_hand, hand_values
from gtr_envs.cards.outcome import Outcome
from gtr_envs.cards.table import TableEnv, all_allowed
from gtr_envs.cards.themes import ThemeName
from gtr_envs.errors import SettingError
from gtr_envs.options import check_choice, check_options

ACTIONS = ("stick", "hit")
HIGHEST_SUM = 21
DEALER_STANDS_AT = 17
REWARD_NATURAL = 1.5
EXAMPLE = "{'player': ['AH', '10S'], 'dealer': ['9C', 'KD']}"

CAPTION_HEIGHT, CAPTION_TOPS = 13.0, (8.0, 156.0)
BELOW_LINE = 1.24  # ink is so much higher once a letter goes below the line, as in "Player"
ROW_TOPS = (28.0, 175.0)
LEFT, RIGHT = 9.0, 291.0
GAP = 4.0  # at least, between cards
ZOOM, USUAL_CARDS = 0.9, 4  # up to so many cards are this large
SMALL_ZOOM, SMALL_LINE, MOST_IN_LINE = 0.44, 61.5, 8  # more cards stand in two small lines instead of one

_DECK = tuple(rank + suit for rank in RANKS for suit in SUITS)


def has_usable_ace(values: Sequence[int]) -> bool:
    """Whether the hand has an ace that can count 11 without going over 21."""
    return 1 in values and sum(values) + 10 <= HIGHEST_SUM


def hand_sum(values: Sequence[int]) -> int:
    """What a hand counts, a usable ace as 11."""
    return sum(values) + (10 if has_usable_ace(values) else 0)


def is_bust(values: Sequence[int]) -> bool:
    """Whether the hand is over 21."""
    return hand_sum(values) > HIGHEST_SUM


def score(values: Sequence[int]) -> int:
    """What the hand is worth in the comparison: its sum, or 0 if it is over 21."""
    return 0 if is_bust(values) else hand_sum(values)


def is_natural(values: Sequence[int]) -> bool:
    """Whether the hand is an ace and a ten or face card, and nothing else."""
    return sorted(values) == [1, 10]


def final_reward(player: Sequence[int], dealer: Sequence[int], natural: bool = False, sab: bool = False) -> float:
    """The reward when no more cards are drawn.

    Args:
        player: the values of the player's cards.
        dealer: the values of the dealer's, all of them.
        natural: pay 1.5 for winning with a natural.
        sab: a natural wins against everything but a natural; `natural` is ignored.

    Returns:
        1 for a win (or 1.5), -1 for a loss, 0 for a draw.
    """
    if is_bust(player):
        return -1.0
    if is_natural(player) and sab and not is_natural(dealer):
        return 1.0
    difference = score(player) - score(dealer)
    if is_natural(player) and natural and not sab and difference > 0:
        return REWARD_NATURAL
    return float(np.sign(difference))


def card_places(count: int) -> tuple[float, list[tuple[float, float]]]:
    """How large the cards of a hand are painted, and where.

    Up to four cards always stand in the same places. More of them are smaller, and from nine on they stand in two
    lines: there is room for any hand, and no card covers another.

    Args:
        count: how many cards the hand has.

    Returns:
        The zoom, and for each card its left edge and how far it is below the top of the row.
    """
    is_small = count > MOST_IN_LINE
    in_line = math.ceil(count / 2) if is_small else count
    room = max(in_line, MOST_IN_LINE if is_small else USUAL_CARDS)  # for so many cards there is room in a line
    zoom = min(SMALL_ZOOM if is_small else ZOOM, ((RIGHT - LEFT + GAP) / room - GAP) / CARD_WIDTH)
    apart = (RIGHT - LEFT - CARD_WIDTH * zoom) / (room - 1)
    return zoom, [(LEFT + apart * (index % in_line), SMALL_LINE * (index // in_line)) for index in range(count)]


class BlackjackEnv(TableEnv):
    """Read the cards from a picture, and take another one or stop.

    The rules are those of Gymnasium's own Blackjack, which follows example 5.1 of Sutton and Barto's "Reinforcement
    Learning: An Introduction".

    ## Actions
    `Discrete(2)`, an index into `ACTIONS`: 0 to stick, 1 to hit (take another card). Both are always allowed.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the dealer's first card and a card face down, under them the
    player's cards; at the end all cards face up. No sums are written. With `copy=True` each observation is an array of
    its own that is never changed afterwards.

    ## Rewards
    A hit that goes over 21 loses: -1; any other hit: 0. After "stick" the dealer draws up to 17 or more, and whoever is
    closer to 21 wins: +1, -1, or 0 for equal sums; a dealer over 21 loses. Jack, queen and king count 10, an ace 11 if
    that does not go over 21, else 1.

    ## Episode end
    Terminated by "stick" and by a sum over 21. Never truncated: no hand has more than 22 cards.

    ## Options
    - `natural`: True pays 1.5 for winning with a natural, an ace and a ten or face card.
    - `sab`: True plays as in Sutton and Barto's book: a natural wins +1 against everything but another natural;
      `natural` is then ignored.
    - `theme`, `image_size`, `render_mode`, `copy`: as in all environments with cards.

    `reset(options={"player": ["AH", "10S"], "dealer": ["9C", "KD"]})` deals these cards; the dealer's first one shows.

    **The deal.** The deck never runs out: each card is one whole number below 52 from the environment's generator, so
    ranks and suits are uniform and a card can appear twice. Drawn are the dealer's shown card, the dealer's hidden one,
    the player's two; then one with each hit, and after "stick" the dealer's.

    ## Info
    - `player`: the player's cards as strings; `dealer`: those of the dealer that the player may see, the first, and at
      the end all.
    - `player_sum`: what the player's cards count; `usable_ace`: whether an ace counts 11 in it.
    - `dealer_card`: the value of the dealer's first card, 1 to 10.
    - `action_mask`: int8 array (2,), all ones; `illegal`: False.
    - `is_success`: whether the player won; only at the end of an episode.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        natural: see Options, as the others.
        sab: the rules of the book.
        theme: how the table looks.
        image_size: pixels, from 64 to 1024.
        render_mode: what `render` returns.
        copy: whether each observation is an array of its own.

    Raises:
        SettingError: for any other value.
    """

    def __init__(
        self,
        natural: bool = False,
        sab: bool = False,
        theme: ThemeName = "classic",
        image_size: int = 300,
        render_mode: str | None = None,
        copy: bool = True,
    ) -> None:
        check_choice("natural", natural, (True, False))
        check_choice("sab", sab, (True, False))
        super().__init__(ACTIONS, theme, image_size, render_mode, copy)
        self.natural = natural
        self.sab = sab
        self._player: tuple[str, ...] = ()
        self._dealer: tuple[str, ...] = ()
        self._is_over = False

    def _deal(self, options: Mapping[str, Any]) -> None:
        given = _given_hands(options)
        # The dealer first, as in Gymnasium's Blackjack.
        self._dealer, self._player = given or (self._draw(2), self._draw(2))
        self._is_over = False

    def _draw(self, count: int) -> tuple[str, ...]:
        return tuple(_DECK[self.np_random.integers(len(_DECK))] for _ in range(count))

    def _play(self, action: int) -> Outcome:
        if ACTIONS[action] == "hit":
            self._player += self._draw(1)
            self._is_over = is_bust(hand_values(self._player))
        else:
            while hand_sum(hand_values(self._dealer)) < DEALER_STANDS_AT:
                self._dealer += self._draw(1)
            self._is_over = True
        reward = 0.0
        if self._is_over:
            reward = final_reward(hand_values(self._player), hand_values(self._dealer), self.natural, self.sab)
        self._paint()
        return Outcome(reward, terminated=self._is_over, success=reward > 0)

    def _info(self) -> dict[str, Any]:
        values = hand_values(self._player)
        return {
            "player": self._player,
            "dealer": self._dealer if self._is_over else self._dealer[:1],
            "player_sum": hand_sum(values),
            "dealer_card": card_value(self._dealer[0]),
            "usable_ace": has_usable_ace(values),
            "action_mask": all_allowed(len(ACTIONS)),
            "illegal": False,
        }

    def _describe(self) -> str:
        dealer = self._dealer if self._is_over else (self._dealer[0], "?")
        return f"dealer {' '.join(dealer)} | player {' '.join(self._player)}"

    def _paint(self) -> None:
        self.painter.background(self.canvas)
        self._paint_caption("Dealer", CAPTION_TOPS[0], CAPTION_HEIGHT)
        self._paint_caption("Player", CAPTION_TOPS[1], CAPTION_HEIGHT * BELOW_LINE)
        self._paint_hand(self._dealer if self._is_over else (self._dealer[0], None), ROW_TOPS[0])
        self._paint_hand(self._player, ROW_TOPS[1])

    def _paint_caption(self, text: str, top: float, height: float) -> None:
        self.painter.text(self.canvas, text, (LEFT, top, RIGHT, top + height), weight=0.015, align="left")

    def _paint_hand(self, cards: Sequence[str | None], top: float) -> None:
        zoom, places = card_places(len(cards))
        for card, (left, down) in zip(cards, places, strict=True):
            self.painter.card(self.canvas, card, left, top + down, zoom)


def _given_hands(options: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The dealer's and the player's cards that were asked for, or None."""
    check_options(options, ("player", "dealer"), EXAMPLE)
    dealer, player = options.get("dealer"), options.get("player")
    if dealer is None and player is None:
        return None
    if dealer is None or player is None:
        missing = "dealer" if dealer is None else "player"
        raise SettingError(f"reset options without {missing!r}: expected both hands or neither, as in {EXAMPLE}")
    return check_hand(dealer, num_cards=2, repeats=True), check_hand(player, num_cards=2, repeats=True)
