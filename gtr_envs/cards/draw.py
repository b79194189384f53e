"""Pictures of the card table: four cards in a row on green cloth, and on a board under them the formula so far.

Everything is laid out on a 300 x 300 canvas and scaled to the wanted size. Two regularities help a small vision model
and cost a person nothing: cards and tokens always stand in the same places, and ranks are large (36 of 300 pixels
high, 13 of 112). Each card and each token is drawn once for a size and kept as an array; a frame is put together by
copying.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from gtr_envs.cards.card_art import GOLD, draw_card, draw_operator
from gtr_envs.cards.hands import card_value
from gtr_envs.cards.sketch import CANVAS, Color, Sketch, to_pixel

COLUMN, ROW = 75.0, 150.0  # the part of the table that a card stands on
CARD_BOX = (4.0, 8.0, 71.0, 142.0)  # left, top, right, bottom inside that part
BOARD_BOX = (4.0, 152.0, 296.0, 296.0)
CELLS_PER_LINE, LINES = 8, 3
MAX_TOKENS = CELLS_PER_LINE * LINES
CELL_WIDTH, CELL_HEIGHT = 35.5, 46.0
FIRST_CELL = (8.0, 155.0)

CLOTH: Color = (24, 104, 66)
CLOTH_EDGE: Color = (16, 76, 48)
BOARD: Color = (14, 46, 38)
BOARD_EDGE: Color = (176, 140, 72)
CHALK: Color = (250, 248, 236)


def draw_table(cards: Sequence[str], size: int = CANVAS) -> np.ndarray:
    """The table with the cards and an empty board.

    Args:
        cards: up to four card strings, from left to right.
        size: height and width of the picture in pixels.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown.
    """
    canvas = _cloth(size).copy()
    for index, card in enumerate(cards):
        picture = _card(card, size)
        left = to_pixel(index * COLUMN, size)
        canvas[: picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def draw_token(canvas: np.ndarray, position: int, token: str) -> None:
    """Write one token of the formula onto the board, in place.

    Args:
        canvas: an array (size, size, 3) of `draw_table`.
        position: the token's place in the formula, 0 for the first, less than `MAX_TOKENS`.
        token: a number from 1 to 10, an operator, a parenthesis or "=".
    """
    size = canvas.shape[0]
    line, column = divmod(position, CELLS_PER_LINE)
    left = to_pixel(FIRST_CELL[0] + column * CELL_WIDTH, size)
    top = to_pixel(FIRST_CELL[1] + line * CELL_HEIGHT, size)
    picture = _token(token, size)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def draw_frame(cards: Sequence[str], formula: Sequence[str] = (), size: int = CANVAS) -> np.ndarray:
    """The whole picture: the cards and the formula so far.

    Args:
        cards: up to four card strings, from left to right.
        formula: the tokens so far, at most `MAX_TOKENS`.
        size: height and width of the picture in pixels.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown.
    """
    canvas = draw_table(cards, size)
    for position, token in enumerate(formula):
        draw_token(canvas, position, token)
    return canvas


@lru_cache(maxsize=8)
def _cloth(size: int) -> np.ndarray:
    """The table without cards: green cloth, a little darker towards its rim, and the empty board."""
    sketch = Sketch(CANVAS, CANVAS, size, CLOTH_EDGE)
    steps = 24
    for step in range(steps + 1):
        share = step / steps
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(CLOTH_EDGE, CLOTH, strict=True))
        inset = 40 * share - 20
        sketch.box((inset, inset, CANVAS - inset, CANVAS - inset), 40, (red, green, blue))
    sketch.frame(BOARD_BOX, 8, BOARD, BOARD_EDGE, 2)
    return sketch.array()


@lru_cache(maxsize=512)
def _card(card: str, size: int) -> np.ndarray:
    """One card with the cloth around it."""
    card_value(card)
    # The same piece of cloth for each place, so that a card looks the same wherever it stands.
    cloth = _cloth(size)[: to_pixel(ROW, size), to_pixel(COLUMN, size) : to_pixel(2 * COLUMN, size)]
    sketch = Sketch(COLUMN, ROW, size, Image.fromarray(cloth))
    draw_card(sketch, CARD_BOX, card)
    return sketch.array()


@lru_cache(maxsize=256)
def _token(token: str, size: int) -> np.ndarray:
    """One cell of the board with a token."""
    sketch = Sketch(CELL_WIDTH, CELL_HEIGHT, size, BOARD)
    if token.isdigit():
        sketch.text(token, (2, 8, CELL_WIDTH - 2, 40), CHALK, 0.03)
    elif token in "()":
        sketch.text(token, (2, 5, CELL_WIDTH - 2, 43), GOLD, 0.03)
    else:
        draw_operator(sketch, token, CELL_WIDTH / 2, CELL_HEIGHT / 2 + 1, GOLD)
    return sketch.array()
