"""Turns as a model reads them: prompts with their pictures, answers behind them, and which tokens are the action's.

Nothing here knows which model it is: any processor with a chat template serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from gtr_envs.protocol import Answer, build_messages

ROW_TENSORS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a batch has of each token."""
GRID = "image_grid_thw"
FEATURES = "image_features"
"""What stands for pictures of which only the vision tower's output was kept."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of a batch of turns, padded on the left so that every answer starts at the same column.

    Attributes:
        inputs: what the processor made: ``input_ids``, ``attention_mask`` (turns, prompt tokens), ``mm_token_type_ids``
            where the model wants them, and the pictures' tensors (``pixel_values``, ``image_grid_thw``, ...).
    """

    inputs: dict[str, Tensor]

    @property
    def width(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    def to(self, device: torch.device | str) -> PromptBatch:
        return PromptBatch({name: tensor.to(device) for name, tensor in self.inputs.items()})


def encode_prompts(processor: Any, prompts: Sequence[str], frames: Sequence[np.ndarray]) -> PromptBatch:
    """Lay out prompts with their pictures.

    Args:
        processor: the model's processor.
        prompts: the text of each turn.
        frames: (height, width, 3) uint8 each.
    """
    texts = [
        processor.apply_chat_template(build_messages(prompt), add_generation_prompt=True, tokenize=False)
        for prompt in prompts
    ]
    images = [[frame] for frame in frames]
    return PromptBatch(dict(processor(text=texts, images=images, return_tensors="pt", padding=True)))


_END_TOKENS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def end_token(processor: Any) -> int:
    """The token that ends an answer: what the chat template writes behind one, or else the tokenizer's end token.

    They are the same for Qwen; Idefics3's answers end in ``<end_of_utterance>``, its texts in another token.
    """
    if processor not in _END_TOKENS:
        _END_TOKENS[processor] = _token_behind_an_answer(processor) or int(processor.tokenizer.eos_token_id)
    return _END_TOKENS[processor]


def _token_behind_an_answer(processor: Any) -> int | None:
    from jinja2 import TemplateError

    mark = "an answer"
    dialogue = [*build_messages("a question"), {"role": "assistant", "content": [{"type": "text", "text": mark}]}]
    try:
        text = processor.apply_chat_template(dialogue, tokenize=False)
    except (TemplateError, TypeError, ValueError):  # a template that knows no answers
        return None
    behind = processor.tokenizer(text.rpartition(mark)[2].strip(), add_special_tokens=False).input_ids
    return behind[0] if behind and behind[0] in processor.tokenizer.added_tokens_decoder else None


def encode_answers(processor: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """The tokens of answers, each with the closing end token, and the characters ``[start, end)`` of each token."""
    encoded = processor.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    end = end_token(processor)
    tokens = [[*ids, end] for ids in encoded["input_ids"]]
    offsets = [[*spans, (len(text), len(text))] for text, spans in zip(texts, encoded["offset_mapping"], strict=True)]
    return tokens, offsets


def action_token_mask(answer: Answer, offsets: Sequence[tuple[int, int]]) -> list[bool]:
    """Which tokens belong to the action: those that overlap its characters, and the end token if it closes the action.

    All other tokens are thought. The answer's status does not matter; an invalid one is all thought.
    """
    if answer.action_span is None:
        return [False] * len(offsets)
    start, end = answer.action_span
    return [(low < end and high > start) or (low == high == end and low > start) for low, high in offsets]


def pad_right(rows: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor, padded on the right, and its mask; both (rows, longest), int64 and bool."""
    longest = max((len(row) for row in rows), default=0)
    tokens = torch.full((len(rows), longest), value, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return tokens, mask


def join(prompt: PromptBatch, answers: Tensor, answer_mask: Tensor) -> dict[str, Tensor]:
    """Model inputs for prompts followed by their answers; answers and mask are (turns, answer tokens)."""
    inputs = dict(prompt.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answers], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], answer_mask.long()], dim=1)
    for name in ROW_TENSORS[2:]:
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], inputs[name].new_zeros(answers.shape)], dim=1)
    return inputs
