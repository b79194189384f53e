"""How far the agent lies from its teacher, token by token, on the very tokens that the agent sampled.

Sources: GTR-Turbo (https://arxiv.org/abs/2512.13043), the reverse KL of its KL variant with the ablations of estimator
and direction; On-Policy Distillation (Thinking Machines, October 2025), whose teacher is a given model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import AnswerBatch
from gtr_agent.logits import vocabulary_kl
from gtr_agent.losses import kl_per_token
from gtr_agent.model import inference
from gtr_agent.parallel import Workers
from gtr_agent.policy import load_named_policy
from gtr_agent.rollout import Transition
from gtr_agent.scoring import in_order, lay_out, micro_batches, score_turns
from gtr_agent.settings import GuidanceSettings, Settings
from gtr_agent.teacher import MergedTeacher
from gtr_envs.errors import CheckpointError


@dataclass(frozen=True)
class Guide:
    """A teacher that scores.

    Attributes:
        actor: the model that scores.
        active: gives a context within which that model is the teacher.
        merged: the merge behind it, where there is one.
    """

    actor: ActorCritic
    active: Callable[[], AbstractContextManager[None]]
    merged: MergedTeacher | None = None


def merged_guide(actor: ActorCritic, settings: Settings) -> Guide:
    """The merge of the run's own checkpoints, on the agent's own base weights."""
    teacher = MergedTeacher(actor.model, settings.merge, actor.precision, apart=not actor.folds)
    return Guide(actor, teacher.active, teacher)


def checkpoint_guide(settings: Settings, processor: Any) -> Guide:
    """The given teacher of ``opd``: a model of its own beside the agent.

    Raises:
        CheckpointError: there is no such model, or it does not read the same tokens.
    """
    teacher, precision = settings.guidance.teacher, settings.model.precision
    temperature = settings.rollout.temperature
    try:
        policy = load_named_policy(teacher, temperature=temperature, precision=precision, device=settings.model.device)
    except CheckpointError as error:
        raise CheckpointError(f"guidance.teacher={teacher!r}: {error}") from error
    if policy.processor.tokenizer.get_vocab() != processor.tokenizer.get_vocab():
        raise CheckpointError(
            f"the teacher {teacher} has another vocabulary than the agent's base {settings.model.base}: the agent's "
            "tokens mean nothing to it; choose a teacher of the same family"
        )
    policy.actor.logit_chunk = settings.model.logit_chunk
    return Guide(policy.actor, nullcontext)


def kl_tokens(
    actor: ActorCritic,
    guide: Guide,
    transitions: Sequence[Transition],
    agent_log_probs: Tensor,
    settings: Settings,
    pad: int,
    workers: Workers,
) -> Tensor:
    """The KL's estimate at each token of each answer, in nats, (turns, tokens); 0 where there is no token.

    Args:
        actor: the agent.
        guide: its teacher.
        transitions: the turns.
        agent_log_probs: (turns, tokens), of the sampled tokens under the agent.
        settings: the run's settings.
        pad: the padding token.
        workers: who computes.
    """
    guidance = settings.guidance
    if guidance.estimator == "full":
        return full_kl_tokens(actor, guide, transitions, agent_log_probs, settings, pad)
    with guide.active():
        teacher_log_probs = score_turns(guide.actor, transitions, pad, settings.ppo, workers).log_probs
    return kl_per_token(agent_log_probs, teacher_log_probs, guidance.estimator, guidance.direction)


def full_kl_tokens(
    actor: ActorCritic, guide: Guide, transitions: Sequence[Transition], like: Tensor, settings: Settings, pad: int
) -> Tensor:
    """The exact KL over the vocabulary at each token, (turns, tokens).

    A micro-batch at a time and one after the other: the two distributions of a whole rollout would not fit, and while
    the teacher stands in for the agent no other pass of the agent may run.
    """
    parts = micro_batches(transitions, range(len(transitions)), settings.ppo)
    rows = []
    for part in parts:
        prompt, answers = lay_out([transitions[index] for index in part], pad)
        with inference(actor):
            with actor.as_trained():
                agent = actor.answer_states(prompt, answers)
            with guide.active():
                teacher = guide.actor.answer_states(prompt, answers)
        found = like.new_zeros((len(part), like.shape[1]))
        found[:, : answers.mask.shape[1]][answers.mask] = vocabulary_kl(
            agent,
            teacher,
            actor.causal.get_output_embeddings(),
            temperature=actor.temperature,
            forbidden=actor.placeholders,
            chunk=settings.model.logit_chunk,
            forward=settings.guidance.direction == "forward",
            teacher_head=guide.actor.causal.get_output_embeddings(),
        )
        rows.append(found)
    return in_order(torch.cat(rows), parts)


def guided_mask(answers: AnswerBatch, settings: GuidanceSettings) -> Tensor:
    """The tokens that are guided, (turns, tokens): those of the thought, or all."""
    return answers.thought_mask if settings.scope == "thought" else answers.mask
