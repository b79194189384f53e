"""A vision-language model small enough to train on a laptop's CPU, in every other respect a real one.

It is transformers' own ``Qwen2_5_VLForConditionalGeneration`` with a small configuration and random weights, with
Qwen's special tokens and chat template, saved in the Hugging Face layout: whatever loads it cannot tell that it is
tiny.

What makes it quick to teach: its tokenizer is a byte-level one (so any text can be written) to which the words of an
environment's prompts and answers are added as single tokens, and its pictures are scaled to 112x112, 16 visual tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gtr_agent.tiny_words import words_for
from gtr_envs.storage import new_folder
from gtr_envs.tasks import task_for

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

    from gtr_agent.processor import Qwen2_5_VLImageProcessor

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
USUAL_ENV = "gtr/Points24-v0"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's chat format. The stock template is longer because it knows videos and a default system message."""


def make_tokenizer(env_id: str = USUAL_ENV) -> Qwen2Tokenizer:
    """The byte-level tokenizer with an environment's words as tokens of their own; any text survives a round trip."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {byte: index for index, byte in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=[], eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in words_for(env_id)])
    return tokenizer


def make_processor(env_id: str = USUAL_ENV) -> Qwen2_5_VLImageProcessor:
    """The processor: pictures to 112x112, Qwen's patches of 14 pixels merged two by two."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from gtr_agent.processor import Qwen2_5_VLImageProcessor

    # 112 * 112 would be rounded down to 84x84 by the processor's arithmetic in floats.
    image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 12_800})
    return Qwen2_5_VLImageProcessor(image_processor, make_tokenizer(env_id), chat_template=CHAT_TEMPLATE)


def make_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """The small configuration: about 1.6 million parameters, a third of them for seeing."""
    from transformers import Qwen2_5_VLConfig

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "initializer_range": 0.04,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5]},
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 128,
        "window_size": 112,
        "fullatt_block_indexes": [0, 1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def make_model(config: Qwen2_5_VLConfig, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """The model with random weights that follow from the seed; torch's global generator is left as it was."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config)


def init_tiny(out: Path, seed: int = 0, env_id: str = USUAL_ENV) -> Path:
    """Make the tiny model and write it in the Hugging Face layout.

    Args:
        out: a folder that does not exist yet, or is empty.
        seed: what the weights follow from.
        env_id: the environment whose words become single tokens.

    Returns:
        the folder.

    Raises:
        UnknownEnvironmentError: no environment of this id is played by answers.
        OutputExistsError: the folder holds something.
    """
    task_for(env_id)
    with new_folder(out) as folder:
        processor = make_processor(env_id)
        model = make_model(make_config(processor.tokenizer), seed)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return out
