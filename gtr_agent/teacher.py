"""The free teacher: the TIES-merge of the run's own checkpoints, on the agent's own base weights.

The merged weight change of each LoRA layer is folded into a second copy of that layer's weight, and of nothing else: no
second model, no second device. While the teacher scores, those weights stand in for the layers' own and the adapter is
switched off; folded layers also cost less than half of unmerged LoRA.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), sections on the merged teacher. Departures from its released code:
the teacher changes at every merge (there, the merge writes to an adapter name that exists, which PEFT answers by doing
nothing); the merge is on weight changes, not on LoRA factors; the teacher sees the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gtr_agent.config import MergeSettings
from gtr_agent.model import Precision
from gtr_agent.ties import RunningTies, lora_delta

ADAPTER = "default"


def lora_layers(model: Any) -> dict[str, Any]:
    """The model's LoRA layers by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def task_vectors(model: Any) -> dict[str, Tensor]:
    """The weight change of each LoRA layer from the base, ``scaling * B @ A``, by name; float32, without gradients."""
    return {
        name: lora_delta(layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER])
        for name, layer in lora_layers(model).items()
    }


def folded_weights(
    model: Any, deltas: Mapping[str, Tensor] | None = None, precision: Precision = "float32"
) -> dict[str, Tensor]:
    """The weight of each LoRA layer with a change folded in, by name, as new tensors.

    Args:
        model: a PEFT model with LoRA layers.
        deltas: the weight changes; None for the adapter's own.
        precision: of the forward passes that will use them. For bfloat16 the sum is rounded here, once, to what each
            pass would round it to anyway.
    """
    deltas = task_vectors(model) if deltas is None else deltas
    bases = {name: layer.get_base_layer().weight.detach() for name, layer in lora_layers(model).items()}
    rounded = torch.bfloat16 if precision == "bfloat16" else None
    return {name: (base.float() + deltas[name]).to(rounded or base.dtype) for name, base in bases.items()}


@contextmanager
def folded(model: Any, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let other weights stand in for those of the LoRA layers, with the adapter switched off.

    Args:
        model: a PEFT model with LoRA layers.
        weights: a weight for each LoRA layer, by name; they are used as they are, not copied.
    """
    layers = lora_layers(model)
    own = {name: layer.get_base_layer().weight.data for name, layer in layers.items()}
    with model.disable_adapter():
        try:
            for name, layer in layers.items():
                layer.get_base_layer().weight.data = weights[name]
            yield
        finally:
            for name, layer in layers.items():
                layer.get_base_layer().weight.data = own[name]


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
    """

    def __init__(self, model: Any, settings: MergeSettings, precision: Precision = "float32") -> None:
        self.model = model
        self.precision = precision
        alpha = settings.ema_alpha if settings.weights == "ema" else None
        self.sums = RunningTies(settings.method, settings.density, alpha)
        self.delta = {name: torch.zeros_like(delta) for name, delta in task_vectors(model).items()}
        self.weights = folded_weights(model, self.delta, precision)

    def merge(self) -> MergeReport:
        """Add the agent's present adapter to the checkpoints and merge them all anew."""
        agent = task_vectors(self.model)
        self.sums.update(agent)
        before, self.delta = self.delta, self.sums.merged()
        self.weights = folded_weights(self.model, self.delta, self.precision)
        return MergeReport(distance_between(self.delta, before), distance_between(self.delta, agent))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it, the model is the teacher."""
        with folded(self.model, self.weights):
            yield


def distance_between(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The Frobenius norm of the difference over all layers."""
    return float(sum(((left[name] - right[name]) ** 2).sum() for name in left)) ** 0.5
