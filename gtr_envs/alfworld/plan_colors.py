"""The colours of the plan's marks, one for each kind of receptacle.

Kinds that stand in the same kind of room have colours that are told apart at a glance; a colour comes again only for a
kind of another room, as that of the fridge for the bed. None is the red of where the agent stands or the green of what
it opened.
"""

from __future__ import annotations

from PIL import ImageColor

from gtr_envs.cards.sketch import Color

_GREEN, _ORANGE, _VIOLET, _BLACK, _PINK, _GREY = "#3c6e1f", "#e86c00", "#6a2fae", "#2f2f2f", "#e052b0", "#7d8a96"
_BLUE, _BROWN, _NAVY, _TEAL, _CYAN, _WINE = "#2f66ea", "#854f14", "#14267f", "#0a7f78", "#35c3dd", "#900c48"
_GOLD, _SALMON, _LAVENDER, _LIME = "#c2a500", "#ee9079", "#a58ce6", "#93c11f"
_COLORS = {
    "cabinet": _GREEN,
    "drawer": _ORANGE,
    "shelf": _VIOLET,
    "garbagecan": _BLACK,
    "sidetable": _PINK,
    "safe": _GREY,
    "countertop": _BLUE,
    "diningtable": _BROWN,
    "fridge": _NAVY,
    "microwave": _TEAL,
    "sinkbasin": _CYAN,
    "stoveburner": _WINE,
    "toaster": _GOLD,
    "coffeemachine": _SALMON,
    "sofa": _NAVY,
    "armchair": _TEAL,
    "tvstand": _CYAN,
    "dresser": _WINE,
    "coffeetable": _GOLD,
    "ottoman": _SALMON,
    "bed": _NAVY,
    "desk": _LAVENDER,
    "laundryhamper": _SALMON,
    "bathtubbasin": _NAVY,
    "toilet": _TEAL,
    "towelholder": _GOLD,
    "handtowelholder": _SALMON,
    "toiletpaperhanger": _LAVENDER,
    "cart": _LIME,
}
_UNKNOWN = "#d0c4a8"


def plan_color(kind: str) -> Color:
    """The colour of a kind of receptacle, red, green and blue; a sandy one for a kind that is not known."""
    red, green, blue = ImageColor.getrgb(_COLORS.get(kind, _UNKNOWN))[:3]
    return red, green, blue
