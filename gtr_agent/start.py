"""What a run begins with: its folder, its model with a fresh adapter, its optimiser."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from gtr_agent.actor_critic import ActorCritic, make_value_head
from gtr_agent.config import settings_to_toml
from gtr_agent.lora import add_lora
from gtr_agent.model import choose_device, load_base
from gtr_agent.precision import resolve_precision
from gtr_agent.ranks import Ranks
from gtr_agent.run_folder import CONFIG, read_settings, take_up
from gtr_agent.settings import PpoSettings, Settings
from gtr_agent.trackers import check_trackers
from gtr_envs.storage import check_free, locked, write_atomic

Loaded = tuple[Any, Any]
"""A model and its processor."""


def begin(settings: Settings, out: Path, resume: bool, held: ExitStack) -> Path | None:
    """Make a run's folder, or take up the one that is there. On the main process alone.

    Args:
        settings: the run's settings.
        out: its folder.
        resume: whether to go on with what is there.
        held: gets that folder's lock to close; it is held when this returns, and only then.

    Returns:
        the checkpoint to go on from; None to begin at the beginning.

    Raises:
        OutputExistsError: the folder is to be new and holds something.
        RunBusyError: another process trains there.
        SettingError: the run there has other settings.
        CheckpointError: there is no run there.
        MissingExtraError: a tracker is not installed.
    """
    check_trackers(settings.trackers)
    if resume:
        read_settings(out)  # else a folder would be made for the lock
    else:
        check_free(out)
    with ExitStack() as closing:
        closing.enter_context(locked(out, "trained", print))
        if resume:
            found = take_up(out, settings)
        else:
            check_free(out)  # again: now nobody else can be filling it
            # First: without it a run could not be resumed.
            write_atomic(out / CONFIG, settings_to_toml(settings).encode(), durable=True)
            found = None
        held.push(closing.pop_all())
    return found


def load(settings: Settings, out: Path, ranks: Ranks, loaded: Loaded | None = None) -> tuple[Settings, Loaded]:
    """The model to train, with its processor, and the settings with a base that the run's checkpoints can name.

    Args:
        settings: the run's settings.
        out: its folder.
        ranks: the processes of the run.
        loaded: what to train instead of ``model.base``, which then stays as it is, whatever it names.
    """
    if loaded is not None:
        return settings, loaded
    if not ranks.is_main:
        from transformers.utils import logging

        logging.disable_progress_bar()  # one process speaks
    if ranks.on_cpu and settings.model.device == "auto":
        settings = with_model(settings, device="cpu")
    settings = with_base_on_disk(settings, out, ranks)
    return settings, load_base(settings, choose_device(settings.model.device))


def settle_precision(settings: Settings, resumed: Path | None = None, on_cpu: bool = False) -> Settings:
    """The settings with what ``model.precision="auto"`` stands for: at a resume the run's own, else the machine's.

    Args:
        settings: the run's settings.
        resumed: the folder of the run that is gone on with.
        on_cpu: whether ``model.device="auto"`` stands for a CPU here, whatever else there is.

    Raises:
        SettingError: the device is not there, or does not compute in the precision.
        CheckpointError: there is no run to go on with.
    """
    wish = settings.model.precision
    if resumed is not None:  # whether it can be computed here is seen when there is something to compute
        return with_model(settings, precision=read_settings(resumed).model.precision) if wish == "auto" else settings
    device = "cpu" if on_cpu and settings.model.device == "auto" else choose_device(settings.model.device)
    return with_model(settings, precision=resolve_precision(wish, device))


def with_base_on_disk(settings: Settings, out: Path, ranks: Ranks) -> Settings:
    """The settings with a base model that checkpoints can name: the tiny one is written to ``out/base``."""
    if settings.model.base != "tiny":
        return settings
    from gtr_agent.tiny import init_tiny

    base = out / "base"
    if ranks.is_main and not base.is_dir():
        init_tiny(base, settings.seed, settings.env.id)
    ranks.wait()
    return with_model(settings, base=str(base))


def with_model(settings: Settings, **changes: Any) -> Settings:
    """The settings with changes in their section ``model``."""
    return settings.model_copy(update={"model": settings.model.model_copy(update=changes)})


def make_actor(model: Any, settings: Settings, sharded: bool = False) -> ActorCritic:
    """The agent: the model with a fresh adapter, and a value head.

    Args:
        model: the base model; in place.
        settings: the run's settings.
        sharded: whether its weights are spread over the processes.
    """
    width = model.config.get_text_config().hidden_size
    peft_model = add_lora(model, settings.model, settings.seed)
    value_head = make_value_head(width, settings.ppo.value_hidden, settings.seed).to(model.device)
    return ActorCritic(
        peft_model,
        value_head,
        temperature=settings.rollout.temperature,
        precision=resolve_precision(settings.model.precision, model.device.type),
        value_detach=settings.ppo.value_detach,
        cache_features=not settings.model.lora_vision,
        train_folded=settings.model.train_folded,
        collect_folded=None if settings.model.collect_folded == "auto" else settings.model.collect_folded,
        logit_chunk=settings.model.logit_chunk,
        gradient_checkpointing=settings.model.gradient_checkpointing,
        sharded=sharded,
    )


def make_optimizer(actor: ActorCritic, settings: PpoSettings) -> torch.optim.Adam:
    """Adam on adapter and value head, each with its own learning rate."""
    adapter = [weight for weight in actor.model.parameters() if weight.requires_grad]
    assert actor.value_head is not None
    groups = [
        {"params": adapter, "lr": settings.learning_rate},
        {"params": list(actor.value_head.parameters()), "lr": settings.value_learning_rate},
    ]
    return torch.optim.Adam(groups, betas=(0.9, settings.adam_beta2), eps=settings.adam_eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: PpoSettings, done: int) -> float:
    """Set the adapter's learning rate for the next update, a cosine from the first to the final one; returns it."""
    low, high = settings.final_learning_rate, settings.learning_rate
    share = done / settings.updates  # so that the last update still learns where the final rate is 0
    rate = low + (high - low) * 0.5 * (1 + math.cos(math.pi * share))
    optimizer.param_groups[0]["lr"] = rate
    return rate
