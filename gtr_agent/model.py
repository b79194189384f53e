"""A Hugging Face vision-language model as the trainer sees it: load it, lay out a batch, get log-probs of answers.

Nothing here knows which model it is: any image-text-to-text model with a chat template serves, and the tiny one is one
of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, MissingExtraError, SettingError
from gtr_envs.protocol import Answer, build_messages

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

Precision = Literal["float32", "bfloat16"]
AttentionName = Literal["eager", "sdpa"]

ROW_TENSORS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a batch has of each token."""
GRID = "image_grid_thw"
FEATURES = "image_features"
"""What stands for pictures of which only the vision tower's output was kept."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of a batch of turns, padded on the left so that every answer starts at the same column.

    Attributes:
        inputs: what the processor made: ``input_ids``, ``attention_mask`` (turns, prompt tokens), ``mm_token_type_ids``
            where the model wants them, and the pictures' tensors (``pixel_values``, ``image_grid_thw``, ...).
    """

    inputs: dict[str, Tensor]

    @property
    def width(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    def to(self, device: torch.device | str) -> PromptBatch:
        return PromptBatch({name: tensor.to(device) for name, tensor in self.inputs.items()})


def weights_type(precision: Precision, device: str, trained: bool = False) -> torch.dtype:
    """The type that a model's own weights are loaded in.

    Args:
        precision: of the forward passes.
        device: where the model goes.
        trained: they are trained themselves, without an adapter.

    Returns:
        bfloat16 on an accelerator that computes in it, where it halves the memory; else float32. On a CPU casting in
        each pass is as fast. Weights that are trained stay in float32: in bfloat16 small steps would be lost.
    """
    return torch.bfloat16 if precision == "bfloat16" and device != "cpu" and not trained else torch.float32


def load_model(
    path: str | Path,
    attention: AttentionName = "sdpa",
    device: str = "cpu",
    precision: Precision = "bfloat16",
    trained: bool = False,
) -> PreTrainedModel:
    """Load a model's weights.

    Args:
        path: a folder in the Hugging Face layout, or a name on the hub.
        attention: which attention kernels to use.
        device: where the model goes.
        precision: of the forward passes; with the device it decides the weights' type, see :func:`weights_type`.
        trained: the weights will be trained themselves.

    Raises:
        CheckpointError: there is no model that can be read there.
    """
    from transformers import AutoModelForImageTextToText

    dtype = weights_type(precision, device, trained)
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            str(path), dtype=dtype, attn_implementation=attention, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"no model can be read from {path}: {_first_line(error)}") from error
    except Exception as error:  # safetensors' own error class is not public
        if type(error).__module__.split(".")[0] not in {"safetensors", "safetensors_rust"}:
            raise
        raise CheckpointError(f"the weights in {path} are damaged: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:  # the library would fill them in at random
        raise CheckpointError(
            f"the weights in {path} are damaged or of another model: {len(missing)} are missing, such as {missing[0]}"
        )
    return model.to(device).eval()


def load_processor(path: str | Path) -> ProcessorMixin:
    """Load a model's processor: its tokenizer, chat template and image processor.

    Raises:
        CheckpointError: there is none, or it has no image processor or no chat template.
        MissingExtraError: it needs a library that is not installed.
    """
    try:
        processor = _read_processor(path)
    except ImportError as error:
        raise MissingExtraError(
            f"the processor of {path} needs a library that is not installed (for most models: pip install "
            f"torchvision): {_first_line(error)}"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"no processor can be read from {path}: {_first_line(error)}") from error
    if getattr(processor, "image_processor", None) is None:
        raise CheckpointError(f"the model in {path} has no image processor; a vision-language model is needed")
    if processor.chat_template is None:
        raise CheckpointError(f"the processor in {path} has no chat template")
    processor.tokenizer.padding_side = "left"
    return processor


def _read_processor(path: str | Path) -> Any:
    """The processor that the folder names, or where that cannot be had, as without torchvision, one for pictures."""
    from transformers import AutoProcessor

    from gtr_agent.processor import pictures_only  # its import makes processors without video known

    try:
        return AutoProcessor.from_pretrained(str(path))
    except (ImportError, OSError, ValueError):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = pictures_only(path)
            if found is not None:
                return found
        raise


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def choose_device(wish: str) -> str:
    """Where to compute: ``auto`` takes a GPU where there is one.

    Raises:
        SettingError: a GPU is wished for and there is none.
    """
    if wish == "cuda" and not torch.cuda.is_available():
        raise SettingError("model.device='cuda' but there is no GPU that torch can use; set model.device=auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wish == "auto" else wish


def load_base(settings: Settings, device: str) -> tuple[Any, Any]:
    """The base model of a run and its processor; the tiny ones are made on the spot.

    Raises:
        CheckpointError: there is no whole model, or it cannot be loaded.
        MissingExtraError: its processor needs a library that is not installed.
    """
    choice = settings.model
    trained = settings.method == "sft" and choice.adapter == "none"
    if choice.base != "tiny":
        check_whole_model(choice.base)
        try:
            model = load_model(choice.base, choice.attention, device, choice.precision, trained)
            return model, load_processor(choice.base)
        except CheckpointError as error:
            if Path(choice.base).exists():
                raise
            raise CheckpointError(
                f"{choice.base} is no folder here, and as a model on the hub it cannot be had: {error}"
            ) from error
    from gtr_agent.tiny import make_config, make_model, make_processor

    processor = make_processor(settings.env.id)
    model = make_model(make_config(processor.tokenizer), settings.seed)
    model.set_attn_implementation(choice.attention)
    processor.tokenizer.padding_side = "left"
    return model.to(device, weights_type(choice.precision, device, trained)).eval(), processor


def check_whole_model(base: str) -> None:
    """Name what is no whole model, where a look at the folder is enough.

    Raises:
        CheckpointError: it is a folder that is not there, a run's, or an adapter's.
    """
    folder = Path(base)
    if folder.is_absolute() and not folder.exists():
        raise CheckpointError(f"there is no folder {base}; make a warm start with gtr-bench sft, or name a model")
    found = "a run" if (folder / "checkpoints").is_dir() else "an adapter"
    if found == "a run" or (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{base} is {found} and no whole model, from which training begins; give a warm start's folder or a model "
            "(--init), or go on with a run by gtr-bench train --resume"
        )


def encode_prompts(processor: Any, prompts: Sequence[str], frames: Sequence[np.ndarray]) -> PromptBatch:
    """Lay out prompts with their pictures.

    Args:
        processor: the model's processor.
        prompts: the text of each turn.
        frames: (height, width, 3) uint8 each.
    """
    texts = [
        processor.apply_chat_template(build_messages(prompt), add_generation_prompt=True, tokenize=False)
        for prompt in prompts
    ]
    images = [[frame] for frame in frames]
    return PromptBatch(dict(processor(text=texts, images=images, return_tensors="pt", padding=True)))


_END_TOKENS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def end_token(processor: Any) -> int:
    """The token that ends an answer: what the chat template writes behind one, or else the tokenizer's end token.

    They are the same for Qwen; Idefics3's answers end in ``<end_of_utterance>``, its texts in another token.
    """
    if processor not in _END_TOKENS:
        _END_TOKENS[processor] = _token_behind_an_answer(processor) or int(processor.tokenizer.eos_token_id)
    return _END_TOKENS[processor]


def _token_behind_an_answer(processor: Any) -> int | None:
    from jinja2 import TemplateError

    mark = "an answer"
    dialogue = [*build_messages("a question"), {"role": "assistant", "content": [{"type": "text", "text": mark}]}]
    try:
        text = processor.apply_chat_template(dialogue, tokenize=False)
    except (TemplateError, TypeError, ValueError):  # a template that knows no answers
        return None
    behind = processor.tokenizer(text.rpartition(mark)[2].strip(), add_special_tokens=False).input_ids
    return behind[0] if behind and behind[0] in processor.tokenizer.added_tokens_decoder else None


def encode_answers(processor: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """The tokens of answers, each with the closing end token, and the characters ``[start, end)`` of each token."""
    encoded = processor.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    end = end_token(processor)
    tokens = [[*ids, end] for ids in encoded["input_ids"]]
    offsets = [[*spans, (len(text), len(text))] for text, spans in zip(texts, encoded["offset_mapping"], strict=True)]
    return tokens, offsets


def action_token_mask(answer: Answer, offsets: Sequence[tuple[int, int]]) -> list[bool]:
    """Which tokens belong to the action: those that overlap its characters, and the end token if it closes the action.

    All other tokens are thought. The answer's status does not matter; an invalid one is all thought.
    """
    if answer.action_span is None:
        return [False] * len(offsets)
    start, end = answer.action_span
    return [(low < end and high > start) or (low == high == end and low > start) for low, high in offsets]


def pad_right(rows: Sequence[Sequence[int]], value: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor, padded on the right, and its mask; both (rows, longest), int64 and bool."""
    longest = max((len(row) for row in rows), default=0)
    tokens = torch.full((len(rows), longest), value, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return tokens, mask


def join(prompt: PromptBatch, answers: Tensor, answer_mask: Tensor) -> dict[str, Tensor]:
    """Model inputs for prompts followed by their answers; answers and mask are (turns, answer tokens)."""
    inputs = dict(prompt.inputs)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answers], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], answer_mask.long()], dim=1)
    for name in ROW_TENSORS[2:]:
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], inputs[name].new_zeros(answers.shape)], dim=1)
    return inputs


def autocast(precision: Precision, device_type: str) -> Any:
    """The context in which forward passes run."""
    if precision == "float32":
        return nullcontext()
    # Torch's cache of cast weights is shared by all threads, and each weight is used once a pass anyway.
    return torch.autocast(device_type, dtype=torch.bfloat16, cache_enabled=False)


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    """No gradients and no dropout; the model's mode is put back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
