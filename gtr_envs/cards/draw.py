"""Whole pictures of the card table: cards in a row, and on a board under them the formula so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtr_envs.cards.painter import Painter
from gtr_envs.cards.sketch import CANVAS
from gtr_envs.cards.themes import ThemeName


def draw_table(cards: Sequence[str], size: int = CANVAS, theme: ThemeName = "classic") -> np.ndarray:
    """The table with the cards and an empty board.

    Args:
        cards: up to six card strings, from left to right.
        size: height and width of the picture in pixels.
        theme: the look.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown, or if there are too many.
        SettingError: if the theme is unknown.
    """
    return draw_frame(cards, (), size, theme)


def draw_token(canvas: np.ndarray, position: int, token: str, theme: ThemeName = "classic") -> None:
    """Write one token of the formula onto the board, in place.

    Args:
        canvas: an array (size, size, 3) of `draw_table` in the same theme.
        position: the token's place in the formula, 0 for the first, less than `MAX_TOKENS`.
        token: a number from 1 to 13, an operator, a parenthesis, "=", or " " for an empty place.
        theme: the look.

    Raises:
        SettingError: if one of them is unknown.
    """
    Painter(theme, canvas.shape[0]).token(canvas, position, token)


def draw_frame(
    cards: Sequence[str], formula: Sequence[str] = (), size: int = CANVAS, theme: ThemeName = "classic"
) -> np.ndarray:
    """The whole picture: the cards and the formula so far.

    Args:
        cards: up to six card strings, from left to right.
        formula: the tokens so far, at most `MAX_TOKENS`.
        size: height and width of the picture in pixels.
        theme: the look; of "distorted" always the same episode.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown, or if there are too many.
        SettingError: if a token or the theme is unknown.
    """
    canvas = np.empty((size, size, 3), np.uint8)
    painter = Painter(theme, size)
    painter.formula_table(canvas, cards)
    for position, token in enumerate(formula):
        painter.token(canvas, position, token)
    return canvas
