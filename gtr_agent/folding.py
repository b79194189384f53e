"""The adapter folded into the weights that it changes: the same function, computed faster.

A small layer folded costs less than half of one with its adapter beside it while there are few tokens, and less with
many (``benchmarks/merging.py``). A small model is also trained faster so: the gradient of a folded weight is taken and
then passed on to the adapter's two factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gtr_agent.model import Precision
from gtr_agent.ties import lora_delta

ADAPTER = "default"


def lora_layers(model: Any) -> dict[str, Any]:
    """The model's LoRA layers by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


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
    return (base.detach().float() + delta).to(torch.bfloat16 if precision == "bfloat16" else base.dtype)


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
