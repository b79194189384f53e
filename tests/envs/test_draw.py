"""The pictures: shape, fixed places, fresh arrays, and ranks that can still be told apart when scaled down."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gtr_envs.cards.draw import (
    BOARD_BOX,
    CELL_HEIGHT,
    CELL_WIDTH,
    CELLS_PER_LINE,
    COLUMN,
    FIRST_CELL,
    LINES,
    MAX_TOKENS,
    draw_frame,
    draw_table,
    draw_token,
)
from gtr_envs.cards.hands import RANKS, SUITS
from gtr_envs.cards.points24 import ACTIONS, IMAGE_SIZES, MAX_ACTIONS
from gtr_envs.cards.sketch import to_pixel
from gtr_envs.errors import HandError

HAND = ("AH", "10S", "KD", "4C")


def scaled_to_112(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((112, 112), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.parametrize("size", [64, 101, 112, 224, 300, 301, 1024])
def test_a_frame_of_any_size_has_cards_above_and_the_formula_below(size: int) -> None:
    blank = draw_frame((), (), size)
    cards = draw_frame(HAND, (), size)
    full = draw_frame(HAND, ACTIONS, size)
    assert blank.shape == cards.shape == full.shape == (size, size, 3)
    assert blank.dtype == np.uint8
    half = to_pixel(150, size)
    assert (blank[half:] == cards[half:]).all()
    assert (blank[:half] != cards[:half]).any()
    assert (full[:half] == cards[:half]).all()
    assert (full[half:] != cards[half:]).any()


def test_cards_and_tokens_fit_into_every_size() -> None:
    # Each is rounded on its own, which could push the last one over the edge.
    for size in range(IMAGE_SIZES[0], IMAGE_SIZES[1] + 1):
        assert to_pixel(3 * COLUMN, size) + to_pixel(COLUMN, size) <= size
        last = (FIRST_CELL[0] + (CELLS_PER_LINE - 1) * CELL_WIDTH, FIRST_CELL[1] + (LINES - 1) * CELL_HEIGHT)
        assert to_pixel(last[0], size) + to_pixel(CELL_WIDTH, size) <= to_pixel(BOARD_BOX[2], size)
        assert to_pixel(last[1], size) + to_pixel(CELL_HEIGHT, size) <= to_pixel(BOARD_BOX[3], size)


def test_the_board_has_room_for_the_longest_formula() -> None:
    assert MAX_TOKENS >= MAX_ACTIONS + 1
    longest = ["("] * (MAX_ACTIONS + 1)
    # The last token shows like the first: nothing is cut off or drawn over.
    assert (draw_frame(HAND, longest) != draw_frame(HAND, longest[:-1])).any()


def test_each_token_has_its_own_place() -> None:
    changed = []
    for position in range(MAX_TOKENS):
        canvas = draw_table(HAND)
        before = canvas.copy()
        draw_token(canvas, position, "8")
        changed.append((canvas != before).any(axis=-1))
    assert all(places.any() for places in changed)
    assert np.sum(changed, axis=0).max() == 1


@pytest.mark.parametrize("place", range(4))
def test_ranks_and_suits_stay_apart_at_112_pixels(place: int) -> None:
    corner = (slice(3, 21), slice(28 * place, 28 * place + 28))

    def corner_of(rank: str, suit: str) -> np.ndarray:
        cards = ["3C", "5C", "7C", "9C"]
        cards[place] = rank + suit
        return scaled_to_112(draw_frame(cards))[corner].mean(axis=-1)

    pictures = {(rank, suit): corner_of(rank, suit) for rank in RANKS for suit in SUITS}
    for suit in SUITS:
        for rank in RANKS:
            for other in RANKS[: RANKS.index(rank)]:
                difference = np.abs(pictures[rank, suit] - pictures[other, suit])
                # Some of the corner's pixels differ by more than a quarter of the range: 5 and 6 by the fewest, 19.
                assert (difference > 64).sum() >= 12, (rank, other, suit)
    # A rank looks more like itself in another suit of its colour than like any other rank.
    for rank in RANKS:
        seen = pictures[rank, "H"]
        nearest = min(RANKS, key=lambda candidate: np.abs(pictures[candidate, "D"] - seen).sum())
        assert nearest == rank


def test_tokens_are_told_apart_at_112_pixels() -> None:
    pictures = {token: scaled_to_112(draw_frame(HAND, [token]))[56:76, :18] for token in ACTIONS}
    for index, token in enumerate(ACTIONS):
        for other in ACTIONS[:index]:
            assert (np.abs(pictures[token] - pictures[other]).max(axis=-1) > 64).sum() >= 8, (token, other)


def test_a_card_looks_the_same_in_every_place() -> None:
    width = to_pixel(COLUMN, 300)
    frames = [
        draw_frame([card if index == place else "2C" for index in range(4)]) for place in range(4) for card in ["QD"]
    ]
    columns = [frame[:150, place * width : (place + 1) * width] for place, frame in enumerate(frames)]
    assert all((column == columns[0]).all() for column in columns)


def test_red_suits_are_red_and_black_suits_are_black() -> None:
    for suit, red in (("H", True), ("D", True), ("S", False), ("C", False)):
        card = draw_frame(["A" + suit])[8:142, 4:71].reshape(-1, 3).astype(int)
        is_red = (card[:, 0] > 150) & (card[:, 1] < 80)
        is_black = card.max(axis=1) < 60
        assert (is_red.sum() > 500) == red
        assert (is_black.sum() > 500) == (not red)


def test_frames_are_arrays_of_their_own() -> None:
    first = draw_frame(HAND, ("8",))
    kept = first.copy()
    first[:] = 0
    assert (draw_frame(HAND, ("8",)) == kept).all()


def test_an_unknown_card_is_not_drawn() -> None:
    with pytest.raises(HandError, match="'1S'"):
        draw_frame(["1S"])
