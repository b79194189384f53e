"""The lean vision tower sees what the model's own sees, and is taken only where it does."""

from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.features import tower_features
from gtr_agent.layout import GRID, PromptBatch, encode_prompts
from gtr_agent.lean_tower import lean_features


def pictures(processor: Any, *sizes: tuple[int, int]) -> PromptBatch:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    return encode_prompts(processor, ["Go"] * len(sizes), frames)


@pytest.mark.parametrize("size", [(112, 112), (300, 300), (60, 150)])
def test_it_sees_what_the_tower_sees(actor: ActorCritic, processor: Any, size: tuple[int, int]) -> None:
    prompt = pictures(processor, size, size, size)
    assert lean_features(actor.causal, prompt.inputs, "float32") is not None
    lean, own = (torch.stack(tower_features(actor.causal, prompt, "float32", way)) for way in (True, False))
    torch.testing.assert_close(lean, own, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_it_is_no_farther_from_the_truth(actor: ActorCritic, processor: Any) -> None:
    prompt = pictures(processor, (300, 300), (300, 300))
    exact = torch.stack(tower_features(actor.causal, prompt, "float32", False))
    lean, own = (torch.stack(tower_features(actor.causal, prompt, "bfloat16", way)) for way in (True, False))
    assert lean.dtype == own.dtype
    errors = [float((found.float() - exact).norm() / exact.norm()) for found in (lean, own)]
    assert errors[0] < 0.02
    assert errors[0] < 1.5 * errors[1]


def test_it_is_taken_only_where_it_is_the_same(actor: ActorCritic, processor: Any) -> None:
    visual = actor.causal.base_model.visual
    prompt = pictures(processor, (112, 112), (112, 112))
    different = pictures(processor, (112, 112), (60, 150))
    assert lean_features(actor.causal, different.inputs, "float32") is None, "pictures of different sizes"
    without = {name: tensor for name, tensor in prompt.inputs.items() if name != GRID}
    assert lean_features(actor.causal, without, "float32") is None
    assert lean_features(actor.causal, prompt.inputs, "float32") is not None
    handle = visual.blocks[0].register_forward_hook(lambda *given: None)
    assert lean_features(actor.causal, prompt.inputs, "float32") is None, "somebody listens"
    handle.remove()
    visual.fullatt_block_indexes = [1]
    assert lean_features(actor.causal, prompt.inputs, "float32") is None, "a layer looks at windows"
