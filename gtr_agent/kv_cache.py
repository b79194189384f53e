"""A key-value cache that is written in place.

transformers' dynamic cache copies all keys and values at each token, its static one reserves and attends to the longest
answer there might be. This one has room for some tokens more than it holds: it is copied when the room is used up, and
what it attends to in vain is less than :data:`ROOM` tokens, which the attention mask leaves out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

ROOM = 16
"""Keys and values are kept for a multiple of this many tokens."""


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, each (turns, heads, tokens with room, head size).

    Args:
        dtype: in which they are kept, that in which attention reads them; None for that in which they come.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.kept_dtype = dtype
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin with no room at all."""
        self.dtype, self.device = self.kept_dtype or key_states.dtype, key_states.device
        self.keys, self.values = (
            states.new_empty((*states.shape[:2], 0, states.shape[3]), dtype=self.dtype)
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write new keys and values behind the old ones; returns all, the empty room included."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        missing = with_room(end) - self.keys.shape[2]
        if missing > 0:  # zeros, because what is masked must still be finite
            empty = self.keys.new_zeros((*key_states.shape[:2], missing, key_states.shape[3]))
            self.keys, self.values = (torch.cat([kept, empty], dim=2) for kept in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many tokens it holds."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many tokens the next mask is about, and where it begins."""
        return with_room(self.length + query_length), 0

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some of the turns."""
        self.keys, self.values = self.keys[indices], self.values[indices]


def with_room(length: int) -> int:
    """The next multiple of :data:`ROOM`."""
    return -(-length // ROOM) * ROOM


def make_cache(config: Any, dtype: torch.dtype | None) -> Cache:
    """An empty cache for a model; layers that do not keep everything (sliding windows, ...) stay transformers' own.

    Args:
        config: the model's configuration.
        dtype: in which attention reads keys and values; None for that in which they come.
    """
    layers = DynamicCache(config=config).layers
    return Cache(layers=[RoomyLayer(dtype) if type(layer) is DynamicLayer else layer for layer in layers])
