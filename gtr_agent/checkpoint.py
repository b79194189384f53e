"""Checkpoints: written whole or not at all, read without ever unpickling anything."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import gtr_envs
from gtr_agent.actor_critic import ActorCritic
from gtr_agent.lora import quiet_peft
from gtr_agent.packaged import is_packaged, packaged_digest, packaged_folder
from gtr_agent.run_folder import ADAPTER_WEIGHTS, adapter_file, latest_checkpoint
from gtr_agent.run_folder import checkpoint_folder as checkpoint_folder
from gtr_agent.run_state import write_state
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError
from gtr_envs.storage import new_folder, write_json, write_manifest

NOTES = "gtr_bench.json"
"""The file in a model or checkpoint folder that says how it was made."""

VALUE_HEAD = "value_head.safetensors"

CARD = """---
library_name: {library}
base_model: {base}
tags: [gtr-bench, {method}]
---

# {title}

Trained with GTR-Bench {version}: method `{method}`, environment `{env}`,
seed {seed}, {unit} {update}.

    gtr-bench eval --agent {folder}
"""


def write_model_notes(
    folder: Path,
    settings: Settings,
    method: str,
    update: int,
    metrics: dict[str, float],
    final: Path | None = None,
    base_digest: str | None = None,
) -> None:
    """Write ``gtr_bench.json`` and the model card into a folder.

    Args:
        folder: the model's or the adapter's folder.
        settings: of the run.
        method: how the weights were trained.
        update: steps of a warm start, or updates of reinforcement learning.
        metrics: the latest figures.
        final: the name under which the folder will stand, if not yet its own.
        base_digest: of a packaged base, as it was loaded.
    """
    notes = {
        "version": gtr_envs.__version__,
        "method": method,
        "base_model": settings.model.base,
        "base_model_relative": relative_base(settings.model.base, final or folder),
        "base_digest": base_digest,
        "update": update,
        "env_id": settings.env.id,
        "env_options": settings.env.options,
        "seed": settings.seed,
        "temperature": settings.rollout.temperature,
        "max_new_tokens": settings.rollout.max_new_tokens,
        "precision": settings.model.precision,
        "train_folded": settings.model.train_folded,
        "attention": settings.model.attention,
        "metrics": metrics,
    }
    write_json(folder / NOTES, notes)
    card = CARD.format(
        library="peft" if (folder / "adapter_config.json").is_file() else "transformers",
        base=notes["base_model"],
        method=method,
        title=f"{settings.env.id} agent",
        version=gtr_envs.__version__,
        env=settings.env.id,
        seed=settings.seed,
        unit="step" if method == "sft" else "update",
        update=update,
        folder=(final or folder).name,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def relative_base(base: str, folder: Path) -> str | None:
    """The way from a checkpoint's folder to its base model, so that both can be moved together; None for a hub name."""
    return os.path.relpath(base, folder) if Path(base).is_dir() else None


def read_notes(folder: Path) -> dict[str, Any]:
    """What ``gtr_bench.json`` says; empty where there is none, as for models made elsewhere.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / NOTES
    if not path.is_file():
        return {}
    try:
        notes = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(notes, dict):
        raise CheckpointError(f"{path} is damaged: it holds no object")
    return notes


def save_checkpoint(
    folder: Path,
    actor: ActorCritic,
    settings: Settings,
    update: int,
    metrics: dict[str, float],
    state: Mapping[str, Any] | None = None,
    before_naming: Callable[[], object] | None = None,
) -> None:
    """Write a checkpoint: a plain PEFT adapter, the value head, how they were made, and all that a resume needs.

    Args:
        folder: its final name; it appears there only when whole and on the disk.
        actor: the agent.
        settings: of the run.
        update: how many updates were done.
        metrics: the latest figures.
        state: the parts of the run's state, see ``run_state.py``; without it the run cannot be resumed from here.
        before_naming: called when all is on the disk, right before the checkpoint appears.
    """
    assert actor.value_head is not None
    with new_folder(folder, before_naming) as partial:
        # No embeddings are adapted; to find that out, PEFT would look for the base's configuration, also on the hub.
        actor.model.save_pretrained(partial, save_embedding_layers=False)
        save_file(actor.value_head.state_dict(), partial / VALUE_HEAD)
        digest = getattr(actor.causal, "packaged_digest", None)
        write_model_notes(partial, settings, settings.method, update, metrics, folder, digest)
        if state is not None:
            write_state(state_folder(partial), state)
        write_manifest(partial)


def state_folder(checkpoint: Path) -> Path:
    """Where a checkpoint's run state stands, for ``run_state.read_part``."""
    return checkpoint / "state"


def load_weights(actor: ActorCritic, folder: Path) -> None:
    """Give an agent in training a checkpoint's adapter and value head, bit for bit.

    Args:
        actor: an agent made with the run's settings; it is changed in place.
        folder: the checkpoint.

    Raises:
        CheckpointError: they are missing, damaged or of another architecture. Nothing has changed then.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    assert actor.value_head is not None
    own = get_peft_model_state_dict(actor.model, save_embedding_layers=False)
    adapter = _read_weights(folder / ADAPTER_WEIGHTS, own)
    head = _read_weights(folder / VALUE_HEAD, actor.value_head.state_dict())
    set_peft_model_state_dict(actor.model, adapter)
    actor.value_head.load_state_dict(head)


def read_adapter(run: Path, update: int) -> dict[str, Any]:
    """A run's adapter after an update, as PEFT names its tensors.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = adapter_file(run, update)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        kind = "is damaged" if path.is_file() else "is missing"
        raise CheckpointError(
            f"{path} {kind}: the teacher is merged from this adapter; put it back, or begin a new run"
        ) from error


def _read_weights(path: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a file that has to hold the same names, shapes and types as those in memory."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        kind = "is damaged" if path.is_file() else "is missing"
        raise CheckpointError(f"{path} {kind}; resume from another checkpoint") from error
    kinds, allowed = ({name: (w.shape, w.dtype) for name, w in tensors.items()} for tensors in (found, like))
    odd = sorted(name for name in kinds.keys() | allowed.keys() if kinds.get(name) != allowed.get(name))
    if odd:
        raise CheckpointError(
            f"{path} is of another architecture: {len(odd)} weights differ, such as {odd[0]}; "
            "resume with the model and the settings that began the run"
        )
    return found


def find_agent(path: Path) -> Path:
    """The folder of an agent: a packaged one's, the path itself, or the newest checkpoint of the run there.

    Raises:
        CheckpointError: there is none of these.
    """
    if is_packaged(path):
        return packaged_folder(path)
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {path}")
    if (path / "adapter_config.json").is_file() or (path / "config.json").is_file():
        return path
    newest = latest_checkpoint(path)
    if newest is None:
        raise CheckpointError(
            f"{path} holds no adapter (adapter_config.json), no model (config.json) and no run with checkpoints"
        )
    return newest


def find_base(folder: Path) -> str:
    """The base model of an adapter: where its configuration says, also seen from the adapter's own folder.

    Raises:
        CheckpointError: the configuration is damaged, or names a folder that is gone, or a packaged agent that is not
            the one it was trained from.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        base = str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'adapter_config.json'} is damaged: {error}") from error
    if is_packaged(base):
        check_packaged_base(folder, base)
        return base
    relative = read_notes(folder).get("base_model_relative")
    # Beside the checkpoint first: what its own configuration says may be another model by now, or another folder's.
    for place in ([folder / relative] if relative else []) + [Path(base)]:
        if place.is_dir():
            return str(place)
    if Path(base).is_absolute() or relative is not None:
        raise CheckpointError(f"the base model of {folder} is gone: {base}; put it back there")
    return base  # a name on the hub


def check_packaged_base(folder: Path, base: str) -> None:
    """Make sure that a packaged agent is still the one that an adapter was trained from.

    Args:
        folder: the adapter's.
        base: what its base is called; nothing is checked of any other base.

    Raises:
        CheckpointError: it is another one.
    """
    notes = read_notes(folder)
    trained, here = notes.get("base_digest"), packaged_digest(base)
    if trained is not None and trained != here:
        raise CheckpointError(
            f"{folder} was trained from {base} of gtr-bench {notes.get('version')} (digest {trained}), and that of "
            f"this gtr-bench is another one ({here}); take that version or commit, or train again"
        )


def base_revision(folder: Path) -> str | None:
    """Of which revision on the hub an adapter's base is, where its configuration says; call `find_base` first.

    Raises:
        CheckpointError: the configuration holds something else there.
    """
    revision = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("revision")
    if revision is not None and not (isinstance(revision, str) and revision):
        raise CheckpointError(f"{folder / 'adapter_config.json'} is damaged: revision={revision!r} is no text")
    return revision


def load_adapter(model: Any, folder: Path) -> Any:
    """Put a saved LoRA adapter on its base model.

    Raises:
        CheckpointError: its weights are missing, damaged or made for another model.
    """
    from peft import PeftModel

    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(f"{folder} has no adapter_model.safetensors; the checkpoint is incomplete")
    try:
        with quiet_peft(), warnings.catch_warnings():
            # PEFT only warns of weights that it did not find, and would play the base model in the adapter's name.
            warnings.filterwarnings("error", message="Found missing adapter keys", category=UserWarning)
            return PeftModel.from_pretrained(model, folder)
    except UserWarning as error:
        raise CheckpointError(
            f"the adapter in {folder} is damaged or made for another model: weights that its configuration names are "
            "missing from adapter_model.safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the adapter in {folder} is damaged or made for another model: {first}") from error
