"""Turns as they are kept between collecting and updating, and laid out anew for each pass.

A turn keeps its prompt's tokens without padding and its picture's tensors, so that turns of any length can be put into
one batch. Where the vision tower is frozen it keeps the picture's features instead of its pixels: they are computed
once per turn and serve sampling, scoring, the teacher and every epoch.

Processors lay pictures out in two ways: Qwen's puts the patches of all pictures into one flat tensor, with a grid that
says how many belong to each; the others give each picture a row of crops, padded to the most crops of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gtr_agent.layout import FEATURES, GRID, ROW_TENSORS, PromptBatch, pad_right
from gtr_agent.parallel import pieces
from gtr_envs.errors import CheckpointError


@dataclass(frozen=True)
class PromptRow:
    """One turn's prompt: ``tokens`` of the row tensors without padding, and the picture's own tensors."""

    tokens: dict[str, Tensor]
    picture: dict[str, Tensor]

    def to(self, device: torch.device | str) -> PromptRow:
        """The row on a device, with memory of its own where it is moved."""
        moved = ({name: t.to(device) for name, t in part.items()} for part in (self.tokens, self.picture))
        return PromptRow(*moved)


def split_prompts(prompt: PromptBatch, features: Sequence[Tensor] | None = None) -> list[PromptRow]:
    """Take a batch of prompts apart.

    Args:
        prompt: the batch; one picture a turn.
        features: each picture's features, to be kept in place of its pixels.
    """
    inputs = prompt.inputs
    mask = inputs["attention_mask"].bool()
    pixels = _pixels_of_turns(inputs, len(mask)) if features is None else None
    rows = []
    for index in range(len(mask)):
        tokens = {name: inputs[name][index][mask[index]] for name in ROW_TENSORS if name in inputs}
        if pixels is None:
            assert features is not None
            picture = {FEATURES: features[index]}  # of the rest only the grid is asked for again, for positions
            picture |= {GRID: inputs[GRID][index]} if GRID in inputs else {}
        else:
            picture = {name: inputs[name][index] for name in inputs if name not in (*ROW_TENSORS, "pixel_values")}
            picture["pixel_values"] = pixels[index]
        rows.append(PromptRow(tokens, picture))
    return rows


def _pixels_of_turns(inputs: dict[str, Tensor], turns: int) -> list[Tensor]:
    """Each turn's pixels, to be joined again along their first dimension.

    Raises:
        CheckpointError: the processor lays pictures out in a way that is not known here.
    """
    pixels = inputs.get("pixel_values")
    if pixels is not None and GRID in inputs and len(inputs[GRID]) == turns:
        return list(pixels.split(inputs[GRID].prod(dim=1).tolist()))
    if pixels is None or len(pixels) != turns or GRID in inputs:
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in inputs.items())
        raise CheckpointError(
            f"this model's processor lays pictures out in an unknown way: for {turns} turns with one picture each it "
            f"gave {found}; pixel_values with one row a picture, or with {GRID}, can be taken apart"
        )
    return list(pixels.split(1))


def stack_prompts(rows: Sequence[PromptRow], pad: int) -> PromptBatch:
    """Put prompts into one batch, padded on the left.

    Args:
        rows: the prompts.
        pad: the padding token.
    """
    inputs: dict[str, Tensor] = {}
    for name in rows[0].tokens:
        fill = pad if name == "input_ids" else 0
        parts = [row.tokens[name] for row in rows]
        inputs[name] = pad_sequence(parts, batch_first=True, padding_value=fill, padding_side="left")
    for name in rows[0].picture:
        pictures = [row.picture[name] for row in rows]
        if name == FEATURES or (name == "pixel_values" and GRID in rows[0].picture):
            inputs[name] = torch.cat(pictures)
        elif name == "pixel_values":
            inputs[name] = torch.cat(_same_size(pictures, dim=1))
        else:
            inputs[name] = torch.stack(_same_size(pictures, dim=0))
    return PromptBatch(inputs)


def _same_size(pictures: list[Tensor], dim: int) -> list[Tensor]:
    """Pictures of different numbers of crops with zeros for those that are missing, as processors pad them."""
    if pictures[0].ndim <= dim:
        return pictures
    most = max(picture.shape[dim] for picture in pictures)
    return [
        torch.cat([picture, picture.new_zeros(*picture.shape[:dim], most - size, *picture.shape[dim + 1 :])], dim=dim)
        if (size := picture.shape[dim]) < most
        else picture
        for picture in pictures
    ]


def by_token_budget(lengths: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Deal turns out to micro-batches of at most so many tokens, padding included.

    Turns of like length go together, so that there is little padding, and the longest come first, so that a budget that
    is too large for the memory shows at once.

    Args:
        lengths: tokens of each turn's prompt, picture included, and of its answer. A micro-batch is as wide as its
            longest prompt and its longest answer together.
        budget: tokens of a micro-batch; a single turn that is longer gets one of its own.

    Returns:
        the indices of each micro-batch's turns; every index once. The same lengths give the same micro-batches.

    Raises:
        ValueError: the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} tokens; it must be at least 1")
    batches: list[list[int]] = []
    prompt = answer = 0
    for index in longest_first(lengths):
        wider = max(prompt, lengths[index][0]), max(answer, lengths[index][1])
        if batches and (len(batches[-1]) + 1) * sum(wider) <= budget:
            batches[-1].append(index)
            prompt, answer = wider
        else:
            batches.append([index])
            prompt, answer = lengths[index]
    return batches


def longest_first(lengths: Sequence[tuple[int, int]]) -> list[int]:
    """The indices of turns by falling length; lengths as for :func:`by_token_budget`."""
    return sorted(range(len(lengths)), key=lambda index: (-sum(lengths[index]), -lengths[index][0], index))


def deal_out(lengths: Sequence[tuple[int, int]], size: int, budget: int) -> list[list[int]]:
    """Deal turns out to micro-batches: by a budget of tokens, or where that is 0, evenly, so many turns at most.

    Turns of like length go together either way: of random turns of the tiny model a sixth of all tokens was padding.

    Args:
        lengths: as for :func:`by_token_budget`.
        size: turns of a micro-batch.
        budget: tokens of a micro-batch, or 0.

    Returns:
        the indices of each micro-batch's turns; every index once.
    """
    if budget:
        return by_token_budget(lengths, budget)
    order = longest_first(lengths)
    return [order[piece] for piece in pieces(len(order), size)]


def turn_length(prompt: PromptRow, answer: Sequence[int]) -> tuple[int, int]:
    """The tokens of a turn's prompt and of its answer, for :func:`by_token_budget`."""
    return len(prompt.tokens["input_ids"]), len(answer)


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
