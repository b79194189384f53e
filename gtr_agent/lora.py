"""LoRA adapters (https://arxiv.org/abs/2106.09685) for any vision-language model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gtr_agent.settings import ModelSettings
from gtr_envs.errors import CheckpointError


def lora_targets(model: Any, vision: bool) -> list[str]:
    """The full names of the linear layers to adapt: those of the language model, and of all that sees if wished.

    Whatever is outside the language model belongs to vision: the tower, and the merger, connector or projector between
    the two. A picture's features are what comes out of those, so without ``vision`` they never change and can be kept.
    The output layer and the embeddings are never adapted: agent and teacher share them.

    Raises:
        CheckpointError: the language model cannot be told from the rest, or there are no such layers.
    """
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    if decoder is None or decoder in (model, model.base_model):
        raise CheckpointError(f"in {type(model).__name__} the language model cannot be told from the vision tower")
    ours = set(decoder.modules())
    names = []
    for name, module in model.named_modules():
        # The layers inside torch's own attention are read as plain weights, past any adapter.
        is_linear = isinstance(module, nn.Linear) and not isinstance(
            module, nn.modules.linear.NonDynamicallyQuantizableLinear
        )
        if is_linear and module is not head and (vision or module in ours):
            names.append(name)
    if not names:
        raise CheckpointError(f"{type(model).__name__} has no linear layers that an adapter could change")
    return names


def add_lora(model: Any, settings: ModelSettings, seed: int) -> Any:
    """The model with a fresh LoRA adapter (https://arxiv.org/abs/2106.09685) that changes nothing yet."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=lora_targets(model, settings.lora_vision),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), quiet_peft():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that PEFT asks transformers by an old name whether it checkpoints gradients."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def merge_lora(model: Any) -> Any:
    """The plain model with its adapter summed into its weights, all in float32 and on the CPU; for saving.

    In bfloat16, in which an accelerator holds a frozen model, the sum would lose what is less than a 512th of a weight.

    Args:
        model: a PEFT model with LoRA layers; in place.
    """
    return model.to("cpu", torch.float32).merge_and_unload()
