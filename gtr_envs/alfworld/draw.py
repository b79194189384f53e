"""The picture of a household: the receptacles at hand with what lies in them, the hand, and a plan of the room.

Everything is laid out on a 300 x 300 canvas and scaled to the wanted size. Each kind is drawn once for a size and kept
as an array; a frame is put together by copying. Nothing but the `View` has an influence on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from gtr_envs.alfworld.plan import draw_plan
from gtr_envs.alfworld.receptacle_shapes import Box
from gtr_envs.alfworld.records import Receptacle, Thing, View
from gtr_envs.alfworld.shapes import (
    badge_stamp,
    draw_shapes,
    glow_of,
    glow_stamp,
    outlined,
    receptacle_look,
    receptacle_stamp,
    stamp_from,
    thing_stamp,
    word_stamp,
)
from gtr_envs.cards.sketch import CANVAS, Sketch, to_pixel
from gtr_envs.cards.stamps import press
from gtr_envs.errors import SettingError

MIN_SIZE, MAX_SIZE = 16, 4096
SCENE: Box = (4.0, 3.0, 296.0, 197.0)
PLAN: Box = (197.0, 203.0, 297.0, 297.0)
LARGE_PLAN: Box = (38.0, 6.0, 262.0, 190.0)
LARGE_PLAN_BESIDE_LAMPS: Box = (5.0, 6.0, 229.0, 190.0)
LAMP_COLUMN = 64.0  # how much of the scene's right side the lamps take that stand on nothing
HAND = (6.0, 204.0)  # its left upper corner
CAPTION_HEIGHT, CAPTION_ROOM = 13.0, 17.0
# So few that the pictures of them can be kept.
SIDES = (60.0, 48.0, 38.0, 30.0, 24.0, 19.0, 15.0, 11.0, 8.0)
HAND_SIDE = 92.0
WORDS = (106.0, 208.0)  # what is written beside the hand
HELD_SIDE, HELD_MARGIN = 72.0, 10.0
GLOW = 1.7  # how much wider than the thing its light is
WALL = (233, 223, 203)
ROOM_SHAPES = (
    "box #e9dfcb 0 0 100 45; box #b99b74 0 44 100 67; line #a5885f 0.4 0 51 100 51; line #a5885f 0.4 0 58 100 58;"
    "box #8d7450 0 43.5 100 45; box #2f3742 0 66.7 100 100; box #3d4754 1.3 67.7 64.7 99"
)
# An open hand, and one that carries something.
EMPTY_HAND = (
    "line #f0bd93 13 26 52 22 22; line #f0bd93 13 42 48 41 10; line #f0bd93 13 58 48 60 12;"
    "line #f0bd93 13 73 54 80 26; line #f0bd93 14 30 74 6 52; oval #f0bd93 22 22 6.5 6.5; oval #f0bd93 41 10 6.5 6.5;"
    "oval #f0bd93 60 12 6.5 6.5; oval #f0bd93 80 26 6.5 6.5; oval #f0bd93 7 52 7 7; box #f0bd93 22 42 78 86 16;"
    "line #c98f66 3 34 60 52 54 68 58; line #c98f66 3 36 78 50 66 52 60; box #3f6fb0 30 84 72 100 3"
)
CARRYING_HAND = (
    "box #3f6fb0 36 90 64 100; poly #e0a97e 22 80 78 80 64 93 36 93; box #f0bd93 8 76 92 84 4; oval #f0bd93 9 79 8 5;"
    "oval #f0bd93 91 79 8 5"
)


def draw_view(view: View, size: int = CANVAS, labels: bool = True) -> np.ndarray:
    """The picture of what the agent can see.

    Args:
        view: what it can see.
        size: height and width in pixels.
        labels: whether numbers and names are written.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        SettingError: if the size is not a whole number from `MIN_SIZE` to `MAX_SIZE`.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        raise SettingError(f"size={size!r}: expected a whole number of pixels from {MIN_SIZE} to {MAX_SIZE}")
    looks = tuple((receptacle.kind, receptacle.shows_contents) for receptacle in view.at_hand)
    edge = SCENE[2] - (LAMP_COLUMN if view.lamps else 0)
    canvas = _scene(looks, view.holding is not None, edge, size).copy()
    _draw_lamps(canvas, view.lamps, size, labels)
    for receptacle, place in zip(_each_once(view.at_hand), _places(looks, edge), strict=True):
        _draw_contents(canvas, receptacle, place, size, labels)
        if labels:
            _draw_caption(canvas, receptacle, place, size)
    if view.holding is not None:
        _draw_held(canvas, view.holding, size, labels)
    if not view.at_hand:
        box = LARGE_PLAN_BESIDE_LAMPS if view.lamps else LARGE_PLAN
        draw_plan(canvas, view, box, size, labels, pictured=True)
    draw_plan(canvas, view, PLAN, size, labels, pictured=False)
    return canvas


@lru_cache(maxsize=8)
def _room(holds: bool, size: int) -> np.ndarray:
    """The empty room and the hand, empty or carrying something: a read-only picture."""
    sketch = Sketch(CANVAS, CANVAS, size, WALL)
    draw_shapes(sketch, ROOM_SHAPES, CANVAS, CANVAS)
    hand = Sketch(HAND_SIDE, HAND_SIDE, size, None)
    draw_shapes(hand, CARRYING_HAND if holds else EMPTY_HAND, HAND_SIDE, HAND_SIDE)
    canvas = np.array(sketch.array())
    press(canvas, stamp_from(outlined(hand.array())), to_pixel(HAND[0], size), to_pixel(HAND[1], size), None)
    canvas.flags.writeable = False
    return canvas


@lru_cache(maxsize=32)
def _scene(looks: tuple[tuple[str, bool], ...], holds: bool, edge: float, size: int) -> np.ndarray:
    """The room with these receptacles in it, without things, and the hand: a read-only picture."""
    canvas = _room(holds, size).copy()
    for (kind, shows_contents), (left, top, right, bottom) in zip(looks, _places(looks, edge), strict=True):
        # Rounded, so that cells whose sizes differ by a rounding error share a picture.
        stamp = receptacle_stamp(kind, shows_contents, size, round(right - left, 3), round(bottom - top, 3))
        press(canvas, stamp, to_pixel(left, size), to_pixel(top, size), None)
    canvas.flags.writeable = False
    return canvas


@lru_cache(maxsize=256)
def _places(looks: tuple[tuple[str, bool], ...], edge: float) -> tuple[Box, ...]:
    """Where the receptacles stand in the scene, which ends at an edge on its right; as large as their cells allow."""
    if not looks:
        return ()
    columns = math.ceil(math.sqrt(len(looks)))
    lines = math.ceil(len(looks) / columns)
    height = (SCENE[3] - SCENE[1]) / lines
    places = []
    for index, (kind, _) in enumerate(looks):
        line, column = divmod(index, columns)
        in_line = min(columns, len(looks) - line * columns)
        width = (edge - SCENE[0]) / in_line
        aspect = receptacle_look(kind).aspect
        tall = min(height - CAPTION_ROOM - 3, (width - 8) / aspect)
        wide = tall * aspect
        middle, bottom = SCENE[0] + (column + 0.5) * width, SCENE[1] + (line + 1) * height - CAPTION_ROOM
        # What leaves much room above it stands a little further back.
        bottom -= (height - CAPTION_ROOM - 3 - tall) * 0.3
        places.append((middle - wide / 2, bottom - tall, middle + wide / 2, bottom))
    return tuple(places)


@lru_cache(maxsize=2048)
def _spots(kind: str, place: Box, count: int) -> tuple[float, tuple[tuple[float, float], ...]]:
    """How large things are in a receptacle, and their left upper corners, as many as it holds."""
    left, top, right, bottom = place
    across, down = (right - left) / 100, (bottom - top) / 100
    rooms = [
        (left + box[0] * across, top + box[1] * down, left + box[2] * across, top + box[3] * down)
        for box in receptacle_look(kind).room
    ]
    for side in SIDES:
        # Things may be as tall as their room and a little more: what stands on a table rises above its back.
        lines = [(room, line) for room in rooms for line in range(int((room[3] - room[1]) / side))]
        in_line = [int((room[2] - room[0]) / side) for room, _ in lines]
        if sum(in_line) >= count:
            break
    else:
        lines, in_line = [(room, 0) for room in rooms], [math.ceil(count / len(rooms))] * len(rooms)
    return side, tuple(_corners(lines, in_line, side, count))


def _corners(
    lines: Sequence[tuple[Box, int]], in_line: Sequence[int], side: float, count: int
) -> list[tuple[float, float]]:
    """The left upper corners of so many things in lines of at most so many, as evenly as the lines allow."""
    shares = [0] * len(lines)
    while sum(shares) < count:
        open_lines = [index for index in range(len(lines)) if shares[index] < in_line[index]]
        index = min(open_lines, key=lambda line: shares[line] / in_line[line])
        shares[index] += 1
    corners = []
    # From the back to the front, so that what stands before something covers it.
    for share, (room, line) in sorted(zip(shares, lines, strict=True), key=lambda item: (item[1][0], -item[1][1])):
        step = (room[2] - room[0]) / max(1, share)
        corners += [
            (room[0] + (column + 0.5) * step - side / 2, room[3] - (line + 1) * side) for column in range(share)
        ]
    return corners


def _draw_contents(canvas: np.ndarray, receptacle: Receptacle, place: Box, size: int, labels: bool) -> None:
    """The things in or on a receptacle, if one can see them."""
    if not receptacle.shows_contents or not receptacle.contents:
        return
    side, corners = _spots(receptacle.kind, place, len(receptacle.contents))
    for thing, (left, top) in zip(receptacle.contents, corners, strict=True):
        _draw_thing(canvas, thing, left, top, side, size)
    if labels:
        for thing, (left, top) in zip(receptacle.contents, corners, strict=True):
            _draw_number(canvas, thing, left, top, side, size)


def _each_once(at_hand: Sequence[Receptacle]) -> list[Receptacle]:
    """The receptacles with each thing in the first of them only: the engine keeps some things in two at once."""
    shown: set[str] = set()
    found = []
    for receptacle in at_hand:
        contents = receptacle.contents if receptacle.shows_contents else ()
        found.append(replace(receptacle, contents=tuple(thing for thing in contents if thing.name not in shown)))
        shown.update(thing.name for thing in contents)
    return found


def _draw_lamps(canvas: np.ndarray, lamps: Sequence[Thing], size: int, labels: bool) -> None:
    """The lamps that stand on nothing, one above the other."""
    height = (SCENE[3] - SCENE[1]) / max(1, len(lamps))
    side = min(LAMP_COLUMN, height)
    left = SCENE[2] - (LAMP_COLUMN + side) / 2
    tops = [SCENE[3] - side - index * height for index in range(len(lamps))]
    for lamp, top in zip(lamps, tops, strict=True):
        _draw_thing(canvas, lamp, left, top, side, size)
    if labels:
        for lamp, top in zip(lamps, tops, strict=True):
            _draw_number(canvas, lamp, left, top, side, size)


def _draw_thing(canvas: np.ndarray, thing: Thing, left: float, top: float, side: float, size: int) -> None:
    """A thing, with the light or warmth or cold that comes from it."""
    glow = glow_of(thing.states)
    if glow is not None:
        margin = side * (GLOW - 1) / 2
        stamp = glow_stamp(glow, size, side * GLOW)
        press(canvas, stamp, to_pixel(left - margin, size), to_pixel(top - margin, size), None)
    press(canvas, thing_stamp(thing.kind, thing.states, size, side), to_pixel(left, size), to_pixel(top, size), None)


def _draw_number(canvas: np.ndarray, thing: Thing, left: float, top: float, side: float, size: int) -> None:
    """The number of a thing in its lower right corner."""
    stamp = badge_stamp(thing.number, size, max(min(side * 0.4, 15.0), side * 0.26))
    column, row = to_pixel(left + side, size), to_pixel(top + side, size)
    press(canvas, stamp, column - stamp.ink.shape[1], row - stamp.ink.shape[0], None)


def _draw_caption(canvas: np.ndarray, receptacle: Receptacle, place: Box, size: int) -> None:
    """The receptacle's name under it; kind and number apart, so that a new number costs nothing."""
    _, _, _, bottom = place
    middle = (place[0] + place[2]) / 2
    kind = word_stamp(receptacle.kind, size, 110.0, CAPTION_HEIGHT)
    number = badge_stamp(receptacle.number, size, CAPTION_ROOM - 2)
    gap = to_pixel(4, size)
    column = to_pixel(middle, size) - (kind.ink.shape[1] + gap + number.ink.shape[1]) // 2
    press(canvas, kind, column, to_pixel(bottom + 3, size), None)
    press(canvas, number, column + kind.ink.shape[1] + gap, to_pixel(bottom + 1, size), None)


def _draw_held(canvas: np.ndarray, thing: Thing, size: int, labels: bool) -> None:
    """The thing in the hand, and beside it its name and its states."""
    _draw_thing(canvas, thing, HAND[0] + HELD_MARGIN, HAND[1], HELD_SIDE, size)
    if not labels:
        return
    words = [thing.kind, *sorted(thing.states)]
    for line, word in enumerate(words):
        stamp = word_stamp(word, size, 88.0, 14.0, (255, 255, 255) if line == 0 else (255, 214, 92))
        press(canvas, stamp, to_pixel(WORDS[0], size), to_pixel(WORDS[1] + 17 * line, size), None)
    number = badge_stamp(thing.number, size, 18.0)
    press(canvas, number, to_pixel(WORDS[0], size), to_pixel(276, size), None)
