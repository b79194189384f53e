"""Decoding with a small Qwen2 model on a CPU, in plain torch functions.

A small model's token takes less arithmetic than what surrounds it: modules, masks, caches, and many small operations.
Here a step is some twenty operations a layer, on weights that were joined and cast beforehand, and on keys and values
that are written in place. Results are rounded where :mod:`gtr_agent.lean_pass` rounds them (as transformers' eager
attention under autocast does, but for scores, which are scaled in float32), so that sampling sees what scoring will
see. The model's own forward pass is what the tests compare it to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gtr_agent.kv_cache import with_room
from gtr_agent.lean_parts import LeanParts


class LeanDecoder:
    """Continues a batch of turns, see :class:`gtr_agent.decoder.Decoder`.

    Args:
        parts: the model's weights.
        cache: keys and values of the prompts, of :class:`gtr_agent.kv_cache.RoomyLayer`.
        mask: (turns, prompt tokens), 0 for padding, which is on the left.
        deltas: what to add to a token's place among its turn's to get its position, (turns, 1).
    """

    def __init__(self, parts: LeanParts, cache: Any, mask: Tensor, deltas: Tensor) -> None:
        self.parts = parts
        # One product with joined weights is quicker while there are few rows.
        self.qkv = [(torch.cat(layer.qkv), torch.cat(layer.qkv_bias)) for layer in parts.layers]
        self.gate_up = [torch.cat(layer.gate_up) for layer in parts.layers]
        self.cache = cache
        self.length = mask.shape[1]
        self.positions = mask.sum(dim=1, keepdim=True) + deltas  # of the next token
        # What is added to attention's scores: nothing, or so little that padding and empty room get no share.
        self.least = torch.finfo(torch.float32).min
        self.mask = torch.zeros(mask.shape).masked_fill_(mask == 0, self.least).unsqueeze(1)  # (turns, 1, tokens)

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each turn, (turns,); returns the logits of the next, (turns, vocabulary)."""
        parts = self.parts
        cos, sin = self._rope()
        self._open_mask()
        stream = functional.embedding(tokens, parts.embeddings)
        weights = zip(parts.layers, self.qkv, self.gate_up, self.cache.layers, strict=True)
        for layer, qkv, gate_up, kept in weights:
            inner = self._attend(self._norm(stream, layer.norm), qkv, kept, cos, sin)
            stream += functional.linear(inner, layer.out)
            inner = functional.linear(self._norm(stream, layer.mlp_norm), gate_up)
            gate, up = inner.chunk(2, dim=-1)
            stream += functional.linear(functional.silu(gate).mul_(up), layer.down)
        return functional.linear(self._norm(stream, parts.norm), parts.head)

    def keep(self, indices: Tensor) -> None:
        """Go on with some of the turns."""
        self.cache.batch_select_indices(indices)
        self.mask, self.positions = self.mask[indices], self.positions[indices]

    def _open_mask(self) -> None:
        """Let the next token be seen."""
        missing = with_room(self.length + 1) - self.mask.shape[-1]
        if missing > 0:
            self.mask = functional.pad(self.mask, (0, missing), value=self.least)
        self.mask[:, :, self.length] = 0
        self.length += 1

    def _norm(self, stream: Tensor, weight: Tensor) -> Tensor:
        """The RMS norm of the residual stream, in the precision of the linear layers."""
        normed = stream * torch.rsqrt(stream.square().mean(dim=-1, keepdim=True) + self.parts.eps)
        return normed.mul_(weight).to(self.parts.head.dtype)

    def _rope(self) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of the next positions, each (turns, 1, head size).

        A written token's three positions in multimodal rope are the same, so it is plain rope.
        """
        angles = self.positions * self.parts.frequencies
        self.positions = self.positions + 1
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([cos, cos], dim=-1).unsqueeze(1), torch.cat([-sin, sin], dim=-1).unsqueeze(1)

    def _attend(self, states: Tensor, qkv: tuple[Tensor, Tensor], kept: Any, cos: Tensor, sin: Tensor) -> Tensor:
        """One layer's attention of the new tokens, (turns, hidden size), before its output layer."""
        heads, kv_heads, turns = self.parts.heads, self.parts.kv_heads, len(states)
        joined = functional.linear(states, *qkv).view(turns, heads + 2 * kv_heads, -1)
        turning = joined[:, : heads + kv_heads]
        turned = (turning * cos).add_(turning.roll(turning.shape[-1] // 2, -1) * sin).to(states.dtype)
        keys, values = kept.update(turned[:, heads:].unsqueeze(2), joined[:, heads + kv_heads :].unsqueeze(2))
        # Each head of keys and values serves some heads of queries.
        queries = turned[:, :heads].reshape(turns * kv_heads, heads // kv_heads, -1)
        scores = torch.bmm(queries, keys.flatten(0, 1).transpose(1, 2)).view(turns, heads, -1)
        shares = torch.add(self.mask, scores, alpha=self.parts.scaling).softmax(dim=-1)
        shares = shares.to(values.dtype).view(turns * kv_heads, heads // kv_heads, -1)
        return torch.bmm(shares, values.flatten(0, 1)).view(turns, -1)
