"""The table of the formula games: where everything stands, and the finished pictures that are copied there.

Everything is laid out on a 300 x 300 canvas and scaled to the wanted size. Two regularities help a small vision model
and cost a person nothing: cards and tokens always stand in the same places, and ranks are large (36 of 300 pixels
high, 13 of 112). Each card and each token is drawn once for a size and kept as an array; a frame is put together by
copying.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from gtr_envs.cards.card_art import draw_card, draw_operator, draw_shadow
from gtr_envs.cards.distortion import Place
from gtr_envs.cards.hands import card_value
from gtr_envs.cards.sketch import CANVAS, Sketch, to_pixel
from gtr_envs.cards.stamps import CARD_MARGIN, blurred, card_stamp, press, stamp_of
from gtr_envs.cards.themes import THEMES, Theme, ThemeName
from gtr_envs.errors import HandError, SettingError

COLUMN, ROW = 75.0, 150.0  # the part of the table that a card stands on
CARD_BOX = (4.0, 8.0, 71.0, 142.0)  # left, top, right, bottom inside that part
USUAL_CARDS, MAX_CARDS = 4, 6
BOARD_BOX = (4.0, 152.0, 296.0, 296.0)
CELLS_PER_LINE, LINES = 8, 3
MAX_TOKENS = CELLS_PER_LINE * LINES
CELL_WIDTH, CELL_HEIGHT = 35.5, 46.0
FIRST_CELL = (8.0, 155.0)
TOKENS = (*map(str, range(1, 14)), *"+-*/()=", " ")


class Spot(NamedTuple):
    """Where a card stands: its left upper corner in canvas coordinates, and how large it is."""

    left: float
    top: float
    zoom: float


def card_spot(count: int, index: int) -> Spot:
    """Where a card stands in a row of so many.

    Raises:
        HandError: if there are too many.
    """
    if count > MAX_CARDS:
        raise HandError(f"{count} cards: the table has room for {MAX_CARDS}")
    column = min(COLUMN, CANVAS / count)
    zoom = column / COLUMN
    left = (CANVAS - count * column) / 2 + index * column
    return Spot(left + CARD_BOX[0] * zoom, (ROW - ROW * zoom) / 2 + CARD_BOX[1] * zoom, zoom)


@lru_cache(maxsize=32)
def cloth(theme: ThemeName, size: int, *, blur: float = 0.0, board: bool = False) -> np.ndarray:
    """The table without cards, a little darker towards its rim, with or without the empty board."""
    look = THEMES[theme]
    sketch = Sketch(CANVAS, CANVAS, size, look.cloth_edge)
    steps = 24
    for step in range(steps + 1):
        share = step / steps
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(look.cloth_edge, look.cloth, strict=True))
        inset = 40 * share - 20
        sketch.box((inset, inset, CANVAS - inset, CANVAS - inset), 40, (red, green, blue))
    if board:
        sketch.frame(BOARD_BOX, 8, look.board, look.board_edge, 2)
    return blurred(sketch.array(), blur, size)


@lru_cache(maxsize=256)
def first_row_in_sight(size: int, count: int) -> int:
    """The first row of the table that a row of so many cards, with the cloth around them, does not cover anyway."""
    is_covered = count == USUAL_CARDS and USUAL_CARDS * to_pixel(COLUMN, size) == size
    return to_pixel(ROW, size) if is_covered else 0


@lru_cache(maxsize=1024)
def card_at(theme: ThemeName, size: int, count: int, index: int, card: str) -> tuple[Place, np.ndarray]:
    """A card of a row of `count`, with the cloth around it, and where on the canvas it belongs.

    Raises:
        HandError: if there is no such card, or if there are too many.
    """
    card_value(card)
    spot = card_spot(count, index)
    if count == USUAL_CARDS:
        picture = _usual_card(theme, size, card)
        return _place(index * COLUMN, 0, picture, size), picture
    left, top = to_pixel(spot.left - CARD_MARGIN * spot.zoom, size), to_pixel(spot.top - CARD_MARGIN * spot.zoom, size)
    canvas = cloth(theme, size).copy()
    press(canvas, card_stamp(theme, size, card, spot.zoom), left, top, None)
    # Only its own column, so that the margin of the next card does not cover it.
    edges = [to_pixel(spot.left + (side - CARD_BOX[0]) * spot.zoom, size) for side in (0, COLUMN)]
    place = (slice(0, to_pixel(ROW, size)), slice(*edges))
    return place, canvas[place].copy()


@lru_cache(maxsize=256)
def _usual_card(theme: ThemeName, size: int, card: str) -> np.ndarray:
    """A card in a row of four, with the cloth around it: the same picture in each of the four places."""
    part = cloth(theme, size)[: to_pixel(ROW, size), to_pixel(COLUMN, size) : to_pixel(2 * COLUMN, size)]
    sketch = Sketch(COLUMN, ROW, size, Image.fromarray(part))
    draw_shadow(sketch, CARD_BOX, THEMES[theme].shadow)
    draw_card(sketch, CARD_BOX, card, THEMES[theme])
    return sketch.array()


@lru_cache(maxsize=4096)
def token_at(theme: ThemeName, size: int, position: int, token: str) -> tuple[Place, np.ndarray]:
    """A cell of the board with a token, and where on the canvas it belongs.

    Raises:
        SettingError: if there is no such cell or no such token.
    """
    picture = _token(theme, size, token)
    place = _place(*_cell_corner(position), picture, size)
    # In small pictures the first cells have a little of the board's frame, which a blank leaves as it is.
    return place, (cloth(theme, size, board=True)[place] if token == " " else picture)


@lru_cache(maxsize=512)
def blurred_token_at(theme: ThemeName, size: int, position: int, token: str, blur: float) -> tuple[Place, np.ndarray]:
    """The same in a blurred picture, where the board's frame reaches into the cells beside it.

    Raises:
        SettingError: if there is no such cell or no such token.
    """
    sketch = Sketch(CELL_WIDTH, CELL_HEIGHT, size, None)
    _draw_token(sketch, token, THEMES[theme])
    stamp = stamp_of(sketch, size, blur)
    rows, columns = place = _place(*_cell_corner(position), stamp.ink, size)
    canvas = cloth(theme, size, blur=blur, board=True).copy()
    press(canvas, stamp, columns.start, rows.start, None)
    return place, canvas[place].copy()


def _cell_corner(position: int) -> tuple[float, float]:
    """The left upper corner of a cell in canvas coordinates."""
    if not 0 <= position < MAX_TOKENS:
        raise SettingError(f"position={position!r}: expected 0 to {MAX_TOKENS - 1}, the board has no more room")
    line, column = divmod(position, CELLS_PER_LINE)
    return FIRST_CELL[0] + column * CELL_WIDTH, FIRST_CELL[1] + line * CELL_HEIGHT


def _place(left: float, top: float, picture: np.ndarray, size: int) -> Place:
    """The part of the canvas that the picture covers with its corner at these canvas coordinates."""
    row, column = to_pixel(top, size), to_pixel(left, size)
    return slice(row, row + picture.shape[0]), slice(column, column + picture.shape[1])


@lru_cache(maxsize=256)
def _token(theme: ThemeName, size: int, token: str) -> np.ndarray:
    """One cell of the board with a token."""
    sketch = Sketch(CELL_WIDTH, CELL_HEIGHT, size, THEMES[theme].board)
    _draw_token(sketch, token, THEMES[theme])
    return sketch.array()


def _draw_token(sketch: Sketch, token: str, look: Theme) -> None:
    if token not in TOKENS:
        raise SettingError(f"token={token!r}: expected one of {' '.join(TOKENS[:-1])} or a blank")
    if token.isdigit():
        sketch.text(token, (2, 8, CELL_WIDTH - 2, 40), look.chalk, 0.03)
    elif token in "()":
        sketch.text(token, (2, 5, CELL_WIDTH - 2, 43), look.accent, 0.03)
    else:
        draw_operator(sketch, token, CELL_WIDTH / 2, CELL_HEIGHT / 2 + 1, look.accent)
