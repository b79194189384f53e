"""The looks of one episode in the theme `distorted`: tilted cards, a blurred picture, uneven light and noise.

Light and noise belong to the places of the picture and stay for the whole episode, so that a part which is painted
anew looks as if the whole picture had been. They are computed with whole numbers, which are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gtr_envs.cards.hands import RANKS, SUITS

MAX_TILT = 3.0  # degrees, either way; more would turn a card into its neighbour
MAX_SHIFT = 1.2  # of a card, either way, in canvas coordinates
BLUR = (3, 10)  # standard deviation in tenths of canvas coordinates, lowest and highest
UNIT = 1024  # the gain of a place that is neither lighter nor darker
LIGHT = (-140, 60)  # what is added to the gain everywhere, lowest and highest
SLOPE = 220  # how much the gain can change, either way, from the middle to an edge of the picture
NOISE = (3, 9)  # reach of the noise, lowest and highest, in steps of 255

Place = tuple[slice, slice]


class Tilt(NamedTuple):
    """How far a card is turned, in degrees counter-clockwise, and moved, in canvas coordinates."""

    degrees: float
    right: float
    down: float


STRAIGHT = Tilt(0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Distortion:
    """What is particular to an episode.

    Attributes:
        blur: standard deviation of the blur in canvas coordinates.
        tilts: by card, None for those that are face down.
        gain: int16 (size, size, 3), how light each place is, `UNIT` being the light of the other themes.
        noise: int8 (size, size, 3), what is added to each pixel.
    """

    blur: float
    tilts: dict[str | None, Tilt]
    gain: np.ndarray
    noise: np.ndarray

    def tilt(self, card: str | None) -> Tilt:
        """How a card lies; as if it were straight, if there is none of that name."""
        return self.tilts.get(card, STRAIGHT)

    def lit(self, pixels: np.ndarray, place: Place) -> np.ndarray:
        """The pixels as they look at a place of the picture, uint8."""
        return self._in_range(self._in_light(pixels, place) + self.noise[place])

    def lit_over(self, under: np.ndarray, ink: np.ndarray, keep: np.ndarray, place: Place) -> np.ndarray:
        """Ink at a place of the picture, over pixels that have had their light and noise, uint8.

        Args:
            under: what still shows of those pixels.
            ink: the colours, multiplied by how much they cover.
            keep: how much of the noise under them shows, in 1/256.
            place: rows and columns.
        """
        noise = self.noise[place] * (256 - keep.astype(np.int16)) >> 8
        return self._in_range(under + self._in_light(ink, place) + noise)

    def _in_light(self, pixels: np.ndarray, place: Place) -> np.ndarray:
        return np.multiply(pixels, self.gain[place], dtype=np.int32) >> 10

    @staticmethod
    def _in_range(pixels: np.ndarray) -> np.ndarray:
        return np.clip(pixels, 0, 255).astype(np.uint8)


def draw_distortion(rng: np.random.Generator, size: int) -> Distortion:
    """Draw the looks of an episode.

    Args:
        rng: one number is taken from it, whatever the size.
        size: height and width of the picture in pixels.

    Returns:
        The same for the same number and size; at another size the tilts, the blur and the light are the same.
    """
    own = np.random.default_rng(int(rng.integers(2**62)))
    blur = int(own.integers(BLUR[0], BLUR[1] + 1)) / 10
    tilts: dict[str | None, Tilt] = {}
    for card in (*(rank + suit for rank in RANKS for suit in SUITS), None):
        turn, right, down = (int(step) for step in own.integers(-10, 11, 3))
        tilts[card] = Tilt(turn * MAX_TILT / 10, right * MAX_SHIFT / 10, down * MAX_SHIFT / 10)
    light = int(own.integers(LIGHT[0], LIGHT[1] + 1))
    slope_right, slope_down = (int(slope) for slope in own.integers(-SLOPE, SLOPE + 1, 2))
    steps = 2 * np.arange(size, dtype=np.int32) - size
    gain = UNIT + light + (slope_right * steps[None, :] + slope_down * steps[:, None]) // size
    reach = int(own.integers(NOISE[0], NOISE[1] + 1))
    # The sum of two dice is mostly near its middle, as the noise of a camera is.
    noise = own.integers(-reach, reach + 1, (2, size, size, 3), dtype=np.int8).sum(axis=0, dtype=np.int8)
    return Distortion(blur, tilts, np.repeat(gain.astype(np.int16)[..., None], 3, axis=2), noise)
