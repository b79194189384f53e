"""One PPO update over the turns of a rollout: score, advantages, epochs.

Sources: PPO (https://arxiv.org/abs/1707.06347); RL4VLM (https://arxiv.org/abs/2405.10292) for the log-prob of a turn;
GTR-Turbo (https://arxiv.org/abs/2512.13043), Algorithm 2, for the teacher's KL inside the reward.

Departures from the released code: old log-probs, values and the teacher's log-probs come from scoring the very tokens
that were sampled, picture included; truncated episodes bootstrap; a loss that is not finite stops the run instead of
being skipped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic, Scores
from gtr_agent.advantages import gae, whiten
from gtr_agent.batches import AnswerBatch, stack_answers, stack_prompts
from gtr_agent.config import PpoSettings, Settings
from gtr_agent.losses import clipped_surrogate, masked_mean, thought_kl, turn_log_prob, value_loss
from gtr_agent.model import PromptBatch, inference
from gtr_agent.parallel import Workers, add_gradients, pieces
from gtr_agent.progress import Clock
from gtr_agent.rollout import Rollout, Transition
from gtr_envs.errors import GtrError

VALUE_FITS = 3


class DivergedError(GtrError, FloatingPointError):
    """A loss that is not finite."""


@dataclass(frozen=True)
class Experience:
    """A rollout with all that the update needs; every tensor has one row a turn, time by time.

    Attributes:
        transitions: the turns.
        log_probs: (turns, tokens) of the agent before the update, in nats.
        advantages: (turns,).
        returns: (turns,), the value head's targets.
        metrics: what scoring found, for the log.
    """

    transitions: list[Transition]
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    metrics: dict[str, float]


def lay_out(transitions: Sequence[Transition], pad: int) -> tuple[PromptBatch, AnswerBatch]:
    """Turns as one padded batch."""
    answers = stack_answers(
        [transition.sample.tokens for transition in transitions],
        [transition.sample.action_mask for transition in transitions],
        pad,
    )
    prompt = stack_prompts([transition.prompt for transition in transitions], pad)
    device = prompt.inputs["input_ids"].device
    return prompt, AnswerBatch(*(tensor.to(device) for tensor in (answers.tokens, answers.mask, answers.action_mask)))


def score_turns(
    actor: ActorCritic,
    transitions: Sequence[Transition],
    pad: int,
    size: int,
    workers: Workers,
    with_entropy: bool = False,
) -> Scores:
    """Score many turns without gradients, a few at a time; the results are padded to the longest answer of all."""
    longest = max(len(transition.sample.tokens) for transition in transitions)

    def score(piece: slice) -> Scores:
        with torch.no_grad():
            scores = actor.score(*lay_out(transitions[piece], pad), with_entropy=with_entropy)
        widen = (0, longest - scores.log_probs.shape[1])
        log_probs, entropy = (torch.nn.functional.pad(x, widen) for x in (scores.log_probs, scores.entropy))
        return Scores(log_probs, scores.values, entropy, scores.states)

    with inference(actor):
        parts = workers.map(score, pieces(len(transitions), size))
    columns = zip(*((part.log_probs, part.values, part.entropy, part.states) for part in parts), strict=True)
    return Scores(*(torch.cat(column) for column in columns))


def prepare(
    actor: ActorCritic,
    rollout: Rollout,
    settings: Settings,
    pad: int,
    teacher: AbstractContextManager[None] | None,
    workers: Workers,
    clock: Clock,
    first: bool = False,
) -> Experience:
    """Score a rollout with agent and teacher and estimate advantages.

    Args:
        actor: the agent.
        rollout: its turns.
        settings: the run's settings.
        pad: the padding token.
        teacher: a context in which the actor is the teacher, or None for none.
        workers: who computes.
        clock: counts the time of agent's and teacher's scoring.
        first: this is the run's first rollout, to which the new value head is fitted beforehand.
    """
    transitions = rollout.flat()
    size = settings.ppo.micro_batch_size
    with actor.as_trained():
        scores = score_turns(actor, transitions, pad, size, workers, with_entropy=True)
        reached = reached_states(actor, transitions, pad, size, workers)
    _, answers = lay_out(transitions, pad)
    rewards = torch.tensor([transition.reward for transition in transitions], device=scores.values.device)
    kl = torch.zeros_like(rewards)
    clock.lap("score")
    if teacher is not None:
        with teacher:
            teacher_log_probs = score_turns(actor, transitions, pad, size, workers).log_probs
        kl = thought_kl(scores.log_probs, teacher_log_probs, answers.thought_mask, settings.guidance.estimator)
        clock.lap("teacher")
    guided = rewards - settings.guidance.beta * kl

    shape = (len(rollout.transitions), len(rollout.transitions[0]))  # (time, environments)
    terminated = torch.tensor([t.terminated for t in transitions], device=kl.device).view(shape)
    truncated = torch.tensor([t.truncated for t in transitions], device=kl.device).view(shape)
    rewarded = guided.view(shape)
    gamma, gae_lambda = settings.ppo.gamma, settings.ppo.gae_lambda

    def estimate() -> tuple[Tensor, Tensor, Tensor]:
        """Values, advantages and returns, (time, environments), by the value head as it is."""
        with torch.no_grad():
            values = actor.value(scores.states).view(shape)
            next_values = torch.cat([values[1:], torch.zeros_like(values[:1])])
            if reached is not None:
                next_values.view(-1)[reached[0]] = actor.value(reached[1])
        return values, *gae(rewarded, values, next_values, terminated, truncated, gamma, gae_lambda)

    if first and settings.ppo.value_warmup_steps:
        for _ in range(VALUE_FITS):  # the later fits' targets for interrupted episodes rest on the earlier ones
            fit_value_head(actor, scores.states, estimate()[2].flatten(), settings.ppo)
    values, advantages, returns = estimate()
    sampled = stack_log_probs(transitions, scores.log_probs)
    metrics = {
        "reward_mean": float(rewards.mean()),
        "teacher_kl": float(kl.mean()),
        "thought_entropy": float(masked_mean(scores.entropy, answers.thought_mask)),
        "action_entropy": float(masked_mean(scores.entropy, answers.action_mask)),
        "sampling_gap": float(masked_mean((scores.log_probs - sampled).abs(), answers.mask)),
        "value_mean": float(values.mean()),
        "explained_variance": explained_variance(values, returns),
    }
    return Experience(transitions, scores.log_probs, advantages.flatten(), returns.flatten(), metrics)


def reached_states(
    actor: ActorCritic, transitions: Sequence[Transition], pad: int, size: int, workers: Workers
) -> tuple[Tensor, Tensor] | None:
    """What the value head reads of the states that were reached where no turn of the rollout begins.

    Returns:
        the indices of the turns that led there and the states, (turns, hidden size); None if there are none.
    """
    wanted = [(index, t.next_prompt) for index, t in enumerate(transitions) if t.next_prompt is not None]
    if not wanted:
        return None

    def read(piece: slice) -> Tensor:
        return actor.states(stack_prompts([prompt for _, prompt in wanted[piece]], pad))

    with inference(actor):
        states = torch.cat(workers.map(read, pieces(len(wanted), size)))
    return torch.tensor([index for index, _ in wanted], device=states.device), states


def fit_value_head(actor: ActorCritic, states: Tensor, returns: Tensor, settings: PpoSettings) -> None:
    """Fit a new value head to the first rollout's returns before any advantage is taken from it.

    A head that knows nothing calls every good state's luck the action's merit, and the first updates push the policy
    about at random. Not in the paper.

    Args:
        actor: the agent.
        states: (turns, hidden size), what the head reads.
        returns: (turns,).
        settings: the number of steps and the learning rate.
    """
    assert actor.value_head is not None
    optimizer = torch.optim.Adam(actor.value_head.parameters(), lr=settings.value_learning_rate)
    for _ in range(settings.value_warmup_steps):
        loss = value_loss(actor.value_head(states).squeeze(-1), returns)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def stack_log_probs(transitions: Sequence[Transition], like: Tensor) -> Tensor:
    """The log-probs that sampling saw, (turns, tokens), 0 where there is no token."""
    stacked = torch.zeros_like(like)
    for index, transition in enumerate(transitions):
        row = torch.tensor(transition.sample.log_probs, dtype=like.dtype, device=like.device)
        stacked[index, : len(row)] = row
    return stacked


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """``1 - Var(returns - values) / Var(returns)``: 1 for a perfect value head, 0 for a constant one."""
    variance = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / variance) if variance > 0 else 0.0


def log_ratios(new: Tensor, old: Tensor, answers: AnswerBatch, settings: PpoSettings) -> tuple[Tensor, Tensor | None]:
    """The log of the importance ratio, of whole turns (turns,) or of tokens (turns, tokens) with their mask.

    Of a turn it is that of RL4VLM's log-prob: ``lambda * sum over the thought + sum over the action``.
    """
    if settings.ratio == "token":
        return new - old, answers.mask
    masks = (answers.thought_mask, answers.action_mask)
    new_turn = turn_log_prob(new, *masks, settings.thought_coef)
    return new_turn - turn_log_prob(old, *masks, settings.thought_coef), None


def update(
    actor: ActorCritic,
    optimizer: torch.optim.Optimizer,
    experience: Experience,
    settings: PpoSettings,
    pad: int,
    rng: np.random.Generator,
    workers: Workers,
) -> dict[str, float]:
    """PPO's epochs over one rollout.

    Args:
        actor: the agent.
        optimizer: of its adapter and value head.
        experience: the scored rollout.
        settings: PPO's settings.
        pad: the padding token.
        rng: shuffles the turns.
        workers: who computes.

    Returns:
        means over all optimiser steps; ``ratio_at_start`` is the largest distance of a ratio from 1 in the first
        batch, before the first step: 0 but for rounding.

    Raises:
        DivergedError: the loss is not finite.
    """
    advantages = whiten(experience.advantages) if settings.whiten_advantages else experience.advantages
    groups = gradient_groups(actor)
    totals: dict[str, list[float]] = defaultdict(list)
    ratio_at_start: float | None = None
    actor.train()
    for _ in range(settings.epochs):
        order = torch.from_numpy(rng.permutation(len(experience.transitions)))
        for batch in pieces(len(order), settings.batch_size):
            parts = [order[batch][piece] for piece in pieces(len(order[batch]), settings.micro_batch_size)]

            def loss_of(part: Tensor, total: int = len(order[batch])) -> tuple[Tensor, LossReport]:
                loss, report = ppo_loss(actor, experience, advantages, part, settings, pad)
                return loss * (len(part) / total), report

            optimizer.zero_grad(set_to_none=True)
            with actor.trained_weights() as weights:
                reports = add_gradients(workers, weights, loss_of, parts)
            if ratio_at_start is None:
                ratio_at_start = max(report.ratio_gap for report in reports)
            for report in reports:
                if not math.isfinite(report.metrics["loss"]):
                    value = report.metrics["loss"]
                    raise DivergedError(f"the loss became {value}; try a smaller ppo.learning_rate")
                for name, value in report.metrics.items():
                    totals[name].append(value)
            for name, group in groups.items():
                norm = float(torch.nn.utils.clip_grad_norm_(group, settings.max_grad_norm))
                if not math.isfinite(norm):
                    raise DivergedError(f"the gradient became {norm}; try a smaller ppo.learning_rate")
                totals[name].append(norm)
            optimizer.step()
    actor.eval()
    means = {name: float(np.mean(values)) for name, values in totals.items()}
    return {**means, "ratio_at_start": ratio_at_start or 0.0}


def gradient_groups(actor: ActorCritic) -> dict[str, list[Tensor]]:
    """The trained weights, by the name under which their gradient's norm is logged.

    Where the value head stands apart it is clipped apart: its gradient is many times the policy's and would shrink it.
    """
    policy = [weight for weight in actor.model.parameters() if weight.requires_grad]
    head = list(actor.value_head.parameters()) if actor.value_head is not None else []
    if actor.value_detach and head:
        return {"gradient_norm": policy, "value_gradient_norm": head}
    return {"gradient_norm": [*policy, *head]}


@dataclass(frozen=True)
class LossReport:
    """What to log of a loss, and the largest distance of a ratio from 1."""

    metrics: dict[str, float]
    ratio_gap: float


def ppo_loss(
    actor: ActorCritic, experience: Experience, advantages: Tensor, part: Tensor, settings: PpoSettings, pad: int
) -> tuple[Tensor, LossReport]:
    """The loss of a few turns: clipped surrogate and value loss.

    Args:
        actor: the agent.
        experience: the scored rollout.
        advantages: (turns of the rollout,).
        part: the indices of the turns to take.
        settings: PPO's settings.
        pad: the padding token.
    """
    transitions = [experience.transitions[index] for index in part.tolist()]
    prompt, answers = lay_out(transitions, pad)
    scores = actor.score(prompt, answers)
    old = experience.log_probs[part, : answers.tokens.shape[1]]
    log_ratio, mask = log_ratios(scores.log_probs, old, answers, settings)
    wanted = advantages[part] if mask is None else advantages[part].unsqueeze(1)
    policy_loss, clip_fraction, approx_kl = clipped_surrogate(log_ratio, wanted, settings.clip_range, mask)
    critic_loss = value_loss(scores.values, experience.returns[part])
    loss = policy_loss + settings.value_coef * critic_loss
    metrics = {
        "loss": float(loss.detach()),
        "policy_loss": float(policy_loss.detach()),
        "value_loss": float(critic_loss.detach()),
        "clip_fraction": float(clip_fraction),
        "approx_kl": float(approx_kl),
    }
    return loss, LossReport(metrics, float((log_ratio.detach().exp() - 1).abs().max()))
