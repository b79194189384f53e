"""The teacher is the merge of the run's checkpoints, changes at each merge, and sees the picture."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.config import MergeSettings
from gtr_agent.folding import folded, folded_weights, lora_layers, task_vectors
from gtr_agent.losses import thought_kl
from gtr_agent.model import PromptBatch, encode_prompts
from gtr_agent.teacher import MergedTeacher
from gtr_agent.ties import ema_weights, ties_merge


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    rng = np.random.default_rng(0)
    return encode_prompts(processor, ["what?"] * 2, [rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)] * 2)


ANSWERS = stack_answers([[400, 401, 402], [500, 501, 502]], [[False, False, True]] * 2, 0)


def log_probs(actor: ActorCritic, prompt: PromptBatch) -> torch.Tensor:
    with torch.no_grad():
        return actor.score(prompt, ANSWERS).log_probs


def test_before_the_first_merge_the_teacher_is_the_base(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    base = log_probs(actor, prompt)
    stir(actor, 1)
    teacher = MergedTeacher(actor.model, MergeSettings())
    with teacher.active():
        assert torch.equal(log_probs(actor, prompt), base)
    assert not torch.allclose(log_probs(actor, prompt), base)


def test_after_one_merge_without_trimming_the_teacher_is_the_checkpoint(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 1)
    teacher = MergedTeacher(actor.model, MergeSettings(density=1.0))
    report = teacher.merge()
    assert report.distance == 0
    with teacher.active():
        merged = log_probs(actor, prompt)
    torch.testing.assert_close(merged, log_probs(actor, prompt), atol=2e-5, rtol=1e-4)


def test_the_teacher_changes_at_every_merge(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    seen = []
    for seed in range(4):
        stir(actor, seed)
        report = teacher.merge()
        assert report.change > 0
        with teacher.active():
            seen.append(log_probs(actor, prompt))
    assert all(not torch.allclose(before, after) for before, after in pairwise(seen))


@pytest.mark.parametrize("weights", ["ema", "sma"])
def test_the_merge_is_that_of_all_checkpoints_on_weight_changes(actor: ActorCritic, stir: Any, weights: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(weights=weights, ema_alpha=0.5, density=0.8))
    checkpoints = []
    for seed in range(5):
        stir(actor, seed)
        checkpoints.append(task_vectors(actor.model))
        teacher.merge()
    scale = ema_weights(5, 0.5) if weights == "ema" else [1.0] * 5
    for name, delta in teacher.delta.items():
        expected = ties_merge([checkpoint[name] for checkpoint in checkpoints], scale, 0.8)
        torch.testing.assert_close(delta, expected, atol=1e-6, rtol=1e-5)
        base = lora_layers(actor.model)[name].get_base_layer().weight
        torch.testing.assert_close(teacher.weights[name], base + delta)


def test_a_task_vector_is_the_weight_change_that_peft_folds_in(actor: ActorCritic, stir: Any) -> None:
    stir(actor, 3)
    for name, layer in lora_layers(actor.model).items():
        torch.testing.assert_close(task_vectors(actor.model)[name], layer.get_delta_weight("default"))


def test_folding_changes_the_arithmetic_and_not_the_function(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 4)
    plain = log_probs(actor, prompt)
    before = {name: weight.clone() for name, weight in actor.model.named_parameters()}
    with folded(actor.model, folded_weights(actor.model)):
        torch.testing.assert_close(log_probs(actor, prompt), plain, atol=2e-5, rtol=1e-4)
    assert torch.equal(log_probs(actor, prompt), plain), "all is as it was"
    assert all(torch.equal(weight, before[name]) for name, weight in actor.model.named_parameters())


def test_there_is_no_second_model(actor: ActorCritic) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    own = {weight.data_ptr() for weight in actor.model.parameters()}
    adapted = {name: layer.get_base_layer().weight for name, layer in lora_layers(actor.model).items()}
    assert teacher.weights.keys() == adapted.keys()
    assert not own & {weight.data_ptr() for weight in teacher.weights.values()}
    with teacher.active():
        within = {weight.data_ptr() for weight in actor.model.parameters()}
    assert len(within - own) == len(adapted), "only the adapted layers' weights are exchanged"


def test_the_kl_uses_the_picture(actor: ActorCritic, processor: Any, stir: Any) -> None:
    stir(actor, 5)
    teacher = MergedTeacher(actor.model, MergeSettings())

    def kl(frame: np.ndarray) -> torch.Tensor:
        prompt = encode_prompts(processor, ["what?"] * 2, [frame, frame])
        agent = log_probs(actor, prompt)
        with teacher.active():
            guide = log_probs(actor, prompt)
        return thought_kl(agent, guide, ANSWERS.thought_mask, "k1")

    black, white = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    assert torch.equal(kl(black), kl(black))
    assert not torch.allclose(kl(black), kl(white))


def test_rounding_the_folded_weights_beforehand_changes_nothing(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 6)
    actor.precision = "bfloat16"
    with folded(actor.model, folded_weights(actor.model)):
        late = log_probs(actor, prompt)
    with folded(actor.model, folded_weights(actor.model, precision="bfloat16")):
        assert torch.equal(log_probs(actor, prompt), late)
