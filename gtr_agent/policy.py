"""A vision-language model as a policy that plays, made from a model in memory or from a checkpoint folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import PromptRow, split_prompts, stack_prompts
from gtr_agent.checkpoint import find_agent, find_base, load_adapter, read_notes
from gtr_agent.generation import generate, respond
from gtr_agent.model import choose_device, encode_prompts, end_token, load_model, load_processor
from gtr_agent.parallel import Workers, share
from gtr_envs.episode import Request, Response


class ModelPolicy:
    """A vision-language model that plays; see :class:`gtr_envs.episode.Policy`.

    Args:
        actor: the model, its temperature and precision.
        processor: its processor.
        greedy: take the likeliest token always.
        max_new_tokens: tokens after which an answer is cut off.
        name: what results are filed under.
        meta: what is known of the model's making, for results.
        workers: who computes; by default one for each core.
    """

    def __init__(
        self,
        actor: ActorCritic,
        processor: Any,
        *,
        greedy: bool = False,
        max_new_tokens: int = 96,
        name: str = "agent",
        meta: dict[str, Any] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.actor = actor
        self.processor = processor
        self.greedy = greedy
        self.max_new_tokens = max_new_tokens
        self.name = name
        self.meta = meta or {}
        self.workers = workers or Workers(device=actor.causal.device.type)

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of turns. Each turn's sampling noise comes from its own request's generator."""
        uniforms = None if self.greedy else draw_uniforms(requests, self.max_new_tokens)
        prompts = encode_requests(self.actor, self.processor, requests, self.workers)
        return answer_requests(self.actor, self.processor, requests, prompts, uniforms, self.max_new_tokens)


def encode_requests(
    actor: ActorCritic, processor: Any, requests: Sequence[Request], workers: Workers
) -> list[PromptRow]:
    """Lay out the questions, each worker a share of them: scaling pictures costs as much as looking at them."""

    def encode(piece: slice) -> list[PromptRow]:
        asked = requests[piece]
        prompt = encode_prompts(processor, [request.prompt for request in asked], [request.frame for request in asked])
        prompt = prompt.to(actor.causal.device)
        return split_prompts(prompt, actor.picture_features(prompt))

    return [row for rows in workers.map(encode, share(len(requests), workers.count)) for row in rows]


def answer_requests(
    actor: ActorCritic,
    processor: Any,
    requests: Sequence[Request],
    prompts: Sequence[PromptRow],
    uniforms: torch.Tensor | None,
    max_new_tokens: int,
) -> list[Response]:
    """Sample the answers to questions that were laid out, in one batch: decoding gains nothing from threads.

    Args:
        actor: who answers.
        processor: its processor.
        requests: the questions.
        prompts: the same, laid out.
        uniforms: (turns, max_new_tokens) numbers in [0, 1), or None for greedy answers.
        max_new_tokens: tokens after which an answer is cut off.
    """
    batch = stack_prompts(prompts, processor.tokenizer.pad_token_id)
    uniforms = uniforms.to(actor.causal.device) if uniforms is not None else None
    answers = generate(actor, batch, uniforms, max_new_tokens, end_token(processor))
    return [respond(processor, request, *answer) for request, answer in zip(requests, answers, strict=True)]


def draw_uniforms(requests: Sequence[Request], max_new_tokens: int) -> torch.Tensor:
    """Uniform numbers in [0, 1) for sampling, (turns, max_new_tokens), each row from its own request's generator."""
    return torch.from_numpy(np.stack([request.rng.random(max_new_tokens) for request in requests]))


def load_policy(path: str | Path, *, temperature: float | None = None, greedy: bool = False) -> ModelPolicy:
    """Load an agent that was saved.

    Args:
        path: a checkpoint (a PEFT adapter), a whole model in the Hugging Face layout, or a run's folder, of which the
            newest checkpoint is taken.
        temperature: of the sampling; None for the one that it was trained with, or 1.
        greedy: take the likeliest token always.

    Raises:
        CheckpointError: there is no agent there, it is damaged, or its base model cannot be found.
    """
    folder = find_agent(Path(path))
    notes = read_notes(folder)
    device = choose_device("auto")
    attention = notes.get("attention", "sdpa")
    if (folder / "adapter_config.json").is_file():
        base = find_base(folder)
        model: Any = load_adapter(load_model(base, attention, device), folder)
        # Folded into the weights, the adapter costs nothing.
        model = model.merge_and_unload()
    else:
        base = str(folder)
        model = load_model(folder, attention, device)
    actor = ActorCritic(
        model,
        None,
        temperature=temperature if temperature is not None else notes.get("temperature", 1.0),
        precision=notes.get("precision", "float32" if device == "cpu" else "bfloat16"),
    )
    meta = {**notes, "base_model": notes.get("base_model", base), "folder": str(folder)}
    return ModelPolicy(
        actor,
        load_processor(base),
        greedy=greedy,
        max_new_tokens=notes.get("max_new_tokens", 256),
        name=agent_name(folder),
        meta=meta,
    )


def agent_name(folder: Path) -> str:
    """What an agent is called: its folder, or for a run's checkpoint the run and the update."""
    if folder.parent.name == "checkpoints":
        return f"{folder.parent.parent.name}@{folder.name.removeprefix('update-').lstrip('0') or '0'}"
    return folder.name
