"""The looks that the card games can have: which colours, and how much is drawn on a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gtr_envs.cards.sketch import Color
from gtr_envs.errors import SettingError

ThemeName = Literal["classic", "four_color", "minimal", "night", "distorted"]
THEME_NAMES: tuple[ThemeName, ...] = get_args(ThemeName)


@dataclass(frozen=True)
class Court:
    """The colours of the figures on kings, queens and jacks.

    Args:
        paper: behind the figure.
        line: around it.
        robes: by suit, the colour of the robe and of its trimming.
        collar: of the robe.
        crown: of king and queen, and the ribbon of the jack's cap.
        jewels: on the queen's crown, and everybody's lips.
        skin: of the face.
        eyes: of the face.
        feather: on the jack's cap.
        hair: by rank.
    """

    paper: Color
    line: Color
    robes: Mapping[str, tuple[Color, Color]]
    collar: Color
    crown: Color
    jewels: Color
    skin: Color
    eyes: Color
    feather: Color
    hair: Mapping[str, Color]


@dataclass(frozen=True)
class Theme:
    """A look.

    Args:
        cloth: the table.
        cloth_edge: the table at the rim of the picture.
        shadow: of a card on the table.
        paper: a card's face.
        paper_edge: the line around a card.
        ink: by suit, the colour of rank and suit.
        court: the colours of the court cards' figures.
        back: the colour of a card's back.
        back_lines: the pattern on it.
        board: what texts are written on.
        board_edge: the frame around it.
        chalk: the colour of texts.
        accent: the colour of signs and of what should stand out.
        only_rank_and_suit: whether these fill the card, without pips and figures.
        distorted: whether every episode is tilted, blurred, noisy and lit in its own way.
    """

    cloth: Color
    cloth_edge: Color
    shadow: Color
    paper: Color
    paper_edge: Color
    ink: Mapping[str, Color]
    court: Court
    back: Color
    back_lines: Color
    board: Color
    board_edge: Color
    chalk: Color
    accent: Color
    only_rank_and_suit: bool = False
    distorted: bool = False


_RED: Color = (200, 16, 32)
_BLACK: Color = (18, 18, 24)
_NAVY: Color = (36, 56, 120)
_GOLD: Color = (255, 206, 84)
_BLUE: Color = (20, 84, 204)
_GREEN: Color = (16, 124, 52)

_CLASSIC = Theme(
    cloth=(24, 104, 66),
    cloth_edge=(16, 76, 48),
    shadow=(16, 76, 48),
    paper=(253, 252, 247),
    paper_edge=(196, 192, 180),
    ink={"S": _BLACK, "H": _RED, "D": _RED, "C": _BLACK},
    court=Court(
        paper=(250, 241, 210),
        line=_NAVY,
        robes={"S": (_NAVY, _RED), "H": (_RED, _NAVY), "D": (_RED, _NAVY), "C": (_NAVY, _RED)},
        collar=_GOLD,
        crown=(222, 164, 36),
        jewels=_RED,
        skin=(246, 214, 182),
        eyes=_BLACK,
        feather=(40, 128, 84),
        hair={"K": (110, 70, 40), "Q": (226, 176, 84), "J": (150, 84, 44)},
    ),
    back=(150, 24, 40),
    back_lines=(244, 214, 164),
    board=(14, 46, 38),
    board_edge=(176, 140, 72),
    chalk=(250, 248, 236),
    accent=_GOLD,
)

_FOUR_COLOR = replace(
    _CLASSIC,
    ink={"S": _BLACK, "H": _RED, "D": _BLUE, "C": _GREEN},
    court=replace(
        _CLASSIC.court,
        line=(70, 66, 60),
        robes={"S": ((52, 52, 64), (168, 176, 192)), "H": (_RED, _NAVY), "D": (_BLUE, _RED), "C": (_GREEN, _RED)},
    ),
)

_MINIMAL = replace(
    _CLASSIC,
    cloth=(232, 236, 241),
    cloth_edge=(232, 236, 241),
    shadow=(206, 213, 222),
    paper=(255, 255, 255),
    paper_edge=(176, 186, 198),
    ink={"S": (24, 28, 36), "H": (214, 30, 48), "D": (214, 30, 48), "C": (24, 28, 36)},
    back=(66, 98, 150),
    back_lines=(232, 238, 246),
    board=(255, 255, 255),
    board_edge=(176, 186, 198),
    chalk=(24, 28, 36),
    accent=(24, 96, 196),
    only_rank_and_suit=True,
)

_NIGHT = replace(
    _CLASSIC,
    cloth=(22, 28, 44),
    cloth_edge=(10, 13, 24),
    shadow=(6, 8, 15),
    paper=(46, 54, 76),
    paper_edge=(104, 116, 148),
    ink={"S": (232, 236, 246), "H": (255, 104, 116), "D": (255, 104, 116), "C": (232, 236, 246)},
    court=Court(
        paper=(30, 36, 54),
        line=(136, 148, 182),
        robes={
            "S": ((92, 116, 196), (255, 104, 116)),
            "H": ((196, 52, 72), (150, 170, 232)),
            "D": ((196, 52, 72), (150, 170, 232)),
            "C": ((92, 116, 196), (255, 104, 116)),
        },
        collar=(240, 192, 92),
        crown=(232, 178, 60),
        jewels=(214, 48, 70),
        skin=(232, 200, 172),
        eyes=(20, 22, 32),
        feather=(84, 186, 132),
        hair={"K": (136, 92, 60), "Q": (240, 196, 112), "J": (176, 104, 62)},
    ),
    back=(58, 44, 104),
    back_lines=(170, 158, 226),
    board=(12, 15, 27),
    board_edge=(84, 96, 132),
    chalk=(228, 234, 248),
    accent=(255, 200, 92),
)

THEMES: dict[str, Theme] = {
    "classic": _CLASSIC,
    "four_color": _FOUR_COLOR,
    "minimal": _MINIMAL,
    "night": _NIGHT,
    "distorted": replace(_CLASSIC, distorted=True),
}


def find_theme(name: str) -> Theme:
    """The theme of that name.

    Raises:
        SettingError: if there is none.
    """
    if not isinstance(name, str) or name not in THEMES:
        raise SettingError(f"theme={name!r}: expected one of {', '.join(map(repr, THEME_NAMES))}")
    return THEMES[name]
