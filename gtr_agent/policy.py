"""The agent's policy: sample answers for a batch of turns, and score given answers.

Both sides speak of the same distribution, the softmax of the logits over the temperature: no top-k, no nucleus, no
repetition penalty. That is what makes every PPO ratio 1 on policy. (The released GTR code samples with top-k 5 and a
repetition penalty and scores without.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gtr_agent.model import (
    Precision,
    PromptBatch,
    action_token_mask,
    autocast,
    encode_prompts,
    end_token,
    inference,
)
from gtr_envs.episode import Request, Response
from gtr_envs.protocol import read_answer


@dataclass(frozen=True)
class Sample:
    """What a policy keeps of an answer for training: its tokens with the end token, and which of them are the action."""

    tokens: tuple[int, ...]
    action_mask: tuple[bool, ...]


def _position_arguments(model: Any, mask: Tensor) -> dict[str, Tensor]:
    """The next token's position, for models whose pictures take up fewer positions than tokens; else nothing.

    Args:
        model: the model just prefilled with the prompts.
        mask: (turns, tokens so far and the next one).
    """
    inner = getattr(model, "model", model)
    deltas = getattr(inner, "rope_deltas", None)
    if deltas is None:
        return {}
    positions = mask.sum(dim=1, keepdim=True) - 1 + deltas.to(mask.device)
    return {"position_ids": positions[None].expand(3, -1, -1)}


def choose_token(logits: Tensor, temperature: float, uniform: Tensor | None) -> Tensor:
    """One token a row: by inverse transform sampling from the row's own uniform number, or the likeliest one.

    Args:
        logits: (turns, vocabulary).
        temperature: what the logits are divided by.
        uniform: (turns,) numbers in [0, 1) in float64, or None to take the likeliest token.
    """
    if uniform is None:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    # Rounding may leave the last sum just below 1; a number drawn above it takes the last token of weight.
    target = torch.minimum(uniform, cumulative[:, -1] * (1 - 1e-12)).unsqueeze(1)
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp_max(logits.shape[-1] - 1)


def generate(
    model: Any,
    prompt: PromptBatch,
    uniforms: Tensor | None,
    temperature: float,
    max_new_tokens: int,
    end: int,
    precision: Precision = "float32",
) -> list[list[int]]:
    """Write answers with a key-value cache.

    Args:
        model: a Hugging Face causal model.
        prompt: the prompts.
        uniforms: (turns, max_new_tokens) numbers in [0, 1), or None for greedy answers.
        temperature: of the sampling.
        max_new_tokens: tokens after which an answer is cut off.
        end: the token that ends an answer; it is part of the answer where it came.
        precision: of the forward passes.

    Returns:
        the tokens of each answer.
    """
    mask = prompt.inputs["attention_mask"]
    n_turns = mask.shape[0]
    chosen: list[Tensor] = []
    finished = torch.zeros(n_turns, dtype=torch.bool, device=mask.device)
    with inference(model), autocast(precision, mask.device.type):
        output = model(**prompt.inputs, use_cache=True, logits_to_keep=1)
        for step in range(max_new_tokens):
            uniform = None if uniforms is None else uniforms[:, step]
            token = choose_token(output.logits[:, -1], temperature, uniform)
            chosen.append(token)
            finished |= token == end
            if finished.all() or step + 1 == max_new_tokens:
                break
            mask = torch.cat([mask, mask.new_ones(n_turns, 1)], dim=1)
            output = model(
                input_ids=token.unsqueeze(1),
                attention_mask=mask,
                past_key_values=output.past_key_values,
                use_cache=True,
                **_position_arguments(model, mask),
            )
    rows = torch.stack(chosen, dim=1).tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


class ModelPolicy:
    """A vision-language model that plays.

    Args:
        model: the model, with its adapter where it has one.
        processor: its processor.
        temperature: of the sampling.
        greedy: take the likeliest token always.
        max_new_tokens: tokens after which an answer is cut off.
        precision: of the forward passes.
        name: what results are filed under.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        max_new_tokens: int = 96,
        precision: Precision = "float32",
        name: str = "agent",
    ) -> None:
        self.model = model
        self.processor = processor
        self.temperature = temperature
        self.greedy = greedy
        self.max_new_tokens = max_new_tokens
        self.precision: Precision = precision
        self.name = name
        self.meta: dict[str, Any] = {}

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of turns; see :class:`gtr_envs.episode.Policy`."""
        prompt = encode_prompts(
            self.processor, [request.prompt for request in requests], [request.frame for request in requests]
        ).to(self.model.device)
        uniforms = None
        if not self.greedy:
            numbers = np.stack([request.rng.random(self.max_new_tokens) for request in requests])
            uniforms = torch.from_numpy(numbers).to(self.model.device)
        rows = generate(
            self.model,
            prompt,
            uniforms,
            self.temperature,
            self.max_new_tokens,
            end_token(self.processor),
            self.precision,
        )
        return [self._respond(request, row) for request, row in zip(requests, rows, strict=True)]

    def _respond(self, request: Request, tokens: list[int]) -> Response:
        end = end_token(self.processor)
        written = tokens[:-1] if tokens and tokens[-1] == end else tokens
        # Token by token, so that the characters of each are known exactly as they were sampled.
        text, offsets = decode_with_offsets(self.processor, written)
        if len(written) < len(tokens):
            offsets.append((len(text), len(text)))
        answer = read_answer(text, request.task.allowed(request.info), request.task.keys)
        action_mask = action_token_mask(answer, offsets)
        n_thought = len(tokens) - sum(action_mask)
        return Response(text, len(tokens), n_thought, Sample(tuple(tokens), tuple(action_mask)))


def decode_with_offsets(processor: Any, tokens: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text of sampled tokens and the characters ``[start, end)`` that each contributes.

    The tokens are the ones that were sampled; encoding the text again might split it otherwise. A character of several
    bytes that is spread over tokens belongs to the token that completes it.
    """
    tokenizer = processor.tokenizer
    text = tokenizer.decode(list(tokens), skip_special_tokens=False)
    pieces = tokenizer.batch_decode([[token] for token in tokens], skip_special_tokens=False)
    if "".join(pieces) == text:
        offsets, at = [], 0
        for piece in pieces:
            offsets.append((at, at + len(piece)))
            at += len(piece)
        return text, offsets
    lengths = [len(tokenizer.decode(list(tokens[: n + 1]), skip_special_tokens=False)) for n in range(len(tokens))]
    ends = [min(length, len(text)) for length in lengths]
    return text, list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
