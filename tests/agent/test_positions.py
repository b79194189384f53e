"""Positions of many turns, found from one of them, are those that the model finds turn by turn."""

from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import split_prompts, stack_prompts
from gtr_agent.layout import GRID, encode_prompts, join
from gtr_agent.positions import common_head, token_positions


def batch(processor: Any, sizes: list[int], answers: list[int]) -> dict[str, torch.Tensor]:
    """Prompts of different lengths with pictures of these sizes, and answers of these lengths."""
    rows = []
    for index, size in enumerate(sizes):
        frame = np.zeros((size, size, 3), np.uint8)
        rows += split_prompts(encode_prompts(processor, ["what? " * (index + 1)], [frame]))
    mask = torch.arange(max(answers)) < torch.tensor(answers)[:, None]
    return join(stack_prompts(rows, processor.tokenizer.pad_token_id), mask * 400, mask)


@pytest.mark.parametrize(
    ("sizes", "answers", "alike"),
    [([300] * 3, [5, 1, 3], True), ([300], [4], True), ([300, 300, 150], [5, 1, 3], False)],
    ids=["alike", "one", "of several sizes"],
)
def test_they_are_the_model_s_own(
    actor: ActorCritic, processor: Any, sizes: list[int], answers: list[int], alike: bool
) -> None:
    processor.image_processor.do_resize, before = alike, processor.image_processor.do_resize
    try:
        inputs = batch(processor, [size if alike else size // 28 * 28 for size in sizes], answers)
    finally:
        processor.image_processor.do_resize = before
    mask, kinds = inputs["attention_mask"], inputs["mm_token_type_ids"]
    expected, deltas = actor.causal.base_model.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=kinds, image_grid_thw=inputs[GRID], attention_mask=mask
    )
    found, found_deltas = token_positions(actor.causal, inputs)
    assert torch.equal(found["position_ids"], expected)
    assert found_deltas is not None
    assert torch.equal(found_deltas, deltas)
    places = (mask.cumsum(dim=1) - 1).clamp_min(0)
    assert (common_head(kinds, mask.bool(), places, inputs[GRID]) is not None) is alike


def test_turns_that_begin_otherwise_are_not_taken_for_one() -> None:
    kinds = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0]])
    mask, places = torch.ones(2, 4, dtype=torch.bool), torch.arange(4).expand(2, 4)
    grids = torch.tensor([[1, 2, 4]] * 2)
    assert common_head(kinds, mask, places, grids) is not None
    assert common_head(torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0]]), mask, places, grids) is None
    assert common_head(torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1]]), mask, places, grids) is None
    assert common_head(kinds, mask, places, torch.tensor([[1, 2, 4], [1, 4, 2]])) is None
    assert common_head(kinds * 0, mask, places, grids) is None
    assert common_head(kinds, mask, places, grids[:1]) is None
