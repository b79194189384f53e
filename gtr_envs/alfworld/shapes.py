"""Small drawings from a line of text each, and the finished pictures of them that are laid over a frame.

A drawing is a list of shapes in a square of 100 x 100, y downwards, later ones over earlier ones, such as
"box tomato 14 22 66 94 8; oval white 40 22 26 8". The forms are

    box COLOR left top right bottom [radius]
    oval COLOR x y across down        (the last two are half its width and height)
    poly COLOR x y x y x y ...
    line COLOR thickness x y x y ...

Colours are the names and hex codes that CSS knows. Every drawing gets a thin dark line around it, so that it can be
seen on any ground.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageFilter

from gtr_envs.alfworld.receptacle_shapes import PLAIN_BOX, RECEPTACLES, SHUT, ReceptacleLook
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, SLICED
from gtr_envs.alfworld.thing_shapes import GLOWS, MARKS, PARCEL, THINGS
from gtr_envs.cards.sketch import CANVAS, Color, Sketch
from gtr_envs.cards.stamps import Stamp

UNIT = 100.0  # the side of the square that drawings are written for
OVAL_POINTS = 36
OUTLINE = (38, 34, 40)
OUTLINE_SHARE = 200  # of 255, how dark the line around a drawing is
SLICES = 4
DARK, LIGHT = (38, 34, 40), (255, 255, 255)


class Shape(NamedTuple):
    """One shape of a drawing.

    Args:
        form: "box", "oval", "poly" or "line".
        color: red, green and blue.
        numbers: what the form needs, in the order of the notation.
    """

    form: str
    color: Color
    numbers: tuple[float, ...]


@lru_cache(maxsize=512)
def shapes_of(text: str) -> tuple[Shape, ...]:
    """The shapes that a line of the notation describes."""
    shapes = []
    for part in filter(None, map(str.strip, text.split(";"))):
        form, color, *numbers = part.split()
        red, green, blue = ImageColor.getrgb(color)[:3]
        shapes.append(Shape(form, (red, green, blue), tuple(map(float, numbers))))
    return tuple(shapes)


def draw_shapes(sketch: Sketch, text: str, width: float, height: float) -> None:
    """Draw a line of the notation, stretched to width x height canvas coordinates."""
    across, down = width / UNIT, height / UNIT
    small = min(across, down)
    for form, color, numbers in shapes_of(text):
        if form == "box":
            left, top, right, bottom, *radius = numbers
            box = (left * across, top * down, right * across, bottom * down)
            sketch.box(box, (radius[0] if radius else 0) * small, color)
        elif form == "oval":
            x, y, half_width, half_height = numbers
            turns = [2 * math.pi * step / OVAL_POINTS for step in range(OVAL_POINTS)]
            rim = [
                ((x + half_width * math.cos(turn)) * across, (y + half_height * math.sin(turn)) * down)
                for turn in turns
            ]
            sketch.polygon(rim, color)
        else:
            corners = numbers if form == "poly" else numbers[1:]
            points = [(x * across, y * down) for x, y in zip(corners[::2], corners[1::2], strict=True)]
            if form == "poly":
                sketch.polygon(points, color)
            else:
                sketch.line(points, numbers[0] * small, color)


def stamp_from(layer: np.ndarray) -> Stamp:
    """The stamp of a layer (height, width, 4) of uint8 whose colours are multiplied by its cover."""
    cover = layer[..., 3].astype(np.uint16)
    # Three times the same: NumPy multiplies arrays of one shape several times as fast.
    keep = np.repeat((256 - cover - (cover >> 7))[..., None], 3, axis=2)
    ink = np.ascontiguousarray(layer[..., :3])
    keep.flags.writeable = ink.flags.writeable = False
    return Stamp(keep, ink)


def over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """One layer laid over another of the same shape."""
    keep = 255 - top[..., 3:].astype(np.uint16)
    return top + (bottom * keep // 255).astype(np.uint8)


def outlined(layer: np.ndarray) -> np.ndarray:
    """The layer with a dark line around what it shows, a pixel wide in pictures of usual size."""
    height, width = layer.shape[:2]
    reach = 2 * max(1, round(min(height, width) / 60)) + 1
    cover = Image.fromarray(layer[..., 3]).filter(ImageFilter.MaxFilter(reach))
    grown = np.asarray(cover, np.uint16)[..., None] * OUTLINE_SHARE // 255
    dark = np.concatenate([grown * channel // 255 for channel in (*OUTLINE, 255)], axis=2).astype(np.uint8)
    return over(layer, dark)


def sliced(layer: np.ndarray) -> np.ndarray:
    """The layer cut into upright slices that have slid apart."""
    height, width = layer.shape[:2]
    cut = np.zeros_like(layer)
    gap, slide = max(1, round(width / 24)), max(1, round(height / 16))
    edges = [round(width * step / SLICES) for step in range(SLICES + 1)]
    for number, (left, right) in enumerate(pairwise(edges)):
        shift = slide if number % 2 else 0
        cut[shift:, left : right - gap] = layer[: height - shift, left : right - gap]
    return cut


@lru_cache(maxsize=2048)
def thing_stamp(kind: str, states: frozenset[str], size: int, side: float) -> Stamp:
    """A thing with the marks of its states, in a square of `side` canvas coordinates; a parcel if it is unknown."""
    sketch = Sketch(side, side, size, None)
    draw_shapes(sketch, THINGS.get(kind, PARCEL), side, side)
    layer = sketch.array()
    if SLICED in states:
        layer = sliced(layer)
    layer = outlined(layer)
    marks = ";".join(MARKS[state] for state in (HOT, COOL, CLEAN) if state in states)
    if marks:
        sketch = Sketch(side, side, size, None)
        draw_shapes(sketch, marks, side, side)
        layer = over(outlined(sketch.array()), layer)
    return stamp_from(layer)


def glow_of(states: frozenset[str]) -> str | None:
    """Which of the states lights up what is around the thing, if one does."""
    return next((state for state in (ON, HOT, COOL) if state in states), None)


@lru_cache(maxsize=64)
def glow_stamp(state: str, size: int, side: float) -> Stamp:
    """A round light in the colour of a state, strongest in its middle."""
    pixels = max(1, round(side * size / CANVAS))
    reach = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    far = np.minimum(1.0, np.hypot(reach[:, None], reach[None]))
    cover = np.floor(215 * (1 - far) + 0.5)
    layer = [cover * channel // 255 for channel in (*ImageColor.getrgb(GLOWS[state])[:3], 255)]
    return stamp_from(np.stack(layer, axis=2).astype(np.uint8))


def receptacle_look(kind: str) -> ReceptacleLook:
    """How a receptacle is drawn; a plain box if it is unknown."""
    return RECEPTACLES.get(kind, PLAIN_BOX)


@lru_cache(maxsize=160)  # 35 looks, alone or with others at hand
def receptacle_stamp(kind: str, shows_contents: bool, size: int, width: float, height: float) -> Stamp:
    """A receptacle, open or closed, as large as that in canvas coordinates."""
    look = receptacle_look(kind)
    text = look.shapes if shows_contents else look.closed or f"{look.shapes};{SHUT}"
    sketch = Sketch(width, height, size, None)
    draw_shapes(sketch, text, width, height)
    return stamp_from(outlined(sketch.array()))


@lru_cache(maxsize=512)
def word_stamp(text: str, size: int, width: float, height: float, color: Color = DARK) -> Stamp:
    """A text for a line of that height, at most that wide, without room on its right."""
    sketch = Sketch(width, height, size, None)
    # A text fills its box with ink: without these the letters of "sofa" would be larger than those of "fridge".
    top = 0.0 if set(text) - set("acegmnopqrsuvwxyz") else 0.22 * height
    bottom = height if set(text) & set("gjpqy") else 0.78 * height
    if text.strip():
        sketch.text(text, (0, top, width, bottom), color, 0.03, "left")
    layer = sketch.array()
    used = np.flatnonzero(layer[..., 3].any(axis=0))
    return stamp_from(layer[:, : int(used[-1]) + 1 if len(used) else 1])


@lru_cache(maxsize=512)
def badge_stamp(number: str, size: int, height: float) -> Stamp:
    """A number in white on a dark ground."""
    width = height * (0.5 + 0.45 * len(number))
    sketch = Sketch(width, height, size, None)
    sketch.box((0, 0, width, height), height * 0.3, DARK)
    if number.strip():
        sketch.text(number, (height * 0.1, height * 0.13, width - height * 0.1, height * 0.87), LIGHT, 0.03)
    return stamp_from(sketch.array())
