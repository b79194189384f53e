"""Pictures of the card table: four cards in a row on green cloth, the formula so far on a board under them.

Everything is laid out on a 300 x 300 canvas and scaled to the wanted size. Two regularities help a small vision model and cost a
person nothing: cards and tokens always stand in the same places (columns of 75, token cells of 37.5 pixels), and ranks are large.
Shapes are drawn at four times the size and reduced, for smooth edges. Each card and each token is drawn once and kept as an array; a
frame is put together by copying. The font is the one that Pillow carries, so that the pixels do not depend on what is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gtr_envs.cards.hands import card_value

CANVAS = 300  # pixels of the layout that all coordinates refer to
SUPERSAMPLE = 4
COLUMN = 75.0
CARD_BOX = (4.0, 8.0, 71.0, 142.0)  # left, top, right, bottom inside a column
BOARD_BOX = (4.0, 152.0, 296.0, 296.0)
CELLS_PER_LINE = 8
CELL_WIDTH, CELL_HEIGHT = 35.5, 46.0
FIRST_CELL = (8.0, 155.0)
MAX_TOKENS = 24

Color = tuple[int, int, int]
CLOTH: Color = (24, 104, 66)
CLOTH_EDGE: Color = (16, 76, 48)
PAPER: Color = (253, 252, 247)
PAPER_EDGE: Color = (196, 192, 180)
RED: Color = (200, 16, 32)
BLACK: Color = (18, 18, 24)
BOARD: Color = (14, 46, 38)
BOARD_EDGE: Color = (176, 140, 72)
CHALK: Color = (250, 248, 236)
GOLD: Color = (255, 206, 84)
IVORY: Color = (250, 241, 210)
NAVY: Color = (36, 56, 120)
CROWN: Color = (222, 164, 36)
SKIN: Color = (246, 214, 182)
BROWN: Color = (110, 70, 40)
BLOND: Color = (226, 176, 84)
CHESTNUT: Color = (150, 84, 44)
LEAF: Color = (40, 128, 84)

# Pip positions (column -1..1, row -1..1) of the number cards, as on a real pack.
_SIDES = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_THIRDS = ((-1, -1), (1, -1), (-1, -1 / 3), (1, -1 / 3), (-1, 1 / 3), (1, 1 / 3), (-1, 1), (1, 1))
_PIPS: dict[str, tuple[tuple[float, float], ...]] = {
    "2": ((0, -1), (0, 1)),
    "3": ((0, -1), (0, 0), (0, 1)),
    "4": _SIDES,
    "5": (*_SIDES, (0, 0)),
    "6": (*_SIDES, (-1, 0), (1, 0)),
    "7": (*_SIDES, (-1, 0), (1, 0), (0, -1 / 2)),
    "8": (*_SIDES, (-1, 0), (1, 0), (0, -1 / 2), (0, 1 / 2)),
    "9": (*_THIRDS, (0, 0)),
    "10": (*_THIRDS, (0, -2 / 3), (0, 2 / 3)),
}


def draw_table(cards: Sequence[str], size: int = CANVAS) -> np.ndarray:
    """The table with the cards and an empty board.

    Args:
        cards: four card strings.
        size: height and width of the picture in pixels.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown.
    """
    canvas = _cloth(size).copy()
    for index, card in enumerate(cards):
        picture = _card(card, size)
        left = _pixel(index * COLUMN, size)
        canvas[: picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def draw_token(canvas: np.ndarray, position: int, token: str) -> None:
    """Write one token of the formula onto the board, in place.

    Args:
        canvas: an array of `draw_table`.
        position: the token's place in the formula, 0 for the first; there is room for `MAX_TOKENS`.
        token: a number from 1 to 10, an operator, a parenthesis or "=".
    """
    size = canvas.shape[0]
    line, column = divmod(position, CELLS_PER_LINE)
    left = _pixel(FIRST_CELL[0] + column * CELL_WIDTH, size)
    top = _pixel(FIRST_CELL[1] + line * CELL_HEIGHT, size)
    picture = _token(token, size)
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def draw_frame(cards: Sequence[str], formula: Sequence[str] = (), size: int = CANVAS) -> np.ndarray:
    """The whole picture: the cards and the formula so far.

    Args:
        cards: four card strings.
        formula: the tokens so far, at most `MAX_TOKENS`.
        size: height and width of the picture in pixels.

    Returns:
        A new array (size, size, 3) of uint8, RGB.

    Raises:
        HandError: if a card is unknown.
    """
    canvas = draw_table(cards, size)
    for position, token in enumerate(formula):
        draw_token(canvas, position, token)
    return canvas


def _pixel(coordinate: float, size: int) -> int:
    return round(coordinate * size / CANVAS)


class _Sketch:
    """A supersampled picture of one part of the canvas, drawn in canvas coordinates and reduced to pixels."""

    def __init__(self, width: float, height: float, size: int, background: Color | Image.Image) -> None:
        self.shape = (_pixel(width, size), _pixel(height, size))
        self.scale = SUPERSAMPLE * size / CANVAS
        large = (self.shape[0] * SUPERSAMPLE, self.shape[1] * SUPERSAMPLE)
        if isinstance(background, Image.Image):
            self.image = background.resize(large, Image.Resampling.NEAREST)
        else:
            self.image = Image.new("RGB", large, background)
        self.pen = ImageDraw.Draw(self.image)

    def box(self, box: Sequence[float], radius: float, fill: Color | None, outline: Color | None, width: float = 1) -> None:
        scaled = [coordinate * self.scale for coordinate in box]
        line = max(1, round(width * self.scale))
        self.pen.rounded_rectangle(scaled, radius * self.scale, fill=fill, outline=outline, width=line)

    def polygon(self, points: Sequence[tuple[float, float]], fill: Color) -> None:
        self.pen.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Color) -> None:
        corners = [x - radius, y - radius, x + radius, y + radius]
        self.pen.ellipse([corner * self.scale for corner in corners], fill=fill)

    def text(self, text: str, box: Sequence[float], fill: Color, weight: float, height: float | None = None) -> None:
        """Fit the text's ink into the box, stretched to its height (or to `height` at its foot) and at most its width."""
        ink = _ink(text, weight)
        room_x = (box[2] - box[0]) * self.scale
        room_y = (box[3] - box[1] if height is None else height) * self.scale
        factor = room_y / ink.height
        width = round(min(room_x, ink.width * factor))
        stencil = ink.resize((max(1, width), max(1, round(room_y))), Image.Resampling.LANCZOS)
        left = round((box[0] + box[2]) / 2 * self.scale - width / 2)
        self.image.paste(fill, (left, round(box[3] * self.scale - room_y)), stencil)

    def turned_copy(self, box: Sequence[float], width: float, height: float) -> None:
        """Repeat a part of the picture at the opposite corner, upside down, as on a playing card."""
        left, top, right, bottom = (round(coordinate * self.scale) for coordinate in box)
        part = self.image.crop((left, top, right, bottom)).rotate(180)
        self.image.paste(part, (round(width * self.scale) - right, round(height * self.scale) - bottom))

    def array(self) -> np.ndarray:
        """The reduced picture, read-only: (height, width, 3) uint8."""
        pixels = np.array(self.image.resize(self.shape, Image.Resampling.BOX))
        pixels.flags.writeable = False
        return pixels


@lru_cache(maxsize=256)
def _ink(text: str, weight: float) -> Image.Image:
    """The text as a tight stencil, large; `weight` thickens its strokes by that share of the font size."""
    font_size = 200
    font = ImageFont.load_default(font_size)
    stroke = round(weight * font_size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=255, font=font, stroke_width=stroke)
    return image.crop(image.getbbox())


# ------------------------------------------------------------------------------------------------------------ parts, drawn


@lru_cache(maxsize=8)
def _cloth(size: int) -> np.ndarray:
    """The table without cards: green cloth, a little darker towards its rim, and the empty board."""
    sketch = _Sketch(CANVAS, CANVAS, size, CLOTH_EDGE)
    steps = 24
    for step in range(steps + 1):
        share = step / steps
        color = tuple(round(a + (b - a) * share) for a, b in zip(CLOTH_EDGE, CLOTH, strict=True))
        inset = 40 * share - 20
        sketch.box((inset, inset, CANVAS - inset, CANVAS - inset), 40, color, None)  # type: ignore[arg-type]
    sketch.box(BOARD_BOX, 8, BOARD, BOARD_EDGE, 2)
    return sketch.array()


@lru_cache(maxsize=512)
def _card(card: str, size: int) -> np.ndarray:
    """One card with the cloth around it, a column wide."""
    card_value(card)
    rank, suit = card[:-1], card[-1]
    color = RED if suit in "HD" else BLACK
    left, top, right, bottom = CARD_BOX
    cloth = Image.fromarray(_cloth(size)[: _pixel(150, size), _pixel(COLUMN, size) : 2 * _pixel(COLUMN, size)])
    sketch = _Sketch(COLUMN, 150, size, cloth)
    sketch.box((left + 1.5, top + 2.5, right + 1.5, bottom + 2.5), 7, CLOTH_EDGE, None)
    sketch.box(CARD_BOX, 7, PAPER, PAPER_EDGE, 0.75)
    sketch.text(rank, (left + 5, top + 6, left + (40 if rank == "10" else 33), top + 42), color, 0.035)
    _suit(sketch, suit, right - (12 if rank == "10" else 14), top + 17, 17 if rank == "10" else 20, color)
    if rank in _PIPS:
        for x, y in _PIPS[rank]:
            _suit(sketch, suit, (left + right) / 2 + 19 * x, 96.5 + 33 * y, 15.5, color, upside_down=y > 0)
    elif rank == "A":
        _suit(sketch, suit, (left + right) / 2, 95, 54, color)
    else:
        _court(sketch, rank, suit, color)
    return sketch.array()


def _court(sketch: _Sketch, rank: str, suit: str, color: Color) -> None:
    """King, queen or jack: a framed bust, and the same upside down below it."""
    left, top, right, bottom = 10.0, 54.0, 65.0, 136.0
    middle, waist = (left + right) / 2, (top + bottom) / 2
    robe, trim = (RED, NAVY) if color == RED else (NAVY, RED)
    sketch.box((left, top, right, bottom), 2.5, IVORY, NAVY, 1.2)
    shoulders = ((left + 2, waist), (left + 6, 87), (middle - 8, 82), (middle + 8, 82), (right - 6, 87), (right - 2, waist))
    sketch.polygon(shoulders, robe)
    sketch.polygon(((middle - 9, 82), (middle + 9, 82), (middle + 3.5, waist), (middle - 3.5, waist)), GOLD)
    sketch.polygon(((middle - 4.5, 82), (middle + 4.5, 82), (middle + 1.5, waist), (middle - 1.5, waist)), trim)
    hair = {"K": BROWN, "Q": BLOND, "J": CHESTNUT}[rank]
    length = {"K": 80, "Q": 85, "J": 82}[rank]
    sketch.box((middle - 11, 66, middle + 11, length), 5, hair, None)
    sketch.box((middle - 7.5, 65, middle + 7.5, 83), 7, SKIN, None)
    for across in (-3.2, 3.2):
        sketch.disc(middle + across, 73.5, 1.1, BLACK)
    if rank == "K":
        sketch.polygon(((middle - 8, 76.5), (middle, 78), (middle + 8, 76.5), (middle + 5, 84), (middle, 89), (middle - 5, 84)), hair)
    sketch.box((middle - 2.4, 78.6, middle + 2.4, 80.2), 0.8, RED, None)
    _headdress(sketch, rank, middle, robe)
    _suit(sketch, suit, left + 6.5, top + 8, 10, color)
    sketch.turned_copy((left + 1.5, top + 1.5, right - 1.5, waist), left + right, top + bottom)


def _headdress(sketch: _Sketch, rank: str, middle: float, cloth: Color) -> None:
    """A crown with a cross, a crown of pearls, or a cap with a feather."""
    if rank == "J":
        sketch.polygon(((middle - 12, 69), (middle - 9, 61), (middle + 9, 61), (middle + 12, 69)), cloth)
        sketch.box((middle - 12, 66.5, middle + 12, 69.5), 1.2, GOLD, None)
        feather = ((middle + 8, 67), (middle + 13, 60), (middle + 21, 56.5), (middle + 20, 62), (middle + 14, 66.5))
        sketch.polygon(feather, LEAF)
        return
    peaks = (-10.0, 0.0, 10.0) if rank == "K" else (-10.0, -5.0, 0.0, 5.0, 10.0)
    tip = 59.5 if rank == "K" else 60.5
    outline = [(middle - 10, 69.5)]
    for index, across in enumerate(peaks):
        if index:
            outline.append((middle + (across + peaks[index - 1]) / 2, 65.0))
        outline.append((middle + across * 1.1, tip))
    sketch.polygon([*outline, (middle + 10, 69.5)], CROWN)
    for across in peaks:
        sketch.disc(middle + across * 1.1, tip, 1.6, CROWN if rank == "K" else RED)
    if rank == "K":
        sketch.box((middle - 0.9, 55.5, middle + 0.9, 62), 0.4, CROWN, None)
        sketch.box((middle - 2.8, 57, middle + 2.8, 58.8), 0.4, CROWN, None)
    sketch.box((middle - 10.5, 67.5, middle + 10.5, 70), 1, cloth, None)


@lru_cache(maxsize=256)
def _token(token: str, size: int) -> np.ndarray:
    """One cell of the board with a token."""
    sketch = _Sketch(CELL_WIDTH, CELL_HEIGHT, size, BOARD)
    if token.isdigit():
        sketch.text(token, (2, 8, CELL_WIDTH - 2, 40), CHALK, 0.03)
    elif token in "()":
        sketch.text(token, (2, 4, CELL_WIDTH - 2, 43), GOLD, 0.03)
    else:
        _operator(sketch, token, CELL_WIDTH / 2, 24, 11, 3.0)
    return sketch.array()


def _operator(sketch: _Sketch, token: str, x: float, y: float, reach: float, half: float) -> None:
    """A sign of arithmetic as a mathematician writes it, centred at (x, y); `half` is half the thickness of its strokes."""
    bars = {"+": (0.0,), "-": (0.0,), "/": (0.0,), "=": (-5.5, 5.5)}.get(token, ())
    for down in bars:
        sketch.box((x - reach, y + down - half, x + reach, y + down + half), half, GOLD, None)
    if token == "+":
        sketch.box((x - half, y - reach, x + half, y + reach), half, GOLD, None)
    elif token == "/":
        for down in (-9.0, 9.0):
            sketch.disc(x, y + down, 1.45 * half, GOLD)
    elif token == "*":
        far, near = reach * 0.9, half * 1.4
        for flip in (-1, 1):
            stroke = ((-far, near - far), (near - far, -far), (far, far - near), (far - near, far))
            sketch.polygon([(x + flip * across, y + down) for across, down in stroke], GOLD)


def _suit(
    sketch: _Sketch, suit: str, x: float, y: float, height: float, color: Color, upside_down: bool = False
) -> None:
    """A suit's sign, centred at (x, y)."""
    unit = -height / 2 if upside_down else height / 2

    def place(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + unit * across, y + unit * down) for across, down in points]

    if suit == "D":
        sketch.polygon(place(_curved_diamond()), color)
    elif suit == "H":
        sketch.polygon(place(_heart()), color)
    elif suit == "S":
        sketch.polygon(place([(across, -0.75 * down - 0.22) for across, down in _heart()]), color)
        sketch.polygon(place(_stem()), color)
    else:
        for across, down in ((0.0, -0.52), (-0.50, 0.16), (0.50, 0.16)):
            sketch.disc(x + unit * across, y + unit * down, abs(unit) * 0.45, color)
        sketch.disc(x, y, abs(unit) * 0.25, color)
        sketch.polygon(place(_stem()), color)


@lru_cache(maxsize=1)
def _heart() -> tuple[tuple[float, float], ...]:
    """A heart's outline in a box of about -1..1, y pointing down."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across = 16 * np.sin(angles) ** 3
    up = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return tuple((float(a) / 16.5, float(-(u + 2.5) / 14.5)) for a, u in zip(across, up, strict=True))


@lru_cache(maxsize=1)
def _curved_diamond() -> tuple[tuple[float, float], ...]:
    """A diamond with slightly hollow sides."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across, down = (np.sign(wave) * np.abs(wave) ** 2.25 for wave in (np.sin(angles), np.cos(angles)))
    return tuple((0.78 * float(a), float(d)) for a, d in zip(across, down, strict=True))


@lru_cache(maxsize=1)
def _stem() -> tuple[tuple[float, float], ...]:
    """The foot of spades and clubs."""
    return ((-0.07, 0.1), (0.07, 0.1), (0.14, 0.6), (0.36, 0.98), (-0.36, 0.98), (-0.14, 0.6))
