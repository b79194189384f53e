"""A small Qwen2.5 vision tower on a CPU, for pictures of one size, without gradients, in plain torch functions.

transformers goes through the pictures one by one in each layer's attention, and embeds patches by a convolution whose
kernel is as large as they are. Here attention is one product over all pictures and the convolution a product with each
patch. Results are rounded where the tower rounds them under autocast, but for attention's scores, which are scaled in
float32. The tower's own forward pass is what the tests compare it to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gtr_agent.layout import GRID
from gtr_agent.lean_parts import MAX_PARAMETERS, is_meddled_with
from gtr_agent.precision import Precision

TOWER = "Qwen2_5_VisionTransformerPretrainedModel"


def lean_features(causal: Any, inputs: dict[str, Tensor], precision: Precision) -> list[Tensor] | None:
    """The features of pictures, (visual tokens, hidden size) each; None where the tower itself has to look.

    Args:
        causal: the model.
        inputs: of the model, with the pictures' patches and their grid.
        precision: of the forward passes.
    """
    visual: Any = getattr(causal.base_model, "visual", None)
    grids = inputs.get(GRID)
    if grids is None or not _known(visual) or bool((grids != grids[0]).any()) or int(grids[0, 0]) != 1:
        return None
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        weight = visual.patch_embed.proj.weight.flatten(1).to(dtype)
        stream = functional.linear(inputs["pixel_values"].to(dtype), weight)
        cos, sin = _rope(visual, grids[0])
        for block in visual.blocks:
            stream = stream + _attend(_norm(stream, block.norm1), block.attn, len(grids), cos, sin)
            inner = _norm(stream, block.norm2)
            gate = functional.silu(_linear(inner, block.mlp.gate_proj))
            stream = stream + _linear(gate.mul_(_linear(inner, block.mlp.up_proj)), block.mlp.down_proj)
        merger = visual.merger
        joined = _norm(stream, merger.ln_q).view(-1, merger.hidden_size)
        features = _linear(functional.gelu(_linear(joined, merger.mlp[0])), merger.mlp[2])
    return list(features.view(len(grids), -1, features.shape[-1]).unbind())


def _known(visual: Any) -> bool:
    """Whether a tower is of the known kind, small, on a CPU, untouched, and looks at whole pictures in every layer.

    Where all layers look at whole pictures, the order of their windows does not matter.
    """
    return (
        type(visual).__name__ == TOWER
        and visual.device.type == "cpu"
        and visual.config.hidden_act == "silu"
        and set(range(len(visual.blocks))) <= set(visual.fullatt_block_indexes)
        and sum(weight.numel() for weight in visual.parameters()) <= MAX_PARAMETERS
        and all(weight.dtype == torch.float32 for weight in visual.parameters())
        and all(type(module) is nn.Linear for block in visual.blocks for module in _linears(block))
        and not any(map(is_meddled_with, visual.modules()))
    )


def _linears(block: Any) -> list[Any]:
    return [block.attn.qkv, block.attn.proj, block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj]


def _linear(states: Tensor, layer: Any) -> Tensor:
    return functional.linear(states, layer.weight.to(states.dtype), layer.bias.to(states.dtype))


def _norm(stream: Tensor, norm: Any) -> Tensor:
    """An RMS norm in float32; it is rounded before its weights and, for the linear layer that follows, after them."""
    wide = stream.float()
    normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + norm.variance_epsilon)
    return (norm.weight * normed.to(stream.dtype)).to(stream.dtype)


def _rope(visual: Any, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of one picture's patches, (patches, 1, 1, head size).

    Half of the angles are those of a patch's row, half those of its column; patches that will be merged lie together.

    Args:
        visual: the tower.
        grid: (3,): 1, rows and columns.
    """
    _, rows, columns = grid.tolist()
    merge = visual.spatial_merge_size
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    places = places.view(rows // merge, merge, columns // merge, merge, 2).transpose(1, 2).reshape(-1, 2)
    angles = (places[..., None].float() * visual.rotary_pos_emb.inv_freq).flatten(1)[:, None, None]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def _attend(states: Tensor, layer: Any, pictures: int, cos: Tensor, sin: Tensor) -> Tensor:
    """One layer's attention, of each picture to itself; (patches of all pictures, hidden size)."""
    heads = layer.num_heads
    joined = _linear(states, layer.qkv).view(pictures, -1, 3, heads, layer.head_dim)
    turning = joined[:, :, :2]
    turned = (turning * cos).add_(turning.roll(layer.head_dim // 2, -1) * sin).to(states.dtype)
    queries, keys = (part.transpose(1, 2).flatten(0, 1) for part in turned.unbind(dim=2))
    values = joined[:, :, 2].transpose(1, 2).flatten(0, 1)
    scores = torch.bmm(queries, keys.transpose(1, 2)).float().mul_(layer.scaling)
    found = torch.bmm(scores.softmax(dim=-1).to(states.dtype), values)
    found = found.view(pictures, heads, -1, layer.head_dim).transpose(1, 2)
    return _linear(found.reshape(-1, heads * layer.head_dim), layer.proj)
