"""What the card games paint with: tables, cards, boards, tokens, texts and free shapes, in the colours of a theme."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtr_envs.cards.distortion import Distortion, Place, draw_distortion
from gtr_envs.cards.sketch import CANVAS, Align, Color, to_pixel
from gtr_envs.cards.stamps import (
    CARD_MARGIN,
    TEXT_MARGIN,
    Draw,
    Stamp,
    board_stamp,
    card_stamp,
    drawn_stamp,
    press,
    text_stamp,
)
from gtr_envs.cards.table_art import blurred_token_at, card_at, card_spot, cloth, first_row_in_sight, token_at
from gtr_envs.cards.themes import THEMES, Theme, ThemeName, find_theme

_EVERYWHERE = (slice(None), slice(None))


class Painter:
    """Paints in place on an array (size, size, 3) of uint8, RGB; coordinates are those of a 300 x 300 canvas.

    Finished pictures are kept outside, for all painters together: a painter itself is small.

    Args:
        theme: the look.
        size: height and width of the pictures in pixels.

    Raises:
        SettingError: if there is no such theme.
    """

    def __init__(self, theme: ThemeName = "classic", size: int = CANVAS) -> None:
        self.is_distorted = find_theme(theme).distorted
        self.theme_name = theme
        self.size = size
        self._distortion: Distortion | None = None
        if self.is_distorted:
            self.new_episode(np.random.default_rng(0))

    @property
    def theme(self) -> Theme:
        """The colours."""
        return THEMES[self.theme_name]

    def new_episode(self, rng: np.random.Generator) -> None:
        """Draw what is particular to an episode; only a distorted theme takes anything, one number, from the rng."""
        if self.is_distorted:
            self._distortion = draw_distortion(rng, self.size)

    @property
    def _blur(self) -> float:
        return 0.0 if self._distortion is None else self._distortion.blur

    def formula_table(self, canvas: np.ndarray, cards: Sequence[str]) -> None:
        """Paint the whole canvas: the cards in a row, and the empty board under them.

        Args:
            canvas: what to paint on.
            cards: up to six card strings, from left to right.

        Raises:
            HandError: if a card is unknown, or if there are too many.
        """
        table, count = cloth(self.theme_name, self.size, blur=self._blur, board=True), len(cards)
        if self._distortion is None:
            start = first_row_in_sight(self.size, count)
            canvas[start:] = table[start:]
        else:
            self._cover(canvas, table)
        for index, card in enumerate(cards):
            if self._distortion is None:
                place, picture = card_at(self.theme_name, self.size, count, index, card)
                canvas[place] = picture
            else:
                self.card(canvas, card, *card_spot(count, index))

    def token(self, canvas: np.ndarray, position: int, token: str) -> Place:
        """Write one token of the formula onto the board of `formula_table`.

        Args:
            canvas: what to paint on.
            position: the token's place in the formula, 0 for the first, less than `MAX_TOKENS`.
            token: a number from 1 to 13, an operator, a parenthesis, "=", or " " for an empty place.

        Returns:
            The part of the canvas that was painted on.

        Raises:
            SettingError: for any other token or position.
        """
        if self._distortion is None:
            place, picture = token_at(self.theme_name, self.size, position, token)
            canvas[place] = picture
        else:
            blur = self._distortion.blur
            place, picture = blurred_token_at(self.theme_name, self.size, position, token, blur)
            canvas[place] = self._distortion.lit(picture, place)
        return place

    def background(self, canvas: np.ndarray) -> None:
        """Paint the whole canvas: an empty table without a board."""
        self._cover(canvas, cloth(self.theme_name, self.size, blur=self._blur))

    def board(self, canvas: np.ndarray, box: Sequence[float]) -> None:
        """Paint a board with a frame.

        Args:
            canvas: what to paint on.
            box: left, top, right, bottom.
        """
        left, top, right, bottom = box
        self._press(canvas, board_stamp(self.theme_name, self.size, right - left, bottom - top, self._blur), left, top)

    def card(self, canvas: np.ndarray, card: str | None, left: float, top: float, zoom: float = 1.0) -> None:
        """Lay a card over what is there.

        Args:
            canvas: what to paint on.
            card: rank and suit, such as "10S"; None for a card that lies face down.
            left: of the card.
            top: of the card.
            zoom: 1 for a card of 67 x 134.

        Raises:
            HandError: if there is no such card.
        """
        if self._distortion is None:
            stamp = card_stamp(self.theme_name, self.size, card, zoom)
        else:
            tilt = self._distortion.tilt(card)
            stamp = card_stamp(self.theme_name, self.size, card, zoom, tilt, self._distortion.blur)
        self._press(canvas, stamp, left - CARD_MARGIN * zoom, top - CARD_MARGIN * zoom)

    def text(
        self,
        canvas: np.ndarray,
        text: str,
        box: Sequence[float],
        color: Color | None = None,
        weight: float = 0.03,
        align: Align = "center",
    ) -> None:
        """Write over what is there; the ink fills the height of the box, squeezed if it would be wider.

        Args:
            canvas: what to paint on.
            text: one line.
            box: left, top, right, bottom.
            color: the theme's chalk, if None.
            weight: how much to thicken the strokes, as a share of the font size.
            align: where the text stands in a wider box.
        """
        left, top, right, bottom = box
        ink = self.theme.chalk if color is None else color
        stamp = text_stamp(self.size, text, right - left, bottom - top, ink, weight, align, self._blur)
        self._press(canvas, stamp, left - TEXT_MARGIN, top - TEXT_MARGIN)

    def sketch(self, canvas: np.ndarray, box: Sequence[float], draw: Draw) -> None:
        """Draw free shapes over what is there.

        Args:
            canvas: what to paint on.
            box: left, top, right, bottom of the region to draw in; nothing is painted outside.
            draw: draws on the sketch, in canvas coordinates relative to the box and in the colours of the theme. What
                it has drawn in a box of a size is kept and not drawn again, so it has to be a function that always
                draws the same, or a frozen dataclass with all that its drawing depends on.
        """
        left, top, right, bottom = box
        stamp = drawn_stamp(self.theme_name, self.size, draw, right - left, bottom - top, self._blur)
        self._press(canvas, stamp, left, top)

    def _cover(self, canvas: np.ndarray, picture: np.ndarray) -> None:
        canvas[:] = picture if self._distortion is None else self._distortion.lit(picture, _EVERYWHERE)

    def _press(self, canvas: np.ndarray, stamp: Stamp, left: float, top: float) -> None:
        press(canvas, stamp, to_pixel(left, self.size), to_pixel(top, self.size), self._distortion)
