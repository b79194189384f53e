"""The processes of one run: data parallel, each with environments of its own, all with the same weights.

Started by ``accelerate launch``, which sets up the communication; a run that was not is one process and nothing is
communicated. Gradients are averaged over the processes after each of them has scaled its loss so that the average is
the gradient of the union of their batches. Merging is deterministic, so each process keeps the same teacher without
sending it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from gtr_agent.launch import cores_of_process, cpu_asked_for, process_count
from gtr_envs.errors import GtrError

Result = TypeVar("Result")

PATIENCE = timedelta(hours=1)
"""How long a process waits for the others. They wait longest while the main one writes a checkpoint, of some 5 GB
for a 7B model; a process that ends is noticed at once, but for one on a GPU of another machine."""

COUNTS = (
    *("episodes", "thoughts_asked", "thoughts_learned", "thoughts_kept"),
    *("corrector_calls", "corrector_cached", "corrector_failed", "corrector_unreadable", "corrector_silent"),
    *("corrector_tokens_in", "corrector_tokens_out", "corrector_cost", "corrector_spent"),
)
"""Metrics of which the run has as much as all its processes together."""

OF_EPISODES = ("success", "return", "episode_steps")
"""Metrics that are means over the episodes that ended."""

WORST = ("ratio_at_start",)
"""Metrics of which the largest is the run's."""


class ProcessLostError(GtrError, RuntimeError):
    """Another process of the run does not answer."""


class Ranks:
    """This process among those of the run.

    Args:
        device: the setting ``model.device``: with "cpu" the processes compute and talk on CPUs.
    """

    def __init__(self, device: str = "auto") -> None:
        self.count = 1
        self.index = 0
        self.device = torch.device("cpu")  # where what is sent has to be
        self.on_cpu = device == "cpu" or (device == "auto" and cpu_asked_for()) or not torch.cuda.is_available()
        if process_count() > 1:
            from accelerate import PartialState

            state = PartialState(cpu=self.on_cpu, timeout=PATIENCE)
            self.count, self.index, self.device = state.num_processes, state.process_index, state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.index == 0

    def threads(self, wish: int) -> int:
        """How many threads this process computes with on a CPU: as many as wished for, or its share of the cores."""
        return wish or cores_of_process()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place; the same on each."""
        if self.count > 1:
            with _answered():
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

    def largest(self, value: int) -> int:
        """The largest of the processes' numbers; the same on each."""
        if self.count == 1:
            return value
        number = torch.tensor(value, device=self.device)
        with _answered():
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
        return int(number)

    def mean_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The run's metrics of those of its processes, see :func:`join_metrics`."""
        return dict(metrics) if self.count == 1 else join_metrics(self.gather(dict(metrics)))

    def gather(self, value: Any) -> list[Any]:
        """What each process gives, in their order; on every process."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _answered():
            torch.distributed.all_gather_object(found, value)
        return found

    def to_main(self, value: Any) -> list[Any] | None:
        """What each process gives, in their order; on the main process alone, None on the others."""
        if self.count == 1:
            return [value]
        found: list[Any] | None = [None] * self.count if self.is_main else None
        with _answered():
            torch.distributed.gather_object(value, found)
        return found

    def from_main(self, value: Any) -> Any:
        """What the main process gives, on every process."""
        return self.gather(value)[0]

    def once(self, work: Callable[[], Result]) -> Result:
        """Do something on the main process alone.

        Returns:
            what came of it, on every process.

        Raises:
            GtrError, OSError: the main process's, on every process, so that none is left waiting.
        """
        if self.count == 1:
            return work()
        done: tuple[Any, GtrError | OSError | None] = (None, None)
        if self.is_main:
            try:
                done = work(), None
            except (GtrError, OSError) as error:
                done = None, error
        result, failed = self.from_main(done)
        if failed is not None:
            raise failed
        return result

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            with _answered():
                torch.distributed.barrier()


def part() -> None:
    """End the processes' talk to each other, when all is done; nothing where there was none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def join_metrics(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a run from those of its processes.

    Counts are added up, means over episodes weighted by them, and the worst is taken where the worst is asked for; of
    all others it is the mean over those processes that have it: each has as many turns as the others.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _join(name, [part for part in parts if name in part]) for name in names}


def _join(name: str, parts: Sequence[Mapping[str, float]]) -> float:
    values = [part[name] for part in parts]
    if name in COUNTS:
        return sum(values)
    if name in WORST:
        return max(values)
    weights = [part.get("episodes", 1.0) if name in OF_EPISODES else 1.0 for part in parts]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / (sum(weights) or 1.0)


@contextmanager
def named_lost_processes() -> Iterator[None]:
    """Names the error of work in which, where the model is sharded, its own layers talk to the other processes.

    Raises:
        ProcessLostError: for an error of the connection to them; all others are passed on.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, ProcessLostError) or not _is_of_connection(error):
            raise
        raise _lost(error) from error


def _is_of_connection(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def _lost(error: RuntimeError) -> ProcessLostError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ProcessLostError(
        f"another process of the run has ended or does not answer ({first}); its own message says why. "
        "Once that is mended go on with --resume"
    )


@contextmanager
def _answered() -> Iterator[None]:
    """Names the error of a message that the others do not answer."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):  # of this process
            raise
        raise _lost(error) from error
