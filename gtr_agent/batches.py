"""Turns as they are kept between collecting and updating, and laid out anew for each pass.

A turn keeps its prompt's tokens without padding and its picture's tensors, so that turns of any length can be put into
one batch. Where the vision tower is frozen it keeps the picture's features instead of its pixels: they are computed
once per turn and serve sampling, scoring, the teacher and every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gtr_agent.model import PromptBatch, pad_right

ROW_TENSORS = ("input_ids", "attention_mask", "mm_token_type_ids")
GRID = "image_grid_thw"
FEATURES = "image_features"


@dataclass(frozen=True)
class PromptRow:
    """One turn's prompt: ``tokens`` of the row tensors without padding, and the picture's own tensors."""

    tokens: dict[str, Tensor]
    picture: dict[str, Tensor]


def split_prompts(prompt: PromptBatch, features: Sequence[Tensor] | None = None) -> list[PromptRow]:
    """Take a batch of prompts apart.

    Args:
        prompt: the batch; one picture a turn.
        features: each picture's features, to be kept in place of its pixels.
    """
    inputs = prompt.inputs
    mask = inputs["attention_mask"].bool()
    # Pictures of different sizes have their patches in one flat tensor; the grid says how many belong to each.
    pixels = inputs["pixel_values"]
    pieces = pixels.split(inputs[GRID].prod(dim=1).tolist()) if GRID in inputs else pixels.split(1)
    rows = []
    for index in range(len(mask)):
        tokens = {name: inputs[name][index][mask[index]] for name in ROW_TENSORS if name in inputs}
        picture = {name: inputs[name][index] for name in inputs if name not in (*ROW_TENSORS, "pixel_values")}
        if features is None:
            picture["pixel_values"] = pieces[index]
        else:
            picture[FEATURES] = features[index]
        rows.append(PromptRow(tokens, picture))
    return rows


def stack_prompts(rows: Sequence[PromptRow], pad: int) -> PromptBatch:
    """Put prompts into one batch, padded on the left.

    Args:
        rows: the prompts.
        pad: the padding token.
    """
    longest = max(len(row.tokens["input_ids"]) for row in rows)
    inputs: dict[str, Tensor] = {}
    for name in rows[0].tokens:
        fill = pad if name == "input_ids" else 0
        parts = [row.tokens[name] for row in rows]
        inputs[name] = torch.stack([torch.cat([p.new_full((longest - len(p),), fill), p]) for p in parts])
    for name in rows[0].picture:
        pictures = [row.picture[name] for row in rows]
        flat = name in ("pixel_values", FEATURES)
        inputs[name] = torch.cat(pictures) if flat else torch.stack(pictures)
    return PromptBatch(inputs)


@dataclass(frozen=True)
class AnswerBatch:
    """Answers of a batch of turns, padded on the right; all (turns, tokens)."""

    tokens: Tensor
    mask: Tensor
    action_mask: Tensor

    @property
    def thought_mask(self) -> Tensor:
        """True for the answer's tokens that are not the action."""
        return self.mask & ~self.action_mask


def stack_answers(tokens: Sequence[Sequence[int]], action_masks: Sequence[Sequence[bool]], pad: int) -> AnswerBatch:
    """Put answers into one batch."""
    padded, mask = pad_right(tokens, pad)
    actions, _ = pad_right([[int(flag) for flag in row] for row in action_masks], 0)
    return AnswerBatch(padded, mask, actions.bool())
