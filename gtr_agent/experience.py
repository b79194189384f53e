"""From a rollout to what the update learns from: scores, the teacher's KL, advantages and the values' targets.

Sources: GTR-Turbo (https://arxiv.org/abs/2512.13043): ``r - beta * RevKL`` goes into the buffer (Algorithm 2), or
``A - beta * RevKL`` is the advantage (Eq. 6); On-Policy Distillation (Thinking Machines, October 2025): the advantage
of each token is minus its reverse KL, with no reward and no discount.

Departures from the released code: old log-probs, values and the teacher's log-probs come from scoring the very tokens
that were sampled, picture included; truncated episodes bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic, Scores
from gtr_agent.advantages import gae
from gtr_agent.batches import AnswerBatch
from gtr_agent.folding import folding_error
from gtr_agent.guidance import Guide, guided_mask, kl_tokens
from gtr_agent.losses import masked_mean, value_loss
from gtr_agent.methods import METHODS, Terms
from gtr_agent.parallel import Workers
from gtr_agent.progress import Clock
from gtr_agent.ranks import Ranks
from gtr_agent.rollout import Rollout, Transition
from gtr_agent.scoring import answers_of, reached_states, score_turns, stack_log_probs
from gtr_agent.settings import PpoSettings, Settings

VALUE_FITS = 3


@dataclass(frozen=True)
class Experience:
    """A rollout with all that the update needs; every tensor has one row a turn, time by time.

    Attributes:
        transitions: the turns.
        log_probs: (turns, tokens) of the agent before the update, in nats.
        advantages: (turns,), or (turns, tokens) where each token has its own.
        returns: (turns,), the value head's targets.
        metrics: what scoring found, for the log.
    """

    transitions: list[Transition]
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    metrics: dict[str, float]


def prepare(
    actor: ActorCritic,
    rollout: Rollout,
    settings: Settings,
    pad: int,
    guide: Guide | None,
    workers: Workers,
    clock: Clock,
    ranks: Ranks | None = None,
    first: bool = False,
) -> Experience:
    """Score a rollout with agent and teacher and estimate advantages.

    Args:
        actor: the agent.
        rollout: its turns.
        settings: the run's settings.
        pad: the padding token.
        guide: the teacher whose KL guides, or None.
        workers: who computes.
        clock: counts the time of agent's and teacher's scoring.
        ranks: the processes of the run; None for this one alone.
        first: this is the run's first rollout, to which the new value head is fitted beforehand.
    """
    transitions, ppo, terms = rollout.flat(), settings.ppo, METHODS[settings.method]
    with actor.as_trained():
        scores = score_turns(actor, transitions, pad, ppo, workers, with_entropy=True)
        reached = reached_states(actor, transitions, pad, ppo, workers)
    answers = answers_of(transitions, pad, scores.values.device)
    clock.lap("score")
    kl = torch.zeros_like(scores.log_probs)
    if guide is not None:
        # Distilling, the gradient is right for the plain log-ratio of sampled tokens alone: clipped it would never
        # draw the agent to what the teacher likes better, and the exact KL does not tell one token from another.
        chosen = with_plain_kl(settings) if terms.distils else settings
        kl = kl_tokens(actor, guide, transitions, scores.log_probs, chosen, pad, workers)
        clock.lap("teacher")
    turn_kl = masked_mean(kl, guided_mask(answers, settings.guidance), dim=-1)
    rewards = torch.tensor([transition.reward for transition in transitions], device=kl.device)
    estimate = Estimate(actor, rollout, scores, reached, guided_rewards(rewards, turn_kl, terms, settings), ppo)
    if first and ppo.value_warmup_steps and not terms.distils:
        for _ in range(VALUE_FITS):  # the later fits' targets for interrupted episodes rest on the earlier ones
            fit_value_head(actor, scores.states, estimate()[2].flatten(), ppo, ranks or Ranks())
    values, advantages, returns = (tensor.flatten() for tensor in estimate())
    if guide is not None and settings.guidance.place == "advantage" and terms.guides:
        advantages = advantages - settings.guidance.beta * turn_kl
    if terms.distils:
        advantages = -settings.guidance.beta * kl * answers.mask
    metrics = describe(scores, answers, transitions, rewards)
    metrics |= {} if guide is None else {"teacher_kl": float(turn_kl.mean())}
    error = folding_error(actor.model, actor.precision)
    metrics |= {} if error is None else {"folding_error": error}
    metrics |= {"value_mean": float(values.mean()), "explained_variance": explained_variance(values, returns)}
    return Experience(transitions, scores.log_probs, advantages, returns, metrics)


def with_plain_kl(settings: Settings) -> Settings:
    """The settings with the log-ratio itself, ``k1`` of the reverse KL, for distillation."""
    guidance = settings.guidance.model_copy(update={"estimator": "k1", "direction": "reverse"})
    return settings.model_copy(update={"guidance": guidance})


def guided_rewards(rewards: Tensor, kl: Tensor, terms: Terms, settings: Settings) -> Tensor:
    """The rewards (turns,) that advantages are estimated from: with the teacher's KL where it enters there."""
    if terms.distils:
        return torch.zeros_like(rewards)
    if terms.guides and settings.guidance.place == "reward":
        return rewards - settings.guidance.beta * kl
    return rewards


@dataclass(frozen=True)
class Estimate:
    """Values, advantages and returns by the value head as it is now, all (time, environments)."""

    actor: ActorCritic
    rollout: Rollout
    scores: Scores
    reached: tuple[Tensor, Tensor] | None
    rewards: Tensor
    settings: PpoSettings

    @torch.no_grad()
    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        transitions, rewards = self.rollout.flat(), self.rewards
        shape = (len(self.rollout.transitions), len(self.rollout.transitions[0]))
        terminated = torch.tensor([t.terminated for t in transitions], device=rewards.device).view(shape)
        truncated = torch.tensor([t.truncated for t in transitions], device=rewards.device).view(shape)
        values = self.actor.value(self.scores.states).view(shape)
        next_values = torch.cat([values[1:], torch.zeros_like(values[:1])])
        if self.reached is not None:
            next_values.view(-1)[self.reached[0]] = self.actor.value(self.reached[1])
        gamma, lam = self.settings.gamma, self.settings.gae_lambda
        return values, *gae(rewards.view(shape), values, next_values, terminated, truncated, gamma, lam)


def describe(scores: Scores, answers: AnswerBatch, transitions: list[Transition], rewards: Tensor) -> dict[str, float]:
    """What scoring says of a rollout, for the log."""
    sampled = stack_log_probs(transitions, scores.log_probs)
    return {
        "reward_mean": float(rewards.mean()),
        "thought_entropy": float(masked_mean(scores.entropy, answers.thought_mask)),
        "action_entropy": float(masked_mean(scores.entropy, answers.action_mask)),
        "sampling_gap": float(masked_mean((scores.log_probs - sampled).abs(), answers.mask)),
    }


def fit_value_head(actor: ActorCritic, states: Tensor, returns: Tensor, settings: PpoSettings, ranks: Ranks) -> None:
    """Fit a new value head to the first rollout's returns before any advantage is taken from it.

    A head that knows nothing calls every good state's luck the action's merit, and the first updates push the policy
    about at random. Not in the paper.

    Args:
        actor: the agent.
        states: (turns, hidden size), what the head reads.
        returns: (turns,).
        settings: the number of steps and the learning rate.
        ranks: the processes of the run, which fit the same head to the rollouts of all.
    """
    assert actor.value_head is not None
    weights = list(actor.value_head.parameters())
    optimizer = torch.optim.Adam(weights, lr=settings.value_learning_rate)
    for _ in range(settings.value_warmup_steps):
        loss = value_loss(actor.value_head(states).squeeze(-1), returns)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        ranks.mean_gradients(weights)
        optimizer.step()


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """``1 - Var(returns - values) / Var(returns)``: 1 for a perfect value head, 0 for a constant one."""
    variance = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / variance) if variance > 0 else 0.0
