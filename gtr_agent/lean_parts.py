"""The weights of a small Qwen2 decoder on a CPU, cast for :mod:`gtr_agent.lean_decoder` and `gtr_agent.lean_pass`.

They are collected anew for each batch of answers, because training changes them, and other weights may stand in for
them (:mod:`gtr_agent.folding`). Only a decoder that holds exactly the modules that are known here is taken: hooks,
adapters that are switched on, other kinds of layers are left to the model's own forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gtr_agent.precision import Precision

DECODERS = {
    "Qwen2ForCausalLM": "Qwen2Model",
    "Qwen2VLForConditionalGeneration": "Qwen2VLTextModel",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VLTextModel",
    "LlavaOnevisionForConditionalGeneration": "Qwen2Model",
}
"""Causal models with Qwen2's decoder, and what that is called in them."""
MAX_PARAMETERS = 50_000_000
"""In larger decoders the arithmetic outweighs what is saved."""

DECODER = ("embed_tokens", "layers", "norm", "rotary_emb")
LAYER = ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj", "act_fn")


@dataclass(frozen=True)
class LeanLayer:
    """One layer's weights: those of linear layers in the precision of the forward pass, those of norms in float32.

    Attributes:
        norm: of the norm before attention, (hidden size,).
        qkv: queries', keys' and values' weights, (their heads' sizes, hidden size) each.
        qkv_bias: their biases.
        out: attention's output, (hidden size, query heads' sizes).
        mlp_norm: of the norm before the MLP, (hidden size,).
        gate_up: the MLP's gate and its way up, (inner size, hidden size) each.
        down: its way down, (hidden size, inner size).
    """

    norm: Tensor
    qkv: tuple[Tensor, ...]
    qkv_bias: tuple[Tensor, ...]
    out: Tensor
    mlp_norm: Tensor
    gate_up: tuple[Tensor, Tensor]
    down: Tensor


@dataclass(frozen=True)
class LeanParts:
    """A decoder's weights as they are now.

    Attributes:
        embeddings: (vocabulary, hidden size), float32.
        layers: of the decoder.
        norm: of the last norm, (hidden size,).
        head: the output layer's weight, (vocabulary, hidden size).
        frequencies: of the rope, (head size / 2,).
        heads: for queries.
        kv_heads: for keys and values.
        scaling: of attention's scores.
        eps: of the norms.
    """

    embeddings: Tensor
    layers: tuple[LeanLayer, ...]
    norm: Tensor
    head: Tensor
    frequencies: Tensor
    heads: int
    kv_heads: int
    scaling: float
    eps: float


def collect_parts(causal: Any, precision: Precision) -> LeanParts | None:
    """A causal model's weights for the lean decoder; None if that would not compute just what the model does.

    Args:
        causal: the model; its layers may hold an adapter that is switched off or merged into the weights.
        precision: of the forward passes.
    """
    text = _known_decoder(causal)
    if text is None or not _is_plain(causal, text, precision):
        return None
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    return LeanParts(
        embeddings=text.embed_tokens.weight,
        layers=tuple(_layer_parts(layer, dtype) for layer in text.layers),
        norm=text.norm.weight,
        head=causal.lm_head.weight.to(dtype),
        frequencies=text.rotary_emb.inv_freq,
        heads=text.config.num_attention_heads,
        kv_heads=text.config.num_key_value_heads,
        scaling=text.layers[0].self_attn.scaling,
        eps=text.norm.variance_epsilon,
    )


def _layer_parts(layer: Any, dtype: torch.dtype) -> LeanLayer:
    query, key, value, out = (base_layer(getattr(layer.self_attn, name)) for name in ATTENTION)
    gate, up, down = (base_layer(getattr(layer.mlp, name)) for name in MLP[:3])
    return LeanLayer(
        norm=layer.input_layernorm.weight,
        qkv=tuple(part.weight.to(dtype) for part in (query, key, value)),
        qkv_bias=tuple(part.bias.to(dtype) for part in (query, key, value)),
        out=out.weight.to(dtype),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=(gate.weight.to(dtype), up.weight.to(dtype)),
        down=down.weight.to(dtype),
    )


def base_layer(module: Any) -> Any:
    """The linear layer inside an adapter's, or the layer itself."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def _known_decoder(causal: Any) -> Any | None:
    """The decoder of a causal model if it is of a known kind, of the expected modules, small, and on a CPU."""
    wanted = DECODERS.get(type(causal).__name__)
    if wanted is None:
        return None
    text = causal.get_decoder()
    if type(text).__name__ != wanted or not _holds(text, DECODER) or text.device.type != "cpu":
        return None
    kinds = getattr(text.config, "layer_types", None) or ["full_attention"]
    if text.config.hidden_act != "silu" or text.rotary_emb.rope_type != "default" or set(kinds) != {"full_attention"}:
        return None
    for layer in text.layers:
        if not (_holds(layer, LAYER) and _holds(layer.self_attn, ATTENTION) and _holds(layer.mlp, MLP)):
            return None
    return text if sum(weight.numel() for weight in text.parameters()) <= MAX_PARAMETERS else None


def _holds(module: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether these are all the modules that it holds directly."""
    return {name for name, _ in module.named_children()} == set(names)


def _is_plain(causal: Any, text: Any, precision: Precision) -> bool:
    """Whether every module of a known decoder computes as it did when it was made, in the usual types."""
    biased, unbiased, norms = [], [causal.lm_head], [text.norm]
    for layer in text.layers:
        biased += [getattr(layer.self_attn, name) for name in ATTENTION[:3]]
        unbiased += [layer.self_attn.o_proj, *(getattr(layer.mlp, name) for name in MLP[:3])]
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    # The residual stream and the norms are float32; under autocast the linear layers may be kept in anything.
    float32 = [text.embed_tokens, *norms, *(map(base_layer, (*biased, *unbiased)) if precision == "float32" else ())]
    return (
        all(_is_plain_linear(module, True) for module in biased)
        and all(_is_plain_linear(module, False) for module in unbiased)
        and type(text.embed_tokens) is nn.Embedding
        and all(type(norm) is type(text.norm) and norm.variance_epsilon == text.norm.variance_epsilon for norm in norms)
        and all(weight.dtype == torch.float32 for module in float32 for weight in module.parameters())
        and not any(map(is_meddled_with, {causal, causal.base_model, causal.lm_head, *text.modules()}))
    )


def _is_plain_linear(module: Any, bias: bool) -> bool:
    """Whether a module computes what the linear layer in it does."""
    linear = base_layer(module)
    if type(linear) is not nn.Linear or (linear.bias is not None) != bias:
        return False
    # Of an adapter that is switched off and merged, PEFT takes the merged part out first.
    return linear is module or (module.disable_adapters != module.merged)


def is_meddled_with(module: nn.Module) -> bool:
    """Whether something was put before, behind or in place of a module's forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)
