"""TIES merging of checkpoints as pure tensor functions: trim, elect a sign, average the entries of that sign.

Sources: TIES-Merging (Yadav et al. 2023, https://arxiv.org/abs/2306.01708); its use on the checkpoints of a running
training as a teacher is GTR-Turbo (https://arxiv.org/abs/2512.13043).

A *task vector* is the weight change of a checkpoint from the base model. For a LoRA layer that is ``scaling * B @ A``
(`lora_delta`). With trimmed task vectors ``d_i`` and weights ``w_i``, entry by entry:

* the elected sign is that of ``sum_i w_i * d_i`` (positive where the sum is exactly zero, as PEFT does);
* the merged entry is ``sum_i w_i * d_i / sum_i w_i``, both sums over those ``i`` whose ``d_i`` has the elected sign,
  and zero where there is none (entries that were trimmed have no sign and take no part).

`ties_merge` does this with all task vectors at hand; ``teacher.py`` makes them from adapters, some rows at a time.

Weights. *SMA*: every checkpoint has weight 1. *EMA* with ``alpha``: `ema_weights`.

Departure from the released code, and why: it calls PEFT's merge with weights that sum to one. PEFT multiplies by the
weights but divides by the *number* of agreeing entries, which shrinks the result: four equal adapters at 0.25 give a
quarter of the adapter. Here the mean divides by the summed *weights*, so the scale of the weights does not matter. With
all weights 1 both agree. (PEFT also elects the sign without the weights; here they have their say.)
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gtr_envs.errors import SettingError

MergeMethod = Literal["ties", "linear"]

COUNTED_FROM = 1 << 16
"""Tensors of at least so many entries are trimmed by counting; for smaller ones selecting is faster."""


def lora_delta(factor_a: Tensor, factor_b: Tensor, scaling: float) -> Tensor:
    """The weight change of one LoRA layer, ``scaling * B @ A`` with ``scaling = lora_alpha / rank``.

    Args:
        factor_a: A, ``(rank, in_features)``.
        factor_b: B, ``(out_features, rank)``.
        scaling: the factor that the layer applies, ``lora_alpha / rank`` (``lora_alpha / sqrt(rank)`` for rsLoRA).

    Returns:
        ``(out_features, in_features)`` in float32, detached: a task vector holds no graph.

    Source: LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), section 4.1.
    """
    return scaling * (factor_b.detach().float() @ factor_a.detach().float())


def trim(delta: Tensor, density: float) -> Tensor:
    """Keeps the entries of one tensor that are largest by magnitude and sets the others to zero.

    Exactly ``k = int(density * delta.numel())`` entries are kept (rounded down, as PEFT does). Among entries of equal
    magnitude at the border, those that come first in the tensor are kept: the same bytes on every device, which
    ``torch.topk`` does not promise.

    Args:
        delta: a task vector of any shape, of finite numbers.
        density: the share to keep, from 0 to 1. At 1 the tensor comes back as it is (not a copy).

    Returns:
        A tensor of the same shape and type.

    Raises:
        SettingError: the density is outside 0 to 1.

    Source: TIES-Merging, section 4, step 1 ("trim").
    """
    check_density(density)
    size = delta.numel()
    kept = int(density * size)
    if kept == size:
        return delta
    if kept == 0:
        return torch.zeros_like(delta)
    magnitude = delta.abs().reshape(-1)
    lowest = _in_order(magnitude, size - kept)  # the smallest magnitude that is kept
    keep = magnitude >= lowest
    surplus = int(keep.sum()) - kept
    if surplus:
        keep[(magnitude == lowest).nonzero().squeeze(1)[-surplus:]] = False
    return torch.where(keep.reshape(delta.shape), delta, 0.0)


def border(delta: Tensor, density: float) -> float:
    """The magnitude that parts the entries that trimming keeps from those that it drops.

    It lies halfway between the two, so that a task vector that is made again, and may differ in its last bits, is
    trimmed alike. Entries that equal the smallest one kept are kept all of them, where `trim` keeps the first.

    Args:
        delta: a task vector of finite numbers.
        density: the share to keep, from 0 to 1.

    Returns:
        the magnitude; 0 where all is kept, infinity where nothing is.
    """
    check_density(density)
    size = delta.numel()
    kept = int(density * size)
    if kept in (0, size):
        return 0.0 if kept else math.inf
    magnitude = delta.abs().reshape(-1)
    lowest = _in_order(magnitude, size - kept)
    dropped = magnitude[magnitude < lowest]
    if not dropped.numel():
        return float(lowest)
    middle = (lowest + dropped.max()) / 2
    return float(torch.where(middle > dropped.max(), middle, lowest))  # neighbours have no number between them


def ties_merge(deltas: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """TIES of several task vectors of one layer at once.

    Args:
        deltas: untrimmed task vectors of one shape, one a checkpoint.
        weights: one positive weight a checkpoint; only their ratios matter.
        density: the share of entries that each task vector keeps.

    Returns:
        The merged task vector in float32 (in float64 where the task vectors are), of the same shape.

    Raises:
        ValueError: no task vector, another number of weights, a weight that is not positive and finite.
        SettingError: the density is outside 0 to 1.

    Source: TIES-Merging, section 4 and algorithm 1, with weights as at the head of this file.
    """
    if not deltas:
        raise ValueError("ties_merge needs at least one task vector, got none.")
    for weight in weights:
        check_weight(weight)
    wide = torch.promote_types(deltas[0].dtype, torch.float32)
    stacked = torch.stack([trim(delta.detach().to(wide), density) for delta in deltas])  # (checkpoints, ...)
    if len(weights) != len(deltas):
        raise ValueError(f"{len(deltas)} task vectors have {len(weights)} weights.")
    return disjoint_mean(stacked, torch.tensor(weights, dtype=wide, device=stacked.device))


def disjoint_mean(stacked: Tensor, weights: Tensor) -> Tensor:
    """Elect each entry's sign, and average the entries that have it.

    Args:
        stacked: trimmed task vectors, (checkpoints, ...).
        weights: (checkpoints,), positive, of the same type.

    Returns:
        The merged task vector, (...).

    Source: TIES-Merging, section 4, steps 2 and 3 ("elect", "disjoint merge").
    """
    weight = weights.view(-1, *[1] * (stacked.ndim - 1))
    weighted = stacked * weight
    agrees = torch.where(weighted.sum(dim=0) >= 0, stacked > 0, stacked < 0)  # zero entries never agree
    return divide((weighted * agrees).sum(dim=0), (weight * agrees).sum(dim=0))


def ema_weights(count: int, alpha: float) -> list[float]:
    """The weight that each of `count` checkpoints has in an exponential moving average, oldest first.

    Args:
        count: the number of checkpoints.
        alpha: the weight of a new checkpoint, above 0 and at most 1.

    Returns:
        ``count`` weights that sum to 1: ``(1 - alpha)^(count - 1)`` for the first,
        ``alpha * (1 - alpha)^(count - 1 - i)`` for the others.

    Raises:
        SettingError: alpha is not above 0 and at most 1.

    Source: GTR-Turbo, EMA: ``merged^(k) = alpha * pi^(k-1) + (1 - alpha) * merged^(k-1)``.
    """
    check_alpha(alpha)
    return [(1.0 if i == 0 else alpha) * (1.0 - alpha) ** (count - 1 - i) for i in range(count)]


def check_density(density: float) -> None:
    """Raises SettingError where `density` is not from 0 to 1."""
    if not 0.0 <= density <= 1.0:
        raise SettingError(f"The density is the share of entries to keep, from 0 to 1; got {density}.")


def check_alpha(alpha: float) -> None:
    """Raises SettingError where `alpha` is not above 0 and at most 1."""
    if not 0.0 < alpha <= 1.0:
        raise SettingError(f"The EMA weight alpha must be above 0 and at most 1, got {alpha}.")


def check_weight(weight: float) -> None:
    """Raises ValueError where a checkpoint's `weight` is not positive and finite."""
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"A checkpoint's weight must be positive and finite, got {weight}.")


def divide(mass: Tensor, weight: Tensor) -> Tensor:
    """``mass / weight``, and 0 where the weight is 0 (the mass is 0 there)."""
    return mass / weight.clamp(min=torch.finfo(mass.dtype).tiny)


def _in_order(magnitude: Tensor, place: int) -> Tensor:
    """The magnitude that would stand at a place, counted from 0, if all were sorted upwards.

    Non-negative floats are in the order of their bits, so counting the upper and then the lower half of the bits finds
    the number without sorting: several times as fast as ``torch.topk`` or ``torch.kthvalue`` on a layer of 68 million
    entries on a CPU. Either way gives the very same number.
    """
    if magnitude.dtype == torch.float64 or magnitude.numel() < COUNTED_FROM:
        return torch.kthvalue(magnitude, place + 1).values
    bits = magnitude.float().view(torch.int32)
    upper = bits >> 16
    high, place = _digit(upper, place, 1 << 15)
    low, _ = _digit(bits[upper == high] & 0xFFFF, place, 1 << 16)
    return torch.tensor((high << 16) | low, dtype=torch.int32, device=bits.device).view(torch.float32)


def _digit(digits: Tensor, place: int, values: int) -> tuple[int, int]:
    """The digit at a place of the sorted digits, and which place it has among those that are equal to it."""
    up_to = torch.bincount(digits, minlength=values).cumsum(0)
    digit = int(torch.searchsorted(up_to, place, right=True))
    return digit, place - (int(up_to[digit - 1]) if digit else 0)
