"""Goals and how much of them is done, worked out by hand; the solver and the explorer, by hand and in whole games."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gtr_envs.alfworld.engine import Engine
from gtr_envs.alfworld.explorer import LIKELY, Explorer
from gtr_envs.alfworld.games import TASK_TYPES
from gtr_envs.alfworld.generate import generate_game
from gtr_envs.alfworld.goals import Goal, goal_condition_rate, goal_from_pddl, goal_from_trajectory
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, Household, Receptacle, Thing, View
from gtr_envs.alfworld.solver import next_command
from gtr_envs.alfworld.state import places_of, read_household, remember, visible
from gtr_envs.errors import GameError

GAMES = Path(__file__).resolve().parents[2].parent / "shared" / "alfworld_games" / "json_2.1.1"
needs_games = pytest.mark.skipif(not GAMES.is_dir(), reason=f"real ALFWorld games are not at {GAMES}")


def thing(name: str, *states: str) -> Thing:
    return Thing(name, name.split()[0], frozenset(states))


def receptacle(name: str, place: str, *contents: Thing, openable: bool = False) -> Receptacle:
    return Receptacle(name, name.split()[0], place, 0.0, 0.0, openable, contents=contents)


A, B = receptacle("shelf 1", "loc 1"), receptacle("shelf 2", "loc 2")
TABLE = receptacle("sidetable 1", "loc 3")
MUG, OTHER, HOT_MUG, HOT_OTHER = thing("mug 1"), thing("mug 2"), thing("mug 1", HOT), thing("mug 2", HOT)


def room(on_a: tuple[Thing, ...] = (), on_b: tuple[Thing, ...] = (), table: tuple[Thing, ...] = ()) -> Household:
    placed = (replace(A, contents=on_a), replace(B, contents=on_b), replace(TABLE, contents=table))
    return Household(placed, None, "loc 9")


@pytest.mark.parametrize(
    ("task_type", "household", "rate"),
    [
        ("pick_and_place_simple", room(table=(MUG,)), 0.0),
        ("pick_and_place_simple", room(on_b=(MUG,)), 1.0),
        ("pick_and_place_simple", room(on_b=(thing("cup 1"),)), 0.0),
        ("pick_two_obj_and_place", room(table=(MUG, OTHER)), 0.0),
        ("pick_two_obj_and_place", room(on_a=(MUG,), on_b=(OTHER,)), 0.5),
        ("pick_two_obj_and_place", room(on_a=(MUG, OTHER)), 1.0),
        ("pick_two_obj_and_place", room(on_a=(MUG, OTHER, thing("mug 3"))), 1.0),
        ("pick_heat_then_place_in_recep", room(table=(MUG,)), 0.0),
        ("pick_heat_then_place_in_recep", room(on_a=(MUG,)), 1 / 3),
        ("pick_heat_then_place_in_recep", room(table=(HOT_MUG,)), 1 / 3),
        ("pick_heat_then_place_in_recep", replace(room(), holding=HOT_MUG), 1 / 3),
        ("pick_heat_then_place_in_recep", room(on_a=(MUG,), table=(HOT_OTHER,)), 2 / 3),
        ("pick_heat_then_place_in_recep", room(on_a=(HOT_MUG,)), 1.0),
        ("pick_clean_then_place_in_recep", room(on_a=(HOT_MUG,)), 1 / 3),
        ("pick_clean_then_place_in_recep", room(on_a=(thing("mug 1", CLEAN),)), 1.0),
        ("pick_cool_then_place_in_recep", room(on_a=(thing("mug 1", COOL),)), 1.0),
        ("pick_cool_then_place_in_recep", room(on_a=(thing("cup 1", COOL),)), 0.0),
    ],
)
def test_the_rate_of_placing(task_type: str, household: Household, rate: float) -> None:
    assert goal_condition_rate(Goal(task_type, "mug", "shelf"), household) == rate


@pytest.mark.parametrize(
    ("holding", "lamp", "place", "rate"),
    [
        (None, "desklamp 1", "loc 1", 0.0),
        (MUG, "desklamp 1", "loc 1", 0.5),
        (thing("cup 1"), "desklamp 1 on", "loc 1", 0.5),
        (MUG, "desklamp 1 on", "loc 2", 0.5),
        (MUG, "floorlamp 1 on", "loc 1", 0.5),
        (MUG, "desklamp 1 on", "loc 1", 1.0),
    ],
)
def test_the_rate_of_looking(holding: Thing | None, lamp: str, place: str, rate: float) -> None:
    lamps = ((thing(lamp.removesuffix(" on"), *([ON] if lamp.endswith("on") else [])), "loc 1"),)
    household = replace(room(), holding=holding, place=place, lamps=lamps)
    assert goal_condition_rate(Goal("look_at_obj_in_light", "mug", lamp="desklamp"), household) == rate


LOOK_PDDL = """(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location)
    (and (objectType ?ot DeskLampType) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)
         (atLocation ?a ?l) (inReceptacle ?ot ?r)))
    (exists (?o - object ?a - agent) (and (objectType ?o MugType) (holds ?a ?o)))))"""
PLACE_PDDL = """(:init (isHot a) (isClean b)) (:goal (and (exists (?r - receptacle) (exists (?o - object)
    (and {extra} (objectType ?o SoapBarType) (receptacleType ?r SinkBasinType) (inReceptacle ?o ?r))))))"""
SECOND = "(exists (?o2 - object) (and (not (= ?o ?o2)) (objectType ?o2 SoapBarType) (inReceptacle ?o2 ?r)))"


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        (LOOK_PDDL, Goal("look_at_obj_in_light", "mug", lamp="desklamp")),
        (PLACE_PDDL.format(extra=""), Goal("pick_and_place_simple", "soapbar", "sinkbasin")),
        (PLACE_PDDL.format(extra=SECOND), Goal("pick_two_obj_and_place", "soapbar", "sinkbasin")),
        (PLACE_PDDL.format(extra="(isClean ?o)"), Goal("pick_clean_then_place_in_recep", "soapbar", "sinkbasin")),
        (PLACE_PDDL.format(extra="(isHot ?o)"), Goal("pick_heat_then_place_in_recep", "soapbar", "sinkbasin")),
        (PLACE_PDDL.format(extra="(isCool ?o)"), Goal("pick_cool_then_place_in_recep", "soapbar", "sinkbasin")),
    ],
)
def test_the_goal_is_read_from_the_problem(text: str, goal: Goal) -> None:
    assert goal_from_pddl(text) == goal


@pytest.mark.parametrize("text", ["", "(:goal (and))", PLACE_PDDL.format(extra="(isSliced ?o)")])
def test_another_goal_is_a_named_error(text: str) -> None:
    with pytest.raises(GameError, match="pick_and_place_simple"):
        goal_from_pddl(text)


def test_the_goal_is_read_from_a_trajectory() -> None:
    targets = {"object_target": "Mug", "parent_target": "SideTable", "toggle_target": "", "object_sliced": False}
    simple = {"task_type": "pick_and_place_simple", "pddl_params": targets}
    assert goal_from_trajectory(simple) == Goal("pick_and_place_simple", "mug", "sidetable")
    look = {"task_type": "look_at_obj_in_light", "pddl_params": {**targets, "toggle_target": "DeskLamp"}}
    assert goal_from_trajectory(look) == Goal("look_at_obj_in_light", "mug", lamp="desklamp")
    for broken in (
        {},
        {**simple, "task_type": "dance"},
        {**simple, "pddl_params": {**targets, "parent_target": ""}},
        {**simple, "pddl_params": {**targets, "object_sliced": True}},
    ):
        with pytest.raises(GameError):
            goal_from_trajectory(broken)


SIMPLE = Goal("pick_and_place_simple", "mug", "shelf")
TWO = Goal("pick_two_obj_and_place", "mug", "shelf")
ROUND = ["go to shelf 1", "go to shelf 2", "go to sidetable 1", "inventory", "look"]


@pytest.mark.parametrize(
    ("goal", "household", "admissible", "command"),
    [
        (SIMPLE, room(on_a=(MUG,)), ROUND, None),
        (SIMPLE, room(), ROUND, None),
        (SIMPLE, room(table=(MUG,)), ROUND, "go to sidetable 1"),
        (SIMPLE, replace(room(), holding=MUG), ROUND, "go to shelf 1"),
        (SIMPLE, replace(room(), holding=MUG, place="loc 2"), ["put mug 1 in/on shelf 2"], "put mug 1 in/on shelf 2"),
        (SIMPLE, replace(room(), holding=MUG, place="loc 2"), ["move mug 1 to shelf 2"], "move mug 1 to shelf 2"),
        (TWO, room(on_b=(MUG,), table=(OTHER,)), ROUND, "go to sidetable 1"),
        (TWO, replace(room(on_b=(MUG,)), holding=OTHER), ROUND, "go to shelf 2"),
        # The engine left a thing that is in place where it was taken from, too: it is not to be fetched again.
        (TWO, room(on_b=(MUG,), table=(MUG,)), ROUND, None),
        # Something that is not asked for is in hand: down with it, or on to where it may be put.
        (
            SIMPLE,
            replace(room(), holding=thing("cup 1"), place="loc 1"),
            ["put cup 1 on shelf 1"],
            "put cup 1 on shelf 1",
        ),
        (SIMPLE, replace(room(), holding=thing("cup 1"), place="loc 1"), ROUND, "go to shelf 2"),
    ],
)
def test_the_solver_goes_on(goal: Goal, household: Household, admissible: list[str], command: str | None) -> None:
    assert next_command(goal, household, admissible) == command


FURNITURE = (
    receptacle("cabinet 1", "loc 4", openable=True),
    receptacle("cabinet 2", "loc 4", MUG, openable=True),
    receptacle("countertop 1", "loc 5"),
    receptacle("shelf 1", "loc 6"),
)


def seen(place: str, *opened: str) -> View:
    household = Household(tuple(replace(r, is_open=r.name in opened) for r in FURNITURE), None, place)
    return visible(household, *remember(household))


def test_the_explorer_looks_in_likely_places_first_and_nowhere_twice() -> None:
    explorer = Explorer(SIMPLE)
    walk = [f"go to {r.name}" for r in FURNITURE]
    opening = [*walk, "open cabinet 1", "open cabinet 2"]
    assert explorer.act(seen("loc 9"), walk) == "go to countertop 1"
    assert explorer.act(seen("loc 5"), walk) == "go to cabinet 1"
    assert explorer.act(seen("loc 4"), opening) == "open cabinet 1"
    assert explorer.act(seen("loc 4", "cabinet 1"), opening) == "open cabinet 2"
    found = seen("loc 4", "cabinet 1", "cabinet 2")
    assert explorer.act(found, [*walk, "take mug 1 from cabinet 2"]) == "take mug 1 from cabinet 2"
    # It remembers, should it be elsewhere.
    assert explorer.act(seen("loc 5", "cabinet 1", "cabinet 2"), walk) == "go to cabinet 2"
    explorer.reset(SIMPLE)
    assert explorer.act(seen("loc 9"), walk) == "go to countertop 1"


def test_the_explorer_does_not_see_through_doors() -> None:
    without = tuple(replace(r, contents=()) for r in FURNITURE)
    empty = Household(without, None, "loc 4")
    walk = [f"go to {r.name}" for r in FURNITURE]
    assert visible(empty, *remember(empty)) == seen("loc 4")
    assert Explorer(SIMPLE).act(seen("loc 4"), [*walk, "open cabinet 1"]) == "go to countertop 1"


def test_the_explorer_looks_around_when_everything_was_searched() -> None:
    household = replace(room(), place="loc 1")
    view = visible(household, *remember(household))
    assert Explorer(SIMPLE).act(view, ["inventory", "look"]) == "look"
    assert Explorer(SIMPLE).act(view, ["inventory"]) == "inventory"


def test_the_table_of_places_names_each_receptacle_once() -> None:
    assert all(len(set(kinds)) == len(kinds) for kinds in LIKELY.values())


def play(game: Mapping[str, Any], agent: str) -> int:
    """Plays a game to its end, checks the rate at each state, and returns the number of commands."""
    goal = goal_from_pddl(game["pddl_problem"])
    explorer, engine = Explorer(goal), Engine()
    state = engine.reset(game)
    places = places_of(state.entity_infos)
    known: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    for step in range(51):
        household = read_household(state.facts, places)
        assert (goal_condition_rate(goal, household) == 1) == state.won
        if state.won:
            engine.close()
            return step
        known = remember(household, *known)
        admissible = state.admissible_commands
        solved = agent == "solver"
        view = visible(household, *known)
        command = next_command(goal, household, admissible) if solved else explorer.act(view, admissible)
        assert command in admissible
        state = engine.step(str(command))
    raise AssertionError(f"{agent} did not win: {goal}")


@pytest.fixture
def engine_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The needed packages, and a cache that belongs to the tests."""
    pytest.importorskip("alfworld", reason="the extra alfworld is not installed")
    monkeypatch.setenv("GTR_CACHE", str(tmp_path_factory.getbasetemp() / "gtr-cache"))


@needs_games
@pytest.mark.usefixtures("engine_cache")
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_real_games_are_won(task_type: str, place: str) -> None:
    paths = sorted((GAMES / "valid_seen").glob(f"{task_type}-*/*/game.tw-pddl"))
    game = json.loads(paths[0 if place == "first" else -1].read_text())
    assert goal_from_pddl(game["pddl_problem"]).task_type == task_type
    assert play(game, "solver") <= 10
    assert play(game, "explorer") <= 50


@needs_games
@pytest.mark.usefixtures("engine_cache")
def test_two_of_a_kind_that_lie_apart_are_found() -> None:
    (path, *_) = sorted((GAMES / "valid_seen").glob("pick_two_obj_and_place-Newspaper-*-224/*/game.tw-pddl"))
    game = json.loads(path.read_text())
    assert play(game, "solver") <= 10
    assert play(game, "explorer") <= 50


@pytest.mark.usefixtures("engine_cache")
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_generated_games_are_won(task_type: str) -> None:
    game = generate_game(np.random.default_rng(5), "valid_unseen", task_type).game
    assert goal_from_pddl(game["pddl_problem"]).task_type == task_type
    assert play(game, "solver") <= 10
    assert play(game, "explorer") <= 50


@needs_games
def test_both_sources_of_the_goal_agree() -> None:
    files = sorted(GAMES.rglob("traj_data.json"))
    assert files
    for file in files:
        problem = json.loads(file.with_name("game.tw-pddl").read_text())["pddl_problem"]
        assert goal_from_trajectory(json.loads(file.read_text())) == goal_from_pddl(problem)
