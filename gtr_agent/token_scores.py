"""An agent whose answers come with what each token was worth: to itself and to a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gtr_agent.batches import AnswerBatch, stack_answers, stack_prompts
from gtr_agent.generation import Sample, decode_with_offsets
from gtr_agent.layout import end_token
from gtr_agent.model import inference
from gtr_agent.parallel import pieces as shares
from gtr_agent.policy import ModelPolicy, encode_requests, load_policy
from gtr_envs.episode import Request, Response
from gtr_envs.errors import CheckpointError

TURNS_AT_ONCE = 16
"""How many turns the teacher scores in one pass."""


@dataclass(frozen=True)
class TokenScores:
    """The tokens of one answer.

    Attributes:
        pieces: the text that each token adds; the token that ends an answer adds none.
        log_probs: of each, in nats, under the agent as it sampled.
        teacher_log_probs: of each under the teacher, at the agent's temperature; None without a teacher.
    """

    pieces: tuple[str, ...]
    log_probs: tuple[float, ...]
    teacher_log_probs: tuple[float, ...] | None = None


class ScoringPolicy:
    """A model that plays as it would, and gives the :class:`TokenScores` of each answer beside it.

    Args:
        policy: who plays.
        teacher: who scores the same tokens, seeing the same picture and prompt.

    Raises:
        CheckpointError: the teacher reads other tokens.
    """

    def __init__(self, policy: ModelPolicy, teacher: ModelPolicy | None = None) -> None:
        self.policy = policy
        self.teacher = teacher
        self.name = policy.name
        self.meta = policy.meta
        if teacher is not None and vocabulary(teacher) != vocabulary(policy):
            raise CheckpointError(
                f"the teacher {teacher.name} has another vocabulary than {policy.name}: the agent's tokens mean "
                "nothing to it; choose a teacher of the same family"
            )

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of turns."""
        responses = self.policy.act(requests)
        samples = [response.extra for response in responses]
        taught = self._teacher_log_probs(requests, samples)
        found = zip(responses, samples, taught, strict=True)
        return [replace(response, extra=self._scores(sample, row)) for response, sample, row in found]

    def _scores(self, sample: Sample, taught: tuple[float, ...] | None) -> TokenScores:
        processor, tokens = self.policy.processor, list(sample.tokens)
        ended = bool(tokens) and tokens[-1] == end_token(processor)
        text, offsets = decode_with_offsets(processor, tokens[:-1] if ended else tokens)
        pieces = [text[start:end] for start, end in offsets] + [""] * ended
        return TokenScores(tuple(pieces), tuple(sample.log_probs), taught)

    def _teacher_log_probs(
        self, requests: Sequence[Request], samples: Sequence[Sample]
    ) -> list[tuple[float, ...] | None]:
        teacher = self.teacher
        if teacher is None:
            return [None] * len(samples)
        rows: list[tuple[float, ...] | None] = []
        pad = teacher.processor.tokenizer.pad_token_id
        prompts = encode_requests(teacher.actor, teacher.processor, requests, teacher.workers)
        with inference(teacher.actor):
            for share in shares(len(samples), TURNS_AT_ONCE):
                part = samples[share]
                prompt = stack_prompts(prompts[share], pad)
                answers = stack_answers([one.tokens for one in part], [one.action_mask for one in part], pad)
                device = prompt.inputs["input_ids"].device
                answers = AnswerBatch(*(x.to(device) for x in (answers.tokens, answers.mask, answers.action_mask)))
                scores = teacher.actor.score(prompt, answers)
                lengths = [len(one.tokens) for one in part]
                rows += [tuple(row[:n].tolist()) for row, n in zip(scores.log_probs.float(), lengths, strict=True)]
        return rows


def vocabulary(policy: ModelPolicy) -> dict[str, int]:
    """What the tokens of a policy's processor are."""
    found: dict[str, int] = policy.processor.tokenizer.get_vocab()
    return found


def with_scores(policy: Any, teacher: Path | None) -> ScoringPolicy:
    """Let a loaded model give its scores.

    Args:
        policy: as ``load_policy`` gave it.
        teacher: the folder of the model that scores beside it, None for none.

    Raises:
        CheckpointError: the teacher is missing, damaged, or reads other tokens.
    """
    if teacher is None:
        return ScoringPolicy(policy)
    # At the agent's temperature and precision: the distribution that it drew from is the one to be compared.
    actor = policy.actor
    return ScoringPolicy(policy, load_policy(teacher, temperature=actor.temperature, precision=actor.precision))
