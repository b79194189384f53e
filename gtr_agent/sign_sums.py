"""The running sums of one layer, from which its merge can be read at any time.

The sign election and the disjoint mean of TIES need four sums for an entry: of its positive parts, of their weights, of
its negative parts and of their weights. The linear merge needs one.

Memory. Sums are float32. With equal weights (SMA) the weights are counts, kept in 16 bits: 12 bytes an entry in all.
With EMA they are float32: 16 bytes. The linear merge takes 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gtr_agent.ties import MergeMethod, divide

Sums = dict[str, Tensor]
"""A layer's sums by name (see `SUM_NAMES`), all of the layer's shape."""

SUM_NAMES: dict[MergeMethod, tuple[str, ...]] = {
    "ties": ("positive_sum", "positive_weight", "negative_sum", "negative_weight"),
    "linear": ("sum",),
}

FADED = 2.0**-40
"""An entry whose weights add up to less is not faded any further: the next checkpoint outweighs it beyond float32."""

BLOCK = 1 << 17
"""Entries of a layer that are worked on at a time."""

MOST_COUNTED = torch.iinfo(torch.int16).max
"""Checkpoints up to which counts are kept in 16 bits."""


def empty_sums(method: MergeMethod, shape: torch.Size, device: torch.device | str, counted: bool) -> Sums:
    """Sums of no checkpoint.

    Args:
        method: which sums are needed.
        shape: the layer's.
        device: where they are kept.
        counted: all weights will be 1.
    """
    weight = torch.int16 if counted else torch.float32
    kinds = {name: weight if name.endswith("weight") else torch.float32 for name in SUM_NAMES[method]}
    return {name: torch.zeros(shape, dtype=kind, device=device) for name, kind in kinds.items()}


def bytes_per_entry(method: MergeMethod, counted: bool) -> int:
    """The bytes that the sums take for each entry of a weight."""
    return sum(values.nbytes for values in empty_sums(method, torch.Size([1]), "cpu", counted).values())


def widen_counts(sums: Sums) -> None:
    """Makes a layer's counts floats, for weights other than 1 and for more checkpoints than 16 bits count."""
    for name, values in sums.items():
        sums[name] = values.float()


def blocks(sums: Sums) -> Iterator[tuple[slice, Sums]]:
    """A layer's sums piece by piece, each with its place in the flat tensor: views, to be changed in place.

    What is computed on the way for a piece stays in a CPU's cache, which for a large layer is several times as fast as
    going through all of memory at each step.
    """
    flat = {name: values.view(-1) for name, values in sums.items()}
    size = next(iter(flat.values())).numel()
    for start in range(0, size, BLOCK):
        place = slice(start, start + BLOCK)
        yield place, {name: values[place] for name, values in flat.items()}


def fade_sums(sums: Sums, factor: float) -> None:
    """Multiplies an EMA's sums and weights, in place, but for entries that have faded away already (see `FADED`).

    Args:
        sums: a layer's, or a block of it.
        factor: from 0 to 1; below 1, weights must be floats.
    """
    if factor == 1.0:
        return
    scale: float | Tensor = factor
    if factor and "sum" not in sums:
        scale = torch.where(sums["positive_weight"] + sums["negative_weight"] > FADED, factor, 1.0)
    for values in sums.values():
        values.mul_(scale)


def add_to_sums(sums: Sums, values: Tensor, weight: float) -> None:
    """Adds a checkpoint, in place.

    Args:
        sums: a layer's, or a block of it.
        values: its task vector in float32, trimmed where the merge is by TIES.
        weight: the checkpoint's; 1 where weights are counts.
    """
    if "sum" in sums:
        sums["sum"].add_(values, alpha=weight)
        return
    sums["positive_sum"].add_(values.clamp(min=0), alpha=weight)
    sums["negative_sum"].add_(values.clamp(max=0), alpha=weight)
    for name, sign in (("positive_weight", values > 0), ("negative_weight", values < 0)):
        kind = sums[name].dtype
        sums[name].add_(sign.to(kind), alpha=weight if kind.is_floating_point else 1)


def merge_sums(sums: Sums, total_weight: float) -> Tensor:
    """The merged task vector, in float32: see the head of ``ties.py``.

    Args:
        sums: a layer's.
        total_weight: of all checkpoints, the divisor of the linear merge.
    """
    if "sum" in sums:
        return sums["sum"] / total_weight if total_weight else torch.zeros_like(sums["sum"])
    positive = sums["positive_sum"] + sums["negative_sum"] >= 0
    mass = torch.where(positive, sums["positive_sum"], sums["negative_sum"])
    return divide(mass, torch.where(positive, sums["positive_weight"], sums["negative_weight"]))
