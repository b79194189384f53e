"""ALFWorld's games: finding those of the data set, and making others in its format."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from gtr_envs.alfworld import games
from gtr_envs.alfworld.games import SPLITS, TASK_TYPES, cache_folder, data_root, find_games, read_game
from gtr_envs.errors import GameError, GtrError, MissingExtraError, SettingError

REAL_GAMES = Path(__file__).resolve().parents[2].parent / "shared" / "alfworld_games"
needs_real_games = pytest.mark.skipif(not REAL_GAMES.is_dir(), reason=f"no real games in {REAL_GAMES}")

TASKS = (
    ("pick_and_place_simple-Mug-None-SideTable-329", "trial_B"),
    ("pick_and_place_simple-Mug-None-SideTable-329", "trial_A"),
    ("look_at_obj_in_light-Book-None-DeskLamp-328", "trial_A"),
)
LEFT_OUT = (
    ("pick_and_place_with_movable_recep-Mug-Pan-SideTable-329", "trial_A"),
    ("pick_and_place_simple-Mug-Pan-SideTable-329", "trial_A"),
    ("pick_and_place_simple-AppleSliced-None-SideTable-1", "trial_A"),
    ("notes", "trial_A"),
)
GAME = {"pddl_domain": "d", "grammar": "g", "pddl_problem": "p", "solvable": True, "walkthrough": []}


def add_game(root: Path, task: str, trial: str, split: str = "train") -> Path:
    """A game file in the data set's layout, with nothing in it to play."""
    folder = root / "json_2.1.1" / split / task / trial
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(json.dumps(GAME))
    return folder / "game.tw-pddl"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that belongs to one test."""
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "alfworld-index"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small data set."""
    for task, trial in (*TASKS, *LEFT_OUT):
        add_game(tmp_path / "data", task, trial)
    (tmp_path / "data" / "json_2.1.1" / "train" / TASKS[0][0] / "trial_without_a_game").mkdir()
    return tmp_path / "data"


def forbid_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(folder: Path) -> list[tuple[str, str]]:
        raise AssertionError(f"{folder} was walked through")

    monkeypatch.setattr(games, "_scan", scan)


class TestIndex:
    def test_finds_the_games_in_order(self, tree: Path) -> None:
        found = find_games(tree, "train")
        assert [(game.task_id, game.trial) for game in found] == sorted(TASKS)
        assert all(game.path.is_file() and game.split == "train" for game in found)
        assert [game.task_type for game in found] == ["look_at_obj_in_light", *["pick_and_place_simple"] * 2]
        assert find_games(tree / "json_2.1.1", "train") == found

    def test_keeps_the_task_types_asked_for(self, tree: Path) -> None:
        assert len(find_games(tree, "train", ["pick_and_place_simple"])) == 2
        assert len(find_games(tree, "train", TASK_TYPES)) == 3
        with pytest.raises(GameError, match=r"no games of the types pick_two_obj_and_place in .*alfworld-download"):
            find_games(tree, "train", ["pick_two_obj_and_place"])

    def test_looks_the_second_time_into_its_cache(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = find_games(tree, "train")
        forbid_scan(monkeypatch)
        assert find_games(str(tree), "train") == found

    def test_a_new_folder_is_found(self, tree: Path) -> None:
        before = find_games(tree, "train")
        train = tree / "json_2.1.1" / "train"
        add_game(tree, "pick_two_obj_and_place-Pen-None-Desk-301", "trial_A")
        os.utime(train, ns=(1, train.stat().st_mtime_ns + 1))
        assert len(find_games(tree, "train")) == len(before) + 1

    @pytest.mark.parametrize(
        "damage",
        ["", "{", "[]", "null", '{"games": 3}', '{"games": [[1, 2]]}', '{"games": []}', "\x00", '{"games": [["a"]]}'],
    )
    def test_a_damaged_cache_is_made_anew(self, tree: Path, own_cache: Path, damage: str) -> None:
        found = find_games(tree, "train")
        (file,) = own_cache.iterdir()
        whole = file.read_text()
        file.write_text(damage)
        assert find_games(tree, "train") == found
        assert file.read_text() == whole
        assert list(own_cache.iterdir()) == [file]

    def test_does_without_a_place_for_the_cache(
        self, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a_file").write_text("")
        monkeypatch.setenv("GTR_CACHE", str(tmp_path / "a_file"))
        assert len(find_games(tree, "train")) == 3

    def test_an_empty_folder_is_not_remembered(self, tmp_path: Path, own_cache: Path) -> None:
        (tmp_path / "json_2.1.1" / "train").mkdir(parents=True)
        with pytest.raises(GameError, match=r"no games in .*train: run alfworld-download, or leave data out"):
            find_games(tmp_path, "train")
        assert not own_cache.exists()

    def test_errors_name_the_path_and_the_mend(self, tmp_path: Path, tree: Path) -> None:
        with pytest.raises(GameError, match=r"there is no data folder .*nowhere: run alfworld-download"):
            find_games(tmp_path / "nowhere", "train")
        with pytest.raises(GameError, match=r"lacks json_2.1.1/valid_seen: run alfworld-download"):
            find_games(tree, "valid_seen")
        with pytest.raises(SettingError, match="unknown split 'test': expected one of train, valid_seen, valid_unseen"):
            find_games(tree, "test")
        with pytest.raises(SettingError, match="unknown task type 'juggle': expected one of pick_and_place_simple"):
            find_games(tree, "train", ["juggle"])
        with pytest.raises(SettingError, match="a list of task types"):
            find_games(tree, "train", "pick_two_obj_and_place")

    def test_a_folder_that_cannot_be_read_is_named(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(games.os, "scandir", refuse)
        with pytest.raises(GameError, match=r"cannot look through .*train \(Permission denied\)"):
            find_games(tree, "train")

    @needs_real_games
    def test_finds_the_real_games(self) -> None:
        seen = find_games(REAL_GAMES, "valid_seen")
        assert len(seen) == 140
        assert {game.task_type for game in seen} == set(TASK_TYPES)
        assert all(read_game(game.path)["solvable"] for game in seen[:20])
        assert len(find_games(REAL_GAMES, "train")) == 7


class TestFolders:
    def test_data_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("ALFWORLD_DATA", raising=False)
        downloads = tmp_path / ".cache" / "alfworld"
        assert data_root() is None
        assert data_root("~/games") == tmp_path / "games"
        # What importing alfworld does:
        downloads.mkdir(parents=True)
        monkeypatch.setenv("ALFWORLD_DATA", str(downloads))
        assert data_root() is None
        (downloads / "json_2.1.1").mkdir()
        assert data_root() == downloads
        monkeypatch.delenv("ALFWORLD_DATA")
        assert data_root() == downloads
        monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "elsewhere"))
        assert data_root() == tmp_path / "elsewhere"

    def test_cache_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cache_folder() == tmp_path / "cache"
        monkeypatch.delenv("GTR_CACHE")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "gtr-bench"


class TestReading:
    def test_reads_a_game(self, tree: Path) -> None:
        assert read_game(find_games(tree, "train")[0].path) == GAME

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is damaged, it is no JSON"),
            ("[" * 100_000, "is damaged, it is no JSON"),
            ("[]", "lacks pddl_domain, grammar, pddl_problem"),
            (json.dumps({**GAME, "grammar": 3}), "it lacks grammar: delete it, then run alfworld-download"),
            (json.dumps({**GAME, "solvable": False}), "cannot be won"),
        ],
        ids=["half", "deep", "list", "number", "unsolvable"],
    )
    def test_a_broken_game_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "game.tw-pddl").write_text(text)
        with pytest.raises(GameError, match=message) as caught:
            read_game(tmp_path / "game.tw-pddl")
        assert str(tmp_path) in str(caught.value)
        assert isinstance(caught.value, GtrError)

    def test_a_missing_or_unreadable_game_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(GameError, match=r"cannot read the game .*game.tw-pddl .*No such file"):
            read_game(tmp_path / "game.tw-pddl")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(GameError, match="is damaged"):
            read_game(tmp_path / "binary")


def digest_of_games() -> str:
    """A hash over games of all types and splits."""
    from gtr_envs.alfworld.generate import generate_game

    rng = np.random.default_rng(5)
    made = [generate_game(rng, split, task_type) for split, task_type in product(SPLITS, (*TASK_TYPES, None))]
    return hashlib.sha256(repr(made).encode()).hexdigest()


class TestGenerator:
    @pytest.fixture(autouse=True)
    def _needs_alfworld(self) -> None:
        pytest.importorskip("alfworld")

    def test_rooms_have_what_their_kind_needs(self) -> None:
        from gtr_envs.alfworld.rooms import ROOM_KINDS, load_room, scenes_of

        needed = {
            "Kitchen": {"Fridge", "Microwave", "SinkBasin", "StoveBurner", "CoffeeMachine", "Toaster", "GarbageCan"},
            "LivingRoom": {"GarbageCan", "Sofa"},
            "Bedroom": {"GarbageCan", "Bed"},
            "Bathroom": {"GarbageCan", "SinkBasin", "Toilet", "TowelHolder", "HandTowelHolder", "ToiletPaperHanger"},
        }
        for kind in ROOM_KINDS:
            scenes = scenes_of(kind, "train") + scenes_of(kind, "valid_unseen")
            assert len(set(scenes)) == 30
            for room in map(load_room, scenes):
                assert room.kind == kind
                assert needed[kind] <= room.fixture_kinds
                names = [fixture.object_id for fixture in room.fixtures]
                assert names == sorted(set(names))
                assert {fixture.stand for fixture in room.fixtures} <= set(room.points)
                assert all(re.fullmatch(r"loc(\|-?\d+){2}\|[0-3]\|-?\d+", f.location) for f in room.fixtures)

    def test_an_unknown_floor_plan_is_named(self) -> None:
        from gtr_envs.alfworld.rooms import load_room

        with pytest.raises(GameError, match=r"FloorPlan99-openable.json is missing: pip install"):
            load_room(99)

    def test_a_missing_alfworld_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from gtr_envs.alfworld import installed

        monkeypatch.setattr(installed, "find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match=r"pip install 'gtr-bench\[alfworld\]'"):
            installed.alfworld_file("data", "alfred.pddl")

    @pytest.mark.parametrize(("split", "task_type"), list(product(SPLITS, TASK_TYPES)))
    def test_every_type_in_every_split(self, split: str, task_type: str) -> None:
        from gtr_envs.alfworld.generate import generate_game
        from gtr_envs.alfworld.rooms import UNSEEN_SCENES

        rng = np.random.default_rng(1)
        made = [generate_game(rng, split, task_type) for _ in range(12)]
        assert len({game.trial for game in made}) == len({game.game["pddl_problem"] for game in made}) == len(made)
        for game in made:
            assert game.task_type == task_type
            assert (game.scene in UNSEEN_SCENES) == (split == "valid_unseen")
            assert f"Your task is to: {game.sentence}." in game.game["grammar"]
            assert f"(objectType ?o{'1' * ('two' in task_type)} {game.target}Type)" in game.game["pddl_problem"]
            assert game.receptacle.lower() in game.sentence
            ids = re.findall(r"^ +(\S+_bar_\S+) - (?:object|receptacle|location)$", game.game["pddl_problem"], re.M)
            assert len(ids) == len(set(ids)) > 20
            moves = [command for command in game.game["walkthrough"] if command.startswith("go to ")]
            assert all(one != other for one, other in pairwise(moves))
        assert {game.game["solvable"] for game in made} == {True}

    def test_rooms_are_about_as_full_as_real_ones(self) -> None:
        from gtr_envs.alfworld.generate import generate_game

        texts = [generate_game(np.random.default_rng(seed)).game["pddl_problem"] for seed in range(200)]
        assert 27 < np.mean([text.count("(pickupable ") for text in texts]) < 37
        # One more than there are receptacles, which the goal mentions.
        assert 20 < np.mean([text.count("(receptacleAtLocation ") for text in texts]) < 26
        assert 9 < np.mean([text.count("(openable ") for text in texts]) < 14

    def test_follows_from_the_seed_in_any_process(self) -> None:
        here = digest_of_games()
        assert here == digest_of_games()
        code = "import sys; sys.path[:0] = sys.argv[1:]; import test_alfworld_games as t; print(t.digest_of_games())"
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
        for hash_seed in ("1", "77"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            command = [sys.executable, "-c", code, *paths]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            assert answer.stdout.strip() == here

    def test_bad_settings(self) -> None:
        from gtr_envs.alfworld.generate import generate_game

        with pytest.raises(SettingError, match="unknown split 'all'"):
            generate_game(np.random.default_rng(0), "all")
        with pytest.raises(SettingError, match="unknown task type 'juggle'"):
            generate_game(np.random.default_rng(0), "train", "juggle")

    @needs_real_games
    def test_has_the_format_of_real_games(self) -> None:
        from gtr_envs.alfworld.generate import generate_game

        real = read_game(find_games(REAL_GAMES, "train", ["pick_heat_then_place_in_recep"])[0].path)
        made = generate_game(np.random.default_rng(3), "train", "pick_heat_then_place_in_recep").game
        assert list(made) == list(real)
        # Older games have one more line in their rules, on sinks that are receptacles, of which there are none.
        rules = [read_game(game.path)["pddl_domain"] for game in find_games(REAL_GAMES, "train")]
        assert made["pddl_domain"] in rules
        # They also have the help, which the commands of this package do not use, written out.
        before_help = [game["grammar"].partition("action help")[0] for game in (made, real)]
        assert len({re.sub(r"(Your task is to: ).*", r"\1", text) for text in before_help}) == 1
        head, real_head = (game["pddl_problem"].split("_bar_")[0].split()[4:] for game in (made, real))
        assert set(head[:-1]) ^ set(real_head[:-1]) <= {head[-1], real_head[-1]}
        predicates = [list(dict.fromkeys(re.findall(r"^ +\((\w+) \w", g["pddl_problem"], re.M))) for g in (made, real)]
        assert [name for name in predicates[0] if name != "toggleable"] == predicates[1]
        goals = [re.sub(r"\w+Type\)", "Type)", game["pddl_problem"].partition("(:goal")[2]) for game in (made, real)]
        assert goals[0] == goals[1]


class TestPlaying:
    """With textworld and alfworld as they are installed."""

    @pytest.mark.skipif(sys.version_info >= (3, 13), reason="textworld itself cannot play on Python 3.13")
    def test_alfworld_finds_what_was_written_and_plays_it_to_the_end(self, tmp_path: Path) -> None:
        textworld = pytest.importorskip("textworld")
        tw_env = pytest.importorskip("alfworld.agents.environment.alfred_tw_env")
        from gtr_envs.alfworld.generate import generate_game, write_game

        train = tmp_path / "data" / "json_2.1.1" / "train"
        rng = np.random.default_rng(4)
        made = {
            write_game(train, game): game
            for game in (generate_game(rng, "train", t) for t in (TASK_TYPES[1], TASK_TYPES[2]))
        }
        assert {game.path for game in find_games(tmp_path / "data", "train")} == set(made)
        config = {
            "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
            "dataset": {"data_path": str(train), "num_train_games": 0},
        }
        assert sorted(tw_env.AlfredTWEnv(config, "train").game_files) == sorted(map(str, made))
        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        for path, game in made.items():
            env = textworld.start(str(path), infos, wrappers=[tw_env.AlfredDemangler()])
            state = env.reset()
            assert state.feedback.endswith(f"Your task is to: {game.sentence}.")
            for command in read_game(path)["walkthrough"]:
                assert not state["won"]
                assert command in state["admissible_commands"]
                state, _, _ = env.step(command)
            assert state["won"]
            env.close()
