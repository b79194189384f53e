"""TIES merging of checkpoints, exactly and in bounded memory: trim, elect a sign, average the entries of that sign.

Sources: TIES-Merging (Yadav et al. 2023, https://arxiv.org/abs/2306.01708); its use on the checkpoints of a running
training as a teacher is GTR-Turbo (https://arxiv.org/abs/2512.13043).

A *task vector* is the weight change of a checkpoint from the base model. For a LoRA layer that is ``scaling * B @ A``
(`lora_delta`). With trimmed task vectors ``d_i`` and weights ``w_i``, entry by entry:

* the elected sign is that of ``sum_i w_i * d_i`` (positive where the sum is exactly zero, as PEFT does);
* the merged entry is ``sum_i w_i * d_i / sum_i w_i``, both sums over those ``i`` whose ``d_i`` has the elected sign,
  and zero where there is none (entries that were trimmed have no sign and take no part).

Both need only four running sums for an entry: of the positive parts, of their weights, of the negative parts and of
their weights. So a merge over all checkpoints so far costs the same at every update, however many there are, and
no checkpoint is kept (`RunningTies`).

Weights. *SMA*: every checkpoint has weight 1. *EMA* with ``alpha``: the sums are scaled by ``1 - alpha`` and the new
checkpoint joins with weight ``alpha``; the very first one joins with weight 1 (`ema_weights`).

Departures from the released code, and why:

* It merges the LoRA factors A and B separately, which is not TIES on the weight change B @ A. Here the weight change is
  merged.
* It calls PEFT's merge with weights that sum to one. PEFT multiplies by the weights but divides by the *number* of
  agreeing entries, which shrinks the result: four equal adapters at 0.25 give a quarter of the adapter. Here the mean
  divides by the summed *weights*, so the scale of the weights does not matter. With all weights 1 both agree.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gtr_envs.errors import CheckpointError, SettingError

MergeMethod = Literal["ties", "linear"]

_SUMS = ("positive_sum", "positive_weight", "negative_sum", "negative_weight")
_TOTAL_WEIGHT = "total_weight"
_COUNT = "count"


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
    magnitude at the border, ``torch.topk`` chooses which are kept.

    Args:
        delta: a task vector of any shape.
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
    flat = delta.reshape(-1)
    magnitude = flat.abs()
    # Looking for the smaller side, unsorted, is the fastest exact way measured that also runs on a GPU.
    if 2 * kept > size:
        dropped = torch.topk(magnitude, size - kept, largest=False, sorted=False).indices
        return flat.index_fill(0, dropped, 0.0).reshape(delta.shape)
    chosen = torch.topk(magnitude, kept, sorted=False).indices
    return torch.zeros_like(flat).index_copy_(0, chosen, flat[chosen]).reshape(delta.shape)


def ties_merge(deltas: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """TIES of several task vectors of one layer at once. `RunningTies` gives the same without keeping them.

    Args:
        deltas: untrimmed task vectors of one shape, one a checkpoint.
        weights: one positive weight a checkpoint; only their ratios matter.
        density: the share of entries that each task vector keeps.

    Returns:
        The merged task vector in float32, of the same shape.

    Raises:
        ValueError: no task vector, another number of weights, a weight that is not positive and finite.
        SettingError: the density is outside 0 to 1.

    Source: TIES-Merging, section 4 and algorithm 1, with weights as at the head of this file.
    """
    if not deltas:
        raise ValueError("ties_merge needs at least one task vector, got none.")
    for weight in weights:
        _check_weight(weight)
    stacked = torch.stack([trim(delta.detach().float(), density) for delta in deltas])  # (checkpoints, ...)
    weight_by_entry = torch.stack(
        [torch.full_like(delta, weight) for delta, weight in zip(stacked, weights, strict=True)]
    )
    total = (stacked * weight_by_entry).sum(dim=0)
    elected = torch.where(total >= 0, 1.0, -1.0)
    agrees = stacked.sign() == elected  # zero entries have sign 0 and never agree
    weight_of_agreeing = (weight_by_entry * agrees).sum(dim=0)
    mass = (stacked * weight_by_entry * agrees).sum(dim=0)
    return _divide(mass, weight_of_agreeing)


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


class RunningTies:
    """The merge of all checkpoints added so far, kept as running sums in float32, layer by layer.

    ``method="ties"`` wants *trimmed* task vectors; ``method="linear"`` is the plain weighted mean and wants untrimmed
    ones. `update` trims (or not) and weights by itself; `add` and `decay` are the steps it is made of.

    Args:
        method: ``"ties"`` or ``"linear"``.
        density: the share of entries that `update` keeps of each task vector (not used by ``"linear"``).
        alpha: None for equal weights (SMA), or the weight of a new checkpoint (EMA).

    Raises:
        SettingError: an unknown method, a density outside 0 to 1, an alpha that is not above 0 and at most 1.

    A limit worth knowing: with EMA at alpha 0.5 float32 forgets an entry that was trimmed away in the last 120 or so
    checkpoints on end (its sum and its weight both fade to zero); it is then merged as zero.
    """

    def __init__(self, method: MergeMethod = "ties", density: float = 0.8, alpha: float | None = None) -> None:
        if method not in ("ties", "linear"):
            raise SettingError(f"Unknown merge method {method!r}: it is 'ties' or 'linear'.")
        check_density(density)
        if alpha is not None:
            check_alpha(alpha)
        self.method = method
        self.density = density
        self.alpha = alpha
        self.count = 0  # checkpoints added
        self.total_weight = 0.0  # sum of the weights of all checkpoints: the divisor of the linear merge
        self._sums: dict[str, dict[str, Tensor]] = {}  # layer name -> the four sums of _SUMS

    def update(self, deltas: Mapping[str, Tensor]) -> None:
        """Trims a checkpoint's task vectors and adds them, weighted by the SMA or EMA rule.

        Args:
            deltas: layer name -> untrimmed task vector; the same names and shapes at every call.

        Raises:
            ValueError: other names or shapes than before, or a value that is not finite. Nothing is added then.
        """
        trimmed = (
            {name: trim(delta, self.density) for name, delta in deltas.items()} if self.method == "ties" else deltas
        )
        self._check(trimmed)
        if self.alpha is None or self.count == 0:
            self.add(trimmed, 1.0)
            return
        self.decay(1.0 - self.alpha)
        self.add(trimmed, self.alpha)

    def add(self, deltas: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Adds one checkpoint.

        Args:
            deltas: layer name -> task vector, trimmed already where the method is TIES.
            weight: its weight, positive and finite.

        Raises:
            ValueError: other names or shapes than before, a value that is not finite, or a bad weight.
        """
        _check_weight(weight)
        self._check(deltas)
        for name, delta in deltas.items():
            values = delta.detach().float()
            if name not in self._sums:
                self._sums[name] = {key: torch.zeros_like(values) for key in _SUMS}
            sums = self._sums[name]
            sums["positive_sum"].add_(values.clamp(min=0), alpha=weight)
            sums["positive_weight"].add_((values > 0).float(), alpha=weight)
            sums["negative_sum"].add_(values.clamp(max=0), alpha=weight)
            sums["negative_weight"].add_((values < 0).float(), alpha=weight)
        self.total_weight += weight
        self.count += 1

    def decay(self, factor: float) -> None:
        """Scales the weight of everything added so far.

        Args:
            factor: from 0 to 1; ``1 - alpha`` for an EMA.

        Raises:
            ValueError: the factor is outside 0 to 1.
        """
        if not 0.0 <= factor <= 1.0:
            raise ValueError(f"The decay factor must be from 0 to 1, got {factor}.")
        for sums in self._sums.values():
            for values in sums.values():
                values.mul_(factor)
        self.total_weight *= factor

    def merged(self) -> dict[str, Tensor]:
        """The merged task vectors: layer name -> float32 tensor (fresh memory), as at the head of this file."""
        return {name: self._merge(sums) for name, sums in self._sums.items()}

    def _merge(self, sums: Mapping[str, Tensor]) -> Tensor:
        total = sums["positive_sum"] + sums["negative_sum"]
        if self.method == "linear":
            return total / self.total_weight
        positive = total >= 0
        mass = torch.where(positive, sums["positive_sum"], sums["negative_sum"])
        weight = torch.where(positive, sums["positive_weight"], sums["negative_weight"])
        return _divide(mass, weight)

    def _check(self, deltas: Mapping[str, Tensor]) -> None:
        """Raises ValueError where a checkpoint does not fit the ones before, before anything is changed."""
        if self._sums and deltas.keys() != self._sums.keys():
            odd = sorted(deltas.keys() ^ self._sums.keys())
            raise ValueError(f"Every checkpoint must have the layers of the first one; these differ: {', '.join(odd)}.")
        for name, delta in deltas.items():
            if name in self._sums and delta.shape != self._sums[name]["positive_sum"].shape:
                expected = tuple(self._sums[name]["positive_sum"].shape)
                raise ValueError(f"Layer {name} has shape {tuple(delta.shape)}, the first checkpoint's is {expected}.")
            if not torch.isfinite(delta).all():
                raise ValueError(f"The task vector of layer {name} has values that are not finite: training diverged.")

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as a flat dict, ``"positive_sum/LAYER" -> tensor`` and so on, that safetensors can save.

        The tensors are the live ones, not copies. Settings (method, density, alpha) are not part of it.
        """
        state = {f"{key}/{name}": values for name, sums in self._sums.items() for key, values in sums.items()}
        state[_TOTAL_WEIGHT] = torch.tensor([self.total_weight], dtype=torch.float64)
        state[_COUNT] = torch.tensor([self.count], dtype=torch.int64)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes the sums of a saved `state_dict` (copied), in place of its own.

        Args:
            state: what `state_dict` gave.

        Raises:
            CheckpointError: an entry is missing or unknown. Nothing is changed then.
        """
        sums: dict[str, dict[str, Tensor]] = {}
        for full_name, values in state.items():
            if full_name in (_TOTAL_WEIGHT, _COUNT):
                continue
            key, _, name = full_name.partition("/")
            if key not in _SUMS or not name:
                raise CheckpointError(f"Unknown entry {full_name!r} in the saved state of a merge.")
            sums.setdefault(name, {})[key] = values.detach().float().clone()
        missing = [key for key in (_TOTAL_WEIGHT, _COUNT) if key not in state]
        missing += [f"{key}/{name}" for name, parts in sums.items() for key in _SUMS if key not in parts]
        if missing:
            raise CheckpointError(f"The saved state of a merge lacks {', '.join(missing)}.")
        self._sums = sums
        self.total_weight = float(state[_TOTAL_WEIGHT].item())
        self.count = int(state[_COUNT].item())


def check_density(density: float) -> None:
    """Raises SettingError where `density` is not from 0 to 1."""
    if not 0.0 <= density <= 1.0:
        raise SettingError(f"The density is the share of entries to keep, from 0 to 1; got {density}.")


def check_alpha(alpha: float) -> None:
    """Raises SettingError where `alpha` is not above 0 and at most 1."""
    if not 0.0 < alpha <= 1.0:
        raise SettingError(f"The EMA weight alpha must be above 0 and at most 1, got {alpha}.")


def _check_weight(weight: float) -> None:
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"A checkpoint's weight must be positive and finite, got {weight}.")


def _divide(mass: Tensor, weight: Tensor) -> Tensor:
    """``mass / weight``, and 0 where the weight is 0 (the mass is 0 there)."""
    return mass / weight.clamp(min=torch.finfo(weight.dtype).tiny)
