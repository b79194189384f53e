"""The lean pass over whole turns is the model's own, gradients included, and is taken only where it is."""

from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic, Scores, checkpoint_layers
from gtr_agent.batches import AnswerBatch, split_prompts, stack_answers, stack_prompts
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.lean_parts import collect_parts
from gtr_agent.lean_pass import parts_of_pass

TEXTS = ["Play.", "Play on, and on, and on.", "Go", "Cards: 3, 4, 5, 6. What now?", "One more"]
LENGTHS = (7, 1, 20, 12, 3)
Turns = tuple[PromptBatch, AnswerBatch]


@pytest.fixture
def turns(actor: ActorCritic, processor: Any, stir: Any) -> Turns:
    """Prompts and answers of different lengths, with pictures as features, for an agent whose adapter was stirred."""
    stir(actor, 1)
    rng = np.random.default_rng(0)
    prompt = encode_prompts(processor, TEXTS, [rng.integers(0, 255, (120, 120, 3), dtype=np.uint8) for _ in TEXTS])
    pad = processor.tokenizer.pad_token_id
    kept = stack_prompts(split_prompts(prompt, actor.picture_features(prompt)), pad)
    answers = [rng.integers(300, 500, length).tolist() for length in LENGTHS]
    return kept, stack_answers(answers, [[False] * length for length in LENGTHS], pad)


def both_ways(actor: ActorCritic, turns: Turns) -> tuple[Scores, Scores]:
    """The scores by the lean pass and by the model's own."""
    found = []
    for actor.lean in (True, False):
        found.append(actor.score(*turns, with_entropy=True))
    return found[0], found[1]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_it_scores_as_the_model_does(actor: ActorCritic, turns: Turns, attention: str) -> None:
    actor.causal.set_attn_implementation(attention)
    torch.nn.init.normal_(actor.value_head[-1].weight)
    with torch.no_grad(), actor.folded():
        assert parts_of_pass(actor.causal, turns[0].inputs, actor.precision) is not None
        lean, model = both_ways(actor, turns)
    for name in ("log_probs", "values", "entropy", "states"):
        torch.testing.assert_close(getattr(lean, name), getattr(model, name), atol=2e-5, rtol=1e-4, msg=name)


def test_states_without_answers_are_the_model_s(actor: ActorCritic, turns: Turns) -> None:
    found = []
    with actor.folded():
        for actor.lean in (True, False):
            found.append((actor.states(turns[0]), actor.answer_states(*turns)))
    for mine, own in zip(*found, strict=True):
        torch.testing.assert_close(mine, own, atol=2e-5, rtol=1e-4)


def test_its_gradients_are_the_model_s(actor: ActorCritic, turns: Turns) -> None:
    actor.value_detach = False
    torch.nn.init.normal_(actor.value_head[-1].weight)
    found = []
    for actor.lean in (True, False):
        with actor.trained_weights() as weights:
            scores = actor.score(*turns)
            loss = scores.log_probs.square().sum() + scores.values.square().sum()
            found.append(torch.autograd.grad(loss, weights))
    assert len(found[0]) > 4
    for mine, own in zip(*found, strict=True):
        assert own.abs().max() > 0
        torch.testing.assert_close(mine, own, atol=1e-5 * float(own.abs().max()), rtol=1e-3)


def test_in_bfloat16_it_is_no_farther_from_the_truth_than_the_model(actor: ActorCritic, turns: Turns) -> None:
    with torch.no_grad(), actor.folded():
        exact = both_ways(actor, turns)[1]
    actor.precision = "bfloat16"
    with torch.no_grad(), actor.folded():
        lean, model = both_ways(actor, turns)
    errors = [(scores.states - exact.states).norm() / exact.states.norm() for scores in (lean, model)]
    assert errors[0] < 0.02
    assert errors[0] < 1.5 * errors[1]


def test_groups_of_heads_share_keys_and_values(processor: Any) -> None:
    from gtr_agent.tiny import make_config, make_model

    config = make_config(processor.tokenizer)
    config.text_config.num_key_value_heads = 2
    actor = ActorCritic(make_model(config, 3), None, temperature=0.7, precision="float32", cache_features=True)
    actor.causal.requires_grad_(False).eval()
    prompt = encode_prompts(processor, TEXTS[:2], [np.full((112, 112, 3), shade, np.uint8) for shade in (9, 200)])
    kept = stack_prompts(split_prompts(prompt, actor.picture_features(prompt)), 0)
    answers = stack_answers([[400, 401], [402]], [[False] * 2, [True]], 0)
    with torch.no_grad():
        assert parts_of_pass(actor.causal, kept.inputs, "float32") is not None
        lean, model = both_ways(actor, (kept, answers))
    torch.testing.assert_close(lean.log_probs, model.log_probs, atol=2e-5, rtol=1e-4)


def test_it_is_taken_only_where_it_is_the_same(actor: ActorCritic, processor: Any, turns: Turns) -> None:
    causal, inputs = actor.causal, turns[0].inputs
    assert parts_of_pass(causal, inputs, "float32") is None, "the adapter is on"
    with actor.folded():
        assert parts_of_pass(causal, inputs, "float32") is not None
        pixels = encode_prompts(processor, ["Go"], [np.zeros((112, 112, 3), np.uint8)]).inputs
        assert parts_of_pass(causal, pixels, "float32") is None, "the vision tower has to look"
        causal.get_decoder().norm.weight.requires_grad_(True)
        assert parts_of_pass(causal, inputs, "float32") is None, "norms are trained"
        causal.get_decoder().norm.weight.requires_grad_(False)
        causal.get_decoder().config.attention_dropout = 0.1
        assert parts_of_pass(causal.train(), inputs, "float32") is None, "attention drops some"
        assert parts_of_pass(causal.eval(), inputs, "float32") is not None
        causal.get_decoder().config.attention_dropout = 0.0
        checkpoint_layers(causal)
        assert parts_of_pass(causal.train(), inputs, "float32") is None, "memory is to be saved"
        assert parts_of_pass(causal.eval(), inputs, "float32") is not None
        assert collect_parts(causal, "float32") is not None
