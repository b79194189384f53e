"""The shapes have the sizes of the published models, and a scaled-down one plays."""

import numpy as np
import pytest
import torch

from benchmarks.shapes import SPECIAL_IDS, build_shape, shape_config, shape_names, shape_processor
from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.config import load_settings
from gtr_agent.generation import generate
from gtr_agent.layout import encode_prompts, end_token
from gtr_agent.lora import lora_targets
from gtr_envs.errors import SettingError
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env

TASK = task_for("gtr/Points24-v0")
PUBLISHED = {
    "qwen2-vl-2b": 2_208_985_600,
    "qwen2-vl-7b": 8_291_375_616,
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 8_292_166_656,
    "qwen3-vl-8b": 8_767_123_696,
}
"""Parameters as the hub counts them in each model's safetensors files."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_shape_has_as_many_parameters_as_the_published_model(name: str) -> None:
    model, _ = build_shape(name, device="meta")
    assert sum(weight.numel() for weight in model.parameters()) == PUBLISHED[name]
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_one_shape_is_for_trying_things_out() -> None:
    assert shape_names() == sorted([*PUBLISHED, "qwen2.5-vl-nano"])
    model, _ = build_shape("qwen2.5-vl-nano", device="meta")
    total = sum(weight.numel() for weight in model.parameters())
    assert total - model.get_input_embeddings().weight.numel() < 200_000, "all but the real vocabulary is thin"


def test_prompts_are_of_realistic_length_and_every_token_can_be_written() -> None:
    processor = shape_processor("qwen2.5-vl-7b")
    frame = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    prompt = encode_prompts(processor, [TASK.prompt({"formula": ()})], [frame])
    tokens = prompt.inputs["input_ids"][0]
    visual = int((tokens == SPECIAL_IDS["<|image_pad|>"]).sum())
    assert visual == 121
    assert 300 <= len(tokens) - visual <= 400
    assert end_token(processor) == SPECIAL_IDS["<|im_end|>"]
    assert [processor.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_IDS] == list(SPECIAL_IDS.values())
    text = 'Aé日 {"action": "10"}'
    assert processor.tokenizer.decode(processor.tokenizer(text).input_ids) == text


def test_a_thin_shape_is_written_and_scored_alike() -> None:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]}
    model, processor = build_shape(
        "qwen2.5-vl-3b",
        dtype=torch.float32,
        text_changes={"hidden_size": 32, "intermediate_size": 48, "rope_parameters": rope, **heads},
        vision_changes={"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32},
    )
    actor = ActorCritic(model, None, temperature=1.0, precision="float32", logit_chunk=4)
    frames = [np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)] * 2
    prompt = encode_prompts(processor, [TASK.prompt({"formula": formula}) for formula in [(), ("7",)]], frames)
    uniforms = torch.rand(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = generate(actor, prompt, uniforms, 5, end_token(processor))
    answers = stack_answers([tokens for tokens, _ in rows], [[False] * len(tokens) for tokens, _ in rows], 0)
    with torch.no_grad():
        log_probs = actor.score(prompt, answers).log_probs
    torch.testing.assert_close(log_probs, torch.tensor([row for _, row in rows]), atol=2e-5, rtol=1e-4)
    assert processor.tokenizer.decode(rows[0][0])


def test_an_unknown_shape_is_named() -> None:
    with pytest.raises(SettingError, match=r"unknown model shape 'qwen9'; there are: .*qwen2\.5-vl-7b"):
        shape_config("qwen9")


@pytest.mark.parametrize(("name", "updates", "thought_coef"), [("points24", 30, 0.5), ("alfworld", 20, 0.2)])
def test_the_presets_of_the_7b_model_are_the_paper_s(name: str, updates: int, thought_coef: float) -> None:
    settings = load_settings(f"{name}-qwen2.5-vl-7b")
    ppo, rollout, model = settings.ppo, settings.rollout, settings.model
    assert (ppo.updates, rollout.num_envs * rollout.turns, ppo.epochs, ppo.batch_size) == (updates, 1024, 4, 128)
    assert (ppo.learning_rate, ppo.final_learning_rate, ppo.adam_eps, ppo.max_grad_norm) == (1e-5, 1e-9, 1e-7, 0.01)
    assert (ppo.clip_range, ppo.value_coef, ppo.gamma, ppo.gae_lambda) == (0.1, 0.5, 0.9, 0.95)
    assert (ppo.thought_coef, ppo.value_hidden, ppo.value_detach) == (thought_coef, (1024, 512), False)
    assert (rollout.temperature, rollout.max_new_tokens, settings.merge.density) == (0.2, 256, 0.8)
    assert (model.lora_rank, model.lora_alpha, model.lora_dropout) == (128, 256, 0), "dropout is a departure"
    make_text_env(settings.env.id, settings.env.invalid, **settings.env.options).close()

    base, _ = build_shape("qwen2.5-vl-7b", device="meta")
    modules = dict(base.named_modules())
    adapted = [modules[target] for target in lora_targets(base, model.lora_vision)]
    assert len(adapted) == 28 * 7 + 32 * 5 + 2, "seven in each layer of language, five of vision, two in the merger"
    assert sum(128 * (layer.in_features + layer.out_features) for layer in adapted) == 414_597_120
