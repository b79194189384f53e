"""GTR-Turbo and its relatives: collect, guide, update, merge, save.

Source: GTR-Turbo (https://arxiv.org/abs/2512.13043), Algorithm 2; which teacher there is and what it adds is the
method's line in :mod:`gtr_agent.methods`.

Departures from the paper: many environments side by side instead of one; a checkpoint joins the merge after each update
rather than after each PPO epoch; the learning rate follows a cosine over the run's own updates; for the rest see the
heads of ``experience.py``, ``ppo.py``, ``imitation.py``, ``teacher.py`` and ``generation.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gtr_agent.diagnostics import diagnose, episode_keys
from gtr_agent.experience import prepare
from gtr_agent.progress import Clock, OnRecord
from gtr_agent.ranks import Ranks
from gtr_agent.rollout import Rollout, check_environment
from gtr_agent.run import Run
from gtr_agent.run_folder import checkpoint_folder, finished_checkpoint
from gtr_agent.settings import Settings
from gtr_agent.sft import run_sft
from gtr_agent.sharding import check_sharding
from gtr_agent.start import Loaded, set_learning_rate, settle_precision
from gtr_envs.episode import Episode


def train(
    settings: Settings,
    out: Path,
    resume: bool = False,
    loaded: Loaded | None = None,
    on_record: OnRecord | None = None,
) -> Path:
    """Train an agent.

    Args:
        settings: the run's settings; ``model.base`` should be a warm-started model.
        out: the run's folder, which does not exist yet or is empty. It gets ``config.toml``, ``metrics.jsonl`` and a
            checkpoint after each update.
        resume: go on with the run in that folder from its newest whole checkpoint, as if it had never stopped. A run
            that is finished stays as it is.
        loaded: a model and its processor to train instead of loading ``model.base``, as benchmarks do with random
            weights of a published shape. The checkpoints then name no base that can be loaded.
        on_record: called after each update with its number and its metrics, on the main process.

    Returns:
        the last checkpoint's folder; for ``method="sft"`` the warm-started model's.

    Raises:
        OutputExistsError: the folder holds something.
        RunBusyError: another process trains there.
        SettingError: the run to go on with has other settings, or the launcher asks to shard the model.
        CheckpointError: the base model, or what is to be gone on with, cannot be loaded.
        MissingExtraError: a tracker is not installed.
        DivergedError: the loss is not finite.
        CollapseError: the agent collapsed, and the settings say to stop then.
        ProcessLostError: another process of the run has ended.
        Interrupted: Ctrl-C or SIGTERM; the update that was under way is done and saved.
    """
    check_sharding(settings, resume)
    if settings.method == "sft":
        return run_sft(settings, out, resume, on_record)
    ranks = Ranks(settings.model.device)
    settings = ranks.once(lambda: settle_precision(settings, out if resume else None, ranks.on_cpu))
    # Other settings than the run's are named as such, before anything is tried with them.
    if resume and (last := ranks.once(lambda: finished_checkpoint(out, settings))) is not None:
        return last
    check_environment(settings)
    with Run(settings, out, resume, loaded, ranks, on_record) as run:
        for number in range(run.done + 1, settings.ppo.updates + 1):
            clock = Clock()
            # Sharded weights are gathered for all that has no gradients; others are whole anyway.
            with run.whole():
                # 1. Collect, with the adapter folded into the weights where that is the same function, computed faster.
                with run.actor.as_collected():
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
            metrics["learning_rate"] = set_learning_rate(run.optimizer, settings.ppo, number - 1)
            metrics |= run.learn(experience)
            clock.lap("update")

            # 5. Merge the new checkpoint into the teacher.
            metrics = run.ranks.mean_metrics({**metrics, **run.merge(number)})
            clock.lap("merge")

            # 6. Save it, and log the update with what the merge says of it.
            warnings = run.alarm.check(number, metrics)
            run.save(number, metrics, clock)
            run.warn(number, warnings)
            if number < settings.ppo.updates:  # behind the last one there is nothing to go on with
                run.stop_if_asked()
    return checkpoint_folder(out, settings.ppo.updates)


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
