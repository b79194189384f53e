"""Where games come from: recorded by a name that means the same everywhere, never mixed, found again for a replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gtr_envs.errors import OutputExistsError, ResultError, SettingError
from gtr_envs.experts import RandomPolicy
from leaderboard.agents import AgentCard
from leaderboard.evaluate import evaluate, make_meta, result_folder
from leaderboard.records import RunMeta, read_meta, write_meta
from leaderboard.sources import options_again
from leaderboard.summary import Result

from .conftest import ALFWORLD, add_broken_game

AGENT = AgentCard("random", "random", "random")


def meta_of(env_id: str = ALFWORLD, **options: object) -> RunMeta:
    return make_meta(AGENT, env_id, options, 0, 2)


def play(out: Path, **options: object) -> Result:
    return evaluate(RandomPolicy(), ALFWORLD, options, agent=AGENT, seed=0, n_episodes=2, out_dir=out)


@pytest.fixture
def nothing_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither ALFWORLD_DATA nor what alfworld-download leaves."""
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("nothing_downloaded")
def test_generated_games_are_recorded_as_such() -> None:
    meta = meta_of()
    assert (dict(meta.env_kwargs), meta.rules, meta.games) == ({"data": "generated"}, "strict data=generated", None)
    assert meta_of(data="generated") == meta
    assert options_again(meta) == {"data": "generated"}


def test_the_data_set_is_recorded_by_its_name_and_its_games(data_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = meta_of(data=str(data_set))
    monkeypatch.setenv("ALFWORLD_DATA", str(data_set))
    meta = meta_of()
    assert meta == by_option
    assert (dict(meta.env_kwargs), meta.rules) == ({"data": "alfworld"}, "strict data=alfworld")
    assert meta.games is not None
    assert meta.games.startswith("2 games, ")
    assert meta_of(task_types=["look_at_obj_in_light"]).games == meta.games
    assert str(data_set) not in repr(meta)


def test_another_source_is_another_folder(data_set: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generated = meta_of(data="generated")
    monkeypatch.setenv("ALFWORLD_DATA", str(data_set))
    folders = {result_folder(tmp_path, meta) for meta in (generated, meta_of())}
    assert len(folders) == 2


def test_generated_games_need_no_data_set_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "missing"))
    assert meta_of(data="generated").rules == "strict data=generated"


def test_a_data_set_with_other_games_is_refused(data_set: Path, tmp_path: Path) -> None:
    play(tmp_path / "results", data=str(data_set))
    add_broken_game(data_set, "pick_and_place_simple-Cup-None-Shelf-1")
    with pytest.raises(
        OutputExistsError, match=r"games is '2 games, \w+' there and '3 games, \w+' now; choose another"
    ):
        play(tmp_path / "results", data=str(data_set))


def test_what_is_played_is_the_folder_and_what_is_written_is_the_name(data_set: Path, tmp_path: Path) -> None:
    result = play(tmp_path / "results", data=str(data_set), split="valid_seen")
    assert all(str(data_set) in (episode.error or "") for episode in result.episodes)
    assert str(data_set) not in (result.folder / "meta.json").read_text()
    assert result.meta.games is not None
    assert result.meta.games.startswith("1 games")


@pytest.mark.usefixtures("nothing_downloaded")
def test_the_default_split_is_the_environments_own() -> None:
    assert meta_of().split == meta_of(split="train").split == "train"
    assert meta_of(split="valid_unseen").split == "valid_unseen"
    assert meta_of("gtr/Points24-v0").split == "all"
    assert meta_of("gtr/Points24-v0", split="test").split == "test"
    assert meta_of("gtr/Blackjack-v0").split == "all"


def test_a_replay_finds_the_data_set_or_says_what_is_missing(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meta = meta_of(data=str(data_set), max_steps=7)
    monkeypatch.setenv("ALFWORLD_DATA", str(data_set))
    assert options_again(meta) == {"data": str(data_set), "max_steps": 7}
    add_broken_game(data_set, "pick_and_place_simple-Cup-None-Shelf-1")
    with pytest.raises(ResultError, match=r"2 games, .* here is 3 games, .*; let ALFWORLD_DATA name"):
        options_again(meta)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "missing"))
    with pytest.raises(ResultError, match=r"cannot be found.*let ALFWORLD_DATA name"):
        options_again(meta)


def test_settings_without_a_source_can_still_be_read(tmp_path: Path) -> None:
    meta = meta_of("gtr/Points24-v0")
    write_meta(tmp_path, meta)
    path = tmp_path / "meta.json"
    data = json.loads(path.read_text())
    del data["games"]
    path.write_text(json.dumps(data))
    assert read_meta(tmp_path) == meta


@pytest.mark.parametrize("value", ["solvable", "all"])
def test_an_option_that_an_environment_has_not_is_an_error(value: str) -> None:
    with pytest.raises(
        SettingError, match=r"gtr/ALFWorld-v0 has no option 'hands'; its options: actions, .*task_types"
    ):
        meta_of(hands=value)
