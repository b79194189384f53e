"""The processes of one run: data parallel, each with environments of its own, all with the same weights.

Started by ``accelerate launch``, which sets up the communication; a run that was not is one process and nothing is
communicated. Gradients are averaged over the processes after each of them has scaled its loss so that the average is
the gradient of the union of their batches. Merging is deterministic, so each process keeps the same teacher without
sending it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Ranks:
    """This process among those of the run."""

    def __init__(self) -> None:
        self.count = 1
        self.index = 0
        self.device = torch.device("cpu")  # where what is sent has to be
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            state = PartialState(cpu=not torch.cuda.is_available())
            self.count, self.index, self.device = state.num_processes, state.process_index, state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.index == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place; the same on each."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def mean_gradients(self, weights: Sequence[Tensor]) -> None:
        """Average the weights' gradients over the processes, in one message.

        A weight without a gradient counts as one with a gradient of 0.
        """
        if self.count == 1 or not weights:
            return
        gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
        flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
        self.sum(flat).div_(self.count)
        for weight, gradient in zip(weights, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            weight.grad = gradient.view_as(weight).to(weight.dtype)

    def moments(self, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (of the population) of all processes' values where the mask is True."""
        kept = values[mask] if mask is not None else values
        count = self.sum(torch.tensor(float(kept.numel()), device=values.device))
        mean = self.sum(kept.sum()) / count.clamp(min=1)
        variance = self.sum((kept - mean).square().sum()) / count.clamp(min=1)
        return mean, variance.sqrt()

    def mean(self, value: float) -> float:
        """The mean of a number over the processes."""
        return value if self.count == 1 else float(self.sum(torch.tensor(value, device=self.device))) / self.count

    def mean_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Each metric's mean over those processes that have it."""
        if self.count == 1:
            return dict(metrics)
        gathered = self.gather(dict(metrics))
        names = dict.fromkeys(name for part in gathered for name in part)
        return {name: _mean([part[name] for part in gathered if name in part]) for name in names}

    def gather(self, value: Any) -> list[Any]:
        """What each process gives, in their order; on every process."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def from_main(self, value: Any) -> Any:
        """What the main process gives, on every process."""
        return self.gather(value)[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            torch.distributed.barrier()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
