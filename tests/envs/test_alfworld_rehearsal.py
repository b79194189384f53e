"""The rehearsal of generated games: the same household and commands as in the engine, and a way that wins there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

pytest.importorskip("alfworld", reason="the extra alfworld is not installed")

from gtr_envs.alfworld import pddl, rehearsal
from gtr_envs.alfworld.engine import Engine
from gtr_envs.alfworld.errands import Errand
from gtr_envs.alfworld.furnish import PlacedThing
from gtr_envs.alfworld.games import TASK_TYPES
from gtr_envs.alfworld.generate import GeneratedGame, generate_game
from gtr_envs.alfworld.goals import Goal, goal_from_pddl
from gtr_envs.alfworld.records import COOL, HOT, Household
from gtr_envs.alfworld.rehearsal import household_of, outcomes, rehearse
from gtr_envs.alfworld.rooms import Point, Room, load_room
from gtr_envs.alfworld.state import places_of, read_household
from gtr_envs.errors import GameError

GAMES = list(product(TASK_TYPES, ("train", "valid_unseen")))
# These change nothing that the records have, or nothing that a goal asks for.
NOT_MODELLED = {"look", "inventory", "help", "examine", "slice"}

Start = tuple[GeneratedGame, Goal, Household]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path_factory.getbasetemp() / "gtr-cache"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def begun(task_type: str, split: str, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A generated game, what it asks for, and the household it begins in, as the rehearsal has it."""
    written = pddl.problem_text
    households = []

    def write(name: str, room: Room, things: Sequence[PlacedThing], start: Point, goal: str) -> str:
        households.append(household_of(room, things, start))
        return written(name, room, things, start, goal)

    monkeypatch.setattr(pddl, "problem_text", write)
    game = generate_game(np.random.default_rng(11), split, task_type)
    return game, goal_from_pddl(game.game["pddl_problem"]), households[0]


def modelled(commands: tuple[str, ...]) -> set[str]:
    return {command for command in commands if command.split()[0] not in NOT_MODELLED}


@pytest.mark.parametrize(("task_type", "split"), GAMES)
def test_it_is_as_in_the_engine_and_its_way_wins(
    task_type: str, split: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, goal, household = begun(task_type, split, monkeypatch)
    assert goal == Errand(game.task_type, game.target, game.receptacle).goal
    said = engine.reset(game.game)
    places = places_of(said.entity_infos)
    for command in game.game["walkthrough"]:
        assert not said.won
        assert household == read_household(said.facts, places)
        possible = outcomes(household)
        assert set(possible) == modelled(said.admissible_commands)
        said, household = engine.step(command), possible[command]
    assert said.won
    assert household == read_household(said.facts, places)


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_it_is_as_in_the_engine_whatever_is_done(
    task_type: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, _, household = begun(task_type, "valid_seen", monkeypatch)
    said = engine.reset(game.game)
    places = places_of(said.entity_infos)
    random = np.random.default_rng(3)
    done = set()
    for _ in range(60):
        possible = outcomes(household)
        assert set(possible) == modelled(said.admissible_commands)
        # Going is possible everywhere: more often something else, and rather what was not done yet.
        others = [command for command in possible if not command.startswith("go to ")]
        commands = others if others and random.random() < 0.7 else list(possible)
        new = [command for command in commands if command.split()[0] not in done] or commands
        command = new[int(random.integers(len(new)))]
        done.add(command.split()[0])
        said, household = engine.step(command), possible[command]
        assert household == read_household(said.facts, places)
    assert done >= {"go", "take", "move"}


def test_what_is_heated_is_no_longer_cool() -> None:
    kitchen = load_room(1)
    where = {fixture.kind: fixture for fixture in kitchen.fixtures}
    household = household_of(kitchen, [PlacedThing("Mug|+01.00|+01.00|+01.00", "Mug", where["CounterTop"])])
    counter = next(each for each in household.receptacles if each.contents)
    for command in (
        f"go to {counter.name}",
        f"take mug 1 from {counter.name}",
        "go to fridge 1",
        "cool mug 1 with fridge 1",
    ):
        household = outcomes(household)[command]
    assert household.holding is not None
    assert household.holding.states == {COOL}
    at_microwave = outcomes(household)["go to microwave 1"]
    after = outcomes(at_microwave)["heat mug 1 with microwave 1"]
    assert after == replace(at_microwave, holding=replace(household.holding, states=frozenset({HOT})))


def test_what_cannot_be_done_is_named() -> None:
    kitchen, bedroom = load_room(1), load_room(301)
    where = {fixture.kind: fixture for fixture in (*kitchen.fixtures, *bedroom.fixtures)}
    mug, other = PlacedThing("Mug|1", "Mug", where["CounterTop"]), PlacedThing("Mug|2", "Mug", where["Fridge"])
    book, knife = PlacedThing("Book|1", "Book", where["Desk"]), PlacedThing("Knife|1", "Knife", where["CounterTop"])
    assert len(rehearse(kitchen, [mug, other], Errand("pick_two_obj_and_place", "Mug", "Cabinet").goal)) == 10
    way = rehearse(kitchen, [mug], Errand("pick_heat_then_place_in_recep", "Mug", "Cabinet").goal)
    assert [command.split()[0] for command in way] == ["go", "take", "go", "heat", "go", "open", "move"]
    for room, things, errand, message in (
        (kitchen, [mug], Errand("pick_two_obj_and_place", "Mug", "Cabinet"), "ends after 'move mug 1 to cabinet 1'"),
        (kitchen, [], Errand("pick_and_place_simple", "Mug", "Cabinet"), "with mug and cabinet .* ends at the start"),
        (kitchen, [other, mug], Errand("pick_and_place_simple", "Mug", "Fridge"), "FloorPlan1 is done from the start"),
        (kitchen, [mug], Errand("pick_and_place_simple", "Mug", "Sofa"), "ends after 'take mug 1 "),
        (kitchen, [mug], Errand("pick_and_place_simple", "Mug", "GarbageCan"), "ends after 'go to garbagecan 1'"),
        (kitchen, [knife], Errand("pick_heat_then_place_in_recep", "Knife", "Drawer"), "after 'go to microwave 1'"),
        (bedroom, [book], Errand("look_at_obj_in_light", "Book", "DeskLamp"), "book and desklamp in FloorPlan301"),
    ):
        with pytest.raises(GameError, match=message):
            rehearse(room, things, errand.goal)


def test_a_solver_that_walks_in_circles_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen = load_room(1)
    fridge = next(fixture for fixture in kitchen.fixtures if fixture.kind == "Fridge")
    monkeypatch.setattr(rehearsal, "next_command", lambda goal, household, admissible: admissible[0])
    with pytest.raises(GameError, match="the solver cannot do"):
        rehearse(
            kitchen,
            [PlacedThing("Mug|1", "Mug", fridge)],
            Errand("pick_and_place_simple", "Mug", "Cabinet").goal,
        )
