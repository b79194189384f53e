"""Household games made on the spot, in the format of the ALFWorld data set, for who does not have it.

The rooms are those of alfworld's floor plans; what lies in them and what is to be done is drawn. Everything follows
from the generator that is handed in, on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gtr_envs.alfworld import pddl
from gtr_envs.alfworld.errands import Errand, possible_errands, rooms_for
from gtr_envs.alfworld.furnish import LAMP, PlacedThing, place_things
from gtr_envs.alfworld.games import GAME_FILE, TASK_TYPES, check_split, check_task_type
from gtr_envs.alfworld.goals import LOOK
from gtr_envs.alfworld.rehearsal import rehearse
from gtr_envs.alfworld.rooms import Point, Room, load_room, scenes_of
from gtr_envs.errors import GameError

_ATTEMPTS = 200
_T = TypeVar("_T")


@dataclass(frozen=True)
class GeneratedGame:
    """A game that was made.

    Attributes:
        task_type: one of `TASK_TYPES`.
        target: the type of thing that the task is about, such as "Mug".
        receptacle: the type of where it goes, such as "Shelf"; for looking at something, "DeskLamp".
        scene: the number of the floor plan.
        trial: its id, such as "trial_G0123456789abcdef".
        sentence: the task in words.
        game: what a game.tw-pddl says: "pddl_domain", "grammar", "pddl_problem", "solvable" and "walkthrough".
    """

    task_type: str
    target: str
    receptacle: str
    scene: int
    trial: str
    sentence: str
    game: dict[str, Any]

    @property
    def task_id(self) -> str:
        """The name of the task's folder in the data set's layout."""
        return f"{self.task_type}-{self.target}-None-{self.receptacle}-{self.scene}"


def generate_game(rng: np.random.Generator, split: str = "train", task_type: str | None = None) -> GeneratedGame:
    """Make a game that can be won: the solver has won it.

    Args:
        rng: where chance comes from. "train" and "valid_seen" draw from the same floor plans, so whoever wants other
            games in the one than in the other hands in another generator.
        split: "train" or "valid_seen", or "valid_unseen" with floor plans that the others never use.
        task_type: one of `TASK_TYPES`; drawn by default.

    Returns:
        The game.

    Raises:
        SettingError: if there is no such split or task type.
        MissingExtraError: if alfworld is not installed.
    """
    check_split(split)
    chosen = check_task_type(task_type) if task_type is not None else TASK_TYPES[int(rng.integers(len(TASK_TYPES)))]
    problem = ""
    for _ in range(_ATTEMPTS):
        room = load_room(_pick(rng, [s for kind in rooms_for(chosen) for s in scenes_of(kind, split)]))
        errands = possible_errands(chosen, room)
        if not errands:
            continue
        # The thing first, then where it goes: else what goes into many receptacles would be asked for all the time.
        target = _pick(rng, sorted({errand.target for errand in errands}))
        errand = _pick(rng, [errand for errand in errands if errand.target == target])
        things = place_things(rng, room, target, errand.number, errand.receptacle, chosen == LOOK)
        try:
            way = rehearse(room, things, errand.goal)
        except GameError as error:
            problem = str(error)
            continue
        return _assemble(rng, room, things, errand, way)
    raise GameError(f"no game of type {chosen} after {_ATTEMPTS} attempts in {split} rooms; the last: {problem}")


def write_game(folder: str | Path, game: GeneratedGame) -> Path:
    """Write a game as the data set does, so that alfworld's own loader plays it.

    Args:
        folder: the folder of a split, such as json_2.1.1/train. It is made if need be.
        game: the game.

    Returns:
        The path of its game.tw-pddl.
    """
    trial = Path(folder) / game.task_id / game.trial
    trial.mkdir(parents=True, exist_ok=True)
    look = game.task_type == LOOK
    trajectory = {
        "images": [],
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": game.target,
            "parent_target": "" if look else game.receptacle,
            "toggle_target": LAMP if look else "",
        },
        "plan": {"high_pddl": [], "low_actions": []},
        "scene": {"floor_plan": f"FloorPlan{game.scene}", "scene_num": game.scene},
        "task_id": game.trial,
        "task_type": game.task_type,
        "turk_annotations": {"anns": [{"task_desc": game.sentence, "high_descs": [], "votes": []}]},
    }
    (trial / "traj_data.json").write_text(json.dumps(trajectory, indent=1), encoding="utf-8")
    (trial / "initial_state.pddl").write_text(game.game["pddl_problem"], encoding="utf-8")
    path = trial / GAME_FILE
    path.write_text(json.dumps(game.game), encoding="utf-8")
    return path


def _assemble(
    rng: np.random.Generator, room: Room, things: Sequence[PlacedThing], errand: Errand, way: Sequence[str]
) -> GeneratedGame:
    taken = {fixture.location for fixture in room.fixtures}
    free: list[Point] = [point for point in room.points if pddl.start_location(point) not in taken]
    start = _pick(rng, free)
    sentence = _pick(rng, pddl.task_sentences(errand.task_type, errand.target, errand.receptacle))
    trial = f"trial_G{int(rng.integers(1 << 62)):016x}"
    goal_text = pddl.goal_text(errand.task_type, errand.target, errand.receptacle)
    game = {
        "pddl_domain": pddl.domain_text(),
        "grammar": pddl.grammar_text(sentence),
        "pddl_problem": pddl.problem_text(trial, room, things, start, goal_text),
        "solvable": True,
        "walkthrough": list(way),
    }
    return GeneratedGame(errand.task_type, errand.target, errand.receptacle, room.scene, trial, sentence, game)


def _pick(rng: np.random.Generator, items: Sequence[_T]) -> _T:
    return items[int(rng.integers(len(items)))]
