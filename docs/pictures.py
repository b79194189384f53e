"""Draw the pictures of the documentation: `python docs/pictures.py` draws all, with names after it only those."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gtr_envs.cards.blackjack import BlackjackEnv
from gtr_envs.cards.draw import draw_frame
from gtr_envs.cards.ez_points import EZPointsEnv
from gtr_envs.cards.hands import RANKS, SUITS
from gtr_envs.cards.number_line import NumberLineEnv
from gtr_envs.cards.painter import Painter
from gtr_envs.cards.sketch import CANVAS
from gtr_envs.cards.themes import THEME_NAMES, ThemeName

FOLDER = Path(__file__).parent / "images"
GAP = 12
WHITE = 255

MOMENTS = (
    (("AH", "10S", "KD", "4C"), ()),
    (("QS", "9H", "5D", "JC"), ("10", "*", "9", "/", "5")),
    (("8S", "3H", "8D", "3C"), ("8", "/", "(", "3", "-", "8", "/", "3", ")", "=")),
)
THEMES_MOMENT = (("KH", "7S", "QD", "10C"), ("(", "10", "-", "7", ")", "*"))
TILE_WIDTH, TILE_HEIGHT, TILE_ZOOM = 54, 102, 0.7  # of a card on the contact sheet
SOME_CARDS = ("AS", "2H", "4D", "5C", "7S", "8D", "9H", "10C", "JD", "QS", "KH", None)


def beside(pictures: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """The pictures in a row on white, their upper edges level."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    row = np.full((height, width, 3), WHITE, np.uint8)
    left = 0
    for picture in pictures:
        row[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return row


def below(pictures: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """The pictures under each other on white, their left edges level."""
    return beside([picture.swapaxes(0, 1) for picture in pictures], gap).swapaxes(0, 1)


def points24() -> np.ndarray:
    """Three moments of play."""
    return beside([draw_frame(cards, formula) for cards, formula in MOMENTS])


def ez_points() -> np.ndarray:
    """Three moments of a game: dealt, on the way, and won."""
    env = EZPointsEnv()
    dealt, _ = env.reset(options={"cards": ["6H", "2S"]})
    _, halfway, _, end = (env.step(np.int64(env.action_names.index(token)))[0] for token in ("6", "*", "2", "="))
    return beside([dealt, halfway, end])


def number_line() -> np.ndarray:
    """Three moments of a walk: its beginning, on the way, and at the target."""
    env = NumberLineEnv()
    start, _ = env.reset(options={"start": 2, "goal": 5})
    _, halfway, end = (env.step(np.int64(1))[0] for _ in range(3))
    return beside([start, halfway, end])


def blackjack() -> np.ndarray:
    """Three moments of a hand: dealt, after a hit, and at the end, when the dealer has drawn."""
    env = BlackjackEnv()
    dealt, _ = env.reset(seed=363)
    hit, end = (env.step(np.int64(action))[0] for action in (1, 0))
    return beside([dealt, hit, end])


def themes() -> np.ndarray:
    """The same moment in all themes, at 300 and at 112 pixels."""
    cards, formula = THEMES_MOMENT
    looks = [[draw_frame(cards, formula, size, theme) for size in (300, 112)] for theme in THEME_NAMES]
    return beside([below(pair) for pair in looks])


def cards() -> np.ndarray:
    """The whole pack in the theme classic, and some cards of every other theme."""
    pack = [beside([*(_tile("classic", rank + suit) for rank in RANKS), _tile("classic", None)], 0) for suit in SUITS]
    others = [
        beside([_label(theme), *(_tile(theme, card) for card in SOME_CARDS)], 0)
        for theme in THEME_NAMES
        if theme != "classic"
    ]
    return below([below(pack, 0), *others])


def _tile(theme: ThemeName, card: str | None) -> np.ndarray:
    """A card on the middle of the table."""
    painter = Painter(theme)
    canvas = np.empty((CANVAS, CANVAS, 3), np.uint8)
    painter.background(canvas)
    left, top = (CANVAS - TILE_WIDTH) // 2, (CANVAS - TILE_HEIGHT) // 2
    painter.card(canvas, card, left + 3.5, top + 4, TILE_ZOOM)
    return canvas[top : top + TILE_HEIGHT, left : left + TILE_WIDTH]


def _label(theme: ThemeName) -> np.ndarray:
    """A theme's name, as wide as two cards."""
    painter = Painter(theme)
    canvas = np.empty((CANVAS, CANVAS, 3), np.uint8)
    painter.background(canvas)
    left, top = (CANVAS - 2 * TILE_WIDTH) // 2, (CANVAS - TILE_HEIGHT) // 2
    middle = top + TILE_HEIGHT / 2
    painter.text(canvas, theme, (left + 4, middle - 8, left + 2 * TILE_WIDTH - 4, middle + 8))
    return canvas[top : top + TILE_HEIGHT, left : left + 2 * TILE_WIDTH]


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "points24": points24,
    "ez_points": ez_points,
    "number_line": number_line,
    "blackjack": blackjack,
    "cards": cards,
    "themes": themes,
}
FEW_COLORS = ("cards", "themes")  # noise makes these large, and nobody misses a shade


def main(names: Sequence[str]) -> None:
    """Write the pictures of these names, or all, to docs/images."""
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        picture = Image.fromarray(np.ascontiguousarray(PICTURES[name]()))
        if name in FEW_COLORS:
            picture = picture.quantize(256, dither=Image.Dither.NONE)
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
