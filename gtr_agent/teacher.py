"""The free teacher: the TIES-merge of the run's own checkpoints, on the agent's own base weights.

The merged weight change of each LoRA layer is folded into a second copy of that layer's weight, and of nothing else: no
second model, no second device. While the teacher scores, those weights stand in for the layers' own and the adapter is
switched off, which also computes faster than an adapter beside the weights. A merge goes through the layers one by one,
so that beside the running sums and the folded weights only one layer's weight change is in memory.

In bfloat16 a sum would lose most of a small change (see ``folding.py``). There the merged change itself is kept for
each layer instead of the sum, in as much memory, and applied beside the weight: a second product in each layer.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), sections on the merged teacher. Departures from its released code:
the teacher changes at every merge (there, the merge writes to an adapter name that exists, which PEFT answers by doing
nothing); the merge is on weight changes, not on LoRA factors (``space="factors"`` merges those, for the ablation; it
leaves out the square root of the layer's scaling by which PEFT multiplies both, and applies the scaling at the end);
the teacher sees the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gtr_agent.folding import ADAPTER, beside, change_shape, compute_type, fold, folded, lora_layers, task_vector
from gtr_agent.precision import Precision
from gtr_agent.running_ties import RunningTies
from gtr_agent.settings import MergeSettings
from gtr_agent.sign_sums import bytes_per_entry
from gtr_agent.ties import lora_delta
from gtr_envs.errors import CheckpointError, SettingError


@dataclass(frozen=True)
class MergeReport:
    """What a merge did: Frobenius norms over all layers.

    Attributes:
        change: of the teacher's change by this merge; 0 would mean that it froze.
        distance: of what lies between teacher and agent.
    """

    change: float
    distance: float


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
        sums: the running merge. With ``space="delta"`` its layers are the model's; with ``"factors"`` each LoRA layer
            has two, ``NAME.lora_A`` and ``NAME.lora_B``.
    """

    def __init__(
        self, model: Any, settings: MergeSettings, precision: Precision = "float32", apart: bool = False
    ) -> None:
        self.model = model
        self.precision = precision
        self.apart = apart
        self.space = settings.space
        self.layers = lora_layers(model)
        if not self.layers:
            raise SettingError("a merged teacher needs a model with a LoRA adapter; this model has none")
        self.weights = {name: self._weight(name, self._no_change(name)) for name in self.layers}
        alpha = settings.ema_alpha if settings.weights == "ema" else None
        entries = sum(shape.numel() for shape in self._shapes().values())
        needed = entries * bytes_per_entry(settings.method, counted=alpha is None)
        place = place_of_sums(settings.keep_on, next(iter(self.weights.values())).device, needed)
        self.sums = RunningTies(settings.method, settings.density, alpha, place)

    @torch.no_grad()
    def merge(self) -> MergeReport:
        """Add the agent's present adapter to the checkpoints and merge them all anew.

        Raises:
            ValueError: the adapter has values that are not finite: training diverged. Nothing has changed then.
        """
        check_finite(self.layers)
        change = distance = torch.zeros((), dtype=torch.float64)
        for name, layer in self.layers.items():
            agent = task_vector(layer)
            before, after = self._add(name, agent)
            # In place: while the weights are written anew, no second set of them is made.
            self.weights[name].copy_(self._weight(name, after))
            change = change + squared_norm(after - before)
            distance = distance + squared_norm(after - agent)
        self.sums.finish()
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
        if not self.sums.count:
            return self._no_change(name)
        base = self.layers[name].get_base_layer().weight
        if self.space == "delta":
            return self.sums.merged_layer(name, base.device)
        factors = [self.sums.merged_layer(f"{name}.{part}", base.device) for part in ("lora_A", "lora_B")]
        return lora_delta(factors[0], factors[1], self.layers[name].scaling[ADAPTER])

    def state(self) -> dict[str, Tensor]:
        """All that the teacher has learnt, as a flat dict that safetensors can save: the merge's sums and count.

        The tensors are the live ones, not copies: save them before the next merge.
        """
        return self.sums.state_dict()

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Become the teacher that `state` was taken of: bit for bit, on the same kind of device.

        Args:
            state: what `state` gave, of a teacher with the same settings on the same model. Its tensors are taken
                over, not copied.

        Raises:
            CheckpointError: the state is damaged, or of another model, method or space. Nothing has changed then.
        """
        shapes = self._shapes()
        found = {key.partition("/")[2]: values.shape for key, values in state.items() if "/" in key}
        if found and found != shapes:
            odd = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
            raise CheckpointError(
                f"the saved teacher is of another model or merge.space: {len(odd)} layers differ, such as {odd[0]}"
            )
        self.sums.load_state_dict(state)
        for name in self.layers:
            self.weights[name].copy_(self._weight(name, self.delta(name)))

    def _shapes(self) -> dict[str, torch.Size]:
        """The shapes of what is merged, by name."""
        if self.space == "delta":
            return {name: change_shape(layer) for name, layer in self.layers.items()}
        return {f"{name}.{part}": factor.shape for name in self.layers for part, factor in self._factors(name).items()}

    def _factors(self, name: str) -> dict[str, Tensor]:
        layer = self.layers[name]
        return {"lora_A": layer.lora_A[ADAPTER].weight, "lora_B": layer.lora_B[ADAPTER].weight}

    def _add(self, name: str, agent: Tensor) -> tuple[Tensor, Tensor]:
        """Adds a layer of the agent to the sums; returns its merged weight change without and with it."""
        if self.space == "delta":
            return self.sums.add_layer(name, agent)
        pairs = [self.sums.add_layer(f"{name}.{part}", factor) for part, factor in self._factors(name).items()]
        (a_before, a_after), (b_before, b_after) = pairs
        scaling = self.layers[name].scaling[ADAPTER]
        return lora_delta(a_before, b_before, scaling), lora_delta(a_after, b_after, scaling)

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


def place_of_sums(wish: str, model_device: torch.device, needed: int) -> torch.device:
    """Where the running sums are kept.

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
