"""Learning a teacher's thoughts beside PPO: the data set that grows by each update, and its loss.

Sources: GTR (https://arxiv.org/abs/2503.08525): a corrector rewrites the agent's thoughts, on the states that the agent
itself visits (DAgger, https://arxiv.org/abs/1011.0686); GTR-Turbo (https://arxiv.org/abs/2512.13043), the SFT variant:
the merged teacher thinks about the same observation. Learned are the tokens of the thought; those of the action are
kept out of the loss.

Departure from the papers: the loss is a mean over tokens rather than a sum over a thought, so that its weight does not
depend on how long thoughts are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import AnswerBatch, PromptRow, deal_out, stack_answers, stack_prompts, turn_length
from gtr_agent.generation import generate, respond
from gtr_agent.guidance import Guide
from gtr_agent.layout import action_token_mask, encode_answers, end_token
from gtr_agent.losses import masked_mean
from gtr_agent.rollout import Transition
from gtr_agent.settings import ImitationSettings, PpoSettings, Settings
from gtr_envs.errors import CheckpointError
from gtr_envs.protocol import AnswerStatus

if TYPE_CHECKING:
    from gtr_agent.corrector import Corrector


@dataclass(frozen=True)
class Thought:
    """An answer to learn from: its question, its tokens, and which of them are the action, which is not learned."""

    prompt: PromptRow
    tokens: tuple[int, ...]
    action_mask: tuple[bool, ...]


class Thoughts:
    """The data set. It is kept in the machine's memory, whatever the model's device: its pictures grow to gigabytes.

    Args:
        settings: say what is kept.
    """

    def __init__(self, settings: ImitationSettings) -> None:
        self.settings = settings
        self.thoughts: list[Thought] = []

    def add(self, thoughts: Sequence[Thought]) -> None:
        """Take in an update's thoughts; what is beyond the capacity goes, the oldest first."""
        kept = self.thoughts if self.settings.dataset == "accumulate" else []
        new = [replace(thought, prompt=thought.prompt.to("cpu")) for thought in thoughts[-self.settings.capacity :]]
        self.thoughts = [*kept, *new][-self.settings.capacity :]

    def draw(self, rng: np.random.Generator) -> list[Thought]:
        """The thoughts of one optimiser step, drawn evenly with replacement; none from an empty data set."""
        if not self.thoughts:
            return []
        chosen = rng.integers(len(self.thoughts), size=self.settings.batch_size)
        return [self.thoughts[index] for index in chosen.tolist()]

    def state(self) -> dict[str, Tensor]:
        """All thoughts as a flat dictionary of tensors: of each kind all values in a row, and the shapes of each."""
        kinds: dict[str, list[Tensor]] = {
            "answer/tokens": [torch.tensor(thought.tokens, dtype=torch.int64) for thought in self.thoughts],
            "answer/action": [torch.tensor(thought.action_mask, dtype=torch.bool) for thought in self.thoughts],
        }
        for thought in self.thoughts:  # all have the same, which one processor made
            for part, tensors in (("tokens", thought.prompt.tokens), ("picture", thought.prompt.picture)):
                for name, tensor in tensors.items():
                    kinds.setdefault(f"{part}/{name}", []).append(tensor)
        if not self.thoughts:
            return {}
        values = {f"{kind}/values": torch.cat([one.flatten() for one in tensors]) for kind, tensors in kinds.items()}
        shapes = {f"{kind}/shapes": torch.tensor([one.shape for one in tensors]) for kind, tensors in kinds.items()}
        return values | shapes

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave.

        Raises:
            CheckpointError: its parts do not go together.
        """
        kinds = [key.removesuffix("/values") for key in state if key.endswith("/values")]
        try:
            columns = {kind: _taken_apart(state[f"{kind}/values"], state[f"{kind}/shapes"]) for kind in kinds}
            counts = {len(column) for column in columns.values()}
            if len(counts) > 1 or (kinds and not {"answer/tokens", "answer/action"} < set(kinds)):
                raise ValueError(f"kinds {sorted(kinds)} of {sorted(counts)} thoughts")
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"the saved thoughts do not go together ({error}); resume from another update"
            ) from error
        thoughts = []
        for index in range(max(counts, default=0)):
            row: dict[str, dict[str, Tensor]] = {"answer": {}, "tokens": {}, "picture": {}}
            for kind, column in columns.items():
                part, name = kind.split("/", 1)
                row[part][name] = column[index]
            prompt, answer = PromptRow(row["tokens"], row["picture"]), row["answer"]
            thoughts.append(Thought(prompt, tuple(answer["tokens"].tolist()), tuple(answer["action"].tolist())))
        self.thoughts = thoughts


def _taken_apart(values: Tensor, shapes: Tensor) -> list[Tensor]:
    """Tensors of these shapes, each with memory of its own, from their values in a row."""
    sizes = shapes.prod(dim=1).tolist()
    pieces = zip(values.split(sizes), shapes.tolist(), strict=True)
    return [piece.view(shape).clone() for piece, shape in pieces]


def chosen_turns(transitions: Sequence[Transition], share: float, rng: np.random.Generator) -> list[Transition]:
    """The turns that the teacher is asked about: a share of them, evenly drawn, in order."""
    count = max(1, round(share * len(transitions)))
    return [transitions[index] for index in sorted(rng.permutation(len(transitions))[:count].tolist())]


def teacher_thoughts(
    guide: Guide, processor: Any, transitions: Sequence[Transition], settings: Settings, rng: np.random.Generator
) -> tuple[list[Thought], dict[str, float]]:
    """What the merged teacher thinks of the turns' observations.

    Args:
        guide: the teacher.
        processor: the model's processor.
        transitions: the turns, with their requests.
        settings: the run's settings.
        rng: draws the sampling's noise.

    Returns:
        the thoughts of those answers that could be read, and what to log.
    """
    longest, size = settings.rollout.max_new_tokens, settings.rollout.num_envs
    pad, end = processor.tokenizer.pad_token_id, end_token(processor)
    thoughts: list[Thought] = []
    with guide.active():
        for start in range(0, len(transitions), size):
            part = transitions[start : start + size]
            batch = stack_prompts([transition.prompt for transition in part], pad)
            device = batch.inputs["input_ids"].device
            noise = None if settings.imitation.greedy else torch.from_numpy(rng.random((len(part), longest))).to(device)
            answers = generate(guide.actor, batch, noise, longest, end)
            for transition, answer in zip(part, answers, strict=True):
                assert transition.request is not None
                sample = respond(processor, transition.request, *answer).extra
                if any(sample.action_mask):  # an answer that cannot be read teaches nothing
                    thoughts.append(Thought(transition.prompt, sample.tokens, sample.action_mask))
    return thoughts, {"thoughts_asked": float(len(transitions)), "thoughts_learned": float(len(thoughts))}


def corrected_thoughts(
    corrector: Corrector, processor: Any, transitions: Sequence[Transition], rng: np.random.Generator
) -> tuple[list[Thought], dict[str, float]]:
    """The turns' thoughts as a corrector rewrites them. Arguments and returns as for :func:`teacher_thoughts`."""
    requests = [transition.request for transition in transitions if transition.request is not None]
    before = corrector.counts
    texts = corrector.correct(requests, [transition.turn.text for transition in transitions], rng)
    found = [(t, request, text) for t, request, text in zip(transitions, requests, texts, strict=True) if text]
    tokens, offsets = encode_answers(processor, [text for _, _, text in found]) if found else ([], [])
    thoughts = []
    for (transition, request, text), row, spans in zip(found, tokens, offsets, strict=True):
        answer = request.task.read(text, request.info)
        if answer.status is not AnswerStatus.INVALID:
            mask = action_token_mask(answer, spans)
            thoughts.append(Thought(transition.prompt, tuple(row), tuple(mask)))
    metrics = {"thoughts_asked": float(len(transitions)), "thoughts_learned": float(len(thoughts))}
    return thoughts, metrics | corrector.counts.since(before)


def imitation_loss(actor: ActorCritic, thoughts: Sequence[Thought], pad: int) -> tuple[Tensor, int]:
    """The negative log-likelihood of thoughts.

    Args:
        actor: the agent.
        thoughts: what to learn.
        pad: the padding token.

    Returns:
        its mean over the learned tokens, in nats a token, under the distribution that the agent samples from, and
        their number.
    """
    device = actor.causal.device
    prompt = stack_prompts([thought.prompt for thought in thoughts], pad).to(device)
    stacked = stack_answers([t.tokens for t in thoughts], [t.action_mask for t in thoughts], pad)
    answers = AnswerBatch(*(tensor.to(device) for tensor in (stacked.tokens, stacked.mask, stacked.action_mask)))
    scores = actor.score(prompt, answers)
    return -masked_mean(scores.log_probs, answers.thought_mask), int(stacked.thought_mask.sum())


def thought_micro_batches(thoughts: Sequence[Thought], settings: PpoSettings) -> list[list[Thought]]:
    """Thoughts for one forward pass each, as the turns of PPO: evenly by their number, or by a budget of tokens."""
    lengths = [turn_length(thought.prompt, thought.tokens) for thought in thoughts]
    parts = deal_out(lengths, settings.micro_batch_size, settings.micro_batch_tokens)
    return [[thoughts[index] for index in part] for part in parts]
