"""The lean decoder writes what the model's own forward pass writes, and is taken only where it does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.generation import generate
from gtr_agent.kv_cache import ROOM
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.lean_parts import collect_parts
from gtr_agent.model import load_model, load_processor
from tests.agent.families import write_family

TEXTS = ["Play.", "Play on, and on, and on.", "Go", "Cards: 3, 4, 5, 6. What now?", "One more"]
LONG = 2 * ROOM + 3  # longer than what the cache has room for at first


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    """Prompts of different lengths with different pictures."""
    return prompts(processor)


def prompts(processor: Any) -> PromptBatch:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (120, 120, 3), dtype=np.uint8) for _ in TEXTS]
    return encode_prompts(processor, TEXTS, frames)


def noise(length: int) -> torch.Tensor:
    return torch.rand(len(TEXTS), length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def check_same(actor: ActorCritic, prompt: PromptBatch, uniforms: torch.Tensor | None, length: int, end: int) -> list:
    """Compare the two ways; returns the answers' tokens."""
    assert collect_parts(actor.causal, actor.precision) is not None
    lean, general = (generate(actor, prompt, uniforms, length, end, lean=way) for way in (True, False))
    assert [tokens for tokens, _ in lean] == [tokens for tokens, _ in general]
    for (_, mine), (_, expected) in zip(lean, general, strict=True):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(expected), atol=2e-5, rtol=1e-4)
    return [tokens for tokens, _ in lean]


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_same_tokens_whenever_answers_end(
    actor: ActorCritic, prompt: PromptBatch, stir: Any, greedy: bool, attention: str
) -> None:
    stir(actor, 1)
    actor.causal.set_attn_implementation(attention)
    uniforms = None if greedy else noise(LONG)
    with actor.folded():
        whole = check_same(actor, prompt, uniforms, LONG, -1)
        assert {len(tokens) for tokens in whole} == {LONG}
        # Were some token the end, answers would end at different times, and the batch shrink on the way.
        for end in (whole[0][0], whole[1][2], whole[2][7], whole[3][ROOM]):
            lengths = [len(tokens) for tokens in check_same(actor, prompt, uniforms, LONG, end)]
            assert min(lengths) < LONG
        check_same(actor, prompt, uniforms, 1, -1)


def test_one_prompt_without_padding(actor: ActorCritic, processor: Any) -> None:
    frame = np.zeros((112, 112, 3), dtype=np.uint8)
    with actor.folded():
        check_same(actor, encode_prompts(processor, ["Hello"], [frame]), None, 20, -1)


def check_scored(actor: ActorCritic, prompt: PromptBatch) -> None:
    """Compare what sampling saw with what scoring sees."""
    assert collect_parts(actor.causal, actor.precision) is not None
    with torch.no_grad():
        rows = generate(actor, prompt, noise(24), 24, -1)
        scores = actor.score(prompt, stack_answers([row for row, _ in rows], [[False] * 24] * len(rows), 0))
    gap = (scores.log_probs - torch.tensor([found for _, found in rows])).abs()
    # In bfloat16 every result is rounded where scoring rounds it: all that is left is the order of sums.
    assert gap.mean() < (1e-5 if actor.precision == "float32" else 2e-3)
    assert gap.max() < (1e-4 if actor.precision == "float32" else 0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sampling_sees_what_scoring_sees(actor: ActorCritic, prompt: PromptBatch, stir: Any, precision: Any) -> None:
    stir(actor, 1)
    actor.precision = precision
    with actor.folded():
        check_scored(actor, prompt)


@pytest.mark.parametrize("family", ["Qwen2VL", "Qwen2_5_VL", "LlavaOnevision"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_families_with_the_same_decoder(family: str, precision: Any, tmp_path: Path) -> None:
    """They have fewer heads for keys and values than for queries."""
    folder = write_family(family, tmp_path / family)
    actor = ActorCritic(load_model(folder, "eager"), None, temperature=0.7, precision=precision)
    inputs = prompts(load_processor(folder))
    check_scored(actor, inputs)
    if precision == "float32":
        check_same(actor, inputs, None, LONG, -1)
        check_same(actor, inputs, noise(LONG), LONG, -1)


@pytest.mark.parametrize("family", ["Qwen3VL", "Idefics3", "SmolVLM"])
def test_other_decoders_are_left_to_the_model(family: str, tmp_path: Path) -> None:
    model = load_model(write_family(family, tmp_path / family))
    assert collect_parts(model, "float32") is None


def test_what_is_not_plain_is_left_to_the_model(actor: ActorCritic, monkeypatch: pytest.MonkeyPatch) -> None:
    causal = actor.causal
    text = causal.get_decoder()
    assert collect_parts(causal, "float32") is None, "the adapter is switched on"
    with actor.folded():
        assert collect_parts(causal, "float32") is not None
        for module in (causal, causal.base_model, text, text.layers[1].mlp, text.layers[0].self_attn.q_proj):
            hook = module.register_forward_hook(lambda *_: None)
            assert collect_parts(causal, "float32") is None
            hook.remove()
        with monkeypatch.context() as patch:
            patch.setattr(text.layers[0], "forward", text.layers[0].forward)
            assert collect_parts(causal, "float32") is None
        with monkeypatch.context() as patch:
            patch.setattr(text.rotary_emb, "rope_type", "dynamic")
            assert collect_parts(causal, "float32") is None
        with monkeypatch.context() as patch:
            patch.setattr("gtr_agent.lean_parts.MAX_PARAMETERS", 1000)
            assert collect_parts(causal, "float32") is None
        text.layers[0].self_attn.q_norm = torch.nn.Identity()
        assert collect_parts(causal, "float32") is None
        del text.layers[0].self_attn.q_norm
        text.norm.bfloat16()
        assert collect_parts(causal, "bfloat16") is None, "the residual stream would be rounded elsewhere"
        text.norm.float()
        assert collect_parts(causal, "bfloat16") is not None


def test_weights_are_those_of_the_moment(actor: ActorCritic, stir: Any) -> None:
    stir(actor, 1)
    with actor.folded():
        first = collect_parts(actor.causal, "bfloat16")
    stir(actor, 2)
    with actor.folded():
        second = collect_parts(actor.causal, "bfloat16")
    assert first is not None
    assert second is not None
    assert not any(map(torch.equal, first.layers[0].qkv, second.layers[0].qkv))


def test_a_merged_adapter_is_part_of_the_weights(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    stir(actor, 1)
    expected = generate(actor, prompt, None, 12, -1)
    actor.model.merge_adapter()
    assert check_same(actor, prompt, None, 12, -1) == [tokens for tokens, _ in expected]
    with actor.model.disable_adapter():
        assert collect_parts(actor.causal, "float32") is None, "PEFT would take it out first"
