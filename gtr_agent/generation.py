"""Sampling answers from exactly the distribution that is scored.

That distribution is the softmax of the logits over the temperature: no top-k, no nucleus, no repetition penalty; only
the placeholders of pictures cannot be written. It is what makes every PPO ratio 1 on policy. (The released GTR code
samples with top-k 5 and a repetition penalty of 1.2, and scores without.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.decoder import start_decoder
from gtr_agent.layout import PromptBatch, action_token_mask, end_token
from gtr_agent.losses import log_probs_of
from gtr_agent.model import inference
from gtr_envs.episode import Request, Response


@dataclass(frozen=True)
class Sample:
    """What a policy keeps of an answer for training.

    Attributes:
        tokens: as they were sampled, with the end token where it came.
        action_mask: which of them are the action.
        log_probs: of each, in nats, as sampling saw it.
    """

    tokens: tuple[int, ...]
    action_mask: tuple[bool, ...]
    log_probs: tuple[float, ...]


def choose_token(logits: Tensor, temperature: float, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
    """One token a row: by inverse transform sampling from the row's own uniform number, or the likeliest one.

    Args:
        logits: (turns, vocabulary).
        temperature: what the logits are divided by.
        uniform: (turns,) numbers in [0, 1), or None to take the likeliest token.

    Returns:
        the tokens and their log-probs at this temperature, both (turns,).
    """
    log_probs = log_probs_of(logits, temperature)
    if uniform is None:
        tokens = log_probs.argmax(dim=-1)
    else:
        cumulative = log_probs.exp().cumsum(dim=-1, dtype=torch.float64)
        # The last sum is 1 but for rounding; scaling by it keeps every number inside.
        target = (uniform * cumulative[:, -1]).unsqueeze(1)
        tokens = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp_max(logits.shape[-1] - 1)
    return tokens, log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def generate(
    actor: ActorCritic, prompt: PromptBatch, uniforms: Tensor | None, max_new_tokens: int, end: int
) -> list[tuple[list[int], list[float]]]:
    """Write answers with a key-value cache.

    Args:
        actor: who answers, and at which temperature and precision.
        prompt: the prompts.
        uniforms: (turns, max_new_tokens) numbers in [0, 1), or None for greedy answers.
        max_new_tokens: tokens after which an answer is cut off.
        end: the token that ends an answer; it is part of the answer where it came.

    Returns:
        each answer's tokens and their log-probs in nats.
    """
    rows = torch.arange(len(prompt.inputs["input_ids"]), device=prompt.inputs["input_ids"].device)
    going = torch.ones_like(rows, dtype=torch.bool)  # of the rows that are still being continued, those unfinished
    tokens = torch.full((len(rows), max_new_tokens), end, device=rows.device)
    log_probs = torch.zeros((len(rows), max_new_tokens), device=rows.device)
    with inference(actor.causal), torch.inference_mode():
        decoder, logits = start_decoder(actor, prompt)
        for step in range(max_new_tokens):
            uniform = None if uniforms is None else uniforms[rows, step]
            token, log_prob = choose_token(actor.writable(logits), actor.temperature, uniform)
            tokens[rows, step], log_probs[rows, step] = token, log_prob
            going &= token != end
            unfinished = int(going.sum())
            if unfinished == 0 or step + 1 == max_new_tokens:
                break
            if 4 * unfinished <= 3 * len(rows):
                keep = going.nonzero().squeeze(1)
                decoder.keep(keep)
                rows, token, going = rows[keep], token[keep], going[keep]
            logits = decoder.step(token)
    answers = zip(tokens[:, : step + 1].tolist(), log_probs.tolist(), strict=True)
    return [(row[: _length(row, end)], scores[: _length(row, end)]) for row, scores in answers]


def _length(row: list[int], end: int) -> int:
    return row.index(end) + 1 if end in row else len(row)


def decode_with_offsets(processor: Any, tokens: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text of sampled tokens and the characters ``[start, end)`` that each contributes.

    The tokens are the ones that were sampled; encoding the text again might split it otherwise. A character whose bytes
    are spread over several tokens belongs to the one that completes it.
    """
    if not tokens:
        return "", []
    tokenizer = processor.tokenizer
    text = tokenizer.decode(list(tokens), skip_special_tokens=False)
    pieces = tokenizer.batch_decode([[token] for token in tokens], skip_special_tokens=False)
    if "".join(pieces) == text:
        ends = list(accumulate(len(piece) for piece in pieces))
    else:
        prefixes = [list(tokens[: index + 1]) for index in range(len(tokens))]
        ends = [len(prefix) for prefix in tokenizer.batch_decode(prefixes, skip_special_tokens=False)]
        ends = [min(end, len(text)) for end in ends]
    return text, list(zip([0, *ends[:-1]], ends, strict=True))


def respond(processor: Any, request: Request, tokens: list[int], log_probs: list[float]) -> Response:
    """A policy's answer from the tokens that it sampled."""
    ended = bool(tokens) and tokens[-1] == end_token(processor)
    text, offsets = decode_with_offsets(processor, tokens[:-1] if ended else tokens)
    if ended:
        offsets.append((len(text), len(text)))
    answer = request.task.read(text, request.info)
    action_mask = action_token_mask(answer, offsets)
    sample = Sample(tuple(tokens), tuple(action_mask), tuple(log_probs))
    return Response(text, len(tokens), len(tokens) - sum(action_mask), sample)
