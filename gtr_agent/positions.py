"""The positions of a batch's tokens, for plain and for multimodal rope."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from gtr_agent.layout import GRID


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
    columns = common_head(kinds, mask.bool(), places, inputs[GRID])
    if columns is None:
        positions, deltas = inner.get_rope_index(
            inputs["input_ids"], mm_token_type_ids=kinds, image_grid_thw=inputs[GRID], attention_mask=mask
        )
        return {"position_ids": positions}, deltas
    head, delta = inner.get_rope_index(
        inputs["input_ids"][:1, columns],
        mm_token_type_ids=kinds[:1, columns],
        image_grid_thw=inputs[GRID][:1],
        attention_mask=mask[:1, columns],
    )
    inside = places < len(columns)
    positions = torch.where(inside, head[:, 0, places.clamp_max(len(columns) - 1)], places + delta)
    return {"position_ids": positions * mask.long()}, delta.expand(len(mask), 1)


def common_head(kinds: Tensor, mask: Tensor, places: Tensor, grids: Tensor) -> Tensor | None:
    """What all turns begin with, if that is the same as far as positions go: up to their pictures' ends.

    The model goes through the turns one by one; turns of one task differ in what comes behind the picture alone, so
    that going through one of them serves for all.

    Args:
        kinds: of each token, (turns, tokens); 0 is text.
        mask: whether it is a token, (turns, tokens).
        places: how many tokens of its turn are before it, (turns, tokens).
        grids: of the pictures, (pictures, 3).

    Returns:
        the first turn's columns from its first token to the last of its picture; None where a turn differs.
    """
    pictured = (kinds != 0) & mask
    last = torch.where(pictured, places, -1).amax(dim=1)
    length = int(last[0]) + 1
    if len(grids) != len(mask) or not length or bool((last + 1 != length).any() | (grids != grids[0]).any()):
        return None
    first = mask.long().argmax(dim=1)
    columns = (first[:, None] + torch.arange(length, device=mask.device)).clamp_max(mask.shape[1] - 1)
    heads = kinds.gather(1, columns)
    if bool((heads != heads[0]).any() | ~mask.gather(1, columns).all()):
        return None
    return columns[0]
