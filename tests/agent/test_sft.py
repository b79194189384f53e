"""The warm start: the right tokens are learned, from training hands alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.config import load_settings
from gtr_agent.demonstrations import Points24Demonstrations, Points24Facts
from gtr_agent.diverged import DivergedError
from gtr_agent.model import load_base
from gtr_agent.parallel import Workers
from gtr_agent.policy import load_policy
from gtr_agent.progress import RunLog
from gtr_agent.settings import Settings
from gtr_agent.sft import fact_example, learn, learning_rate, picture_example, run_sft, summed_loss, text_example
from gtr_envs.cards.hands import hand_split
from gtr_envs.protocol import AnswerStatus, read_answer
from gtr_envs.tasks import task_for

TASK = task_for("gtr/Points24-v0")


def source(settings: Settings, seed: int = 0) -> Points24Demonstrations:
    return Points24Demonstrations(settings, "chain", np.random.default_rng(seed))


def test_demonstrations_are_strict_answers_on_training_hands(settings: Settings) -> None:
    turns = source(settings).draw(200, with_pictures=False)
    answers = [read_answer(turn.text, TASK.allowed({}), TASK.keys) for turn in turns]
    assert {answer.status for answer in answers} == {AnswerStatus.STRICT}
    assert {hand_split(answer.fields["cards"]) for answer in answers} == {"train"}
    firsts = sum(answer.fields["formula"] == "" for answer in answers)
    share = settings.sft.first_turn_share
    assert abs(firsts / 200 - share) < 0.15, "as many first turns as the settings say"
    assert turns == source(settings).draw(200, with_pictures=False)
    assert turns != source(settings, 1).draw(200, with_pictures=False)


def test_the_picture_is_that_of_the_environment(settings: Settings) -> None:
    import gymnasium as gym

    import gtr_envs  # noqa: F401

    (turn,) = source(settings).draw(1, with_pictures=True)
    assert turn.frame is not None
    space = gym.make("gtr/Points24-v0").observation_space
    assert space.contains(turn.frame)


def test_facts_are_true() -> None:
    from gtr_envs.cards.chain import last_reductions

    for fact in Points24Facts("chain", np.random.default_rng(0)).draw(100):
        head, *steps = fact.split("; ")
        first, second, third = (int(word) for word in head.split()[:3])
        if steps:
            assert steps[-1].endswith("= 24")
            assert steps in [[str(one), str(two)] for one, two in last_reductions((first, second, third))]
        else:
            assert head.endswith(" x")
            assert last_reductions((first, second, third)) == ()


def test_with_a_picture_the_whole_answer_is_learned(settings: Settings, processor: Any) -> None:
    turns = source(settings).draw(3, with_pictures=True)
    example = picture_example(processor, turns)
    for row, turn in enumerate(turns):
        learned = processor.tokenizer.decode(example.tokens[row][example.learned[row]])
        assert learned == turn.text + "<|im_end|>"
    ids = example.inputs["input_ids"]
    assert torch.equal(ids[:, -example.tokens.shape[1] :], example.tokens)


def test_without_a_picture_only_what_follows_from_the_text_is_learned(settings: Settings, processor: Any) -> None:
    turns = source(settings).draw(3, with_pictures=False)
    example = text_example(processor, turns)
    for row, turn in enumerate(turns):
        learned = processor.tokenizer.decode(example.tokens[row][example.learned[row]])
        assert learned == turn.text[turn.text.index('", "thoughts"') :] + "<|im_end|>"


def test_of_a_fact_its_values_are_not_learned(processor: Any) -> None:
    example = fact_example(processor, ["42 2 3; 42 / 2 = 21 3; 21 + 3 = 24", "42 5 5 x"])
    learned = [processor.tokenizer.decode(example.tokens[row][example.learned[row]]) for row in range(2)]
    assert learned == ["; 42 / 2 = 21 3; 21 + 3 = 24", " x"]


def test_the_loss_is_that_of_transformers(settings: Settings, processor: Any) -> None:
    model, _ = load_base(settings, "cpu")
    example = picture_example(processor, source(settings).draw(3, with_pictures=True))
    labels = torch.full_like(example.inputs["input_ids"], -100)
    labels[:, -example.tokens.shape[1] :] = torch.where(example.learned, example.tokens, -100)
    with torch.no_grad():
        expected = model(**example.inputs, labels=labels).loss
        found = summed_loss(model, example, "float32") / example.learned.sum()
    torch.testing.assert_close(found, expected)


def test_learning_lowers_the_loss_and_does_not_depend_on_the_workers(settings: Settings, processor: Any) -> None:
    settings = load_settings(
        overrides=["sft.steps=6", "sft.warmup_steps=1", f"model.base={settings.model.base}", "model.precision=float32"]
    )
    examples = [
        text_example(processor, source(settings).draw(4, with_pictures=False)),
        picture_example(processor, source(settings).draw(4, with_pictures=True)),
    ]

    def train(count: int) -> tuple[Any, float, float]:
        model, _ = load_base(settings, "cpu")
        losses: list[float] = []

        def draw() -> list[Any]:
            with torch.no_grad():
                losses.append(float(sum(summed_loss(model, example, "float32") for example in examples)))
            return examples

        with RunLog("test", 6, None, {}) as log:
            learn(model, draw, settings, Workers(count), log)
        return model, losses[0], losses[-1]

    (one, before, after), (two, _, _) = train(1), train(2)
    assert after < 0.9 * before
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters(), strict=True))


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 10, 1.0, 2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.1


def test_a_warm_start_of_an_adapter_is_a_whole_model_too(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"adapter": "lora"})})
    folder = run_sft(settings, tmp_path / "warm")
    assert (folder / "model.safetensors").is_file()
    assert (folder / "config.toml").is_file()
    assert load_policy(folder).meta["method"] == "sft"


def test_a_loss_that_is_not_finite_stops_the_warm_start(settings: Settings, processor: Any) -> None:
    model, _ = load_base(settings, "cpu")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    turns = source(settings).draw(2, with_pictures=True)
    with RunLog("warm start", 2, None, {}) as log, pytest.raises(DivergedError, match=r"step 1.*sft\.learning_rate"):
        learn(model, lambda: [picture_example(processor, turns)], settings, Workers(1), log)
