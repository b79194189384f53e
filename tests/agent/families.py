"""Tiny random models of real classes, with real processors, one for each family of vision-language models.

Nothing is downloaded. Pictures go through each family's own image processor, on PIL; the text part is a byte-level
tokenizer with the family's own special tokens. Idefics3's processor is the stock one; the others' stock processors
want torchvision for a video part, which :mod:`gtr_agent.processor` leaves out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gtr_agent.tiny import CHAT_TEMPLATE, make_tokenizer

SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}<image>{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
ONEVISION_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.05,
}


def text_of(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    """The language model's configuration."""
    tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    return {**TEXT, "vocab_size": len(tokenizer), **tokens, **changes}


def qwen(family: str) -> tuple[Any, Any]:
    """Qwen2-VL, Qwen2.5-VL or Qwen3-VL, and its processor."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from gtr_agent import processor as pictures

    tokenizer = make_tokenizer()
    side = 32 if family == "Qwen3VL" else 28
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 4 * side * side, "longest_edge": 16 * side * side + side},
        patch_size=side // 2,
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    vision: dict[str, dict[str, Any]] = {
        "Qwen2VL": {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
        "Qwen2_5_VL": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        "Qwen3VL": {
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image": "<|image_pad|>",
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }.items()
    }
    text = text_of(tokenizer, rope_parameters=rope, **({"head_dim": 16} if family == "Qwen3VL" else {}))
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision[family], **ids)
    name = "Qwen2_5_VLImageProcessor" if family == "Qwen2_5_VL" else f"{family}PictureProcessor"
    processor = getattr(pictures, name)(images, tokenizer, chat_template=CHAT_TEMPLATE)
    return getattr(transformers, f"{family}ForConditionalGeneration")(config), processor


def idefics(family: str) -> tuple[Any, Any]:
    """Idefics3 or SmolVLM, and its processor: pictures are cut into four crops and shown whole besides."""
    import transformers
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    from gtr_agent.processor import SmolVLMPictureProcessor

    tokenizer = make_tokenizer()
    crops = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *crops]
    tokenizer.add_special_tokens({"additional_special_tokens": special}, replace_extra_special_tokens=False)
    size = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    processor: Any
    if family == "Idefics3":  # the stock processor
        from transformers import Idefics3Processor

        processor = Idefics3Processor(
            Idefics3ImageProcessorPil(**size), tokenizer, image_seq_len=1, chat_template=SMOL_TEMPLATE
        )
    else:
        processor = SmolVLMPictureProcessor(
            SmolVLMImageProcessorPil(**size), tokenizer, image_seq_len=1, chat_template=SMOL_TEMPLATE
        )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = getattr(transformers, f"{family}Config")(
        text_config={"model_type": "llama", **text_of(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return getattr(transformers, f"{family}ForConditionalGeneration")(config), processor


def onevision(family: str) -> tuple[Any, Any]:
    """LLaVA-OneVision and its processor."""
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    from gtr_agent.processor import LlavaOnevisionPictureProcessor

    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<image>", "<video>"]}, replace_extra_special_tokens=False
    )
    grid = [[28, 28], [28, 56], [56, 28], [56, 56]]
    images = LlavaOnevisionImageProcessorPil(size={"height": 28, "width": 28}, image_grid_pinpoints=grid)
    processor = LlavaOnevisionPictureProcessor(
        images,
        tokenizer,
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION_TEMPLATE,
    )
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "vision_use_head": False,
    }
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text_of(tokenizer)},
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "Qwen2VL": qwen,
    "Qwen2_5_VL": qwen,
    "Qwen3VL": qwen,
    "Idefics3": idefics,
    "SmolVLM": idefics,
    "LlavaOnevision": onevision,
}


def write_family(family: str, folder: Path) -> Path:
    """Make a family's tiny model and write it, with its processor, in the Hugging Face layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = FAMILIES[family](family)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
