"""Pictures that are laid over what is on the canvas: cards, boards, texts and free shapes, with soft edges.

They are kept for reuse, by all that they depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from gtr_envs.cards.card_art import CARD_HEIGHT, CARD_WIDTH, draw_card
from gtr_envs.cards.distortion import STRAIGHT, Distortion, Tilt
from gtr_envs.cards.hands import card_value
from gtr_envs.cards.sketch import CANVAS, Align, Color, Sketch, to_pixel
from gtr_envs.cards.themes import THEMES, Theme, ThemeName

CARD_MARGIN = 12.0  # room around a card, for its shadow and for its corners when it is tilted
TEXT_MARGIN = 4.0  # room around a text, for its blur
SHADOW_MOVE = (1.5, 2.5)  # right and down
SHADOW_BLUR = 1.2

Draw = Callable[[Sketch, Theme], None]


class Stamp(NamedTuple):
    """A picture with soft edges.

    Args:
        keep: uint16 (height, width, 3), how much of what is under it shows, from 0 to 256.
        ink: uint8 (height, width, 3), what it adds.
    """

    keep: np.ndarray
    ink: np.ndarray


def press(canvas: np.ndarray, stamp: Stamp, left: int, top: int, distortion: Distortion | None) -> None:
    """Lay a stamp over the canvas, in place; what is outside the canvas is left out.

    Args:
        canvas: uint8 (size, size, 3).
        stamp: what to lay over it.
        left: pixel column of the stamp's first column.
        top: pixel row of its first row.
        distortion: the looks of the episode, if it has its own.
    """
    height, width = stamp.ink.shape[:2]
    rows = slice(max(0, top), min(top + height, canvas.shape[0]))
    columns = slice(max(0, left), min(left + width, canvas.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    place = (rows, columns)
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    keep, ink = stamp.keep[part], stamp.ink[part]
    under = canvas[place] * keep
    under >>= 8
    if distortion is None:
        under += ink
        canvas[place] = under
    else:
        canvas[place] = distortion.lit_over(under, ink, keep, place)


def blurred(pixels: np.ndarray, blur: float, size: int) -> np.ndarray:
    """The picture blurred by so many canvas coordinates (a standard deviation), in a canvas of `size` pixels."""
    if not blur:
        return pixels
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur * size / CANVAS)))


def stamp_of(sketch: Sketch, size: int, blur: float) -> Stamp:
    """The stamp of what is drawn on a sketch without background."""
    layer = blurred(sketch.array(), blur, size)
    return _stamp(layer, 256 - _to_256(layer[..., 3]))


def _to_256(cover: np.ndarray) -> np.ndarray:
    """A cover of 0 to 255 as 0 to 256, so that a share of it is a product shifted by eight bits."""
    return cover.astype(np.uint16) + (cover >> 7)


def _stamp(layer: np.ndarray, keep: np.ndarray) -> Stamp:
    # The same three times: NumPy multiplies arrays of one shape several times as fast.
    keep = np.repeat(keep.astype(np.uint16)[..., None], 3, axis=2)
    ink = np.ascontiguousarray(layer[..., :3])
    keep.flags.writeable = ink.flags.writeable = False
    return Stamp(keep, ink)


@lru_cache(maxsize=128)
def card_stamp(
    theme: ThemeName, size: int, card: str | None, zoom: float, tilt: Tilt = STRAIGHT, blur: float = 0.0
) -> Stamp:
    """A card with its shadow and `CARD_MARGIN` around it; None for its back.

    Raises:
        HandError: if there is no such card.
    """
    if card is not None:
        card_value(card)
    look = THEMES[theme]
    sketch = Sketch(CARD_WIDTH + 2 * CARD_MARGIN, CARD_HEIGHT + 2 * CARD_MARGIN, size, None, zoom)
    box = (CARD_MARGIN, CARD_MARGIN, CARD_MARGIN + CARD_WIDTH, CARD_MARGIN + CARD_HEIGHT)
    draw_card(sketch, box, card, look)
    if tilt != STRAIGHT:
        sketch.tilt(*tilt)
    layer = blurred(sketch.array(), blur, size)
    shade = _shadow(layer[..., 3], look, size, zoom)
    return _stamp(layer, (256 - _to_256(layer[..., 3])) * shade >> 8)


def _shadow(cover: np.ndarray, theme: Theme, size: int, zoom: float) -> np.ndarray:
    """How much of the light a card leaves to what is under it: uint32 (height, width), from 0 to 256."""
    right, down = (to_pixel(move * zoom, size) for move in SHADOW_MOVE)
    moved = np.roll(cover, (down, right), axis=(0, 1))
    soft = blurred(moved, SHADOW_BLUR * zoom, size).astype(np.uint32)
    # As dark as the theme's shadow is on its cloth, but on whatever is there.
    dark = 256 - 256 * sum(theme.shadow) // sum(theme.cloth)
    return 256 - soft * dark // 255


@lru_cache(maxsize=32)
def board_stamp(theme: ThemeName, size: int, width: float, height: float, blur: float) -> Stamp:
    """A board with its frame."""
    look = THEMES[theme]
    sketch = Sketch(width, height, size, None)
    sketch.frame((0, 0, width, height), 8, look.board, look.board_edge, 2)
    return stamp_of(sketch, size, blur)


@lru_cache(maxsize=48)
def drawn_stamp(theme: ThemeName, size: int, draw: Draw, width: float, height: float, blur: float) -> Stamp:
    """What `draw` draws."""
    sketch = Sketch(width, height, size, None)
    draw(sketch, THEMES[theme])
    return stamp_of(sketch, size, blur)


@lru_cache(maxsize=256)
def text_stamp(
    size: int, text: str, width: float, height: float, color: Color, weight: float, align: Align, blur: float
) -> Stamp:
    """A text that fills the height, with `TEXT_MARGIN` around it."""
    sketch = Sketch(width + 2 * TEXT_MARGIN, height + 2 * TEXT_MARGIN, size, None)
    box = (TEXT_MARGIN, TEXT_MARGIN, TEXT_MARGIN + width, TEXT_MARGIN + height)
    sketch.text(text, box, color, weight, align)
    return stamp_of(sketch, size, blur)
