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
from gtr_agent.folding import folded, folded_weights, task_vectors
from gtr_agent.model import Precision
from gtr_agent.ties import RunningTies


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
