"""Scoring the turns of a rollout without gradients: log-probs, values and what the value head reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic, Scores
from gtr_agent.batches import AnswerBatch, deal_out, stack_answers, stack_prompts, turn_length
from gtr_agent.layout import PromptBatch
from gtr_agent.model import inference
from gtr_agent.parallel import Workers, pieces
from gtr_agent.rollout import Transition
from gtr_agent.settings import PpoSettings


def lay_out(transitions: Sequence[Transition], pad: int) -> tuple[PromptBatch, AnswerBatch]:
    """Turns as one padded batch."""
    prompt = stack_prompts([transition.prompt for transition in transitions], pad)
    return prompt, answers_of(transitions, pad, prompt.inputs["input_ids"].device)


def answers_of(transitions: Sequence[Transition], pad: int, device: torch.device) -> AnswerBatch:
    """The answers of turns, without their prompts."""
    answers = stack_answers(
        [transition.sample.tokens for transition in transitions],
        [transition.sample.action_mask for transition in transitions],
        pad,
    )
    return AnswerBatch(*(tensor.to(device) for tensor in (answers.tokens, answers.mask, answers.action_mask)))


def micro_batches(transitions: Sequence[Transition], chosen: Sequence[int], settings: PpoSettings) -> list[list[int]]:
    """Turns for one forward pass each: evenly by their number, or by a budget of tokens.

    Args:
        transitions: the rollout's turns.
        chosen: the indices of those to deal out.
        settings: ``micro_batch_tokens`` where it is not 0, else ``micro_batch_size``.

    Returns:
        the indices, dealt out; each exactly once.
    """
    lengths = [turn_length(transitions[index].prompt, transitions[index].sample.tokens) for index in chosen]
    parts = deal_out(lengths, settings.micro_batch_size, settings.micro_batch_tokens)
    return [[chosen[place] for place in part] for part in parts]


def score_turns(
    actor: ActorCritic,
    transitions: Sequence[Transition],
    pad: int,
    settings: PpoSettings,
    workers: Workers,
    with_entropy: bool = False,
) -> Scores:
    """Score many turns, a few at a time; the results are padded to the longest answer of all."""
    longest = max(len(transition.sample.tokens) for transition in transitions)

    def score(part: list[int]) -> Scores:
        with torch.no_grad():
            scores = actor.score(*lay_out([transitions[index] for index in part], pad), with_entropy=with_entropy)
        widen = (0, longest - scores.log_probs.shape[1])
        log_probs, entropy = (torch.nn.functional.pad(x, widen) for x in (scores.log_probs, scores.entropy))
        return Scores(log_probs, scores.values, entropy, scores.states)

    parts = micro_batches(transitions, range(len(transitions)), settings)
    with inference(actor):
        found = workers.map(score, parts)
    columns = zip(*((part.log_probs, part.values, part.entropy, part.states) for part in found), strict=True)
    return Scores(*(in_order(torch.cat(column), parts) for column in columns))


def in_order(rows: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
    """Rows that were computed part by part, back in the turns' own order."""
    indices = torch.tensor([index for part in parts for index in part], device=rows.device)
    return torch.empty_like(rows).index_copy_(0, indices, rows)


def reached_states(
    actor: ActorCritic, transitions: Sequence[Transition], pad: int, settings: PpoSettings, workers: Workers
) -> tuple[Tensor, Tensor] | None:
    """What the value head reads of the states that were reached where no turn of the rollout begins.

    Returns:
        the indices of the turns that led there and the states, (turns, hidden size); None if there are none.
    """
    wanted = [(index, t.next_prompt) for index, t in enumerate(transitions) if t.next_prompt is not None]
    if not wanted:
        return None
    size = settings.micro_batch_size
    if settings.micro_batch_tokens:
        longest = max(len(prompt.tokens["input_ids"]) for _, prompt in wanted)
        size = max(1, settings.micro_batch_tokens // longest)

    def read(piece: slice) -> Tensor:
        return actor.states(stack_prompts([prompt for _, prompt in wanted[piece]], pad))

    with inference(actor):
        states = torch.cat(workers.map(read, pieces(len(wanted), size)))
    return torch.tensor([index for index, _ in wanted], device=states.device), states


def stack_log_probs(transitions: Sequence[Transition], like: Tensor) -> Tensor:
    """The log-probs that sampling saw, (turns, tokens), 0 where there is no token."""
    stacked = torch.zeros_like(like)
    for index, transition in enumerate(transitions):
        row = torch.tensor(transition.sample.log_probs, dtype=like.dtype, device=like.device)
        stacked[index, : len(row)] = row
    return stacked
