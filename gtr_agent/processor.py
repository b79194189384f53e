"""Processors for pictures alone, so that no model needs torchvision.

transformers 5 makes most stock processors out of an image, a text and a video part, and the video part needs
torchvision. These leave video out; tokens and tensors are the same. Importing this module makes them known to
``AutoProcessor``, which looks up a folder's own class by name: folders saved with a stock processor still get the stock
one, or, where it cannot be had without torchvision, :func:`pictures_only` of the same folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoProcessor,
    LlavaOnevisionConfig,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
    SmolVLMConfig,
)
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.processing_utils import ProcessorMixin

# The base class reads a constructor's arguments to learn which parts there are to save and load, so each class below
# spells its own out.


class _QwenPictures(ProcessorMixin):
    """What Qwen's processors have in common."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        tokens = {
            "image": "<|image_pad|>",
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }
        for name, token in tokens.items():
            setattr(self, f"{name}_token", token)
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names, "mm_token_type_ids"]


class Qwen2_5_VLImageProcessor(_QwenPictures, Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor less its video part."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template)


class Qwen2VLPictureProcessor(_QwenPictures, Qwen2VLProcessor):
    """Qwen2-VL's processor less its video part."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template)


class Qwen3VLPictureProcessor(_QwenPictures, Qwen3VLProcessor):
    """Qwen3-VL's processor less its video part."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template)


class SmolVLMPictureProcessor(SmolVLMProcessor):
    """SmolVLM's processor less its video part, which alone needs torchvision and num2words."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_len: int = 169,
        chat_template: str | None = None,
    ) -> None:
        tokens = {
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "end_of_utterance_token": "<end_of_utterance>",
            "global_image_token": "<global-img>",
            "video_token": "<video>",
        }
        for name, token in tokens.items():
            setattr(self, name, getattr(tokenizer, name, token))
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.image_seq_len = image_seq_len
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def apply_chat_template(self, *arguments: Any, **keywords: Any) -> Any:
        """As every processor's; the stock one asks its video part how many frames to take."""
        return ProcessorMixin.apply_chat_template(self, *arguments, **keywords)


class LlavaOnevisionPictureProcessor(LlavaOnevisionProcessor):
    """LLaVA-OneVision's processor less its video part."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        vision_aspect_ratio: str = "anyres_max_9",
    ) -> None:
        self.num_image_tokens = num_image_tokens
        self.vision_feature_select_strategy = vision_feature_select_strategy
        self.vision_aspect_ratio = vision_aspect_ratio
        for name, token in {"image": "<image>", "video": "<video>"}.items():
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token", token))
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(getattr(self, f"{name}_token")))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


PICTURE_PROCESSORS: dict[type, type[ProcessorMixin]] = {
    Qwen2VLConfig: Qwen2VLPictureProcessor,
    Qwen2_5_VLConfig: Qwen2_5_VLImageProcessor,
    Qwen3VLConfig: Qwen3VLPictureProcessor,
    SmolVLMConfig: SmolVLMPictureProcessor,
    LlavaOnevisionConfig: LlavaOnevisionPictureProcessor,
}


def pictures_only(path: str | Path, revision: str | None) -> ProcessorMixin | None:
    """A model's processor without its video part; None for a model that there is none for.

    Args:
        path: a folder in the Hugging Face layout, or a name on the hub.
        revision: of a model on the hub: its branch, tag or commit.
    """
    found = PICTURE_PROCESSORS.get(type(AutoConfig.from_pretrained(str(path), revision=revision)))
    return found.from_pretrained(str(path), revision=revision) if found is not None else None


for _config, _processor in PICTURE_PROCESSORS.items():
    AutoProcessor.register(_config, _processor, exist_ok=True)
