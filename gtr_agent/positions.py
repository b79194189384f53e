"""The positions of a batch's tokens, for plain and for multimodal rope."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from gtr_agent.model import GRID


def token_positions(model: Any, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """The positions of a batch's tokens, padding not counted.

    In Qwen's multimodal rope pictures take up fewer positions than tokens. They are asked of the model here, not left
    to its memory of the last call, which threads would share.

    Args:
        model: the causal model.
        inputs: of the model, padded on either side.

    Returns:
        the positions as a model's argument, (turns, tokens), for multimodal rope (3, turns, tokens); and what to add to
        a later token's place to get its position, (turns, 1). Nothing and None for models that take no positions.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return {}, None
    inner, mask = model.base_model, inputs["attention_mask"]
    places = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
    if not hasattr(inner, "get_rope_index"):
        return {"position_ids": places}, torch.zeros_like(places[:, :1])
    if GRID not in inputs:
        return {"position_ids": places[None].expand(3, -1, -1)}, torch.zeros_like(places[:, :1])
    kinds = inputs.get("mm_token_type_ids")
    if kinds is None:
        kinds = (inputs["input_ids"] == model.config.image_token_id).long()
    positions, deltas = inner.get_rope_index(
        inputs["input_ids"], mm_token_type_ids=kinds, image_grid_thw=inputs[GRID], attention_mask=mask
    )
    return {"position_ids": positions}, deltas
