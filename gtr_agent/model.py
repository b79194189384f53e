"""A Hugging Face vision-language model as the trainer sees it: how it is loaded, and in what its passes run.

Nothing here knows which model it is: any image-text-to-text model with a chat template serves, and the tiny one is one
of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from gtr_agent.hub import hub_or_cache, is_on_hub
from gtr_agent.packaged import located, packaged_digest
from gtr_agent.precision import Precision, resolve_precision
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, MissingExtraError, SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

AttentionName = Literal["eager", "sdpa"]


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


def load_whole(
    name: str | Path,
    attention: AttentionName = "sdpa",
    device: str = "cpu",
    precision: Precision = "bfloat16",
    trained: bool = False,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """Load a model and its processor. The arguments are those of `load_model`.

    Args:
        revision: of a model on the hub: its branch, tag or commit.

    Raises:
        CheckpointError: there is no such model, or it is damaged, takes no pictures or has no chat template.
        MissingExtraError: its processor needs a library that is not installed.
    """
    with hub_or_cache(name):
        return load_model(name, attention, device, precision, trained, revision), load_processor(name, revision)


def load_model(
    path: str | Path,
    attention: AttentionName = "sdpa",
    device: str = "cpu",
    precision: Precision = "bfloat16",
    trained: bool = False,
    revision: str | None = None,
) -> PreTrainedModel:
    """Load a model's weights.

    Args:
        path: a folder in the Hugging Face layout, a name on the hub, or a packaged agent's.
        attention: which attention kernels to use.
        device: where the model goes.
        precision: of the forward passes; with the device it decides the weights' type, see :func:`weights_type`.
        trained: the weights will be trained themselves.
        revision: of a model on the hub: its branch, tag or commit.

    Raises:
        CheckpointError: there is no model that can be read there.
    """
    from transformers import AutoModelForImageTextToText

    dtype = weights_type(precision, device, trained)
    place = located(path)
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            revision=revision,
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
    model.name_or_path = str(path)  # what an adapter will name as its base
    model.packaged_digest = packaged_digest(path)  # now: the package may be changed while this runs
    return model.to(device).eval()


def load_processor(path: str | Path, revision: str | None = None) -> ProcessorMixin:
    """Load a model's processor: its tokenizer, chat template and image processor.

    Args:
        path: a folder in the Hugging Face layout, a name on the hub, or a packaged agent's.
        revision: of a model on the hub: its branch, tag or commit.

    Raises:
        CheckpointError: there is none, or it has no image processor or no chat template.
        MissingExtraError: it needs a library that is not installed.
    """
    place = located(path)
    try:
        processor = _read_processor(place, revision)
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


def _read_processor(path: str | Path, revision: str | None) -> Any:
    """The processor that the folder names, or where that cannot be had, as without torchvision, one for pictures."""
    from transformers import AutoProcessor

    from gtr_agent.processor import pictures_only  # its import makes processors without video known

    try:
        return AutoProcessor.from_pretrained(str(path), revision=revision)
    except (ImportError, OSError, ValueError):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = pictures_only(path, revision)
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
    precision = resolve_precision(choice.precision, device)
    if choice.base != "tiny":
        check_whole_model(choice.base)
        return load_whole(choice.base, choice.attention, device, precision, trained)
    from gtr_agent.tiny import make_config, make_model, make_processor

    processor = make_processor(settings.env.id)
    model = make_model(make_config(processor.tokenizer), settings.seed)
    model.set_attn_implementation(choice.attention)
    processor.tokenizer.padding_side = "left"
    return model.to(device, weights_type(precision, device, trained)).eval(), processor


def check_whole_model(base: str) -> None:
    """Name what is no whole model, where a look at the folder is enough.

    Raises:
        CheckpointError: it is a folder that is not there, a run's, or an adapter's; or no packaged agent.
    """
    folder = Path(located(base))
    if not folder.exists() and not is_on_hub(base):
        raise CheckpointError(f"there is no folder {base}; make a warm start with gtr-bench sft, or name a model")
    found = "a run" if (folder / "checkpoints").is_dir() else "an adapter"
    if found == "a run" or (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{base} is {found} and no whole model, from which training begins; give a warm start's folder or a model "
            "(--init), or go on with a run by gtr-bench train --resume"
        )


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
