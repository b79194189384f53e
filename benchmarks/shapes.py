"""Published models as empty shapes: the architecture with random weights, to measure time and memory without weights.

Nothing is downloaded: the numbers of each configuration stand here, and the weights are drawn where they are wanted, in
their final precision, so that no more memory is needed than the model itself takes. The processor is real but for its
tokenizer: bytes, the most frequent pairs of letters, and fillers up to the real vocabulary, with Qwen's special tokens
at their real ids. A prompt of Points24 with its picture of 300x300 comes to about 500 tokens, 121 of them visual.

Random weights practically never write the end token, so answers are as long as they may be.

``qwen2.5-vl-nano`` is no published model but the same architecture with two thin layers: what is to run on the large
ones can be tried on it in seconds, on any machine.

Source of the numbers: the ``config.json`` of each model at https://huggingface.co/Qwen.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import torch

from gtr_agent.tiny import CHAT_TEMPLATE
from gtr_envs.errors import SettingError

SPECIAL_IDS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|object_ref_start|>": 151646,
    "<|object_ref_end|>": 151647,
    "<|box_start|>": 151648,
    "<|box_end|>": 151649,
    "<|quad_start|>": 151650,
    "<|quad_end|>": 151651,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|vision_pad|>": 151654,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
FREQUENT_PAIRS = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha ou io le ve co me de hi ri"
)

_QWEN2_VISION = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4}
_QWEN2_5_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
}
_QWEN3_VISION = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16}


def _text(vocabulary: int, hidden: int, layers: int, heads: tuple[int, int], mlp: int, **more: Any) -> dict[str, Any]:
    """A language model's numbers; heads of queries, and of keys and values."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": mlp,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
        "bos_token_id": SPECIAL_IDS["<|endoftext|>"],
        "eos_token_id": SPECIAL_IDS["<|im_end|>"],
        "pad_token_id": SPECIAL_IDS["<|endoftext|>"],
        **more,
    }


# Family, whether input and output embeddings are one, the language model, the vision tower.
_SHAPES: dict[str, tuple[str, bool, dict[str, Any], dict[str, Any]]] = {
    "qwen2-vl-2b": ("Qwen2VL", True, _text(151936, 1536, 28, (12, 2), 8960), {**_QWEN2_VISION, "hidden_size": 1536}),
    "qwen2-vl-7b": ("Qwen2VL", False, _text(152064, 3584, 28, (28, 4), 18944), {**_QWEN2_VISION, "hidden_size": 3584}),
    "qwen2.5-vl-3b": (
        "Qwen2_5_VL",
        True,
        _text(151936, 2048, 36, (16, 2), 11008),
        {**_QWEN2_5_VISION, "out_hidden_size": 2048},
    ),
    "qwen2.5-vl-7b": (
        "Qwen2_5_VL",
        False,
        _text(152064, 3584, 28, (28, 4), 18944),
        {**_QWEN2_5_VISION, "out_hidden_size": 3584},
    ),
    "qwen3-vl-8b": (
        "Qwen3VL",
        False,
        _text(151936, 4096, 36, (32, 8), 12288, head_dim=128),
        {**_QWEN3_VISION, "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]},
    ),
}
_SHAPES["qwen3-vl-8b"][2]["rope_parameters"] = {
    "rope_type": "default",
    "rope_theta": 5e6,
    "mrope_section": [24, 20, 20],
}
_SHAPES["qwen2.5-vl-nano"] = (
    "Qwen2_5_VL",
    True,
    {
        **_text(151936, 64, 2, (4, 2), 128),
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]},
    },
    {
        **_QWEN2_5_VISION,
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "fullatt_block_indexes": [1],
        "out_hidden_size": 64,
    },
)


def shape_names() -> list[str]:
    """The names of the shapes that can be built."""
    return sorted(_SHAPES)


def shape_config(
    name: str, text_changes: dict[str, Any] | None = None, vision_changes: dict[str, Any] | None = None
) -> Any:
    """A published model's configuration.

    Args:
        name: one of :func:`shape_names`.
        text_changes: numbers of the language model to change.
        vision_changes: numbers of the vision tower to change.

    Raises:
        SettingError: an unknown name.
    """
    import transformers

    if name not in _SHAPES:
        raise SettingError(f"unknown model shape {name!r}; there are: {', '.join(shape_names())}")
    family, tied, text, vision = _SHAPES[name]
    return getattr(transformers, f"{family}Config")(
        text_config={**text, "tie_word_embeddings": tied, **(text_changes or {})},
        vision_config={**vision, **(vision_changes or {})},
        image_token_id=SPECIAL_IDS["<|image_pad|>"],
        video_token_id=SPECIAL_IDS["<|video_pad|>"],
        vision_start_token_id=SPECIAL_IDS["<|vision_start|>"],
        vision_end_token_id=SPECIAL_IDS["<|vision_end|>"],
        tie_word_embeddings=tied,
    )


def shape_processor(name: str) -> Any:
    """A processor for a shape: the model's own treatment of pictures, a synthetic tokenizer of the real size."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from gtr_agent import processor as pictures

    family, *_, vision = _SHAPES[name]
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}, patch_size=vision.get("patch_size", 14)
    )
    kinds = {
        "Qwen2VL": pictures.Qwen2VLPictureProcessor,
        "Qwen2_5_VL": pictures.Qwen2_5_VLImageProcessor,
        "Qwen3VL": pictures.Qwen3VLPictureProcessor,
    }
    processor = kinds[family](images, synthetic_tokenizer(), chat_template=CHAT_TEMPLATE)
    processor.tokenizer.padding_side = "left"
    return processor


def synthetic_tokenizer() -> Any:
    """Bytes, frequent pairs of letters and fillers up to Qwen's first special token; any text survives a round trip."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import AddedToken, Qwen2Tokenizer

    # "Ġ" is how byte-level tokenizers write a space.
    merges = [tuple(pair) for pair in FREQUENT_PAIRS.split()] + [("Ġ", letter) for letter in ascii_lowercase]
    words = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    fillers = [f"~{index}" for index in range(len(words), min(SPECIAL_IDS.values()))]
    vocabulary = {word: index for index, word in enumerate([*words, *fillers])} | SPECIAL_IDS
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(t, special=True) for t in SPECIAL_IDS]})
    return tokenizer


def build_shape(
    name: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    attention: str = "sdpa",
    text_changes: dict[str, Any] | None = None,
    vision_changes: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """A published architecture with random weights, made on the device.

    Args:
        name: one of :func:`shape_names`.
        device: where the weights are drawn; ``meta`` for none at all.
        dtype: of the weights.
        seed: what they follow from.
        attention: which attention kernels to use.
        text_changes: numbers of the language model to change, as for a test that has little memory.
        vision_changes: and of the vision tower.

    Returns:
        the model and its processor.

    Raises:
        SettingError: an unknown name.
    """
    import transformers

    config = shape_config(name, text_changes, vision_changes)
    kind = getattr(transformers, f"{_SHAPES[name][0]}ForConditionalGeneration")
    place = torch.device(device)
    devices = [place.index if place.index is not None else torch.cuda.current_device()] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), place:
        torch.manual_seed(seed)
        model = kind._from_config(config, dtype=dtype, attn_implementation=attention)
    return model.eval(), shape_processor(name)
