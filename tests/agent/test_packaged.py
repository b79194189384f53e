"""The tiny agents that come with the package: whole, found by name, and as good as their cards say."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gtr_agent import packaged
from gtr_agent.checkpoint import NOTES, find_agent, find_base, read_notes
from gtr_agent.model import load_base, load_whole
from gtr_agent.packaged import FOLDER, WEIGHTS, is_packaged, packaged_digest, packaged_folder, packaged_names
from gtr_agent.policy import ModelPolicy, load_named_policy, load_policy
from gtr_agent.run_folder import read_settings
from gtr_agent.settings import Settings
from gtr_agent.train import train
from gtr_envs.episode import Episode, episode_seeds, play
from gtr_envs.errors import CheckpointError, MissingExtraError
from gtr_envs.storage import write_manifest
from gtr_envs.text_actions import make_text_env
from leaderboard.summary import summarise
from tests.agent.test_ppo import changed

NAMES = ("tiny:alfworld", "tiny:points24", "tiny:points24-search")
START = "tiny:points24"
EPISODES = 12


def test_these_come_with_the_package() -> None:
    assert tuple(packaged_names()) == NAMES
    assert all(map(is_packaged, NAMES))
    assert not is_packaged("tiny")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole_and_small_and_says_how_it_was_made(name: str) -> None:
    folder = packaged_folder(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    assert {weight.element_size() for weight in load_file(folder / WEIGHTS).values()} == {2}, "half precision"
    made, card = read_notes(folder)["made"], (folder / "README.md").read_text("utf-8")
    for said in (name, made["command"], made["commit"], made["cpu"], f"{made['minutes']:.0f} minutes"):
        assert said in card
    assert "dirty" not in made["commit"]
    for figure in read_notes(folder)["scores"]["sampled"].values():
        value, low, high = (100 * part for part in figure["success"])
        assert f"{value:.1f}% [{low:.1f}, {high:.1f}]" in card


def played(name: str, options: dict[str, Any]) -> list[Episode]:
    notes = read_notes(find_agent(Path(name)))
    seeds = episode_seeds(7, EPISODES)
    options = {key: value for key, value in notes["env_options"].items() if key != "num_games"} | options
    policy = load_policy(name, precision="float32", greedy=True)
    return list(play(policy, lambda: make_text_env(notes["env_id"], **options), seeds, batch_size=EPISODES))


@pytest.mark.parametrize(("name", "split"), [("tiny:points24", "train"), ("tiny:points24-search", "test")])
def test_it_reads_cards_and_wins_as_its_card_says(name: str, split: str) -> None:
    said = read_notes(packaged_folder(name))["scores"]["greedy"][split]
    found = summarise(played(name, {"split": split}))
    assert found.card_reading is not None
    assert found.card_reading.accuracy > said["cards_read"] - 0.05 > 0.9
    # Twelve hands tell little: what the card says has to lie within what they allow.
    assert found.success.rate.low <= said["success"][2]
    assert found.success.rate.high >= said["success"][1]


@pytest.mark.skipif(find_spec("textworld") is None, reason="needs the extra alfworld")
def test_it_names_admissible_commands_as_its_card_says() -> None:
    said = read_notes(packaged_folder("tiny:alfworld"))["scores"]["greedy"]["valid_seen"]
    found = summarise(played("tiny:alfworld", {"split": "valid_seen"}))
    assert found.invalid_answer_rate <= said["invalid_answer_rate"] + 0.05
    assert found.illegal_rate <= said["illegal_rate"] + 0.25
    assert found.success.rate.low <= said["success"][2]
    assert found.success.rate.high >= said["success"][1]


def test_a_name_stands_wherever_a_model_does(settings: Settings) -> None:
    model, processor = load_base(changed(settings, model={"base": START}), "cpu")
    assert model.name_or_path == START
    assert processor.chat_template
    assert load_whole(START, precision="float32")[0].dtype == torch.float32, "the file's half precision is widened"
    policy = load_named_policy(START)
    assert isinstance(policy, ModelPolicy)
    assert policy.name == "tiny-points24"
    assert policy.meta["method"] == "sft"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One packaged agent in a package of its own, which may be damaged."""
    shutil.copytree(FOLDER / "points24", tmp_path / "agents" / "points24")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "agents")
    return tmp_path / "agents" / "points24"


def test_an_adapter_names_its_packaged_base_and_plays_anywhere(
    settings: Settings, copied: Path, tmp_path: Path
) -> None:
    own = changed(settings, model={"base": START})
    checkpoint = train(own, tmp_path / "run")
    assert read_settings(tmp_path / "run").model.base == START
    assert json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"] == START
    assert read_notes(checkpoint)["base_digest"] == packaged_digest(START)
    moved = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "adapter")
    assert find_base(moved) == START
    assert load_policy(moved).meta["base_model"] == START

    # Another release's agent of the same name is another base.
    weights = load_file(copied / WEIGHTS)
    save_file({name: weight * 1.5 for name, weight in weights.items()}, copied / WEIGHTS, {"format": "pt"})
    write_manifest(copied)
    with pytest.raises(CheckpointError, match=r"was trained from tiny:points24 of gtr-bench .* is another one"):
        load_policy(moved)
    shutil.rmtree(checkpoint)
    with pytest.raises(CheckpointError, match="is another one"):
        train(own, tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_package_is_named(copied: Path, damage: str) -> None:
    if damage == "cut":
        (copied / WEIGHTS).write_bytes((copied / WEIGHTS).read_bytes()[:-7])
    elif damage == "gone":
        (copied / NOTES).unlink()
    else:
        (copied / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"packaged agent tiny:points24 is damaged: .*; install gtr-bench again"):
        load_policy(START)


def test_a_name_that_does_not_exist_is_answered_with_those_that_do(settings: Settings) -> None:
    for look in (load_policy, load_named_policy, packaged_folder):
        with pytest.raises(CheckpointError, match=r"no packaged agent 'tiny:poker'; there are: tiny:alfworld, tiny:p"):
            look("tiny:poker")
    with pytest.raises(CheckpointError, match="no packaged agent"):
        load_base(changed(settings, model={"base": "tiny:poker"}), "cpu")


def test_episodes_that_lack_a_library_do_not_count_as_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    from gtr_envs.experts import RandomPolicy

    env = make_text_env("gtr/Points24-v0")

    def reset(**_: Any) -> None:
        raise MissingExtraError("needs alfworld: pip install")

    monkeypatch.setattr(env, "reset", reset)
    with pytest.raises(MissingExtraError, match="pip install"):
        list(play(RandomPolicy(), lambda: env, [0]))
