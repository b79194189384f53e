"""GTR-Turbo and plain PPO: collect, guide, update, merge, save.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), Algorithm 2. ``method="ppo"`` is the same loop without a teacher
(RL4VLM, https://arxiv.org/abs/2405.10292).

Departures from the paper: many environments side by side instead of one; a checkpoint joins the merge after each update
rather than after each PPO epoch; the learning rate follows a cosine over the run's own updates; for the rest see the
heads of ``ppo.py``, ``teacher.py`` and ``generation.py``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtr_agent.actor_critic import ActorCritic, add_lora, make_value_head
from gtr_agent.checkpoint import checkpoint_folder, save_checkpoint
from gtr_agent.config import PpoSettings, Settings, settings_to_toml
from gtr_agent.files import check_free
from gtr_agent.model import choose_device, load_base
from gtr_agent.parallel import Workers
from gtr_agent.ppo import prepare, update
from gtr_agent.progress import Clock, RunLog
from gtr_agent.rollout import Collector, Rollout, check_environment
from gtr_agent.teacher import MergedTeacher
from gtr_envs.episode import Episode

SHOWN = {"success": ".1%", "return": "+.2f", "teacher_kl": ".4f", "steps_per_second": ".0f"}


def train(settings: Settings, out: Path) -> Path:
    """Train an agent by reinforcement learning.

    Args:
        settings: the run's settings; ``model.base`` should be a warm-started model.
        out: the run's folder, which does not exist yet or is empty. It gets ``config.toml``, ``metrics.jsonl`` and a
            checkpoint after each update.

    Returns:
        the last checkpoint's folder.

    Raises:
        OutputExistsError: the folder holds something.
        CheckpointError: the base model cannot be loaded.
        DivergedError: the loss is not finite.
    """
    check_free(out)
    check_environment(settings)
    device = choose_device(settings.model.device)
    settings = with_base_on_disk(settings, out)
    model, processor = load_base(settings, device)
    actor = make_actor(model, settings)
    guided = settings.method == "gtr-turbo-kl"
    teacher = MergedTeacher(actor.model, settings.merge, settings.model.precision) if guided else None
    optimizer = make_optimizer(actor, settings.ppo)
    rng = np.random.default_rng([settings.seed, 2])
    workers = Workers(settings.threads, device)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.toml").write_text(settings_to_toml(settings), encoding="utf-8")
    collector = Collector(settings, actor, processor, workers)
    pad = processor.tokenizer.pad_token_id
    folder = out

    with (
        closing(collector, workers),
        RunLog(settings.method, settings.ppo.updates, out / "metrics.jsonl", SHOWN) as log,
    ):
        for number in range(1, settings.ppo.updates + 1):
            clock = Clock()
            # 1. Collect, with the adapter folded into the weights: the same function, computed faster.
            with actor.folded():
                rollout = collector.collect()
            clock.lap("collect")

            # 2. Guide: score the sampled tokens with agent and teacher; the KL joins the reward.
            guide = teacher.active() if teacher is not None else None
            experience = prepare(actor, rollout, settings, pad, guide, workers, clock, first=number == 1)

            # 3. Update.
            set_learning_rate(optimizer, settings.ppo, number - 1)
            learned = update(actor, optimizer, experience, settings.ppo, pad, rng, workers)
            clock.lap("update")

            # 4. Merge the new checkpoint into the teacher; 5. save it, with what the merge says of it.
            metrics = {**summarise(rollout), **experience.metrics, **learned}
            if teacher is not None and number % settings.merge.every == 0:
                report = teacher.merge()
                metrics |= {"teacher_change": report.change, "teacher_distance": report.distance}
            clock.lap("merge")
            folder = checkpoint_folder(out, number)
            save_checkpoint(folder, actor, settings, number, metrics)
            drop_old_checkpoints(out, settings.keep_checkpoints, number)
            clock.lap("save")
            log.record(number, {**metrics, **clock.report(settings.rollout.num_envs * settings.rollout.turns)})
    return folder


def with_base_on_disk(settings: Settings, out: Path) -> Settings:
    """The settings with a base model that checkpoints can name: the tiny one is written to ``out/base``."""
    if settings.model.base != "tiny":
        return settings
    from gtr_agent.tiny import init_tiny

    base = init_tiny(out / "base", settings.seed)
    return settings.model_copy(update={"model": settings.model.model_copy(update={"base": str(base)})})


def make_actor(model: Any, settings: Settings) -> ActorCritic:
    """The agent: the model with a fresh adapter, and a value head."""
    width = model.config.get_text_config().hidden_size
    peft_model = add_lora(model, settings.model, settings.seed)
    value_head = make_value_head(width, settings.ppo.value_hidden, settings.seed).to(model.device)
    return ActorCritic(
        peft_model,
        value_head,
        temperature=settings.rollout.temperature,
        precision=settings.model.precision,
        value_detach=settings.ppo.value_detach,
        cache_features=not settings.model.lora_vision,
        train_folded=settings.model.train_folded,
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


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: PpoSettings, done: int) -> None:
    """The adapter's learning rate for the next update: a cosine from the first to the final one."""
    low, high = settings.final_learning_rate, settings.learning_rate
    share = done / settings.updates  # so that the last update still learns where the final rate is 0
    optimizer.param_groups[0]["lr"] = low + (high - low) * 0.5 * (1 + math.cos(math.pi * share))


def summarise(rollout: Rollout) -> dict[str, float]:
    """What the rollout's turns and finished episodes say; success and return are left out where none finished."""
    turns = [transition.turn for transition in rollout.flat()]
    found = {
        "invalid": float(np.mean([turn.status == "invalid" for turn in turns])),
        "repaired": float(np.mean([turn.status == "repaired" for turn in turns])),
        "illegal": float(np.mean([turn.illegal for turn in turns])),
        "answer_tokens": float(np.mean([turn.tokens for turn in turns])),
        "episodes": float(len(rollout.episodes)),
    }
    return {**found, **_outcome(rollout.episodes)}


def _outcome(episodes: Sequence[Episode]) -> dict[str, float]:
    if not episodes:
        return {}
    return {
        "success": float(np.mean([episode.success for episode in episodes])),
        "return": float(np.mean([episode.episode_return for episode in episodes])),
        "episode_steps": float(np.mean([episode.steps for episode in episodes])),
    }


def drop_old_checkpoints(run: Path, keep: int, newest: int) -> None:
    """Remove checkpoints until only the newest ``keep`` are left; 0 keeps all."""
    if keep and newest > keep:
        shutil.rmtree(checkpoint_folder(run, newest - keep), ignore_errors=True)


@contextmanager
def closing(*things: Any) -> Iterator[None]:
    """Close things at the end, whatever happens."""
    try:
        yield
    finally:
        for thing in things:
            thing.close()
