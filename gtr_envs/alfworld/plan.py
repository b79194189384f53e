"""The plan of the room: a mark for each receptacle where one stands before it, and rings where the agent is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gtr_envs.alfworld.plan_colors import plan_color
from gtr_envs.alfworld.receptacle_shapes import Box
from gtr_envs.alfworld.records import PlanMark, View
from gtr_envs.alfworld.shapes import DARK, LIGHT, badge_stamp, receptacle_look, receptacle_stamp, stamp_from
from gtr_envs.cards.sketch import Color, Sketch, to_pixel
from gtr_envs.cards.stamps import Stamp, press

PAPER, PAPER_EDGE = (250, 247, 238), (120, 110, 96)
HERE, OPENED = (230, 30, 30), (40, 170, 80)
MARGIN = 4.0
SMALL_MARK, LARGE_MARK = 9.0, 22.0
GAP = 1.0
FRAME = 1.2
RING, RING_LINE = 16.4, 1.8

Point = tuple[float, float]


def draw_plan(canvas: np.ndarray, view: View, box: Box, size: int, labels: bool, *, pictured: bool) -> None:
    """Draw the plan into a box of the canvas, in place.

    Args:
        canvas: uint8 (size, size, 3).
        view: what the agent can see.
        box: left, top, right, bottom in canvas coordinates.
        size: height and width of the canvas in pixels.
        labels: whether the receptacles' numbers are written.
        pictured: whether the marks are large, with small pictures of the receptacles.
    """
    paper = _paper(size, box[2] - box[0], box[3] - box[1])
    left, top = to_pixel(box[0], size), to_pixel(box[1], size)
    canvas[top : top + paper.shape[0], left : left + paper.shape[1]] = paper
    spots = plan_spots(view.plan, box, pictured=pictured)
    for mark, (x, y) in zip(view.plan, spots, strict=True):
        tile = _tile_of(mark, size, labels, pictured)
        row, column = to_pixel(y, size), to_pixel(x, size)
        canvas[row : row + tile.shape[0], column : column + tile.shape[1]] = tile
    # Marks stand beside their true places where these are too close to each other, so the rings go by the marks.
    wider = (RING - SMALL_MARK) / 2
    for mark, (x, y) in zip(view.plan, spots, strict=True):
        if mark.is_here and not pictured:
            press(canvas, _ring(size), to_pixel(x - wider, size), to_pixel(y - wider, size), None)


@lru_cache(maxsize=16)
def _ring(size: int) -> Stamp:
    """Where the agent stands: a ring around a small mark, which is seen within."""
    outer, inner = Sketch(RING, RING, size, None), Sketch(RING, RING, size, None)
    outer.disc(RING / 2, RING / 2, RING / 2, HERE)
    inner.disc(RING / 2, RING / 2, RING / 2 - RING_LINE, HERE)
    keep = 255 - inner.array()[..., 3:].astype(np.uint16)
    return stamp_from((outer.array() * keep // 255).astype(np.uint8))


@lru_cache(maxsize=16)
def _paper(size: int, width: float, height: float) -> np.ndarray:
    sketch = Sketch(width, height, size, PAPER_EDGE)
    sketch.frame((0, 0, width, height), 0, PAPER, PAPER_EDGE, 1.2)
    return sketch.array()


def plan_spots(marks: tuple[PlanMark, ...], box: Box, *, pictured: bool) -> tuple[Point, ...]:
    """The left upper corner of each mark in canvas coordinates, for a plan in this box of the canvas."""
    return _layout(tuple((mark.x, mark.z) for mark in marks), box, pictured)


@lru_cache(maxsize=256)
def _layout(points: tuple[Point, ...], box: Box, pictured: bool) -> tuple[Point, ...]:
    """The left upper corners of the marks, in canvas coordinates.

    A mark goes to the free cell of a grid that is nearest to its true place, so that none covers another.
    """
    side = LARGE_MARK if pictured else SMALL_MARK
    left, top, right, bottom = box[0] + MARGIN, box[1] + MARGIN, box[2] - MARGIN, box[3] - MARGIN
    if not points:
        return ()
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_z, high_z = min(z for _, z in points), max(z for _, z in points)
    scale = min((right - left - side) / max(high_x - low_x, 1.0), (bottom - top - side) / max(high_z - low_z, 1.0))

    def corner(x: float, z: float) -> Point:
        """The left upper corner of a mark at this place of the room, whose second axis points upwards."""
        across = (left + right - side) / 2 + (x - (low_x + high_x) / 2) * scale
        return across, (top + bottom - side) / 2 - (z - (low_z + high_z) / 2) * scale

    columns, rows = int((right - left + GAP) / (side + GAP)), int((bottom - top + GAP) / (side + GAP))
    free = [(left + c * (side + GAP), top + r * (side + GAP)) for r in range(rows) for c in range(columns)]
    corners = []
    for x, z in points:
        wanted = corner(x, z)
        spot = min(free, key=lambda cell: (cell[0] - wanted[0]) ** 2 + (cell[1] - wanted[1]) ** 2, default=wanted)
        if spot in free:
            free.remove(spot)
        corners.append(spot)
    return tuple(corners)


def _tile_of(mark: PlanMark, size: int, labels: bool, pictured: bool) -> np.ndarray:
    number = mark.number if labels else ""
    return _tile(mark.kind, pictured, number, mark.visited, mark.seen_open, size)


@lru_cache(maxsize=4096)
def _tile(kind: str, pictured: bool, number: str, visited: bool, seen_open: bool, size: int) -> np.ndarray:
    """A mark in the colour of its kind: filled until it is visited, then white in a frame, green below if open."""
    side = LARGE_MARK if pictured else SMALL_MARK
    color: Color = plan_color(kind)
    ground, letter = ((255, 255, 255), DARK) if visited else (color, LIGHT)
    sketch = Sketch(side, side, size, PAPER)
    sketch.frame((0, 0, side, side), 0, ground, color, FRAME)
    if pictured:
        picture = sketch.array().copy()
        _add_picture(picture, kind, number, size)
        return picture
    if number:
        sketch.text(number, (1.4, 1.6, side - 1.4, side - 1.8), letter, 0.04)
    if seen_open:
        sketch.box((0, side - 1.9, side, side), 0, OPENED)
    return sketch.array()


def _add_picture(tile: np.ndarray, kind: str, number: str, size: int) -> None:
    """Lay a small picture of the receptacle, and its number, over a large mark."""
    look = receptacle_look(kind)
    room = LARGE_MARK - 5
    width, height = room * min(1.0, look.aspect), room * min(1.0, 1 / look.aspect)
    stamp = receptacle_stamp(kind, not look.closed, size, width, height)
    press(tile, stamp, (tile.shape[1] - stamp.ink.shape[1]) // 2, (tile.shape[0] - stamp.ink.shape[0]) // 2, None)
    if number:
        badge = badge_stamp(number, size, 8.0)
        press(tile, badge, tile.shape[1] - badge.ink.shape[1], tile.shape[0] - badge.ink.shape[0], None)
