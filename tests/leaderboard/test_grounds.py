"""Where agents are evaluated: a checkpoint's own environment and options, unless the command line says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gtr_envs.errors import CheckpointError
from leaderboard.grounds import Ground, choose_grounds, evaluation_splits, trained_in

pytest.importorskip("torch")
pytest.importorskip("peft")

POINTS24, ALFWORLD, BLACKJACK = "gtr/Points24-v0", "gtr/ALFWorld-v0", "gtr/Blackjack-v0"


def checkpoint(folder: Path, env_id: Any = None, options: Any = None) -> str:
    """A folder that looks like a model, with notes if an environment is given."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if env_id is not None:
        (folder / "gtr_bench.json").write_text(json.dumps({"env_id": env_id, "env_options": options or {}}))
    return str(folder)


def chosen(grounds: list[Ground]) -> list[tuple[str, dict[str, Any]]]:
    return [(ground.env_id, dict(ground.options)) for ground in grounds]


def test_a_checkpoint_plays_what_it_was_trained_in_on_both_sides_of_the_hands(tmp_path: Path) -> None:
    spec = checkpoint(tmp_path / "a", POINTS24, {"split": "train", "hands": "all", "illegal": "terminate"})
    rules = {"hands": "all", "illegal": "terminate"}
    grounds = choose_grounds([spec], [], [], {})[spec]
    assert chosen(grounds) == [(POINTS24, {"split": "train", **rules}), (POINTS24, {"split": "test", **rules})]
    assert all(ground.trained for ground in grounds)


def test_options_that_say_which_games_training_plays_are_left_out(tmp_path: Path) -> None:
    options = {"data": "generated", "split": "train", "num_games": 600, "order": "seed"}
    spec = checkpoint(tmp_path / "a", ALFWORLD, options)
    expected = [(ALFWORLD, {"split": split, "data": "generated"}) for split in ("valid_seen", "valid_unseen")]
    assert chosen(choose_grounds([spec], [], [], {})[spec]) == expected


def test_what_is_asked_goes_before_what_the_notes_say(tmp_path: Path) -> None:
    spec = checkpoint(tmp_path / "a", POINTS24, {"split": "train", "hands": "all"})
    asked = choose_grounds([spec], [], ["all"], {"hands": "solvable"})[spec]
    assert chosen(asked) == [(POINTS24, {"split": "all", "hands": "solvable"})]


def test_a_named_environment_is_played_plain(tmp_path: Path) -> None:
    spec = checkpoint(tmp_path / "a", POINTS24, {"split": "train", "hands": "all"})
    asked = choose_grounds([spec], [POINTS24, BLACKJACK, POINTS24], [], {})[spec]
    assert asked == [Ground(POINTS24), Ground(BLACKJACK)]


def test_other_agents_play_what_the_checkpoints_beside_them_play(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "a", BLACKJACK)
    two = checkpoint(tmp_path / "b", POINTS24)
    same = checkpoint(tmp_path / "c", BLACKJACK)
    elsewhere = checkpoint(tmp_path / "d")
    found = choose_grounds(["random", one, two, same, elsewhere], [], [], {})
    assert chosen(found[one]) == chosen(found[same]) == [(BLACKJACK, {})]
    assert found["random"] == found[elsewhere] == [*found[one], *found[two]]


def test_agents_without_notes_play_points24() -> None:
    assert choose_grounds(["random", "expert"], [], [], {}) == {
        "random": [Ground(POINTS24)],
        "expert": [Ground(POINTS24)],
    }


def test_evaluation_splits() -> None:
    assert evaluation_splits(POINTS24) == ("train", "test")
    assert evaluation_splits(ALFWORLD) == ("valid_seen", "valid_unseen")
    assert evaluation_splits(BLACKJACK) == ()


def test_notes_that_are_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gtr_bench\.json is damaged.*--env"):
        trained_in(checkpoint(tmp_path / "a", 7))
    with pytest.raises(CheckpointError, match=r"gtr_bench\.json is damaged"):
        trained_in(checkpoint(tmp_path / "b", POINTS24, ["split"]))


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no adapter"):
        choose_grounds([str(tmp_path)], [], [], {})
