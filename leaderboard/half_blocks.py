"""A picture in a terminal that has colours: two pixels a character, the upper one as a half block before the lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

COLUMNS = 60
UPPER_HALF = "▀"


def has_pictures(console: Console) -> bool:
    """Whether a terminal shows colours well enough for pictures."""
    return console.is_terminal and console.color_system in ("256", "truecolor") and not console.no_color


def half_blocks(frame: np.ndarray, columns: int = COLUMNS) -> Text:
    """A small picture of a frame, ``columns`` wide and half as many lines high if it is square.

    Args:
        frame: (height, width, 3) uint8.
        columns: its width in characters.
    """
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    rows = max(1, round(columns * frame.shape[0] / frame.shape[1] / 2))
    small = Image.fromarray(frame).resize((columns, 2 * rows), Image.Resampling.BOX)
    pixels = np.asarray(small).reshape(rows, 2, columns, 3)
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = (Color.from_rgb(*map(int, pixels[row, half, column])) for half in (0, 1))
            text.append(UPPER_HALF, Style(color=upper, bgcolor=lower))
        text.append("\n" if row < rows - 1 else "")
    return text
