"""The adapter folded into the weights that it changes: the same function, computed faster.

A small layer folded costs less than half of one with its adapter beside it while there are few tokens, and less with
many (``benchmarks/merging.py``). A small model is also trained faster so: the gradient of a folded weight is taken and
then passed on to the adapter's two factors.

A weight in bfloat16 keeps 8 bits: a change of less than a 512th of it is lost in the sum, and in the first updates of a
run with a small learning rate that is nearly all of the adapter (`folding_error` measures it). Where the sum would be
rounded so, and training itself does not compute with such a sum, a change is applied beside the weight instead:
``x W^T + x D^T``, each product in bfloat16, which keeps the change to a part in some hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gtr_agent.precision import Precision
from gtr_agent.ties import lora_delta

ADAPTER = "default"
SAMPLED_ROWS = 16
"""Of each weight, from which the error of folding is estimated."""


def lora_layers(model: Any) -> dict[str, Any]:
    """The model's LoRA layers by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def change_shape(layer: Any) -> torch.Size:
    """The shape of a LoRA layer's weight change; told from its factors, which no process holds a part of."""
    return torch.Size((layer.lora_B[ADAPTER].weight.shape[0], layer.lora_A[ADAPTER].weight.shape[1]))


def task_vector(layer: Any) -> Tensor:
    """The weight change of one LoRA layer from the base, ``scaling * B @ A``; float32, without gradients."""
    return lora_delta(layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER])


def task_vectors(model: Any) -> dict[str, Tensor]:
    """The weight change of each LoRA layer, by name. A large model's take more memory than the model itself."""
    return {name: task_vector(layer) for name, layer in lora_layers(model).items()}


def fold(base: Tensor, delta: Tensor, precision: Precision = "float32") -> Tensor:
    """A weight with a change folded in, as a new tensor.

    Args:
        base: the weight, (out features, in features).
        delta: its change in float32, of the same shape.
        precision: of the forward passes that will use it. For bfloat16 the sum is rounded here, once, to what each pass
            would round it to anyway.
    """
    return (base.detach().float() + delta).to(compute_type(base, precision))


def compute_type(base: Tensor, precision: Precision) -> torch.dtype:
    """The type in which a weight takes part in forward passes."""
    return torch.bfloat16 if precision == "bfloat16" else base.dtype


def folds_exactly(model: Any, precision: Precision) -> bool:
    """Whether weights with a change folded in keep it: whether passes compute with them in float32 or finer.

    Args:
        model: a PEFT model with LoRA layers, or any other, of which nothing has to be folded.
        precision: of its forward passes.
    """
    kinds = {compute_type(layer.get_base_layer().weight, precision) for layer in lora_layers(model).values()}
    return all(torch.finfo(kind).bits >= 32 for kind in kinds)


@torch.no_grad()
def folding_error(model: Any, precision: Precision) -> float | None:
    """How much of the adapter's change is lost where it is folded into the weights.

    Estimated from evenly spaced rows of each layer, so that it costs next to nothing for a large model too.

    Args:
        model: a PEFT model with LoRA layers.
        precision: of the forward passes.

    Returns:
        the norm of ``folded - base - change`` over that of the change: 0 where all is kept, 1 where all is lost; more
        is possible. None where there is no change, as before the first update.
    """
    lost = whole = torch.zeros((), dtype=torch.float64)
    for layer in lora_layers(model).values():
        base = layer.get_base_layer().weight
        rows = torch.arange(0, len(base), max(1, len(base) // SAMPLED_ROWS), device=base.device)
        factor_a, factor_b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        delta = lora_delta(factor_a, factor_b[rows], layer.scaling[ADAPTER])
        kept = fold(base[rows], delta, precision).double() - base[rows].double()
        lost = lost + (kept - delta.double()).square().sum().cpu()
        whole = whole + delta.double().square().sum().cpu()
    return float((lost / whole).sqrt()) if whole > 0 else None


def folded_weights(
    model: Any, deltas: Mapping[str, Tensor] | None = None, precision: Precision = "float32"
) -> dict[str, Tensor]:
    """The weight of each LoRA layer with a change folded in, by name, as new tensors.

    Args:
        model: a PEFT model with LoRA layers.
        deltas: the weight changes; None for the adapter's own, of which only one is in memory at a time.
        precision: as in `fold`.
    """
    return {
        name: fold(layer.get_base_layer().weight, task_vector(layer) if deltas is None else deltas[name], precision)
        for name, layer in lora_layers(model).items()
    }


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


def adapter_factors(model: Any, precision: Precision = "float32") -> dict[str, list[Tensor]]:
    """The adapter of each LoRA layer as `beside` takes it, by name: A, and B with the layer's scaling."""
    found = {}
    for name, layer in lora_layers(model).items():
        kind = compute_type(layer.get_base_layer().weight, precision)
        factor_a, factor_b = layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach()
        found[name] = [factor_a.to(kind), (factor_b * layer.scaling[ADAPTER]).to(kind)]
    return found


@contextmanager
def beside(model: Any, changes: Mapping[str, Sequence[Tensor]]) -> Iterator[None]:
    """Let changes be applied beside the weights of the LoRA layers, with the adapter switched off.

    For passes without gradients. Two matrices cost less than the adapter itself, whose factors are cast in each pass.

    Args:
        model: a PEFT model with LoRA layers.
        changes: for each LoRA layer, by name, one matrix (out features, in features), or several of which the product
            is one, the first to be applied first; they are used as they are, not copied.
    """

    def hook(matrices: Sequence[Tensor]) -> Any:
        def add(_layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            change = inputs[0]
            for matrix in matrices:
                change = functional.linear(change, matrix)
            return output + change

        return add

    handles = []
    with model.disable_adapter():
        try:
            for name, layer in lora_layers(model).items():
                handles.append(layer.get_base_layer().register_forward_hook(hook(changes[name])))
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def folded_for_training(model: Any) -> Iterator[list[Tensor]]:
    """Train the adapter through folded weights.

    With ``W' = W + s B A`` the chain rule gives ``dB = s dW' A^T`` and ``dA = s B^T dW'``. It takes room for the
    gradient of every adapted weight: for small models only. There is no dropout inside the adapter.

    Yields:
        the folded weights; put their gradients into their ``grad``. On leaving, the adapter's factors have theirs.
    """
    layers = list(lora_layers(model).values())
    bases = [layer.get_base_layer().weight for layer in layers]
    with folded(model, folded_weights(model)):
        try:
            for base in bases:
                base.requires_grad_(True)
            yield bases
            gradients = [base.grad for base in bases]
        finally:
            for base in bases:
                base.requires_grad_(False)
                base.grad = None
    for layer, gradient in zip(layers, gradients, strict=True):
        factor_a, factor_b, scale = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.scaling[ADAPTER]
        if gradient is not None:
            gradient = gradient.to(factor_a.dtype)  # the factors may be kept more precisely than the weights
            factor_a.grad = scale * factor_b.detach().T @ gradient
            factor_b.grad = scale * gradient @ factor_a.detach().T
