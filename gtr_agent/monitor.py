"""A look at the agent's play while it trains, on training hands, with seeds of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.parallel import Workers
from gtr_agent.policy import ModelPolicy
from gtr_agent.settings import Settings
from gtr_envs.episode import Episode, play
from gtr_envs.text_actions import make_text_env


def reads_cards(episode: Episode) -> list[bool]:
    """For each answer that names cards: whether they are the hand's values, in order."""
    numbers = episode.info.get("numbers")
    read = [turn.fields["cards"] for turn in episode.turns if "cards" in turn.fields]
    return [cards == numbers for cards in read] if numbers is not None else []


def look(actor: ActorCritic, processor: Any, settings: Settings, workers: Workers, episodes: int) -> dict[str, float]:
    """Play some episodes of the training environment.

    Returns:
        ``success``, ``return``, ``invalid`` (share of answers that could not be read) and, where the task has the agent
        read cards, ``cards_read`` (share of answers with all of them right).
    """
    policy = ModelPolicy(actor, processor, max_new_tokens=settings.rollout.max_new_tokens, workers=workers)
    seeds = [settings.training_seed("monitor", index) for index in range(episodes)]
    env = settings.env
    played = list(play(policy, lambda: make_text_env(env.id, env.invalid, **env.options), seeds, batch_size=episodes))
    turns = sum(episode.steps for episode in played)
    found = {
        "success": float(np.mean([episode.success for episode in played])),
        "return": float(np.mean([episode.episode_return for episode in played])),
        "invalid": sum(episode.n_invalid for episode in played) / max(1, turns),
    }
    read = [right for episode in played for right in reads_cards(episode)]
    return {**found, "cards_read": float(np.mean(read))} if read else found
