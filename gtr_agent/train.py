"""GTR-Turbo and its relatives: collect, guide, update, merge, save.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), Algorithm 2; which teacher there is and what it adds is the
method's line in :mod:`gtr_agent.methods`.

Departures from the paper: many environments side by side instead of one; a checkpoint joins the merge after each update
rather than after each PPO epoch; the learning rate follows a cosine over the run's own updates; for the rest see the
heads of ``experience.py``, ``ppo.py``, ``imitation.py``, ``teacher.py`` and ``generation.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gtr_agent.actor_critic import ActorCritic, make_value_head
from gtr_agent.alarm import AlarmLimits, CollapseAlarm, CollapseError
from gtr_agent.checkpoint import load_weights, save_checkpoint, state_folder
from gtr_agent.config import settings_to_toml
from gtr_agent.diagnostics import diagnose, episode_keys
from gtr_agent.experience import prepare
from gtr_agent.files import check_free, remove_folder, write_text
from gtr_agent.guidance import Guide, checkpoint_guide, merged_guide
from gtr_agent.imitation import Thoughts, chosen_turns, corrected_thoughts, teacher_thoughts
from gtr_agent.lora import add_lora
from gtr_agent.methods import METHODS
from gtr_agent.model import choose_device, load_base
from gtr_agent.parallel import Workers
from gtr_agent.ppo import Update
from gtr_agent.progress import Clock, RunLog
from gtr_agent.ranks import Ranks
from gtr_agent.rollout import Collector, Rollout, check_environment
from gtr_agent.run_folder import CONFIG, METRICS, checkpoint_folder, checkpoint_update, drop_old_checkpoints, take_up
from gtr_agent.run_state import (
    load_optimizer,
    optimizer_state,
    random_state,
    read_part,
    restore_random,
    seed_globals,
)
from gtr_agent.settings import PpoSettings, Settings
from gtr_agent.sft import run_sft
from gtr_agent.trackers import Trackers
from gtr_envs.episode import Episode
from gtr_envs.errors import CheckpointError

if TYPE_CHECKING:
    from gtr_agent.corrector import Corrector

SHOWN = {"success": ".1%", "return": "+.2f", "teacher_kl": ".4f", "steps_per_second": ".0f"}


def train(settings: Settings, out: Path, resume: bool = False) -> Path:
    """Train an agent.

    Args:
        settings: the run's settings; ``model.base`` should be a warm-started model.
        out: the run's folder, which does not exist yet or is empty. It gets ``config.toml``, ``metrics.jsonl`` and a
            checkpoint after each update.
        resume: go on with the run in that folder from its newest whole checkpoint, as if it had never stopped.

    Returns:
        the last checkpoint's folder; for ``method="sft"`` the warm-started model's.

    Raises:
        OutputExistsError: the folder holds something.
        SettingError: the run to go on with has other settings.
        CheckpointError: the base model, or what is to be gone on with, cannot be loaded.
        DivergedError: the loss is not finite.
        CollapseError: the agent collapsed, and the settings say to stop then.
    """
    if settings.method == "sft":
        return run_sft(settings, out)
    check_environment(settings)
    with Run(settings, out, resume) as run:
        for number in range(run.done + 1, settings.ppo.updates + 1):
            clock = Clock()
            # 1. Collect, with the adapter folded into the weights: the same function, computed faster.
            with run.actor.folded():
                rollout = run.collector.collect()
            clock.lap("collect")

            # 2. Guide: score the sampled tokens with agent and teacher; the KL joins reward or advantage.
            guide = run.guide if run.terms.guides or run.terms.distils else None
            experience = prepare(
                run.actor, rollout, settings, run.pad, guide, run.workers, clock, run.ranks, first=number == 1
            )
            metrics = {**summarise(rollout, settings), **experience.metrics}

            # 3. Imitate: the teacher thinks about the same observations; its thoughts join the data set.
            metrics |= run.ask_teacher(rollout)
            clock.lap("imitate")

            # 4. Update, with PPO and the thoughts to imitate.
            set_learning_rate(run.optimizer, settings.ppo, number - 1)
            metrics |= run.update(experience)
            clock.lap("update")

            # 5. Merge the new checkpoint into the teacher; 6. save it, with what the merge says of it.
            metrics = run.ranks.mean_metrics({**metrics, **run.merge(number)})
            clock.lap("merge")
            warnings = run.alarm.check(number, metrics)
            run.record(number, {**metrics, **clock.report(run.turns)})
            run.save(number, metrics)
            run.warn(number, warnings)
    return checkpoint_folder(out, settings.ppo.updates)


class Run:
    """All that a run holds while it trains.

    Args:
        settings: the run's settings.
        out: its folder.
        resume: whether to go on with what is there.
    """

    def __init__(self, settings: Settings, out: Path, resume: bool) -> None:
        self.ranks = Ranks()
        self.out = out
        self.resumed = begin(settings, out, resume, self.ranks)
        try:
            self._set_up(settings, out)
        except BaseException:
            if not resume and self.ranks.is_main:  # a run that cannot start leaves nothing behind
                remove_folder(out)
            raise

    def _set_up(self, settings: Settings, out: Path) -> None:
        """Load, make or take up everything."""
        seed_globals(settings.seed, self.ranks.index)
        device = choose_device(settings.model.device)
        settings = self.settings = with_base_on_disk(settings, out, self.ranks)
        model, self.processor = load_base(settings, device)
        self.terms = METHODS[settings.method]
        self.actor = make_actor(model, settings)
        if self.terms.teacher == "checkpoint":
            self.actor.cache_features = False  # the teacher looks at the picture with eyes of its own
        self.pad = self.processor.tokenizer.pad_token_id
        self.guide = self._make_guide()
        self.corrector: Corrector | None = None
        if self.terms.teacher == "corrector":
            from gtr_agent.corrector import make_corrector

            self.corrector = make_corrector(settings.corrector, settings.env, out, thoughts=settings.sft.thoughts)
        self.thoughts = Thoughts(settings.imitation) if self.terms.imitates else None
        self.optimizer = make_optimizer(self.actor, settings.ppo)
        self.rng = np.random.default_rng([settings.seed, 2, self.ranks.index])
        self.workers = Workers(settings.threads, device)
        self.collector = Collector(
            settings, self.actor, self.processor, self.workers, self.terms.imitates, self.ranks.index, self.ranks.count
        )
        self.alarm = CollapseAlarm(AlarmLimits(patience=settings.alarm.patience))
        self.turns = settings.rollout.num_envs * settings.rollout.turns * self.ranks.count
        self.update = Update(
            self.actor,
            self.optimizer,
            settings.ppo,
            self.pad,
            self.rng,
            self.workers,
            self.ranks,
            self.thoughts,
            out,
        )
        self.done = 0
        if self.resumed is not None:
            self.done = checkpoint_update(self.resumed)
            self.restore(self.resumed)

    def __enter__(self) -> Run:
        settings = self.settings
        file = self.out / METRICS if self.ranks.is_main else None
        self.log = RunLog(settings.method, settings.ppo.updates, file, SHOWN if self.ranks.is_main else {})
        self.trackers = Trackers(
            settings.trackers if self.ranks.is_main else (), self.out, settings.model_dump(mode="json")
        )
        self.log.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.log.__exit__(*error)
        self.trackers.close()
        self.collector.close()
        self.workers.close()
        if self.corrector is not None:
            self.corrector.close()

    def _make_guide(self) -> Guide | None:
        if self.terms.teacher == "merged":
            return merged_guide(self.actor, self.settings)
        return checkpoint_guide(self.settings, self.processor) if self.terms.teacher == "checkpoint" else None

    def ask_teacher(self, rollout: Rollout) -> dict[str, float]:
        """Have the teacher think about a share of the turns and keep its thoughts; returns what to log."""
        if self.thoughts is None:
            return {}
        turns = chosen_turns(rollout.flat(), self.settings.imitation.share, self.rng)
        if self.corrector is not None:
            found, metrics = corrected_thoughts(self.corrector, self.processor, turns, self.rng)
        else:
            assert self.guide is not None
            found, metrics = teacher_thoughts(self.guide, self.processor, turns, self.settings, self.rng)
        self.thoughts.add(found)
        return {**metrics, "thoughts_kept": float(len(self.thoughts.thoughts))}

    def merge(self, number: int) -> dict[str, float]:
        """Merge the agent as it is now into the teacher, where there is one and it is time; returns what to log."""
        merged = self.guide.merged if self.guide is not None else None
        if merged is None or number % self.settings.merge.every:
            return {}
        report = merged.merge()
        return {"teacher_change": report.change, "teacher_distance": report.distance}

    def record(self, number: int, metrics: dict[str, float]) -> None:
        """Log an update: before its checkpoint is written, so that no checkpoint is without its line."""
        self.log.record(number, metrics)
        self.trackers.log(metrics, number)

    def save(self, number: int, metrics: dict[str, float]) -> None:
        """Write the checkpoint of an update, with all that is needed to go on from it."""
        parts = self.ranks.gather(
            {"environments": self.collector.state(), "random": random_state({"update": self.rng})}
        )
        thoughts = self.ranks.gather(self.thoughts.state()) if self.thoughts is not None else None
        if self.ranks.is_main:
            state: dict[str, Any] = {
                "optimizer": optimizer_state(self.optimizer),
                "processes": parts,
                "alarm": self.alarm.state(),
            }
            if self.guide is not None and self.guide.merged is not None:
                state["teacher"] = self.guide.merged.state()
            if thoughts is not None:
                state["thoughts"] = thoughts
            save_checkpoint(checkpoint_folder(self.out, number), self.actor, self.settings, number, metrics, state)
            drop_old_checkpoints(self.out, self.settings.keep_checkpoints, number)
        self.ranks.wait()

    def restore(self, checkpoint: Path) -> None:
        """Become what the run was when it wrote a checkpoint.

        Raises:
            CheckpointError: a part is damaged, or the run had another number of processes.
        """
        place = state_folder(checkpoint)
        load_weights(self.actor, checkpoint)
        load_optimizer(self.optimizer, read_part(place, "optimizer"))
        self.alarm.load_state(read_part(place, "alarm"))
        processes = read_part(place, "processes")
        if len(processes) != self.ranks.count:
            raise CheckpointError(
                f"{checkpoint} was written by {len(processes)} processes and this run has {self.ranks.count}; "
                "start as many as there were"
            )
        own = processes[self.ranks.index]
        self.collector.load_state(own["environments"])
        if self.guide is not None and self.guide.merged is not None:
            self.guide.merged.load_state(read_part(place, "teacher"))
        if self.thoughts is not None:
            self.thoughts.load_state(read_part(place, "thoughts")[self.ranks.index], self.actor.causal.device)
        restore_random(own["random"], {"update": self.rng})  # last: what comes before may draw

    def warn(self, number: int, warnings: Sequence[str]) -> None:
        """Speak up where the agent collapses.

        Raises:
            CollapseError: it did, and the settings say to stop then.
        """
        if not warnings or self.settings.alarm.action == "off":
            return
        for warning in warnings if self.ranks.is_main else ():
            self.log.say(f"collapse alarm: {warning}")
        if self.settings.alarm.action == "stop":
            raise CollapseError(f"update {number}: {'; '.join(warnings)}; alarm.action=warn trains on")


def begin(settings: Settings, out: Path, resume: bool, ranks: Ranks) -> Path | None:
    """Make a run's folder, or take up the one that is there.

    Returns:
        the checkpoint to go on from; None to begin at the beginning.

    Raises:
        OutputExistsError: the folder is to be new and holds something.
        SettingError: the run there has other settings.
        CheckpointError: there is no run there.
    """
    found: Path | None = None
    if ranks.is_main:
        if resume:
            found = take_up(out, settings)
        else:
            check_free(out)
            out.mkdir(parents=True, exist_ok=True)
            write_text(out / CONFIG, settings_to_toml(settings))  # first: a run without it could not be gone on with
    return ranks.from_main(found)


def with_base_on_disk(settings: Settings, out: Path, ranks: Ranks) -> Settings:
    """The settings with a base model that checkpoints can name: the tiny one is written to ``out/base``."""
    if settings.model.base != "tiny":
        return settings
    from gtr_agent.tiny import init_tiny

    base = out / "base"
    if ranks.is_main and not base.is_dir():
        init_tiny(base, settings.seed, settings.env.id)
    ranks.wait()
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
        logit_chunk=settings.model.logit_chunk,
        gradient_checkpointing=settings.model.gradient_checkpointing,
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


def summarise(rollout: Rollout, settings: Settings) -> dict[str, float]:
    """What the rollout's turns and finished episodes say; success and return are left out where none finished."""
    turns = [transition.turn for transition in rollout.flat()]
    episodes = episode_keys([[t.terminated or t.truncated for t in row] for row in rollout.transitions])
    states = [(key, turn.prompt) for key, turn in zip(episodes, turns, strict=True)]
    found = diagnose(turns, states, episodes=episodes, max_new_tokens=settings.rollout.max_new_tokens)
    return {**found, "episodes": float(len(rollout.episodes)), **_outcome(rollout.episodes)}


def _outcome(episodes: Sequence[Episode]) -> dict[str, float]:
    if not episodes:
        return {}
    return {
        "success": float(np.mean([episode.success for episode in episodes])),
        "return": float(np.mean([episode.episode_return for episode in episodes])),
        "episode_steps": float(np.mean([episode.steps for episode in episodes])),
    }


if __name__ == "__main__":
    from gtr_agent.command import main

    main()
