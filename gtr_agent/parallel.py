"""Several micro-batches at once on a CPU.

Small models leave most of a second core idle when torch splits each of their small matrix products: the waiting costs
more than the sharing brings. So each worker thread takes whole micro-batches and computes them on one core. Gradients
are added up in the order of the micro-batches, so that results do not depend on the number of workers. On an
accelerator there is one worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads_for(threads: int, dropout: float) -> int:
    """How many workers a run has: one where there is dropout.

    All threads draw from torch's one generator, in the order in which they happen to come to it.

    Args:
        threads: as the settings say; 0 for one a core.
        dropout: the share of the adapter's inputs that is dropped.
    """
    return 1 if dropout else threads


class Workers:
    """A pool of threads, each computing on one core.

    Args:
        count: how many; 0 for one a core.
        device: where the model is; anything but a CPU gets one worker.
    """

    def __init__(self, count: int = 0, device: str = "cpu") -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = (count or cores) if device == "cpu" else 1
        if device == "cpu" and self.count > 1:
            torch.set_num_threads(1)  # in this thread; those of the pool are told by their initialiser
        self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))

    def stream(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The function of each item, in order, each as soon as it and those before it are done."""
        return map(function, items) if self.count == 1 else self._pool.map(function, items)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The function of each item, in order."""
        return list(self.stream(function, items))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)


def add_gradients(
    workers: Workers,
    weights: Sequence[Tensor],
    losses: Callable[[Item], tuple[Tensor, Result]],
    items: Sequence[Item],
) -> list[Result]:
    """Add the gradients of several losses to the weights.

    Args:
        workers: who computes them.
        weights: the trained weights.
        losses: a micro-batch's loss, a scalar, and whatever else is wanted of it.
        items: the micro-batches.

    Returns:
        what else was wanted of each, in order.
    """

    def gradients(item: Item) -> tuple[tuple[Tensor | None, ...], Result]:
        with torch.enable_grad():
            loss, rest = losses(item)
            return torch.autograd.grad(loss, weights, allow_unused=True), rest

    results: list[Result] = []
    for found, rest in workers.stream(gradients, items):
        for weight, gradient in zip(weights, found, strict=True):
            if gradient is not None:
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        results.append(rest)
    return results


def pieces(count: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover ``count``, as even as they can be."""
    n_pieces = -(-count // size)
    bounds = [count * index // n_pieces for index in range(n_pieces + 1)] if n_pieces else []
    return [slice(start, end) for start, end in pairwise(bounds)]


def share(count: int, parts: int) -> list[slice]:
    """Slices that deal ``count`` out evenly to at most ``parts``."""
    return pieces(count, max(1, -(-count // parts)))
