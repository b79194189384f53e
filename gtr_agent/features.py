"""Pictures as the features that a frozen vision tower makes of them, kept in place of their pixels.

They are computed once a turn and serve sampling, scoring, the teacher and every epoch.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from gtr_agent.layout import FEATURES, ROW_TENSORS, PromptBatch
from gtr_agent.model import autocast
from gtr_agent.precision import Precision


def takes_features(causal: Any) -> bool:
    """Whether a model takes a picture's features in place of its pixels."""
    return "mm_encoder_outputs" in inspect.signature(causal.forward).parameters and hasattr(
        causal, "get_image_features"
    )


def tower_features(causal: Any, prompt: PromptBatch, precision: Precision) -> list[Tensor]:
    """What the vision tower makes of a batch's pictures, (visual tokens, 1 + deep layers, hidden size) each.

    Qwen3-VL's vision tower also speaks to the first layers of the language model: those are its deep layers.

    Args:
        causal: the model.
        prompt: the batch.
        precision: of the forward passes.
    """
    wanted = inspect.signature(causal.get_image_features).parameters
    pictures = {name: tensor for name, tensor in prompt.inputs.items() if name in wanted and name not in ROW_TENSORS}
    with torch.no_grad(), autocast(precision, prompt.inputs["input_ids"].device.type):
        output = causal.get_image_features(**pictures, return_dict=True)
    levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or [])]
    return [torch.stack(pieces, dim=1) for pieces in zip(*levels, strict=True)]


def as_model_inputs(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """A batch's tensors as the model takes them: picture features, where kept, go in as the vision tower's output."""
    arguments: dict[str, Any] = dict(inputs)
    features = arguments.pop(FEATURES, None)
    if features is not None:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        first, *deep = features.unbind(dim=1)
        output = BaseModelOutputWithPooling(pooler_output=(first,))
        output.deepstack_features = [(level,) for level in deep]  # Qwen3-VL's own class of output has it
        arguments["mm_encoder_outputs"] = {"image": output}
    return arguments
