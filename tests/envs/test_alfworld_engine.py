"""The engine against textworld's own, command by command; its cache of translations; its grammar; its errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_envs.alfworld import translation
from gtr_envs.alfworld.engine import Engine, EngineState, read_content
from gtr_envs.alfworld.generate import generate_game, write_game
from gtr_envs.alfworld.grammar import value_of
from gtr_envs.errors import ActionError, GameError, MissingExtraError

pytest.importorskip("alfworld", reason="the extra alfworld is not installed")
pytest.importorskip("textworld", reason="the extra alfworld is not installed")

ROOT = Path(__file__).resolve().parents[2]
GAMES = ROOT.parent / "shared" / "alfworld_games" / "json_2.1.1"
needs_games = pytest.mark.skipif(not GAMES.is_dir(), reason=f"real ALFWorld games are not at {GAMES}")
MUG_TO_CABINET = "train/pick_heat_then_place_in_recep-Mug-None-Cabinet-12"
BOOK_AT_LAMP = "train/look_at_obj_in_light-Book-None-DeskLamp-328"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the tests' own, shared by them."""
    monkeypatch.setenv("GTR_CACHE", str(tmp_path_factory.getbasetemp() / "gtr-cache"))


def game_path(name: str) -> Path:
    return next((GAMES / name).glob("*/game.tw-pddl"))


def canonical(text: str) -> str:
    """A text with its enumerations in order: textworld leaves them in the order of a hash."""

    def in_order(match: re.Match[str]) -> str:
        return match[1] + ", ".join(sorted(match[2].replace(", and ", ", ").split(", "))) + "."

    return re.sub(r"(you see |facing the |carrying: )([^.]*)\.", in_order, text)


def said(feedback: str, facts: Any, commands: Any, won: bool) -> tuple[Any, ...]:
    """All that an engine says, in a form that can be compared."""
    known = sorted(f"{fact.name}({', '.join(part.name.strip() for part in fact.arguments)})" for fact in facts)
    return canonical(feedback), known, sorted(commands), won


def of_ours(state: EngineState) -> tuple[Any, ...]:
    return said(state.feedback, state.facts, state.admissible_commands, state.won)


def of_textworld(state: Any) -> tuple[Any, ...]:
    return said(state["feedback"], state["facts"], state["admissible_commands"], state["won"])


def textworld_env(path: Path) -> Any:
    """The engine as it is installed, with alfworld's names."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    infos = textworld.EnvInfos(facts=True, won=True, admissible_commands=True)
    env = AlfredDemangler(PddlEnv(infos))
    env.load(str(path))
    return env


GENERATED = ("pick_cool_then_place_in_recep", "look_at_obj_in_light", "pick_two_obj_and_place")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="textworld itself cannot play on Python 3.13")
@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=needs_games) for name in (MUG_TO_CABINET, BOOK_AT_LAMP)), *GENERATED]
)
def test_whole_transcripts_are_those_of_the_engine_as_installed(name: str, tmp_path: Path) -> None:
    if name in GENERATED:
        path = write_game(tmp_path, generate_game(np.random.default_rng(len(name)), "valid_unseen", name))
    else:
        path = game_path(name)
    engine, oracle = Engine(), textworld_env(path)
    ours, theirs = engine.reset(path), oracle.reset()
    assert of_ours(ours) == of_textworld(theirs)
    random = np.random.default_rng(0)
    for turn in range(40):
        # Going somewhere is most of what is admissible; what changes things should not be too rare.
        commands = [each for each in ours.admissible_commands if turn % 2 or not each.startswith("go to")]
        command = commands[int(random.integers(len(commands)))] if turn != 20 else "go to the moon"
        ours, theirs = engine.step(command), oracle.step(command)[0]
        assert of_ours(ours) == of_textworld(theirs), command


@needs_games
def test_a_game_is_won_by_its_walkthrough() -> None:
    engine = Engine()
    engine.reset(game_path(BOOK_AT_LAMP))
    content = read_content(game_path(BOOK_AT_LAMP))
    state = None
    for command in content["walkthrough"]:
        assert state is None or not state.won
        state = engine.step(command)
    assert state is not None
    assert state.won


@needs_games
def test_two_engines_in_one_process_do_not_disturb_each_other() -> None:
    first, second, alone = Engine(), Engine(), Engine()
    paths = game_path(BOOK_AT_LAMP), game_path(MUG_TO_CABINET)
    one, two, expected = first.reset(paths[0]), second.reset(paths[1]), alone.reset(paths[0])
    for turn in range(8):
        assert of_ours(one) == of_ours(expected)
        command = one.admissible_commands[turn % len(one.admissible_commands)]
        one, expected = first.step(command), alone.step(command)
        two = second.step(two.admissible_commands[turn % len(two.admissible_commands)])
    assert of_ours(first.reset(paths[1])) == of_ours(second.reset(paths[1]))


@needs_games
def test_what_is_said_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import hashlib, sys\nfrom gtr_envs.alfworld.engine import Engine\n"
        "engine = Engine()\nstate = engine.reset(sys.argv[1])\nsaid = [state.feedback]\n"
        "for turn in range(12):\n"
        "    state = engine.step(state.admissible_commands[turn * 7 % len(state.admissible_commands)])\n"
        "    said += [state.feedback, str(state.admissible_commands), str(state.facts)]\n"
        "print(hashlib.sha256(repr(said).encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(game_path(MUG_TO_CABINET))]
    outputs = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@needs_games
def test_engines_can_be_closed_and_dropped_and_made_again() -> None:
    path = game_path(BOOK_AT_LAMP)
    expected = of_ours(Engine().reset(path))
    for turn in range(12):
        engine = Engine()
        if turn % 3:
            assert of_ours(engine.reset(path)) == expected
        if turn % 2:
            engine.close()
            with pytest.raises(ActionError, match="make another one"):
                engine.reset(path)


# The cache of translations.


@needs_games
def test_a_damaged_or_missing_translation_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path))
    content = read_content(game_path(BOOK_AT_LAMP))
    texts = content["pddl_domain"], content["pddl_problem"]
    arguments = sys.argv
    made = translation.translation_of(*texts)
    assert sys.argv is arguments
    (entry,) = (tmp_path / "translations").iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no zlib"):
        entry.write_bytes(damaged)
        assert translation.translation_of(*texts) == made
        assert entry.read_bytes() == whole
    monkeypatch.setattr(translation, "translate", lambda *_: pytest.fail("it is in the cache"))
    assert json.dumps(translation.translation_of(*texts).facts) == json.dumps(made.facts)


def test_an_entry_of_another_shape_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path))
    game = generate_game(np.random.default_rng(0)).game
    texts = game["pddl_domain"], game["pddl_problem"]
    made = translation.translation_of(*texts)
    (entry,) = (tmp_path / "translations").iterdir()
    whole = entry.read_bytes()
    said = json.loads(zlib.decompress(whole)[64:])
    half = {**said, "sas": said["sas"][: len(said["sas"]) // 2]}  # the planner's library would crash
    for other in ([1], None, {**said, "sas": 3}, {**said, "facts": [["a"]]}, {**said, "objects": None}, half):
        for digits in (b"", b"0" * 64):
            entry.write_bytes(zlib.compress(digits + json.dumps(other).encode()))
            assert translation.translation_of(*texts) == made
            assert entry.read_bytes() == whole


def test_a_cache_that_one_may_read_but_not_write_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path))
    game = generate_game(np.random.default_rng(0)).game
    texts = game["pddl_domain"], game["pddl_problem"]
    translation.translation_of(*texts)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(translation.os, "utime", refuse)
    monkeypatch.setattr(translation, "write_atomic", refuse)
    monkeypatch.setattr(translation, "translate", lambda *_: pytest.fail("it is in the cache"))
    translation.translation_of(*texts)


def reset_in_a_process(arguments: tuple[str, str]) -> str:
    os.environ["GTR_CACHE"] = arguments[0]
    return Engine().reset(arguments[1]).feedback


@needs_games
def test_processes_that_write_the_same_entry_at_once_do_not_spoil_it(tmp_path: Path) -> None:
    job = (str(tmp_path), str(game_path(BOOK_AT_LAMP)))
    with ProcessPoolExecutor(2) as pool:
        assert len(set(pool.map(reset_in_a_process, [job] * 4))) == 1
    assert [path.suffix for path in (tmp_path / "translations").iterdir()] == [".z"]


# Values in texts.


class Named:
    def __init__(self, name: str) -> None:
        self.name, self.id, self.indefinite, self.definite, self.type = name, "id-1", "a", "the", "kind"

    def __str__(self) -> str:
        return self.name


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("o", "mug 1"),
        ("o.name", "mug 1"),
        ("o.indefinite + ' ' + o.name", "a mug 1"),
        ('o.name + " on " + r.name', "mug 1 on shelf 2"),
        ("nameless.name or nameless.id", "id-1"),
        ("r.name or r.id", "shelf 2"),
    ],
)
def test_values_that_games_use(expression: str, value: str) -> None:
    variables = {"o": Named("mug 1"), "r": Named("shelf 2"), "nameless": Named("")}
    assert value_of(expression, variables) == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "x.name",
        "o.__class__",
        "o.secret",
        "__import__('os').system('true')",
        "o.name()",
        "o.name +",
        "+ o.name",
        "o o",
        "o.name + o.id or o.id",
        "'open",
        "[o for o in ()]",
    ],
)
def test_anything_else_is_refused_and_never_run(expression: str) -> None:
    with pytest.raises(GameError, match="the game's grammar has"):
        value_of(expression, {"o": Named("mug 1")})


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    with contextlib.suppress(GameError):
        assert isinstance(value_of(text, {"o": Named("mug 1")}), str)


# Errors.


def test_a_command_before_a_game_says_what_to_do() -> None:
    with pytest.raises(ActionError, match=r"call reset\(\) first"):
        Engine().step("look")


def test_broken_games_are_named(tmp_path: Path) -> None:
    with pytest.raises(GameError, match=r"missing\.tw-pddl \(No such file"):
        Engine().reset(tmp_path / "missing.tw-pddl")
    path = tmp_path / "game.tw-pddl"
    for text, message in (("{", "is damaged"), ("[]", "lacks pddl_domain"), ('{"grammar": 3}', "lacks pddl_domain")):
        path.write_text(text)
        with pytest.raises(GameError, match=message) as caught:
            Engine().reset(path)
        assert str(path) in str(caught.value)
    with pytest.raises(GameError, match="no text under pddl_domain, pddl_problem"):
        Engine().reset({"grammar": ""})


def test_other_versions_are_refused_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtr_envs.alfworld.engine.version", lambda package: "9.9")
    with pytest.raises(MissingExtraError, match=r"alfworld 9\.9 is not one this engine was tested with: pip install"):
        Engine()
