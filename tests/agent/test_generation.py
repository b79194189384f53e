"""What is sampled is what is scored, whatever else is in the batch."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import AnswerBatch, split_prompts, stack_answers, stack_prompts
from gtr_agent.generation import choose_token, decode_with_offsets, generate
from gtr_agent.kv_cache import ROOM, make_cache
from gtr_agent.layout import PromptBatch, encode_prompts, end_token
from gtr_agent.parallel import Workers
from gtr_agent.policy import ModelPolicy
from gtr_envs.episode import play
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env

TASK = task_for("gtr/Points24-v0")
FORMULAS = [(), ("7",), ("7", "*", "6", "/", "2"), ("(", "10", "-", "4")]


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    """Prompts of different lengths with different pictures."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (300, 300, 3), dtype=np.uint8) for _ in FORMULAS]
    return encode_prompts(processor, [TASK.prompt({"formula": formula}) for formula in FORMULAS], frames)


def answers_of(rows: list[tuple[list[int], list[float]]], pad: int) -> AnswerBatch:
    return stack_answers([tokens for tokens, _ in rows], [[False] * len(tokens) for tokens, _ in rows], pad)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sampling_sees_the_log_probs_that_scoring_gives(
    actor: ActorCritic, processor: Any, prompt: PromptBatch, stir: Any, temperature: float
) -> None:
    stir(actor, 1)
    actor.temperature = temperature
    uniforms = torch.rand(len(FORMULAS), 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = generate(actor, prompt, uniforms, 12, end_token(processor))
    with torch.no_grad():
        scores = actor.score(prompt, answers_of(rows, processor.tokenizer.pad_token_id))
    for row, (tokens, log_probs) in enumerate(rows):
        torch.testing.assert_close(scores.log_probs[row, : len(tokens)], torch.tensor(log_probs), atol=2e-5, rtol=1e-4)


def test_a_picture_s_placeholder_is_never_written(actor: ActorCritic, processor: Any, prompt: PromptBatch) -> None:
    placeholder = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert placeholder in actor.placeholders
    head = actor.causal.get_output_embeddings()
    head.weight.data[:] = 0  # every token is as likely as any other, but for the rule
    rows = generate(
        actor, prompt, torch.full((len(FORMULAS), 4), (placeholder + 0.5) / len(head.weight)).double(), 4, -1
    )
    assert all(placeholder not in tokens for tokens, _ in rows)
    answers = answers_of(rows, processor.tokenizer.pad_token_id)
    scores = actor.score(prompt, answers, with_entropy=True)
    expected = -float(np.log(len(head.weight) - len(actor.placeholders)))
    torch.testing.assert_close(scores.log_probs, torch.full_like(scores.log_probs, expected))
    torch.testing.assert_close(scores.entropy, torch.full_like(scores.entropy, -expected))
    scores.log_probs.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in actor.parameters() if weight.grad is not None)


def test_batch_and_padding_change_no_log_prob(
    actor: ActorCritic, processor: Any, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 2)
    pad = processor.tokenizer.pad_token_id
    lengths = [3, 9, 5, 1]
    rng = np.random.default_rng(1)
    answers = [rng.integers(300, 600, length).tolist() for length in lengths]
    rows = split_prompts(prompt)
    with torch.no_grad():
        together = actor.score(prompt, stack_answers(answers, [[False] * n for n in lengths], pad))
        for index, row in enumerate(rows):
            alone = actor.score(
                stack_prompts([row], pad), stack_answers([answers[index]], [[False] * lengths[index]], pad)
            )
            torch.testing.assert_close(
                together.log_probs[index, : lengths[index]], alone.log_probs[0], atol=2e-5, rtol=1e-4
            )
            torch.testing.assert_close(together.values[index], alone.values[0])
    assert (together.log_probs[3, 1:] == 0).all(), "padding has no log-prob"


def test_kept_features_stand_for_the_picture(actor: ActorCritic, processor: Any, prompt: PromptBatch) -> None:
    pad = processor.tokenizer.pad_token_id
    assert actor.cache_features
    features = actor.picture_features(prompt)
    kept = stack_prompts(split_prompts(prompt, features), pad)
    assert "pixel_values" not in kept.inputs
    answers = stack_answers([[400, 401]] * len(FORMULAS), [[False] * 2] * len(FORMULAS), pad)
    with torch.no_grad():
        torch.testing.assert_close(actor.score(kept, answers).log_probs, actor.score(prompt, answers).log_probs)


def test_splitting_and_stacking_give_the_batch_back(processor: Any, prompt: PromptBatch) -> None:
    again = stack_prompts(split_prompts(prompt), processor.tokenizer.pad_token_id)
    assert again.inputs.keys() == prompt.inputs.keys()
    for name, tensor in prompt.inputs.items():
        assert torch.equal(again.inputs[name], tensor), name


def test_a_token_is_drawn_by_its_share_of_the_line() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]]).repeat(6, 1))
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.7001, 1 - 1e-12], dtype=torch.float64)
    tokens, log_probs = choose_token(logits, 1.0, uniform)
    assert tokens.tolist() == [0, 0, 2, 2, 3, 3]
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.2, 0.2, 0.5, 0.5, 0.3, 0.3]))
    assert choose_token(logits, 1.0, None)[0].tolist() == [2] * 6


def test_a_low_temperature_sharpens() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75]]))
    _, log_prob = choose_token(logits, 0.5, torch.tensor([0.5], dtype=torch.float64))
    assert log_prob.exp().item() == pytest.approx(0.9)  # 0.75^2 / (0.75^2 + 0.25^2)


def test_offsets_of_sampled_tokens_that_split_a_character(processor: Any) -> None:
    tokens = processor.tokenizer("aé日b").input_ids
    text, offsets = decode_with_offsets(processor, tokens)
    assert text == "aé日b"
    assert offsets[0] == (0, 1)
    assert offsets[-1] == (3, 4)
    assert [start for start, _ in offsets[1:]] == [end for _, end in offsets[:-1]]
    assert decode_with_offsets(processor, []) == ("", [])


@pytest.mark.parametrize("greedy", [False, True])
def test_a_model_plays_the_same_in_any_batch_and_with_any_number_of_workers(
    actor: ActorCritic, processor: Any, greedy: bool
) -> None:
    def texts(batch_size: int, count: int) -> dict[int, list[str]]:
        policy = ModelPolicy(actor, processor, greedy=greedy, max_new_tokens=6, workers=Workers(count))
        episodes = play(policy, lambda: make_text_env("gtr/Points24-v0", "random"), range(3), batch_size=batch_size)
        return {episode.seed: [turn.text for turn in episode.turns] for episode in episodes}

    assert texts(1, 1) == texts(3, 1) == texts(3, 2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_cache_with_room_gives_the_log_probs_of_the_plain_one(
    actor: ActorCritic, prompt: PromptBatch, attention: str
) -> None:
    model = actor.causal
    model.set_attn_implementation(attention)
    mask = prompt.inputs["attention_mask"]
    tokens = torch.from_numpy(np.random.default_rng(0).integers(300, 600, (len(mask), 2 * ROOM)))

    def logits(cache: Cache) -> torch.Tensor:
        found = []
        inputs, wide = dict(prompt.inputs), mask
        for step in range(tokens.shape[1]):
            positions = (wide.cumsum(1) - 1).clamp_min(0)[:, -inputs["input_ids"].shape[1] :]
            inputs |= {"attention_mask": wide, "position_ids": positions[None].expand(3, -1, -1)}
            with torch.no_grad():
                found.append(model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1])
            wide = torch.cat([wide, wide.new_ones(len(wide), 1)], dim=1)
            inputs = {"input_ids": tokens[:, step : step + 1]}
            if step == ROOM:
                cache.batch_select_indices(torch.tensor([2, 0, 3, 1]))
                wide = wide[[2, 0, 3, 1]]
        assert cache.get_seq_length() == mask.shape[1] + tokens.shape[1] - 1
        return torch.stack(found)

    torch.testing.assert_close(
        logits(make_cache(model.config, None)), logits(DynamicCache(config=model.config)), atol=2e-5, rtol=1e-4
    )
