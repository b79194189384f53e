"""Log-probs over large vocabularies without ever holding all logits.

A vocabulary of 152,064 takes 0.6 MB a token in float32, and as much again for its gradient: 16 answers of 150 tokens
are 1.5 GB each time. Here the logits of so many tokens are made, read and dropped before the next are made; the
backward pass makes them anew. The gradients are exact: of the log-prob of token ``t`` at temperature ``T`` by the
logits ``z`` it is ``(1[i = t] - softmax(z / T)_i) / T``, and the linear output layer passes that on to the hidden state
and, where it is trained itself, to its own weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def chunked_log_probs(
    hidden: Tensor,
    head: nn.Linear,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    forbidden: Sequence[int] = (),
    chunk: int,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The log-probs of given tokens, and the entropy of the distributions that they were drawn from.

    Args:
        hidden: (tokens, hidden size), the state that each token follows.
        head: the output layer, (vocabulary, hidden size).
        tokens: (tokens,) ids.
        temperature: what the logits are divided by.
        forbidden: ids that cannot be drawn.
        chunk: of how many tokens the logits are held at once.
        with_entropy: whether the entropy is wanted; it has no gradient.

    Returns:
        log-probs and entropies, (tokens,) in nats, float32 (float64 for hidden states in float64); None for entropies
        that are not wanted.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    else:
        dtype = head.weight.dtype
    banned = torch.tensor(list(forbidden), dtype=torch.long, device=hidden.device)
    log_probs, entropy = _ChunkedLogProbs.apply(
        hidden, head.weight, head.bias, tokens, temperature, banned, chunk, dtype, with_entropy
    )
    return log_probs, entropy if with_entropy else None


def vocabulary_kl(
    agent: Tensor,
    teacher: Tensor,
    head: nn.Linear,
    *,
    temperature: float = 1.0,
    forbidden: Sequence[int] = (),
    chunk: int = 0,
    forward: bool = False,
    teacher_head: nn.Linear | None = None,
) -> Tensor:
    """The exact KL between two models' next-token distributions, summed over the vocabulary, without gradients.

    Hidden states are all that need be kept of a pass. Agent and merged teacher share the output layer, which LoRA
    leaves alone.

    Args:
        agent: (tokens, hidden size), the agent's states.
        teacher: (tokens, hidden size), the teacher's.
        head: the output layer.
        temperature: what the logits are divided by.
        forbidden: ids that cannot be drawn.
        chunk: of how many tokens the logits are held at once; 0 for all.
        forward: ``KL(teacher || agent)`` instead of the reverse ``KL(agent || teacher)``.
        teacher_head: the teacher's own output layer, where it is another model with the same vocabulary.

    Returns:
        (tokens,) in nats, float32.
    """
    banned = torch.tensor(list(forbidden), dtype=torch.long, device=agent.device)
    pair = [(agent, head), (teacher, teacher_head or head)]
    found = [agent.new_zeros(0, dtype=torch.float32)]
    with torch.no_grad():
        for piece in _pieces(len(agent), chunk):
            ours, theirs = (_log_softmax(states[piece], layer, temperature, banned) for states, layer in pair)
            log_p, log_q = (theirs, ours) if forward else (ours, theirs)
            # A forbidden token has log-prob 0 here on both sides, so that it counts 0 and not infinity less infinity.
            found.append((log_p.exp() * (log_p - log_q)).sum(dim=-1).float())
    return torch.cat(found)


class _ChunkedLogProbs(torch.autograd.Function):
    """See :func:`chunked_log_probs`. Autocast is off inside: what is cast, and to what, is written out."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        hidden, weight, bias, tokens, temperature, banned, chunk, dtype, with_entropy = arguments
        ctx.settings = (temperature, chunk, dtype)
        log_probs = torch.empty(len(tokens), dtype=_accumulator(dtype), device=hidden.device)
        totals, entropy = torch.empty_like(log_probs), torch.zeros_like(log_probs)
        with torch.autocast(hidden.device.type, enabled=False):
            cast, cast_bias = _cast(weight, bias, dtype)
            for piece in _pieces(len(tokens), chunk):
                logits = _scaled_logits(hidden[piece].to(dtype), cast, cast_bias, temperature, banned)
                totals[piece] = logits.logsumexp(dim=-1)
                log_probs[piece] = logits.gather(1, tokens[piece, None]).squeeze(1) - totals[piece]
                if with_entropy:
                    logits = logits.sub_(totals[piece, None]).index_fill_(1, banned, 0.0)
                    share = logits.exp().index_fill_(1, banned, 0.0)
                    entropy[piece] = -share.mul_(logits).sum(dim=-1)
        ctx.save_for_backward(hidden, weight, bias, tokens, totals, banned)
        ctx.mark_non_differentiable(entropy)
        return log_probs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, totals, banned = ctx.saved_tensors
        temperature, chunk, dtype = ctx.settings
        wanted = ctx.needs_input_grad
        to_hidden = torch.empty_like(hidden) if wanted[0] else None
        to_weight = torch.zeros_like(weight) if wanted[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        with torch.autocast(hidden.device.type, enabled=False):
            cast, cast_bias = _cast(weight, bias, dtype)
            for piece in _pieces(len(tokens), chunk):
                states = hidden[piece].to(dtype)
                logits = _scaled_logits(states, cast, cast_bias, temperature, banned)
                scale = gradients[0][piece, None] / temperature
                change = logits.sub_(totals[piece, None]).exp_().mul_(-scale)
                change.scatter_add_(1, tokens[piece, None], scale)
                change = change.to(dtype)
                if to_hidden is not None:
                    to_hidden[piece] = (change @ cast).to(hidden.dtype)
                if to_weight is not None:
                    to_weight += (change.T @ states).to(weight.dtype)
                if to_bias is not None:
                    to_bias += change.sum(dim=0).to(bias.dtype)
        return to_hidden, to_weight, to_bias, None, None, None, None, None, None


def _pieces(count: int, chunk: int) -> Iterator[slice]:
    """Slices of at most ``chunk`` that cover ``count``; one slice for a chunk of 0."""
    step = chunk or max(count, 1)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _cast(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    return weight.detach().to(dtype), bias.detach().to(dtype) if bias is not None else None


def _scaled_logits(states: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, banned: Tensor) -> Tensor:
    """Logits over the temperature, (tokens, vocabulary), a new tensor; minus infinity where nothing may be drawn."""
    logits = functional.linear(states, weight, bias).to(_accumulator(states.dtype))
    return logits.div_(temperature).index_fill_(1, banned, -torch.inf)


def _log_softmax(states: Tensor, head: nn.Linear, temperature: float, banned: Tensor) -> Tensor:
    """Log-probs, (tokens, vocabulary), with 0 for tokens that cannot be drawn."""
    logits = head(states).float().div(temperature).index_fill_(1, banned, -torch.inf)
    return logits.sub_(logits.logsumexp(dim=-1, keepdim=True)).index_fill_(1, banned, 0.0)
