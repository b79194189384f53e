"""Games that cannot be played: each is an error that names it, and the next game plays as ever."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

pytest.importorskip("alfworld", reason="the extra alfworld is not installed")
pytest.importorskip("textworld", reason="the extra alfworld is not installed")

from gtr_envs.alfworld import choice
from gtr_envs.alfworld.engine import Engine
from gtr_envs.alfworld.env import ALFWorldEnv
from gtr_envs.alfworld.generate import generate_game
from gtr_envs.alfworld.names import mangled, names_of
from gtr_envs.errors import ActionError, GameError, SettingError

ROOT = Path(__file__).resolve().parents[2]

Change = Callable[[str], str]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the tests' own, shared by them."""
    monkeypatch.setenv("GTR_CACHE", str(tmp_path_factory.getbasetemp() / "gtr-cache"))


@pytest.fixture(scope="module")
def game() -> dict[str, Any]:
    """A game that asks for cool bread on a counter."""
    return generate_game(np.random.default_rng(3)).game


def goal_changed(old: str, new: str) -> Change:
    def change(problem: str) -> str:
        at = problem.index("(:goal")
        assert old in problem[at:]
        return problem[:at] + problem[at:].replace(old, new)

    return change


def beginning_with(fact: str) -> Change:
    return lambda problem: problem.replace("(:init", f"(:init {fact}", 1)


BROKEN: dict[str, tuple[str, Change, str]] = {
    "no problem": ("pddl_problem", lambda text: "nonsense", "goal is none of"),
    "half a problem": ("pddl_problem", lambda text: text[:400], "goal is none of"),
    "a parenthesis too many": ("pddl_problem", beginning_with("(((("), "damaged"),
    "a parenthesis too few": ("pddl_problem", lambda text: text.rstrip()[:-1], "damaged"),
    "an unknown thing": ("pddl_problem", beginning_with("(pickupable nosuchthing)"), "nosuchthing"),
    "no domain": ("pddl_domain", lambda text: "nonsense", "damaged"),
    "an empty domain": ("pddl_domain", lambda text: "", "damaged"),
    "a predicate that is not declared": (
        "pddl_domain",
        lambda text: text.replace("(:action GotoLocation", "(:action Fly :parameters () :precondition (flies) "
                          ":effect (flies)) (:action GotoLocation", 1),
        "damaged",
    ),
    "no grammar": ("grammar", lambda text: "nonsense", "damaged"),
    "an empty grammar": ("grammar", lambda text: "", "has no rule 'intro'"),
    "half a grammar": ("grammar", lambda text: text[: len(text) // 2], "damaged"),
    "a thing that is nowhere": ("pddl_problem", goal_changed("BreadType", "WateringCanType"), "out of reach"),
    "a place that is not there": ("pddl_problem", goal_changed("CounterTopType", "BathtubBasinType"), "out of reach"),
    "a place that holds no such thing": ("pddl_problem", goal_changed("CounterTopType", "ToasterType"), "out of reach"),
    "no fridge": (
        "pddl_problem",
        lambda text: re.sub(r".*receptacleType Fridge.*\n", "", text),
        "out of reach",
    ),
    "won from the start": (
        "pddl_problem",
        lambda text: re.sub(
            r"\(isCool \?o\)|\(coolable \?o\)", "", goal_changed("CounterTopType", "FridgeType")(
                goal_changed("BreadType", "EggType")(text)
            )
        ),
        "reached from the start",
    ),
}  # fmt: skip


def written(folder: Path, game: Mapping[str, Any]) -> Path:
    path = folder / "broken.tw-pddl"
    path.write_text(json.dumps(game))
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_game_is_named_with_what_to_do(case: str, game: dict[str, Any], tmp_path: Path) -> None:
    key, change, message = BROKEN[case]
    content = {**game, key: change(game[key])}
    path = written(tmp_path, content)
    env = ALFWorldEnv(data="generated", image_size=64)
    with pytest.raises(GameError, match=message) as caught:
        env.reset(options={"game": path})
    said = str(caught.value)
    assert said.startswith(f"the game {path} cannot be played, ")
    assert said.endswith(": leave it out, or delete it and run alfworld-download")
    assert "\n" not in said
    env.close()
    if message != "goal is none of":  # the engine does not look at what kind of goal it is
        for given, name in ((path, str(path)), (content, "that was given")):
            with pytest.raises(GameError, match=message) as caught:
                Engine().reset(given)
            assert name in str(caught.value)


# Each leaves the game before in another state: untouched, let go, overwritten in the planner's library.
@pytest.mark.parametrize("case", ["no problem", "an unknown thing", "no grammar", "won from the start", "no path"])
def test_after_a_reset_that_failed_there_is_no_episode_until_the_next(
    case: str, game: dict[str, Any], tmp_path: Path
) -> None:
    env = ALFWorldEnv(data="generated", image_size=64, render_mode="rgb_array")
    _, info = env.reset(seed=1)
    given: Any = 3
    if case != "no path":
        key, change, _ = BROKEN[case]
        given = written(tmp_path, {**game, key: change(game[key])})
    with pytest.raises((GameError, SettingError)):
        env.reset(options={"game": given})
    for call in (lambda: env.step(info["admissible_commands"][0]), env.render):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) before"):
            call()
    frame, again = env.reset(seed=1)
    assert again["feedback"] == info["feedback"]
    assert again["admissible_commands"] == info["admissible_commands"]
    twin = ALFWorldEnv(data="generated", image_size=64)
    assert (twin.reset(seed=1)[0] == frame).all()
    command = info["admissible_commands"][0]
    assert env.step(command)[4]["feedback"] == twin.step(command)[4]["feedback"]


def test_an_engine_whose_reset_failed_refuses_commands_and_begins_anew(game: dict[str, Any]) -> None:
    engine = Engine()
    said = engine.reset(game)
    with pytest.raises(GameError):
        engine.reset({**game, "pddl_problem": BROKEN["an unknown thing"][1](game["pddl_problem"])})
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        engine.step(said.admissible_commands[0])
    assert engine.reset(game) == said


def test_a_text_that_is_missing_ends_the_game_when_it_is_needed(game: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, {**game, "grammar": game["grammar"].replace('"inventory.feedback"', '"nothing.at.all"')})
    env = ALFWorldEnv(data="generated", image_size=64)
    env.reset(options={"game": path})
    with pytest.raises(GameError, match=r"broken\.tw-pddl cannot be played, .* no rule 'inventory\.feedback'"):
        env.step("inventory")
    with pytest.raises(ResetNeeded):
        env.step("look")
    assert env.reset(seed=0)[1]["history"] == ()


def test_a_generated_game_that_is_broken_is_named_too(game: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.GameChoice, "game", lambda *_: ({**game, "grammar": "x"}, "generated/train/some/7"))
    with pytest.raises(GameError, match=r"the game generated/train/some/7 .*: run pip install --force-reinstall"):
        ALFWorldEnv(data="generated").reset(seed=0)


# alfworld is read but not imported.


def test_the_names_are_those_that_alfworld_gives(game: dict[str, Any]) -> None:
    from alfworld.agents.utils.misc import Demangler
    from textworld.generator.game import EntityInfo

    ids = {word.lower() for word in re.findall(r"\((?:receptacle|object)Type (\S+)", game["pddl_problem"])}
    ids |= {"agent1", "mug", mangled("loc|-4|5|3|30"), mangled("Sink|-01.00|+01.00|+00.25|SinkBasin").lower()}
    theirs = Demangler(game_infos={one: EntityInfo(one, "thing") for one in ids})
    assert len(ids) > 40
    assert names_of(ids) == {one: theirs.demangle_alfred_name(one) for one in ids}


def test_playing_makes_no_folder_of_alfworlds_and_needs_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {name: value for name, value in os.environ.items() if name != "ALFWORLD_DATA"}
    # Nobody can make a folder below a file, not even the superuser.
    environment |= {"HOME": str(tmp_path / "file" / "home"), "PYTHONPATH": str(ROOT), "GTR_CACHE": str(tmp_path / "c")}
    code = (
        "import os, sys\nfrom gtr_envs.alfworld.env import ALFWorldEnv\n"
        "env = ALFWorldEnv(data='generated', image_size=64)\nenv.reset(seed=0)\nenv.step('look')\n"
        "print('ALFWORLD_DATA' in os.environ, 'alfworld' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"], run.stderr
