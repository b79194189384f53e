"""Draw the household pictures of the documentation: `python docs/alfworld_pictures.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gtr_envs.alfworld.draw import draw_view
from gtr_envs.alfworld.env import ALFWorldEnv
from gtr_envs.alfworld.receptacle_shapes import RECEPTACLES
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, SLICED, PlanMark, Receptacle, Thing, View
from gtr_envs.alfworld.shapes import (
    glow_of,
    glow_stamp,
    receptacle_look,
    receptacle_stamp,
    thing_stamp,
    word_stamp,
)
from gtr_envs.alfworld.solver import next_command
from gtr_envs.alfworld.thing_shapes import THINGS
from gtr_envs.cards.sketch import CANVAS
from gtr_envs.cards.stamps import Stamp, press

FOLDER = Path(__file__).parent / "images"
THING_TILE, RECEPTACLE_TILE = (84, 88), (140, 124)  # width and height
THINGS_PER_ROW, RECEPTACLES_PER_ROW = 10, 6
STRIP_SEED = 1
GROUND = (244, 238, 226)
STATES = (
    ("apple", HOT),
    ("apple", COOL),
    ("apple", CLEAN),
    ("apple", SLICED),
    ("mug", HOT),
    ("mug", COOL),
    ("mug", CLEAN),
    ("bread", SLICED),
    ("desklamp", ON),
    ("floorlamp", ON),
)


def tile(stamps: Sequence[Stamp], name: str, width: int, height: int) -> np.ndarray:
    """Stamps over each other in the middle of a tile, with a name below."""
    canvas = np.full((height, width, 3), GROUND, np.uint8)
    for stamp in stamps:
        left = (width - stamp.ink.shape[1]) // 2
        press(canvas, stamp, left, (height - 14 - stamp.ink.shape[0]) // 2, None)
    word = word_stamp(name, CANVAS, width - 6.0, 9.0)
    press(canvas, word, (width - word.ink.shape[1]) // 2, height - 12, None)
    return canvas


def thing_tile(kind: str, states: frozenset[str] = frozenset()) -> np.ndarray:
    """A thing with its name and states."""
    glow = glow_of(states)
    lights = [glow_stamp(glow, CANVAS, 84.0)] if glow else []
    return tile([*lights, thing_stamp(kind, states, CANVAS, 60.0)], " ".join((kind, *sorted(states))), *THING_TILE)


def receptacle_tile(kind: str, is_open: bool) -> np.ndarray:
    """A receptacle with its name."""
    look = receptacle_look(kind)
    receptacle = Receptacle(f"{kind} 1", kind, "", 0, 0, bool(look.closed), is_open)
    height = min(100.0, 130 / look.aspect)
    stamp = receptacle_stamp(kind, receptacle.shows_contents, CANVAS, height * look.aspect, height)
    return tile([stamp], f"{kind} (open)" if look.closed and is_open else kind, *RECEPTACLE_TILE)


def grid(tiles: Sequence[np.ndarray], per_row: int) -> np.ndarray:
    """Tiles of one size in rows."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // per_row)
    canvas = np.full((rows * height, per_row * width, 3), GROUND, np.uint8)
    for index, picture in enumerate(tiles):
        row, column = divmod(index, per_row)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    return canvas


def kinds() -> np.ndarray:
    """All kinds of receptacles and things, and the states of some."""
    looks = [
        receptacle_tile(kind, is_open)
        for kind, look in RECEPTACLES.items()
        for is_open in ((False, True) if look.closed else (True,))
    ]
    things = [thing_tile(kind) for kind in THINGS]
    states = [thing_tile(kind, frozenset({state})) for kind, state in STATES]
    return np.concatenate(
        [grid(looks, RECEPTACLES_PER_ROW), grid(things, THINGS_PER_ROW), grid(states, THINGS_PER_ROW)]
    )


def moments() -> np.ndarray:
    """Four moments of a task: in the middle of the room, at the counter, at a cabinet that is closed, at the fridge."""
    kinds_here = [*["cabinet"] * 6, "fridge", "sinkbasin", *["countertop"] * 2, *["drawer"] * 4, "microwave", "toaster"]
    names = [f"{kind} {kinds_here[:index].count(kind) + 1}" for index, kind in enumerate(kinds_here)]
    walls = [(0.5 * step, 0.0) for step in range(6)] + [(3.0, 0.5 * step) for step in range(5)]
    walls += [(2.5 - 0.5 * step, 2.5) for step in range(5)]
    marks = [PlanMark(name, kind, x, z) for name, kind, (x, z) in zip(names, kinds_here, walls, strict=True)]
    loaf, knife = Thing("bread 1", "bread"), Thing("knife 2", "knife")
    potato = Thing("potato 2", "potato", frozenset({HOT}))
    cold = (Thing("lettuce 1", "lettuce", frozenset({COOL})), Thing("egg 1", "egg"), Thing("tomato 3", "tomato"))
    stops: list[tuple[str, bool, tuple[Thing, ...], Thing | None]] = [
        ("countertop 2", False, (loaf, knife, potato, Thing("peppershaker 1", "peppershaker")), None),
        ("cabinet 4", True, (), potato),
        ("fridge 1", True, cold, potato),
    ]
    frames = [draw_view(View((), None, tuple(marks)))]
    for name, openable, contents, holding in stops:
        here = names.index(name)
        marks = [replace(mark, is_here=False) for mark in marks]
        marks[here] = replace(marks[here], is_here=True, visited=True, seen_open=bool(contents) and openable)
        x, z, kind = marks[here].x, marks[here].z, marks[here].kind
        at_hand = Receptacle(name, kind, "", x, z, openable, bool(contents), contents)
        frames.append(draw_view(View((at_hand,), holding, tuple(marks), (x, z))))
    return grid(frames, 2)


def strip() -> np.ndarray:
    """A whole game, as the solver plays it: one frame for each command."""
    env = ALFWorldEnv(
        data="generated", split="valid_unseen", task_types=["pick_heat_then_place_in_recep"], image_size=224
    )
    frame, info = env.reset(seed=STRIP_SEED)
    frames = [frame]
    while "is_success" not in info:
        command = next_command(info["goal"], info["household"], info["admissible_commands"])
        frame, *_, info = env.step(command)
        frames.append(frame)
    return grid(frames, 4)


def main() -> None:
    """Write the pictures to docs/images."""
    FOLDER.mkdir(exist_ok=True)
    for name, pixels in (("kinds", kinds()), ("moments", moments()), ("strip", strip())):
        picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
        picture.save(FOLDER / f"alfworld_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
