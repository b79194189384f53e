"""Demonstrations that are played beforehand: an expert's won episodes, by any number of processes."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from gtr_agent.config import load_settings
from gtr_agent.demonstrations import demonstrations_for
from gtr_agent.played import PlayedDemonstrations, play_turns
from gtr_agent.settings import Settings
from gtr_agent.sft import ExampleSource, picture_example
from gtr_agent.tiny import make_tokenizer
from gtr_envs.errors import SettingError, UnknownEnvironmentError
from gtr_envs.experts import demonstrator
from gtr_envs.protocol import AnswerStatus, read_answer
from gtr_envs.tasks import TASKS, task_for
from gtr_envs.text_actions import make_text_env

GAMES = ("gtr/EZPoints-v0", "gtr/NumberLine-v0", "gtr/Blackjack-v0")


def settings_for(env_id: str, episodes: int = 6, **options: Any) -> Settings:
    content = f"env.options={json.dumps(options)}".replace(":", "=") if options else "env.options={}"
    return load_settings(overrides=[f"env.id={env_id}", content, f"sft.episodes={episodes}", "threads=1"])


@pytest.mark.parametrize("env_id", GAMES)
def test_the_turns_are_those_of_won_episodes(env_id: str) -> None:
    settings = settings_for(env_id, episodes=8)
    turns = PlayedDemonstrations(settings, np.random.default_rng(0)).draw(20, with_pictures=True)
    task = task_for(env_id)
    for turn in turns:
        assert read_answer(turn.text, task.allowed({}), task.keys).status is AnswerStatus.STRICT
        assert turn.frame is not None
        assert turn.frame.dtype == np.uint8
    env = make_text_env(env_id)
    frame, _ = env.reset(seed=settings.training_seed("demonstration", 0))
    played = play_turns(settings.env, [settings.training_seed("demonstration", 0)])
    if played:
        assert np.array_equal(played[0].frame(), frame), "pictures come back as they were"


def test_lost_episodes_are_not_imitated() -> None:
    seeds = [settings_for("gtr/Blackjack-v0").training_seed("demonstration", index) for index in range(30)]
    env = settings_for("gtr/Blackjack-v0").env
    kept = [seed for seed in seeds if play_turns(env, [seed])]
    assert 0 < len(kept) < len(seeds)


def test_every_turn_comes_before_any_comes_again() -> None:
    source = PlayedDemonstrations(settings_for("gtr/NumberLine-v0"), np.random.default_rng(0))
    count = len(source.turns)
    drawn = source.draw(count, with_pictures=False) + source.draw(count, with_pictures=False)
    expected = Counter((turn.prompt, turn.text) for turn in source.turns)
    for part in (drawn[:count], drawn[count:]):
        assert Counter((turn.prompt, turn.text) for turn in part) == expected


def test_processes_change_nothing() -> None:
    alone = settings_for("gtr/NumberLine-v0", episodes=60)
    two = alone.model_copy(update={"threads": 2})
    assert (
        PlayedDemonstrations(alone, np.random.default_rng(0)).turns
        == PlayedDemonstrations(two, np.random.default_rng(0)).turns
    )


def test_demonstration_seeds_are_nobody_else_s() -> None:
    settings = settings_for("gtr/NumberLine-v0")
    kinds = ("rollout", "demonstration", "monitor")
    assert len({settings.training_seed(kind, 0) // 1_000_000_000 for kind in kinds}) == 3  # type: ignore[arg-type]


def test_what_only_the_usual_points24_has_is_refused_elsewhere(processor: Any) -> None:
    settings = settings_for("gtr/NumberLine-v0")
    search = settings.model_copy(update={"sft": settings.sft.model_copy(update={"thoughts": "search"})})
    with pytest.raises(SettingError, match=r"sft\.thoughts='search'"):
        demonstrations_for(search, "search", np.random.default_rng(0))
    facts = settings.model_copy(update={"sft": settings.sft.model_copy(update={"fact_batch_size": 4})})
    with pytest.raises(SettingError, match=r"sft\.fact_batch_size=4"):
        ExampleSource(facts, processor)
    with pytest.raises(UnknownEnvironmentError, match="no expert demonstrates"):
        demonstrator("gtr/ALFWorldThor-v0")


def test_points24_with_other_rules_is_played_too() -> None:
    settings = settings_for("gtr/Points24-v0", episodes=3, target=12)
    assert isinstance(demonstrations_for(settings, "chain", np.random.default_rng(0)), PlayedDemonstrations)


def test_the_explorer_demonstrates_alfworld() -> None:
    pytest.importorskip("textworld", reason="the extra alfworld is not installed")
    settings = load_settings("tiny-alfworld", overrides=["sft.episodes=3", "threads=1"])
    source = PlayedDemonstrations(settings, np.random.default_rng(0))
    (turn, *_) = source.turns
    assert demonstrator(settings.env.id).name == "explorer"
    assert turn.prompt.startswith(TASKS[settings.env.id].instruction)  # type: ignore[attr-defined]
    tokenizer = make_tokenizer(settings.env.id)
    for turn in source.turns:
        for text in (turn.prompt, turn.text):
            assert tokenizer.decode(tokenizer(text).input_ids) == text
        # A word that is missing from the vocabulary falls apart into letters.
        assert len(tokenizer(turn.text).input_ids) < 30
        assert len(tokenizer(turn.prompt).input_ids) < len(turn.prompt.split()) + 20


def test_the_prompt_is_learned_as_much_as_its_weight_says(settings: Settings, processor: Any) -> None:
    source = demonstrations_for(settings, "chain", np.random.default_rng(0))
    turns = source.draw(3, with_pictures=True)
    plain, weighted = picture_example(processor, turns), picture_example(processor, turns, 0.25)
    width = plain.tokens.shape[1]
    assert weighted.weights[:, -width:].equal(plain.weights), "the answer counts as before"
    prompt, ids = weighted.weights[:, :-width], weighted.tokens[:, :-width]
    assert set(prompt.unique().tolist()) == {0.0, 0.25}
    assert not prompt[ids == processor.image_token_id].any(), "a picture's placeholders are not learned"
    assert not prompt[ids == processor.tokenizer.pad_token_id].any()
    words = processor.tokenizer.decode(ids[0][prompt[0] > 0])
    assert turns[0].prompt in words


def test_a_stumbling_expert_shows_how_it_recovers() -> None:
    env = settings_for("gtr/NumberLine-v0").env
    seeds = list(range(40))
    plain, noisy = play_turns(env, seeds), play_turns(env, seeds, 0.3)
    assert play_turns(env, seeds, 0.3) == noisy, "chance is seeded"
    assert noisy != plain
    for turn in noisy:
        answer = json.loads(turn.text)
        wanted = "+" if answer["target"] > answer["current"] else "-"
        assert answer["action"] == wanted, "the stumbles themselves are not imitated"


def test_a_stumbling_explorer_tries_what_was_possible_before() -> None:
    pytest.importorskip("textworld", reason="the extra alfworld is not installed")
    settings = load_settings("tiny-alfworld")
    seeds = [settings.training_seed("demonstration", index) for index in range(4)]
    label = TASKS[settings.env.id].labels  # type: ignore[attr-defined]
    histories = [turn.prompt.split(label[1])[1].split(label[2])[0] for turn in play_turns(settings.env, seeds, 0.4)]
    assert any("look" in history or "inventory" in history or "examine" in history for history in histories)
    for turn in play_turns(settings.env, seeds, 0.4):
        commands = turn.prompt.split(label[2])[1].removesuffix(".").split(", ")
        assert json.loads(turn.text)["action"] in commands
