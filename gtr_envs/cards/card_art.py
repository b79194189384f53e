"""The faces of the fifty-two cards and the signs of arithmetic, drawn with plain shapes on a `Sketch`.

The suits are shapes, not letters of a font. Number cards carry their pips as on a real pack, court cards a double-ended
figure; the rank is large in its corner, so that it can still be read when the picture is scaled to a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gtr_envs.cards.sketch import Color, Point, Sketch
from gtr_envs.cards.themes import Court, Theme

CARD_WIDTH, CARD_HEIGHT = 67.0, 134.0  # the size that the faces are made for

# Pip positions (across -1..1, down -1..1) on the number cards.
_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_SIDES = (*_CORNERS, (-1, 0), (1, 0))
_FOURS = (*_CORNERS, (-1, -1 / 3), (1, -1 / 3), (-1, 1 / 3), (1, 1 / 3))
_PIPS: dict[str, Sequence[Point]] = {
    "2": ((0, -1), (0, 1)),
    "3": ((0, -1), (0, 0), (0, 1)),
    "4": _CORNERS,
    "5": (*_CORNERS, (0, 0)),
    "6": _SIDES,
    "7": (*_SIDES, (0, -1 / 2)),
    "8": (*_SIDES, (0, -1 / 2), (0, 1 / 2)),
    "9": (*_FOURS, (0, 0)),
    "10": (*_FOURS, (0, -2 / 3), (0, 2 / 3)),
}


def draw_card(sketch: Sketch, box: Sequence[float], card: str | None, theme: Theme) -> None:
    """Draw a card without its shadow.

    Args:
        sketch: what to draw on.
        box: left, top, right, bottom of the card, `CARD_WIDTH` x `CARD_HEIGHT` apart.
        card: rank and suit, such as "10S"; None draws the back.
        theme: the look.
    """
    if card is None:
        _draw_back(sketch, box, theme)
        return
    rank, suit = card[:-1], card[-1]
    sketch.frame(box, 7, theme.paper, theme.paper_edge, 0.75)
    if theme.only_rank_and_suit:
        _draw_large(sketch, box, rank, suit, theme)
    else:
        _draw_full(sketch, box, rank, suit, theme)


def draw_shadow(sketch: Sketch, box: Sequence[float], color: Color) -> None:
    """Draw the shadow that a card in this box throws."""
    left, top, right, bottom = box
    sketch.box((left + 1.5, top + 2.5, right + 1.5, bottom + 2.5), 7, color)


def _draw_full(sketch: Sketch, box: Sequence[float], rank: str, suit: str, theme: Theme) -> None:
    """Rank and suit in the corners, under them pips or a figure."""
    color = theme.ink[suit]
    left, top, right, bottom = box
    center = (left + right) / 2
    wide = rank == "10"
    sketch.text(rank, (left + 5, top + 6, left + (40 if wide else 33), top + 42), color, 0.035)
    draw_suit(sketch, suit, right - (12 if wide else 14), top + 17, 17 if wide else 20, color)
    if rank in _PIPS:
        for across, down in _PIPS[rank]:
            draw_suit(sketch, suit, center + 19 * across, top + 88.5 + 33 * down, 15.5, color, upside_down=down > 0)
    elif rank == "A":
        draw_suit(sketch, suit, center, top + 87, 54, color)
    else:
        _draw_court(sketch, (left + 6, top + 46, right - 6, bottom - 6), rank, suit, theme)


def _draw_large(sketch: Sketch, box: Sequence[float], rank: str, suit: str, theme: Theme) -> None:
    """Nothing but a large rank and a large suit."""
    left, top, right, bottom = box
    sketch.text(rank, (left + 6, top + 13, right - 6, top + 65), theme.ink[suit], 0.03)
    draw_suit(sketch, suit, (left + right) / 2, bottom - 37, 44, theme.ink[suit])


def _draw_back(sketch: Sketch, box: Sequence[float], theme: Theme) -> None:
    """A border of paper around a coloured panel of diamonds, with a medallion in the middle."""
    left, top, right, bottom = box
    middle, center = (left + right) / 2, (top + bottom) / 2
    sketch.frame(box, 7, theme.paper, theme.paper_edge, 0.75)
    sketch.frame((left + 4.5, top + 4.5, right - 4.5, bottom - 4.5), 4, theme.back_lines, theme.back, 1.2)
    sketch.box((left + 6.7, top + 6.7, right - 6.7, bottom - 6.7), 2.5, theme.back)
    step = 13.0
    for row in range(-4, 5):
        for column in (-1.5, -0.5, 0.5, 1.5):
            if abs(row) > 1 or abs(column) > 1:  # the medallion's place
                draw_suit(sketch, "D", middle + column * step, center + row * step, step, theme.back_lines)
                draw_suit(sketch, "D", middle + column * step, center + row * step, 0.45 * step, theme.back)
    sketch.disc(middle, center, 15, theme.back_lines)
    sketch.disc(middle, center, 13.2, theme.back)
    draw_suit(sketch, "D", middle, center, 18, theme.back_lines)
    draw_suit(sketch, "D", middle, center, 9, theme.back)


def _draw_court(sketch: Sketch, box: Sequence[float], rank: str, suit: str, theme: Theme) -> None:
    """King, queen or jack: a framed bust, and the same upside down below it."""
    left, top, right, bottom = box
    middle, waist, neck = (left + right) / 2, (top + bottom) / 2, top + 28
    court = theme.court
    robe, trim = court.robes[suit]
    hair = court.hair[rank]

    def on_axis(*points: Point) -> list[Point]:
        return [(middle + across, top + down) for across, down in points]

    sketch.frame(box, 2.5, court.paper, court.line, 1.2)
    sketch.polygon(on_axis((-25.5, 41), (-21.5, 33), (-8, 28), (8, 28), (21.5, 33), (25.5, 41)), robe)
    sketch.polygon(on_axis((-9, 28), (9, 28), (3.5, 41), (-3.5, 41)), court.collar)
    sketch.polygon(on_axis((-4.5, 28), (4.5, 28), (1.5, 41), (-1.5, 41)), trim)
    hair_end = neck + {"K": -2, "Q": 3, "J": 0}[rank]
    sketch.box((middle - 11, top + 12, middle + 11, hair_end), 5, hair)
    sketch.box((middle - 7.5, top + 11, middle + 7.5, neck + 1), 7, court.skin)
    for across in (-3.2, 3.2):
        sketch.disc(middle + across, top + 19.5, 1.1, court.eyes)
    if rank == "K":
        sketch.polygon(on_axis((-8, 22.5), (0, 24), (8, 22.5), (5, 30), (0, 35), (-5, 30)), hair)
    sketch.box((middle - 2.4, top + 24.6, middle + 2.4, top + 26.2), 0.8, court.jewels)
    if rank == "J":
        _draw_cap(sketch, middle, top, robe, court)
    else:
        _draw_crown(sketch, middle, top, robe, court, pearls=rank == "Q")
    draw_suit(sketch, suit, left + 6.5, top + 8, 10, theme.ink[suit])
    sketch.repeat_upside_down((left + 1.5, top + 1.5, right - 1.5, waist), left + right, top + bottom)


def _draw_cap(sketch: Sketch, middle: float, top: float, cloth: Color, court: Court) -> None:
    """The jack's flat cap with a feather."""
    cap = ((-12, 15), (-9, 7), (9, 7), (12, 15))
    feather = ((8, 13), (13, 6), (21, 2.5), (20, 8), (14, 12.5))
    sketch.polygon([(middle + across, top + down) for across, down in cap], cloth)
    sketch.box((middle - 12, top + 12.5, middle + 12, top + 15.5), 1.2, court.crown)
    sketch.polygon([(middle + across, top + down) for across, down in feather], court.feather)


def _draw_crown(sketch: Sketch, middle: float, top: float, cloth: Color, court: Court, pearls: bool) -> None:
    """A crown with five pearls, or with three points and a cross."""
    peaks = (-11.0, -5.5, 0.0, 5.5, 11.0) if pearls else (-11.0, 0.0, 11.0)
    tip = top + (6.5 if pearls else 5.5)
    outline: list[Point] = [(middle - 10, top + 15.5)]
    for index, across in enumerate(peaks):
        if index:
            outline.append((middle + (across + peaks[index - 1]) / 2.2, top + 11))
        outline.append((middle + across, tip))
    sketch.polygon([*outline, (middle + 10, top + 15.5)], court.crown)
    for across in peaks:
        sketch.disc(middle + across, tip, 1.6, court.jewels if pearls else court.crown)
    if not pearls:
        sketch.box((middle - 0.9, top + 1.5, middle + 0.9, top + 8), 0.4, court.crown)
        sketch.box((middle - 2.8, top + 3, middle + 2.8, top + 4.8), 0.4, court.crown)
    sketch.box((middle - 10.5, top + 13.5, middle + 10.5, top + 16), 1, cloth)


def draw_suit(
    sketch: Sketch, suit: str, x: float, y: float, height: float, color: Color, upside_down: bool = False
) -> None:
    """Draw a suit's sign.

    Args:
        sketch: what to draw on.
        suit: "S", "H", "D" or "C".
        x: of the sign's centre.
        y: of the sign's centre.
        height: of the sign.
        color: of the sign.
        upside_down: turn it, as in the lower half of a card.
    """
    unit = -height / 2 if upside_down else height / 2

    def place(points: Sequence[Point]) -> list[Point]:
        return [(x + unit * across, y + unit * down) for across, down in points]

    if suit == "D":
        sketch.polygon(place(_diamond()), color)
    elif suit == "H":
        sketch.polygon(place(_heart()), color)
    else:
        sketch.polygon(
            place(((-0.07, 0.1), (0.07, 0.1), (0.14, 0.6), (0.36, 0.98), (-0.36, 0.98), (-0.14, 0.6))), color
        )
    if suit == "S":
        sketch.polygon(place([(across, -0.75 * down - 0.22) for across, down in _heart()]), color)
    elif suit == "C":
        sketch.disc(x, y, abs(unit) * 0.25, color)
        for across, down in place(((0.0, -0.52), (-0.5, 0.16), (0.5, 0.16))):
            sketch.disc(across, down, abs(unit) * 0.45, color)


@lru_cache(maxsize=1)
def _heart() -> tuple[Point, ...]:
    """A heart's outline in a box of about -1..1, y pointing down: the well-known curve of four cosines."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across = 16 * np.sin(angles) ** 3
    up = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return tuple((float(a) / 16.5, float(-(u + 2.5) / 14.5)) for a, u in zip(across, up, strict=True))


@lru_cache(maxsize=1)
def _diamond() -> tuple[Point, ...]:
    """A diamond with slightly hollow sides, in a box of -1..1."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across, down = (np.sign(wave) * np.abs(wave) ** 2.25 for wave in (np.sin(angles), np.cos(angles)))
    return tuple((0.78 * float(a), float(d)) for a, d in zip(across, down, strict=True))


def draw_operator(sketch: Sketch, token: str, x: float, y: float, color: Color) -> None:
    """Draw + - * / or = as a mathematician writes it, about 22 wide, centred at (x, y)."""
    reach, half = 11.0, 3.0
    bars = {"+": (0.0,), "-": (0.0,), "/": (0.0,), "=": (-5.5, 5.5)}.get(token, ())
    for down in bars:
        sketch.box((x - reach, y + down - half, x + reach, y + down + half), half, color)
    if token == "+":
        sketch.box((x - half, y - reach, x + half, y + reach), half, color)
    elif token == "/":
        for down in (-9.0, 9.0):
            sketch.disc(x, y + down, 1.45 * half, color)
    elif token == "*":
        far, near = reach * 0.9, half * 1.4
        for flip in (-1, 1):
            stroke = ((-far, near - far), (near - far, -far), (far, far - near), (far - near, far))
            sketch.polygon([(x + flip * across, y + down) for across, down in stroke], color)
