"""One update over the turns of a rollout: PPO's epochs, and the thoughts to imitate beside them.

Sources: PPO (https://arxiv.org/abs/1707.06347); RL4VLM (https://arxiv.org/abs/2405.10292) for the log-prob of a turn;
GTR (https://arxiv.org/abs/2503.08525) for the loss on thoughts beside PPO's.

Departure from the released code: a loss that is not finite stops the run, with the batch saved, instead of being
skipped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import AnswerBatch
from gtr_agent.diverged import DivergedError, save_batch, save_thoughts
from gtr_agent.experience import Experience
from gtr_agent.imitation import Thought, Thoughts, imitation_loss, thought_micro_batches
from gtr_agent.losses import clipped_surrogate, turn_log_prob, value_loss
from gtr_agent.parallel import Workers, add_gradients, pieces
from gtr_agent.ranks import Ranks
from gtr_agent.scoring import lay_out, micro_batches
from gtr_agent.settings import PpoSettings


@dataclass(frozen=True)
class Report:
    """What to log of a micro-batch: each metric with its weight in the batch's mean, and the farthest ratio from 1."""

    metrics: dict[str, tuple[float, float]]
    ratio_gap: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A micro-batch of one optimiser step.

    Attributes:
        loss: its part in the loss, and what to log.
        save: writes its content, for when the loss is not finite; returns where.
    """

    loss: Callable[[], tuple[Tensor, Report]]
    save: Callable[[Path], Path]

    def __call__(self) -> tuple[Tensor, tuple[float, Report]]:
        """The loss with what :func:`gtr_agent.parallel.add_gradients` passes on: its value, and what to log."""
        loss, report = self.loss()
        return loss, (float(loss.detach()), report)


def idle(piece: Piece) -> Piece:
    """A micro-batch's pass again, with a loss of 0 and nothing to log."""

    def loss() -> tuple[Tensor, Report]:
        return piece.loss()[0] * 0.0, Report({})

    return Piece(loss, piece.save)


class Update:
    """Learns from one rollout.

    Args:
        actor: the agent.
        optimizer: of its adapter and value head.
        settings: PPO's settings.
        pad: the padding token.
        rng: shuffles the turns and draws the thoughts.
        workers: who computes.
        ranks: the processes of the run.
        thoughts: what to imitate beside PPO, or None.
        out: the folder in which a batch whose loss is not finite is saved; None saves none.
        in_step: every process makes as many passes as the others, as it must where the model is sharded: each block is
            gathered from all of them.
    """

    def __init__(
        self,
        actor: ActorCritic,
        optimizer: torch.optim.Optimizer,
        settings: PpoSettings,
        pad: int,
        rng: np.random.Generator,
        workers: Workers,
        ranks: Ranks | None = None,
        thoughts: Thoughts | None = None,
        out: Path | None = None,
        in_step: bool = False,
    ) -> None:
        self.in_step = in_step
        self.actor, self.optimizer, self.settings, self.pad, self.rng = actor, optimizer, settings, pad, rng
        self.workers, self.ranks, self.thoughts, self.out = workers, ranks or Ranks(), thoughts, out

    def __call__(self, experience: Experience) -> dict[str, float]:
        """PPO's epochs over one rollout.

        Returns:
            means over all optimiser steps; ``ratio_at_start`` is the largest distance of a ratio from 1 in the first
            batch, before the first step: 0 but for rounding.

        Raises:
            DivergedError: the loss or the gradient is not finite.
        """
        advantages = self._normalise(experience)
        totals: dict[str, list[tuple[float, float]]] = defaultdict(list)
        ratio_at_start: float | None = None
        self.actor.train()
        for _ in range(self.settings.epochs):
            order = self.rng.permutation(len(experience.transitions)).tolist()
            for piece in pieces(len(order), self.settings.batch_size):
                reports = self._step(experience, advantages, order[piece])
                if ratio_at_start is None:
                    ratio_at_start = max(report.ratio_gap for report in reports)
                for report in reports:
                    for name, weighted in report.metrics.items():
                        totals[name].append(weighted)
        self.actor.eval()
        means = {name: _weighted_mean(values) for name, values in totals.items()}
        return {**means, "ratio_at_start": ratio_at_start or 0.0}

    def _normalise(self, experience: Experience) -> Tensor:
        """The advantages with mean 0 and deviation 1 over all processes, where that is wished for.

        Those of single tokens (distillation) are left alone: their scale, nats, is their meaning.
        """
        advantages = experience.advantages
        if not self.settings.whiten_advantages or advantages.ndim == 2:
            return advantages
        mean, deviation = self.ranks.moments(advantages)
        return (advantages - mean) / (deviation + 1e-8)

    def _step(self, experience: Experience, advantages: Tensor, batch: list[int]) -> list[Report]:
        """One optimiser step."""
        parts = micro_batches(experience.transitions, batch, self.settings)
        # Shares are of all processes' batches, so that the mean of their gradients is that of the union.
        tokens = sum(len(experience.transitions[index].sample.tokens) for index in batch)
        sizes = Sizes(turns=self.ranks.mean(len(batch)), tokens=self.ranks.mean(tokens))
        turns = [self._turn_piece(experience, advantages, part, sizes) for part in parts]
        pieces_of_step = self._as_many_as_others([*turns, *self._thought_pieces()])
        self.optimizer.zero_grad(set_to_none=True)
        with self.actor.trained_weights() as weights:
            found = add_gradients(self.workers, weights, lambda piece: piece(), pieces_of_step)
        self._check_losses(pieces_of_step, [loss for loss, _ in found])
        reports = [report for _, report in found]
        for name, group in gradient_groups(self.actor).items():
            self.ranks.mean_gradients(group)
            # The same in every process from here on, so that all of them stop or none.
            norm = float(torch.nn.utils.clip_grad_norm_(group, self.settings.max_grad_norm))
            if not math.isfinite(norm):
                self._diverged(f"the gradient became {norm}", self._turn_piece(experience, advantages, batch, sizes))
            reports.append(Report({name: (norm, 1.0)}))
        self.optimizer.step()
        return reports

    def _as_many_as_others(self, pieces_of_step: list[Piece]) -> list[Piece]:
        """A step's micro-batches; where that matters, with repetitions that count nothing up to the others' number."""
        if not self.in_step:
            return pieces_of_step
        missing = self.ranks.largest(len(pieces_of_step)) - len(pieces_of_step)
        return [*pieces_of_step, *[idle(pieces_of_step[-1])] * missing]

    def _turn_piece(self, experience: Experience, advantages: Tensor, part: list[int], sizes: Sizes) -> Piece:
        """A micro-batch of turns."""
        return Piece(
            partial(ppo_loss, self.actor, experience, advantages, part, self.settings, self.pad, sizes),
            lambda out: save_batch(out, experience, advantages, part, self.ranks.index),
        )

    def _thought_pieces(self) -> list[Piece]:
        """The thoughts to imitate in this step, in micro-batches."""
        if self.thoughts is None:
            return []
        parts = thought_micro_batches(self.thoughts.draw(self.rng), self.settings)
        counts = [sum(not flag for thought in part for flag in thought.action_mask) for part in parts]
        total = self.ranks.mean(float(sum(counts)))
        weight = self.thoughts.settings.weight

        def loss_of(part: Sequence[Thought], count: int) -> tuple[Tensor, Report]:
            loss, _ = imitation_loss(self.actor, part, self.pad)
            return loss * (weight * count / max(1.0, total)), Report({"sft_loss": (float(loss.detach()), count)})

        return [
            Piece(partial(loss_of, part, count), partial(save_thoughts, thoughts=part, rank=self.ranks.index))
            for part, count in zip(parts, counts, strict=True)
        ]

    def _check_losses(self, pieces_of_step: Sequence[Piece], losses: Sequence[float]) -> None:
        """Stop in every process where a loss of any of them is not finite: one alone would leave the others waiting."""
        odd = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
        if self.ranks.mean(float(bool(odd))) == 0:
            return
        if not odd:
            raise DivergedError("the loss of another process is not finite; its own error says more")
        self._diverged(f"the loss became {losses[odd[0]]}", pieces_of_step[odd[0]])

    def _diverged(self, what: str, piece: Piece) -> NoReturn:
        saved = f"; the batch is in {piece.save(self.out)}" if self.out is not None else ""
        raise DivergedError(f"{what}; try a smaller ppo.learning_rate{saved}")


@dataclass(frozen=True)
class Sizes:
    """How many turns and answer tokens a batch has, on average over the processes."""

    turns: float
    tokens: float


def ppo_loss(
    actor: ActorCritic,
    experience: Experience,
    advantages: Tensor,
    part: Sequence[int],
    settings: PpoSettings,
    pad: int,
    sizes: Sizes | None = None,
) -> tuple[Tensor, Report]:
    """The part that a few turns have in a batch's loss: clipped surrogate and value loss.

    Args:
        actor: the agent.
        experience: the scored rollout.
        advantages: (turns of the rollout,), or (turns of the rollout, tokens).
        part: the indices of the turns to take.
        settings: PPO's settings.
        pad: the padding token.
        sizes: of the whole batch; None if these turns are all of it.
    """
    prompt, answers = lay_out([experience.transitions[index] for index in part], pad)
    scores = actor.score(prompt, answers)
    rows = torch.as_tensor(list(part), device=scores.log_probs.device)
    width = answers.tokens.shape[1]
    by_token = settings.ratio == "token" or advantages.ndim == 2
    log_ratio, mask = log_ratios(scores.log_probs, experience.log_probs[rows, :width], answers, settings, by_token)
    wanted = advantages[rows]
    if by_token:
        wanted = wanted[:, :width] if advantages.ndim == 2 else wanted.unsqueeze(1)
    policy_loss, clip_fraction, approx_kl = clipped_surrogate(log_ratio, wanted, settings.clip_range, mask)
    critic_loss = value_loss(scores.values, experience.returns[rows])
    turns, tokens = len(part), int(answers.mask.sum())
    sizes = sizes or Sizes(turns, tokens)
    share = tokens / sizes.tokens if by_token else turns / sizes.turns
    # Where each token has its own advantage there is no reward, and values mean nothing.
    value_coef = 0.0 if advantages.ndim == 2 else settings.value_coef
    loss = share * policy_loss + (turns / sizes.turns) * value_coef * critic_loss
    count = tokens if by_token else turns
    metrics = {
        "loss": (float((policy_loss + value_coef * critic_loss).detach()), turns),
        "policy_loss": (float(policy_loss.detach()), count),
        "value_loss": (float(critic_loss.detach()), turns),
        "clip_fraction": (float(clip_fraction), count),
        "approx_kl": (float(approx_kl), count),
    }
    gap = largest((log_ratio.detach().exp() - 1).abs(), mask)
    return loss, Report({name: (value, float(weight)) for name, (value, weight) in metrics.items()}, gap)


def largest(values: Tensor, mask: Tensor | None) -> float:
    """The largest of the values where the mask is True."""
    return float((values if mask is None else values[mask]).max())


def log_ratios(
    new: Tensor, old: Tensor, answers: AnswerBatch, settings: PpoSettings, by_token: bool
) -> tuple[Tensor, Tensor | None]:
    """The log of the importance ratio, of whole turns (turns,) or of tokens (turns, tokens) with their mask.

    Of a turn it is that of RL4VLM's log-prob: ``lambda * sum over the thought + sum over the action``.
    """
    if by_token:
        return new - old, answers.mask
    masks = (answers.thought_mask, answers.action_mask)
    new_turn = turn_log_prob(new, *masks, settings.thought_coef)
    return new_turn - turn_log_prob(old, *masks, settings.thought_coef), None


def gradient_groups(actor: ActorCritic) -> dict[str, list[Tensor]]:
    """The trained weights, by the name under which their gradient's norm is logged.

    Where the value head stands apart it is clipped apart: its gradient is many times the policy's and would shrink it.
    """
    policy = [weight for weight in actor.model.parameters() if weight.requires_grad]
    head = list(actor.value_head.parameters()) if actor.value_head is not None else []
    if actor.value_detach and head:
        return {"gradient_norm": policy, "value_gradient_norm": head}
    return {"gradient_norm": [*policy, *head]}


def _weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total else 0.0
