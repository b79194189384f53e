"""The pictures: shape, fixed places, fresh arrays, and ranks that can still be told apart when scaled down."""

from __future__ import annotations

import hashlib

import numpy as np
import PIL
import pytest
from PIL import Image

from gtr_envs.cards.draw import draw_frame, draw_table, draw_token
from gtr_envs.cards.hands import RANKS, SUITS
from gtr_envs.cards.points24 import MAX_ACTIONS
from gtr_envs.cards.sketch import to_pixel
from gtr_envs.cards.table_art import (
    BOARD_BOX,
    CELL_HEIGHT,
    CELL_WIDTH,
    CELLS_PER_LINE,
    COLUMN,
    FIRST_CELL,
    LINES,
    MAX_CARDS,
    MAX_TOKENS,
    TOKENS,
)
from gtr_envs.errors import HandError, SettingError
from gtr_envs.options import IMAGE_SIZES

HAND = ("AH", "10S", "KD", "4C")
ACTIONS = (*map(str, range(1, 11)), *"+-*/()=")
PINNED_PILLOW = "13.0.0"
# By size, of all cards and tokens in the theme classic. Agents were trained on these very pixels.
PINNED = {
    64: "18a97f311122b30a3ed3cd94f414deeca812a1546a11d99b25fce03dd00a4d90",
    112: "2746d899ac37c1f17b6ddfa11e1f2096ad17ed3a5df9a27c2b865c2d88f4b52b",
    300: "8c3f11d5f4a4a1f0afaf0a8855c77e44aa8c81faa6befeac29d41c4f316b6714",
    1024: "af758e7397a408bd92172f7443541bcfafa17b661dbb28f31779b8743caf91ca",
}


@pytest.mark.skipif(PIL.__version__ != PINNED_PILLOW, reason=f"the pixels are those of Pillow {PINNED_PILLOW}")
@pytest.mark.parametrize("size", PINNED)
def test_the_pictures_of_four_cards_stay_as_they_were(size: int) -> None:
    pack = [rank + suit for rank in RANKS for suit in SUITS]
    digest = hashlib.sha256()
    for first in range(0, len(pack), 4):
        digest.update(draw_frame(pack[first : first + 4], (*ACTIONS, *"=========")[: MAX_TOKENS - first // 4], size))
    assert digest.hexdigest() == PINNED[size]


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
        card = draw_frame(["A" + suit])[8:142, 117:183].reshape(-1, 3).astype(int)
        is_red = (card[:, 0] > 150) & (card[:, 1] < 80)
        is_black = card.max(axis=1) < 60
        assert (is_red.sum() > 500) == red
        assert (is_black.sum() > 500) == (not red)


def test_frames_are_arrays_of_their_own() -> None:
    first = draw_frame(HAND, ("8",))
    kept = first.copy()
    first[:] = 0
    assert (draw_frame(HAND, ("8",)) == kept).all()


@pytest.mark.parametrize("size", [64, 112, 113, 300, 301])
@pytest.mark.parametrize("count", range(1, MAX_CARDS + 1))
def test_cards_stand_in_the_middle_of_the_upper_half(count: int, size: int) -> None:
    cards = ["8D", "8H", "8C", "8S", "9D", "9H"][:count]
    is_changed = (draw_table(cards, size) != draw_table((), size)).any(axis=-1)
    rows, columns = np.flatnonzero(is_changed.any(axis=1)), np.flatnonzero(is_changed.any(axis=0))
    # A card's shadow goes a little further to the right and down, and positions are rounded to pixels.
    assert abs(columns[0] + columns[-1] + 1 - size) <= 0.03 * size + 2
    assert abs(rows[0] + rows[-1] + 1 - size / 2) <= 0.03 * size + 2
    assert rows[-1] < size / 2


@pytest.mark.parametrize("size", [112, 300])
@pytest.mark.parametrize("count", range(1, MAX_CARDS + 1))
def test_each_card_has_its_own_place(count: int, size: int) -> None:
    frames = [draw_table(["2C" if index != place else "KH" for index in range(count)], size) for place in range(count)]
    blank = draw_table(["2C"] * count, size)
    changed = [(frame != blank).any(axis=-1) for frame in frames]
    assert all(places.any() for places in changed)
    assert np.sum(changed, axis=0).max() == 1


def test_numbers_of_two_digits_stay_in_their_cells() -> None:
    for size in (64, 112, 300):
        board = draw_table((), size)
        for token in TOKENS:
            canvas = board.copy()
            draw_token(canvas, 9, token)
            rows, columns = np.nonzero((canvas != board).any(axis=-1))
            if token == " ":
                assert not rows.size
                continue
            left, top = FIRST_CELL[0] + CELL_WIDTH, FIRST_CELL[1] + CELL_HEIGHT
            assert to_pixel(left, size) <= columns.min() <= columns.max() < to_pixel(left + CELL_WIDTH, size) + 1
            assert to_pixel(top, size) <= rows.min() <= rows.max() < to_pixel(top + CELL_HEIGHT, size) + 1


@pytest.mark.parametrize("size", [64, 101, 112, 300])
def test_a_blank_paints_nothing_and_takes_a_token_away(size: int) -> None:
    table = draw_table(HAND, size)
    canvas = table.copy()
    for position in range(MAX_TOKENS):
        draw_token(canvas, position, " ")
        assert (canvas == table).all()
    draw_token(canvas, 9, "13")
    draw_token(canvas, 9, " ")
    assert (canvas == table).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(HandError, match="'1S'"):
        draw_frame(["1S"])
    with pytest.raises(HandError, match="7 cards: the table has room for 6"):
        draw_frame(["2C"] * 7)
    with pytest.raises(SettingError, match="token='14': expected one of 1 2 3"):
        draw_frame(HAND, ["14"])
    for position in (-1, MAX_TOKENS):
        with pytest.raises(SettingError, match=f"position={position}: expected 0 to 23"):
            draw_token(draw_table(HAND), position, "1")
