"""A small Qwen2 decoder's pass over whole turns on a CPU, with or without gradients, in plain torch functions.

It reads prompts, scores answers and trains through folded weights. States are cast once for all linear layers that read
them, norms and ropes know their own gradients, and the last layer computes what is asked for alone. The model's own
forward pass is what the tests compare it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gtr_agent.layout import FEATURES
from gtr_agent.lean_parts import LeanLayer, LeanParts, collect_parts
from gtr_agent.precision import Precision

PLACED_BY_TOKEN = {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"}
"""Causal models that put a picture's features in the place of its placeholder tokens, one for one."""


def parts_of_pass(causal: Any, inputs: dict[str, Tensor], precision: Precision) -> LeanParts | None:
    """The weights with which :func:`lean_states` computes what the model would; None where the model has to do it.

    Args:
        causal: the model.
        inputs: its inputs; pictures have to be there as features.
        precision: of the forward passes.
    """
    if type(causal).__name__ not in PLACED_BY_TOKEN or FEATURES not in inputs or inputs[FEATURES].shape[1] != 1:
        return None
    text = causal.get_decoder()
    frozen = [text.embed_tokens, text.norm]  # the norms of layers are frozen where the last one is
    if any(weight.requires_grad for module in frozen for weight in module.parameters()):
        return None
    # Layers that are computed twice to save memory, or whose attention drops some, are the model's own business.
    if causal.training and (text.config.attention_dropout or getattr(text.layers[0], "gradient_checkpointing", False)):
        return None
    return collect_parts(causal, precision)


def lean_states(
    causal: Any, parts: LeanParts, inputs: dict[str, Tensor], positions: Tensor, first: int = 0, cache: Any = None
) -> Tensor:
    """The last hidden states.

    Args:
        causal: the model.
        parts: its weights, of :func:`parts_of_pass`.
        inputs: its inputs, padded on either side.
        positions: of the tokens, for multimodal rope, (3, turns, tokens).
        first: the first column whose states are wanted.
        cache: takes the keys and values, of :class:`gtr_agent.kv_cache.RoomyLayer`; None for nothing.

    Returns:
        (turns, columns from the first one on, hidden size), float32.
    """
    tokens = inputs["input_ids"]
    stream = functional.embedding(tokens, parts.embeddings)
    stream[tokens == causal.config.image_token_id] = inputs[FEATURES].squeeze(1).to(stream.dtype)
    places = _places(causal, stream, positions, inputs["attention_mask"].bool())
    with torch.autocast("cpu", enabled=False):  # what is cast, and to what, is written out
        for index, layer in enumerate(parts.layers):
            start = first if index + 1 == len(parts.layers) else 0
            kept = cache.layers[index] if cache is not None else None
            inner = _attend(_norm(stream, layer.norm, parts), layer, parts, places, start, kept)
            stream = stream[:, start:] + functional.linear(inner, layer.out)
            inner = _norm(stream, layer.mlp_norm, parts)
            gate, up = (functional.linear(inner, weight) for weight in layer.gate_up)
            stream = stream + functional.linear(functional.silu(gate) * up, layer.down)
        return _Norm.apply(stream, parts.norm, parts.eps, torch.float32)


@dataclass(frozen=True)
class _Places:
    """Where tokens are: what turns them, each (turns, tokens, 1, head size), and what each may look at.

    Attributes:
        cos: cosines of the rope.
        sin: its sines, those of a head's first half negative.
        added: to attention's scores, (turns, 1, tokens, tokens): 0, or so little that nothing is left of a share.
    """

    cos: Tensor
    sin: Tensor
    added: Tensor


def _places(causal: Any, stream: Tensor, positions: Tensor, mask: Tensor) -> _Places:
    cos, sin = causal.get_decoder().rotary_emb(stream, positions)
    low, high = sin.chunk(2, dim=-1)
    seen = mask.unsqueeze(1) & torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
    added = torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)
    return _Places(cos.unsqueeze(2), torch.cat([-low, high], dim=-1).unsqueeze(2), added.unsqueeze(1))


def _norm(stream: Tensor, weight: Tensor, parts: LeanParts) -> Tensor:
    """The norm before linear layers, in their precision."""
    normed: Tensor = _Norm.apply(stream, weight, parts.eps, parts.head.dtype)
    return normed


def _attend(states: Tensor, layer: LeanLayer, parts: LeanParts, places: _Places, start: int, kept: Any) -> Tensor:
    """One layer's attention of the columns from ``start`` on, (turns, columns, hidden size), without its output layer.

    Keys and values go to ``kept``, where that is not None.
    """
    heads, kv_heads = parts.heads, parts.kv_heads
    rows, columns = states.shape[:2]
    read = zip(layer.qkv, layer.qkv_bias, (heads, kv_heads, kv_heads), strict=True)
    queries, keys, values = (functional.linear(states, *own).view(rows, columns, count, -1) for *own, count in read)
    queries, keys = (_Turn.apply(found, places.cos, places.sin) for found in (queries, keys))
    values = values.transpose(1, 2)
    if kept is not None:
        kept.update(keys, values)
    # Each head of keys and values serves some heads of queries.
    queries = queries[:, :, start:].reshape(rows * kv_heads, -1, queries.shape[-1])
    scores = torch.bmm(queries, keys.reshape(rows * kv_heads, columns, -1).transpose(1, 2))
    scores = torch.add(places.added[:, :, start:], scores.view(rows, heads, -1, columns), alpha=parts.scaling)
    shares = scores.softmax(dim=-1).to(states.dtype).view(rows * kv_heads, -1, columns)
    found = torch.bmm(shares, values.reshape(rows * kv_heads, columns, -1))
    return found.view(rows, heads, -1, found.shape[-1]).transpose(1, 2).flatten(2)


class _Norm(torch.autograd.Function):
    """The RMS norm ``y = w x r`` with ``r = (mean(x^2) + eps)^-1/2``, of frozen weights, in a given type.

    Its gradient is ``dx = r (g - x r^2 mean(g x))`` with ``g = w dy``.
    """

    @staticmethod
    def forward(ctx: Any, stream: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        scale = torch.rsqrt(stream.square().mean(dim=-1, keepdim=True) + eps)
        ctx.save_for_backward(stream, weight, scale)
        return (stream * scale).mul_(weight).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        stream, weight, scale = ctx.saved_tensors
        gradient = gradients[0] * weight
        along = (gradient * stream).mean(dim=-1, keepdim=True)
        return gradient.mul_(scale).addcmul_(stream, along * scale.pow(3), value=-1), None, None, None


class _Turn(torch.autograd.Function):
    """Rope: (turns, tokens, heads, size) to (turns, heads, tokens, size), by cosines and signed sines.

    A rotation's gradient is turned back; half a head's size is rolled, which undoes itself.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        turned = (states * cos).add_(states.roll(states.shape[-1] // 2, -1) * sin)  # rounded as in decoding
        return turned.to(states.dtype).transpose(1, 2).contiguous()  # a cast that also transposes is slow

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        gradient = gradients[0].transpose(1, 2).contiguous()
        back = (gradient * cos).add_((gradient * sin).roll(gradient.shape[-1] // 2, -1))
        return back.to(gradient.dtype), None, None
