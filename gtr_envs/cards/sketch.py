"""A small drawing board: shapes and text in canvas coordinates, drawn large and reduced to pixels with smooth edges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from gtr_envs.errors import MissingExtraError

CANVAS = 300  # height and width of the layout that all coordinates refer to
SUPERSAMPLE = 4
FONT_SIZE = 200  # of the stencils that texts are scaled from, in pixels

Color = tuple[int, int, int]
Point = tuple[float, float]
Align = Literal["left", "center"]


def to_pixel(coordinate: float, size: int) -> int:
    """The pixel at a canvas coordinate in a picture of `size` x `size` pixels."""
    return round(coordinate * size / CANVAS)


class Sketch:
    """A part of the canvas while it is being drawn, several times as large as it will be.

    Args:
        width: in canvas coordinates.
        height: in canvas coordinates.
        size: height and width, in pixels, of the whole picture that the part belongs to.
        background: a colour, a picture that is stretched to fit, or None for a part that can be laid over something.
        zoom: how much larger than on the canvas everything is drawn, `width` and `height` included.
    """

    def __init__(
        self, width: float, height: float, size: int, background: Color | Image.Image | None, zoom: float = 1.0
    ) -> None:
        self.shape = (max(1, to_pixel(width * zoom, size)), max(1, to_pixel(height * zoom, size)))
        self.scale = SUPERSAMPLE * size / CANVAS * zoom
        large = (self.shape[0] * SUPERSAMPLE, self.shape[1] * SUPERSAMPLE)
        if background is None:
            # Not "RGBA": there Pillow does not multiply the colours of a smooth edge by its cover.
            self.image = Image.new("RGBX", large)
        elif isinstance(background, Image.Image):
            self.image = background.resize(large, Image.Resampling.NEAREST)
        else:
            self.image = Image.new("RGB", large, background)
        self._pen = ImageDraw.Draw(self.image)

    def box(self, box: Sequence[float], radius: float, fill: Color) -> None:
        """A filled box (left, top, right, bottom) with round corners."""
        self._pen.rounded_rectangle([c * self.scale for c in box], radius * self.scale, fill=fill)

    def frame(self, box: Sequence[float], radius: float, fill: Color, line: Color, thickness: float) -> None:
        """A filled box with round corners and a line around it, inside its edges."""
        scaled = [c * self.scale for c in box]
        width = max(1, round(thickness * self.scale))
        self._pen.rounded_rectangle(scaled, radius * self.scale, fill=fill, outline=line, width=width)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        """A filled polygon."""
        self._pen.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Color) -> None:
        """A filled circle."""
        corners = (x - radius, y - radius, x + radius, y + radius)
        self._pen.ellipse([corner * self.scale for corner in corners], fill=fill)

    def line(self, points: Sequence[Point], thickness: float, fill: Color) -> None:
        """A line from point to point."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        self._pen.line(scaled, fill, max(1, round(thickness * self.scale)), joint="curve")

    def text(self, text: str, box: Sequence[float], fill: Color, weight: float, align: Align = "center") -> None:
        """Text whose ink fills the height of the box; it is squeezed if it would be wider than the box.

        Args:
            text: what to write.
            box: left, top, right, bottom.
            fill: colour.
            weight: how much to thicken the strokes, as a share of the font size.
            align: where it stands in a box that is wider.
        """
        ink = _ink(text, round(weight * FONT_SIZE))
        room = (box[2] - box[0]) * self.scale
        height = max(1, round((box[3] - box[1]) * self.scale))
        width = max(1, round(min(room, ink.width * height / ink.height)))
        left = round((box[0] + box[2]) / 2 * self.scale - width / 2)
        if align == "left":
            left = round(box[0] * self.scale)
        stencil = ink.resize((width, height), Image.Resampling.LANCZOS)
        self.image.paste(fill, (left, round(box[1] * self.scale)), stencil)

    def repeat_upside_down(self, box: Sequence[float], width: float, height: float) -> None:
        """Copy a part to the opposite corner of a width x height card, upside down."""
        left, top, right, bottom = (round(c * self.scale) for c in box)
        part = self.image.crop((left, top, right, bottom)).rotate(180)
        self.image.paste(part, (round(width * self.scale) - right, round(height * self.scale) - bottom))

    def tilt(self, degrees: float, right: float, down: float) -> None:
        """Turn what is drawn so far counter-clockwise around the middle, and move it."""
        move = (round(right * self.scale), round(down * self.scale))
        # The nearest of the many small pixels: their colours stay as they are, on every machine the same.
        self.image = self.image.rotate(degrees, Image.Resampling.NEAREST, translate=move)
        self._pen = ImageDraw.Draw(self.image)

    def array(self) -> np.ndarray:
        """The finished picture: a read-only array (height, width, 3) of uint8, RGB.

        Drawn on no background it has a fourth channel, how much of the pixel is covered; the colours are multiplied by
        it.
        """
        pixels = np.array(self.image.resize(self.shape, Image.Resampling.BOX))
        pixels.flags.writeable = False
        return pixels


@lru_cache(maxsize=64)
def _ink(text: str, stroke: int) -> Image.Image:
    """The text as a large stencil without margins, its strokes thickened by `stroke` pixels on each side."""
    if not features.check("freetype2"):
        raise MissingExtraError(
            "this Pillow was built without FreeType, so it has no scalable font: pip install pillow"
        )
    # Pillow carries this font itself, so the pixels do not depend on what else is installed.
    font = ImageFont.load_default(FONT_SIZE)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=255, font=font, stroke_width=stroke)
    return image.crop(image.getbbox())
