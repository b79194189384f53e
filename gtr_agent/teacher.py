"""The free teacher: the TIES-merge of the run's own checkpoints, on the agent's own base weights.

The merged weight change of each LoRA layer is folded into a second copy of that layer's weight, and of nothing else: no
second model, no second device. While the teacher scores, those weights stand in for the layers' own and the adapter is
switched off, which also computes faster than an adapter beside the weights.

What is kept of a checkpoint is its adapter. A merge goes through the layers one by one, makes each checkpoint's weight
change ``scaling * B @ A`` of some rows, trims it, elects and averages: besides the adapters and the folded weights only
:data:`ENTRIES` numbers are in memory. With EMA the weights fade; a checkpoint below :data:`LEAST_WEIGHT` takes part no
longer. All that were left out weigh ``LEAST_WEIGHT / alpha`` together at most, a 5,000th for alpha 0.5, which moves an
entry that the newest checkpoint keeps by no more than that share of what the checkpoints differ by, but for signs that
were elected by a hair. Where newer checkpoints trim, the past decides, and forgetting it tells: of the merge of
thirty checkpoints of a random walk, 2% of the norm with alpha 0.5, 10% with alpha 0.9 (``test_teacher.py``).

In bfloat16 a sum would lose most of a small change (see ``folding.py``). There the merged change itself is kept for
each layer instead of the sum, in as much memory, and applied beside the weight: a second product in each layer.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), sections on the merged teacher. Departures from its released code:
the teacher changes at every merge (there, the merge writes to an adapter name that exists, which PEFT answers by doing
nothing); the merge is on weight changes, not on LoRA factors (``space="factors"`` merges those, for the ablation; it
leaves out the square root of the layer's scaling by which PEFT multiplies both, and applies the scaling at the end);
the teacher sees the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gtr_agent.folding import ADAPTER, beside, change_shape, compute_type, fold, folded, lora_layers, task_vector
from gtr_agent.precision import Precision
from gtr_agent.settings import MergeSettings
from gtr_agent.ties import border, disjoint_mean, lora_delta
from gtr_envs.errors import CheckpointError, SettingError

LEAST_WEIGHT = 1e-4
"""An EMA's checkpoint that weighs less, of 1 for all together, takes part no longer."""

ENTRIES = 1 << 24
"""Numbers of all checkpoints' weight changes that are in memory at a time."""

LONG_RUN = 64
"""Checkpoints for which there should be room where all are kept."""


@dataclass(frozen=True)
class MergeReport:
    """What a merge did: Frobenius norms over all layers.

    Attributes:
        change: of the teacher's change by this merge; 0 would mean that it froze.
        distance: of what lies between teacher and agent.
    """

    change: float
    distance: float


@dataclass
class Checkpoint:
    """An adapter that takes part in the merge.

    Attributes:
        update: after which it was the agent's.
        weight: in the merge.
        factors: layer name -> A ``(rank, in)`` and B ``(out, rank)``, float32.
        borders: what is trimmed of it, see :func:`gtr_agent.ties.border`; by layer, or factor where those are merged.
    """

    update: int
    weight: float
    factors: dict[str, tuple[Tensor, Tensor]]
    borders: dict[str, float] = field(default_factory=dict)

    @cached_property
    def norm(self) -> float:
        """The Frobenius norm of all factors, by which a file that was damaged is noticed."""
        total = sum((squared_norm(factor) for pair in self.factors.values() for factor in pair), torch.zeros(()))
        return float(total.sqrt())


class MergedTeacher:
    """The teacher of GTR-Turbo.

    Args:
        model: the agent's PEFT model; its base weights are shared.
        settings: how checkpoints are merged.
        precision: of the forward passes.
        apart: apply the merged change beside the weights instead of folding it in.

    Raises:
        SettingError: the model has no LoRA layer to merge.

    Attributes:
        weights: layer name -> its weight with the merged change folded in; before the first merge a copy of the base's.
            Where the change stays apart: the change alone, in the type of the forward passes.
        checkpoints: the adapters that weigh something, oldest first.
    """

    def __init__(
        self, model: Any, settings: MergeSettings, precision: Precision = "float32", apart: bool = False
    ) -> None:
        self.model = model
        self.settings = settings
        self.precision = precision
        self.apart = apart
        self.layers = lora_layers(model)
        if not self.layers:
            raise SettingError("a merged teacher needs a model with a LoRA adapter; this model has none")
        self.weights = {name: self._weight(name, self._no_change(name)) for name in self.layers}
        self.checkpoints: list[Checkpoint] = []
        adapter = sum(4 * factor.numel() for name in self.layers for factor in self._factors(name))
        needed = adapter * most_kept(settings)
        self.place = place_of_adapters(settings.keep_on, next(iter(self.weights.values())).device, needed)

    @torch.no_grad()
    def merge(self, update: int = 0) -> MergeReport:
        """Add the agent's present adapter to the checkpoints and merge them all anew.

        Args:
            update: after which this is the agent's adapter, by which a resumed run finds it again.

        Raises:
            ValueError: the adapter has values that are not finite: training diverged. Nothing has changed then.
        """
        check_finite(self.layers)
        self._add(update)
        change = distance = torch.zeros((), dtype=torch.float64)
        for name, layer in self.layers.items():
            merged = self.delta(name)
            weight = self._weight(name, merged)
            change = change + squared_norm(weight.float() - self.weights[name].float())
            distance = distance + squared_norm(merged - task_vector(layer))
            # In place: while the weights are written anew, no second set of them is made.
            self.weights[name].copy_(weight)
        return MergeReport(float(change.sqrt()), float(distance.sqrt()))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it, the model is the teacher."""
        changes = {name: [weight] for name, weight in self.weights.items()}
        with beside(self.model, changes) if self.apart else folded(self.model, self.weights):
            yield

    @torch.no_grad()
    def delta(self, name: str) -> Tensor:
        """The merged weight change of one layer, (out features, in features), float32, on the model's device.

        Args:
            name: the layer's, as in ``weights``.
        """
        if not self.checkpoints:
            return self._no_change(name)
        scaling = self.layers[name].scaling[ADAPTER]
        device = self.layers[name].get_base_layer().weight.device
        sides = zip(*(each.factors[name] for each in self.checkpoints), strict=True)
        factors_a, factors_b = ([factor.to(device) for factor in side] for side in sides)
        if self.settings.space == "delta":
            return self._merged(name, lambda i, rows: lora_delta(factors_a[i], factors_b[i][rows], scaling))
        factor_a = self._merged(f"{name}.lora_A", lambda i, rows: factors_a[i][rows])
        return lora_delta(factor_a, self._merged(f"{name}.lora_B", lambda i, rows: factors_b[i][rows]), scaling)

    def _merged(self, key: str, rows_of: Callable[[int, slice], Tensor]) -> Tensor:
        """Merge one matrix of all checkpoints, so many rows at a time that few entries are in memory.

        Args:
            key: what the matrix's borders are kept under.
            rows_of: the number of a checkpoint, and which rows -> those rows of its matrix.
        """
        whole = slice(None)
        if self.settings.method == "ties":
            for number, each in enumerate(self.checkpoints):
                if key not in each.borders:
                    each.borders[key] = border(rows_of(number, whole), self.settings.density)
        count = len(self.checkpoints)
        first = rows_of(0, whole)
        weights = torch.tensor([each.weight for each in self.checkpoints], device=first.device)  # (checkpoints,)
        if self.settings.method == "ties":
            borders = torch.tensor([each.borders[key] for each in self.checkpoints], device=first.device).view(-1, 1, 1)
        merged = torch.empty_like(first)
        height = max(1, ENTRIES // (count * first.shape[1]))
        for start in range(0, len(first), height):
            rows = slice(start, start + height)
            stacked = torch.stack([rows_of(number, rows) for number in range(count)])  # (checkpoints, rows, in)
            if self.settings.method == "linear":
                merged[rows] = torch.tensordot(weights / weights.sum(), stacked, dims=1)
            else:
                merged[rows] = disjoint_mean(torch.where(stacked.abs() >= borders, stacked, 0.0), weights)
        return merged

    @property
    def updates(self) -> list[int]:
        """After which updates the checkpoints that take part were written."""
        return [each.update for each in self.checkpoints]

    def state(self) -> dict[str, list[Any]]:
        """Which checkpoints take part, with what weight, and their norms, as plain numbers.

        The adapters are not in it: they stand in the run's checkpoints.
        """
        return {
            "updates": self.updates,
            "weights": [each.weight for each in self.checkpoints],
            "norms": [each.norm for each in self.checkpoints],
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any], read: Callable[[int], Mapping[str, Tensor]]) -> None:
        """Become the teacher that `state` was taken of: bit for bit, on the same kind of device.

        Args:
            state: what `state` gave, of a teacher with the same settings on the same model.
            read: the adapter after an update, as PEFT names its tensors.

        Raises:
            CheckpointError: the state is damaged or an older gtr-bench's, or an adapter is missing or of another
                model. Nothing has changed then.
        """
        if "total_weight" in state:
            raise CheckpointError(
                "the saved teacher is that of an older gtr-bench, which kept running sums in place of adapters; go on "
                "with the version that began the run, or begin a new one"
            )
        lengths = {name: len(values) for name, values in state.items()}
        if set(lengths) != {"updates", "weights", "norms"} or len(set(lengths.values())) != 1:
            raise CheckpointError(f"the saved teacher is damaged: it holds {lengths}")
        rows = zip(*(state[name] for name in ("updates", "weights", "norms")), strict=True)
        found = []
        for update, weight, norm in rows:
            each = Checkpoint(update, weight, self._taken_from(read(update), update))
            if not math.isclose(each.norm, norm, rel_tol=1e-9):
                raise CheckpointError(f"the adapter after update {update} is damaged: its norm is not the one it had")
            found.append(each)
        self.checkpoints = found
        for name in self.layers:
            self.weights[name].copy_(self._weight(name, self.delta(name)))

    def _taken_from(self, adapter: Mapping[str, Tensor], update: int) -> dict[str, tuple[Tensor, Tensor]]:
        """The factors of an adapter that PEFT saved, where they are kept."""
        found = {}
        for name in self.layers:
            pair = [adapter.get(f"{name}.{part}.weight", torch.empty(0)) for part in ("lora_A", "lora_B")]
            if [factor.shape for factor in pair] != [factor.shape for factor in self._factors(name)]:
                raise CheckpointError(f"the adapter after update {update} is of another model: {name} differs")
            found[name] = (self._kept(pair[0]), self._kept(pair[1]))
        return found

    def _add(self, update: int) -> None:
        """Let the past fade as the settings say, and add the agent's adapter."""
        alpha = self.settings.ema_alpha
        weight = 1.0
        if self.settings.weights == "ema" and self.checkpoints:
            weight = alpha
            for each in self.checkpoints:
                each.weight *= 1.0 - alpha
            self.checkpoints = [each for each in self.checkpoints if each.weight >= LEAST_WEIGHT]
        factors = {name: self._factors(name) for name in self.layers}
        kept = {name: (self._kept(a), self._kept(b)) for name, (a, b) in factors.items()}
        self.checkpoints.append(Checkpoint(update, weight, kept))

    def _kept(self, factor: Tensor) -> Tensor:
        return factor.detach().to(self.place, torch.float32, copy=True)

    def _factors(self, name: str) -> tuple[Tensor, Tensor]:
        layer = self.layers[name]
        return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight

    def _no_change(self, name: str) -> Tensor:
        layer = self.layers[name]
        return torch.zeros(change_shape(layer), device=layer.lora_B[ADAPTER].weight.device)

    def _weight(self, name: str, delta: Tensor) -> Tensor:
        """What the teacher's passes use of a layer's merged change: the weight with it folded in, or it alone."""
        base = self.layers[name].get_base_layer().weight
        delta = delta.to(base.device)
        return delta.to(compute_type(base, self.precision)) if self.apart else fold(base, delta, self.precision)


def check_finite(layers: Mapping[str, Any]) -> None:
    """Raises ValueError where a layer's adapter has values that are not finite."""
    for name, layer in layers.items():
        for factor in (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight):
            if not torch.isfinite(factor).all():
                raise ValueError(f"The adapter of layer {name} has values that are not finite: training diverged.")


def squared_norm(values: Tensor) -> Tensor:
    """The sum of squares, added up in float64, on the CPU."""
    return torch.linalg.vector_norm(values, dtype=torch.float64).square().cpu()


def most_kept(settings: MergeSettings) -> int:
    """How many adapters a merge holds at most; with equal weights, which keep all, a run of some length."""
    if settings.weights == "sma":
        return LONG_RUN
    faded = 1.0 - settings.ema_alpha
    return 1 if faded == 0 else 1 + math.floor(math.log(LEAST_WEIGHT) / math.log(faded))


def place_of_adapters(wish: str, model_device: torch.device, needed: int) -> torch.device:
    """Where the checkpoints' adapters are kept.

    Args:
        wish: ``"model"``, ``"cpu"`` or ``"auto"``, as in the settings.
        model_device: where the model is.
        needed: bytes.
    """
    if wish == "cpu":
        return torch.device("cpu")
    if wish == "auto" and model_device.type == "cuda":
        # Of all its memory, not of what is free just now: the same choice in every run.
        room = torch.cuda.get_device_properties(model_device).total_memory // 4
        return model_device if needed <= room else torch.device("cpu")
    return model_device
