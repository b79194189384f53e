"""The themes and the painter: cards that can be told apart in each look, and painting that stays where it belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import PIL
import pytest

from gtr_envs.cards.draw import draw_frame
from gtr_envs.cards.hands import RANKS, SUITS
from gtr_envs.cards.painter import Painter
from gtr_envs.cards.sketch import Sketch, to_pixel
from gtr_envs.cards.themes import THEME_NAMES, THEMES, Theme, ThemeName
from gtr_envs.errors import HandError, SettingError

HAND = ("AH", "10S", "KD", "4C")
FORMULA = ("(", "4", "*", "11", "-", "13", ")", "/", "1", "+", "12", "=")
STRAIGHT_THEMES = [theme for theme in THEME_NAMES if theme != "distorted"]
PINNED_PILLOW = "13.0.0"
PINNED: dict[ThemeName, str] = {
    "classic": "c2aeede76aad31dfb750eabd07b6ccbcf147443435ec8a0da47b5dcd097433fd",
    "four_color": "02ae3d0dd56c5412181f528609dbfbf1a54cc739e03a0caaa407d353bf5c33fd",
    "minimal": "f17e08d4d2bc05bd75f4b4cff16098127459cc97fc678eda519bb625d101ca90",
    "night": "ec680a7745c69f80d217db5994d03dfa060dcd906fcaec313a9b1cfb89a493c6",
    "distorted": "331fca89a2e36e870aa88c3c9a6b5ef7b093ec99be24d9ec327acac700be21dc",
}


def background(painter: Painter) -> np.ndarray:
    canvas = np.zeros((painter.size, painter.size, 3), np.uint8)
    painter.background(canvas)
    return canvas


def painted(painter: Painter, cards: tuple[str, ...] = HAND, formula: tuple[str, ...] = FORMULA) -> np.ndarray:
    canvas = np.zeros((painter.size, painter.size, 3), np.uint8)
    painter.formula_table(canvas, cards)
    for position, token in enumerate(formula):
        painter.token(canvas, position, token)
    return canvas


def second_card(theme: ThemeName, card: str, size: int = 112) -> np.ndarray:
    columns = slice(to_pixel(75, size), to_pixel(150, size))
    return draw_frame(("2C", card, "2C", "2C"), (), size, theme)[: to_pixel(150, size), columns].astype(int)


def clear_differences(one: np.ndarray, other: np.ndarray, cut: int = 64) -> int:
    return int((np.abs(one - other).max(axis=-1) > cut).sum())


@pytest.mark.skipif(PIL.__version__ != PINNED_PILLOW, reason=f"the pixels are those of Pillow {PINNED_PILLOW}")
@pytest.mark.parametrize("theme", PINNED)
def test_the_pictures_of_each_theme_stay_as_they_were(theme: ThemeName) -> None:
    hands = (HAND, ("JS", "QC"), ("JH", "QD", "KS", "7C", "9H"), ("2C", "3C", "5C", "6C", "8C", "10C"))
    frames = [painted(Painter(theme, size), hand) for size in (112, 300) for hand in hands]
    assert hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest() == PINNED[theme]


@pytest.mark.parametrize("size", [64, 112, 301])
def test_themes_look_different(size: int) -> None:
    frames = [draw_frame(("QD", "9C", "KS", "2H"), FORMULA, size, theme) for theme in THEME_NAMES]
    assert {frame.shape for frame in frames} == {(size, size, 3)}
    for one, other in combinations(frames, 2):
        assert (one != other).any(axis=-1).mean() > 0.02


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_ranks_stay_apart_at_112_pixels(theme: ThemeName) -> None:
    for suit in SUITS:
        tops = [second_card(theme, rank + suit)[3:21] for rank in RANKS]
        # 5 and 6, and 6 and 8, differ by the fewest pixels: 14 where ranks are in the corner.
        assert min(clear_differences(one, other) for one, other in combinations(tops, 2)) >= 10


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_suits_stay_apart_at_112_pixels(theme: ThemeName) -> None:
    for rank in RANKS:
        cards = [second_card(theme, rank + suit) for suit in SUITS]
        # Spades and clubs of a court card differ by the fewest, 25, in the outline of one sign of seven pixels.
        assert min(clear_differences(one, other, 32) for one, other in combinations(cards, 2)) >= 20


def test_four_colors_are_four_colors() -> None:
    inks = [np.array(THEMES["four_color"].ink[suit]) for suit in SUITS]
    assert min(np.abs(one - other).max() for one, other in combinations(inks, 2)) > 80
    for suit, strongest in (("H", 0), ("C", 1), ("D", 2)):
        assert np.argmax(THEMES["four_color"].ink[suit]) == strongest


@pytest.mark.parametrize("theme", THEME_NAMES)
@pytest.mark.parametrize("suit", SUITS)
def test_court_cards_are_told_apart_at_a_width_of_60_pixels(theme: ThemeName, suit: str) -> None:
    painter = Painter(theme)
    ranks, figures = [], []
    for rank in "JQK":
        canvas = background(painter)
        painter.card(canvas, rank + suit, 100, 50, 60 / 67)
        card = canvas[50:170, 100:160].astype(int)
        ranks.append(card[:42])
        figures.append(card[42:])
    # Of 2520 and 4680 pixels. Where there is no figure, the lower part of the rank and the suit are in its place.
    assert min(clear_differences(one, other) for one, other in combinations(ranks, 2)) > 250
    assert min(clear_differences(one, other) for one, other in combinations(figures, 2)) > 150


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_a_card_face_down_shows_its_back(theme: ThemeName) -> None:
    painter = Painter(theme)
    pictures = []
    for card in (None, "AS", "KH"):
        canvas = background(painter)
        painter.card(canvas, card, 100, 50)
        pictures.append(canvas[58:176, 108:160].astype(int))
    back = pictures[0]
    assert clear_differences(back, pictures[1]) > 2000
    assert clear_differences(back, pictures[2]) > 2000
    assert (np.abs(back - np.array(THEMES[theme].back)).max(axis=-1) < 90).mean() > 0.3


@pytest.mark.parametrize("theme", THEME_NAMES)
@pytest.mark.parametrize("size", [112, 300])
def test_painting_stays_inside_its_region(theme: ThemeName, size: int) -> None:
    def shapes(sketch: Sketch, look: Theme) -> None:
        sketch.disc(0, 0, 200, look.accent)

    painter = Painter(theme, size)
    box = (60.0, 80.0, 160.0, 140.0)
    blur = 4 if theme == "distorted" else 0
    cases: list[tuple[float, Callable[[np.ndarray], None]]] = [
        (0, lambda canvas: painter.board(canvas, box)),
        (0, lambda canvas: painter.sketch(canvas, box, shapes)),
        (blur, lambda canvas: painter.text(canvas, "Dealer", box, align="left")),
        (12, lambda canvas: painter.card(canvas, "KH", 60, 80, 0.5)),
    ]
    for margin, paint in cases:
        before = background(painter)
        canvas = before.copy()
        paint(canvas)
        rows, columns = np.nonzero((canvas != before).any(axis=-1))
        assert rows.size > 100
        assert columns.min() >= to_pixel(60 - margin, size) - 1
        assert rows.min() >= to_pixel(80 - margin, size) - 1
        assert columns.max() <= to_pixel(160 + margin, size)
        assert rows.max() <= to_pixel(147 + margin if margin == 12 else 140 + margin, size)


def test_cards_may_overlap_and_stick_out() -> None:
    painter = Painter()
    alone, over = background(painter), background(painter)
    painter.card(alone, "KH", 100, 50)
    painter.card(over, "2C", 80, 50)
    painter.card(over, "KH", 100, 50)
    inside = (slice(60, 180), slice(104, 163))
    assert (alone[inside] == over[inside]).all()
    for left, top in ((-40, -100), (280, 290), (-500, 0), (0, 500)):
        canvas = background(painter)
        painter.card(canvas, "KH", left, top)
        painter.text(canvas, "24", (left, top, left + 50, top + 20))
        assert (canvas != background(painter)).any() == (abs(left) < 500 and abs(top) < 500)


def test_a_text_stands_where_it_should() -> None:
    painter = Painter()
    for align, low, high in (("left", 20, 24), ("center", 90, 130)):
        canvas = background(painter)
        painter.text(canvas, "24", (20, 100, 280, 130), (255, 0, 0), align=align)
        rows, columns = np.nonzero((canvas != background(painter)).any(axis=-1))
        assert low <= columns.min() <= high
        assert (rows.min(), rows.max()) == (100, 129)
        assert canvas[..., 0].max() > 240


@dataclass(frozen=True)
class Disc:
    """Draws a disc, and counts how often it had to."""

    radius: float
    drawn: list[float] = field(compare=False)

    def __call__(self, sketch: Sketch, theme: Theme) -> None:
        self.drawn.append(self.radius)
        sketch.disc(10, 10, self.radius, theme.accent)


def test_free_shapes_are_drawn_once() -> None:
    drawn: list[float] = []
    painter = Painter("night")
    frames = []
    for radius in (5.0, 5.0, 8.0):
        frames.append(background(painter))
        painter.sketch(frames[-1], (20, 20, 40, 40), Disc(radius, drawn))
    assert drawn == [5.0, 8.0]
    assert (frames[0] == frames[1]).all()
    assert (frames[0] != frames[2]).any()
    assert (frames[2][30, 30] == painter.theme.accent).all()


@pytest.mark.parametrize("theme", [None, "Classic", "", 3, ["classic"]])
def test_an_unknown_theme_is_refused(theme: object) -> None:
    with pytest.raises(SettingError) as caught:
        Painter(theme)  # type: ignore[arg-type]
    assert f"theme={theme!r}: expected one of 'classic', 'four_color', 'minimal'" in str(caught.value)


def test_an_unknown_card_is_refused() -> None:
    for theme in THEME_NAMES:
        with pytest.raises(HandError, match="'1S'"):
            Painter(theme).card(np.zeros((300, 300, 3), np.uint8), "1S", 0, 0)


@pytest.mark.parametrize("theme", STRAIGHT_THEMES)
def test_only_distorted_episodes_take_from_the_generator(theme: ThemeName) -> None:
    rng = np.random.default_rng(3)
    painter = Painter(theme, 112)
    frame = painted(painter)
    painter.new_episode(rng)
    assert not painter.is_distorted
    assert rng.bit_generator.state == np.random.default_rng(3).bit_generator.state
    assert (painted(painter) == frame).all()
