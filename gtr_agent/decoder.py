"""What continues prompts token by token: the model's own forward pass, with a key-value cache written in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.features import as_model_inputs
from gtr_agent.kv_cache import make_cache
from gtr_agent.layout import PromptBatch
from gtr_agent.model import autocast
from gtr_agent.positions import token_positions
from gtr_agent.precision import Precision


def start_decoder(actor: ActorCritic, prompt: PromptBatch) -> tuple[Decoder, Tensor]:
    """Read prompts.

    Args:
        actor: whose model reads them, and in which precision.
        prompt: the prompts.

    Returns:
        what continues them, and the logits of the first token, (turns, vocabulary).
    """
    model = actor.causal
    mask = prompt.inputs["attention_mask"]
    cache = make_cache(model.config, torch.bfloat16 if actor.precision == "bfloat16" else None)
    positions, deltas = token_positions(model, prompt.inputs)
    with autocast(actor.precision, mask.device.type):
        output = model(
            **as_model_inputs(prompt.inputs), **positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    leading = positions["position_ids"].shape[:-2] if deltas is not None else None
    return Decoder(model, cache, mask, deltas, leading, actor.precision), output.logits[:, -1]


class Decoder:
    """Continues a batch of turns whose prompts were read, for every model and device.

    Args:
        model: the causal model.
        cache: the prompts' keys and values.
        mask: (turns, prompt tokens), 0 for padding.
        deltas: what to add to a token's place to get its position, (turns, 1); None for models that take no positions.
        leading: the dimensions of the model's positions before (turns, tokens): none, or 3 for multimodal rope.
        precision: of the forward passes.
    """

    def __init__(
        self,
        model: Any,
        cache: Any,
        mask: Tensor,
        deltas: Tensor | None,
        leading: tuple[int, ...] | None,
        precision: Precision,
    ) -> None:
        self.model = model
        self.cache = cache
        self.mask = mask
        self.deltas = deltas
        self.leading = leading
        self.precision = precision

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each turn, (turns,); returns the logits of the next, (turns, vocabulary)."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        positions = {}
        if self.deltas is not None and self.leading is not None:
            place = self.mask.sum(dim=1, keepdim=True) - 1 + self.deltas
            positions = {"position_ids": place.expand(*self.leading, -1, -1)}
        with autocast(self.precision, tokens.device.type):
            output = self.model(
                input_ids=tokens.unsqueeze(1),
                attention_mask=self.mask,
                **positions,
                past_key_values=self.cache,
                use_cache=True,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, indices: Tensor) -> None:
        """Go on with some of the turns."""
        self.cache.batch_select_indices(indices)
        self.mask = self.mask[indices]
        self.deltas = self.deltas[indices] if self.deltas is not None else None
