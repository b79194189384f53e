"""A vision-language model as a policy that plays, made from a model in memory or from a checkpoint folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import PromptRow, split_prompts, stack_prompts
from gtr_agent.checkpoint import base_revision, find_agent, find_base, load_adapter, read_notes
from gtr_agent.folding import folds_exactly
from gtr_agent.generation import generate, respond
from gtr_agent.hub import cached_commit, is_on_hub
from gtr_agent.layout import encode_prompts, end_token
from gtr_agent.model import choose_device, load_whole
from gtr_agent.packaged import FOLDER
from gtr_agent.parallel import Workers, share
from gtr_agent.precision import Wish, resolve_precision
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
    if requests and not actor.features_settled:  # here and not in a worker: once, and the same in every run
        first = requests[0]
        actor.settle_features(encode_prompts(processor, [first.prompt], [first.frame]).to(actor.causal.device))

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


def load_policy(
    path: str | Path,
    *,
    temperature: float | None = None,
    greedy: bool = False,
    max_new_tokens: int | None = None,
    precision: Wish = "auto",
    device: str = "auto",
) -> ModelPolicy:
    """Load an agent that was saved, by this trainer or by another program.

    Args:
        path: a checkpoint (a PEFT adapter), a whole model in the Hugging Face layout, a run's folder, of which the
            newest checkpoint is taken, or a packaged agent's name.
        temperature: of the sampling; None for the one that it was trained with, or 1.
        greedy: take the likeliest token always.
        max_new_tokens: tokens after which an answer is cut off; None for as many as in its training, or 256.
        precision: of the forward passes; ``auto`` for the machine's own, whatever it was trained in.
        device: where it goes; ``auto`` takes a GPU where there is one.

    Raises:
        CheckpointError: there is no agent there, it is damaged, or its base model cannot be found.
    """
    folder = find_agent(Path(path))
    notes = read_notes(folder)
    device = choose_device(device)
    chosen = resolve_precision(precision, device)
    is_adapter = (folder / "adapter_config.json").is_file()
    base, revision = (find_base(folder), base_revision(folder)) if is_adapter else (str(folder), None)
    model, processor = load_whole(base, notes.get("attention", "sdpa"), device, chosen, revision=revision)
    if is_adapter:
        model = load_adapter(model, folder)
        # Folded into the weights, the adapter costs nothing; but in bfloat16 much of what it learned could be lost.
        if notes.get("train_folded", False) or folds_exactly(model, chosen):
            model = model.merge_and_unload()
    temperature = temperature if temperature is not None else notes.get("temperature", 1.0)
    max_new_tokens = max_new_tokens or notes.get("max_new_tokens", 256)
    played = {
        "temperature": 0.0 if greedy else temperature,
        "max_new_tokens": max_new_tokens,
        "precision": chosen,
        "trained_precision": notes.get("precision"),
    }
    return ModelPolicy(
        ActorCritic(model, None, temperature=temperature, precision=chosen),
        processor,
        greedy=greedy,
        max_new_tokens=max_new_tokens,
        name=agent_name(folder),
        meta={**notes, **played, "base_model": notes.get("base_model", base), "folder": str(folder)},
    )


def load_named_policy(
    name: str,
    *,
    temperature: float | None = None,
    greedy: bool = False,
    max_new_tokens: int | None = None,
    precision: Wish = "auto",
    device: str = "auto",
) -> ModelPolicy:
    """Load an agent from a folder, or any image-text-to-text model of the Hugging Face hub.

    Args:
        name: a folder as :func:`load_policy` takes it, or a name on the hub, from whose cache it comes if it is there.
        temperature, greedy, max_new_tokens, precision, device: as for :func:`load_policy`; of what a model on the hub
            was trained with nothing is known.

    Raises:
        CheckpointError: there is neither, the hub cannot be reached, or the model is damaged, takes no pictures or has
            no chat template.
    """
    if not is_on_hub(name):
        return load_policy(
            name,
            temperature=temperature,
            greedy=greedy,
            max_new_tokens=max_new_tokens,
            precision=precision,
            device=device,
        )
    device = choose_device(device)
    chosen = resolve_precision(precision, device)
    temperature = temperature if temperature is not None else 1.0
    max_new_tokens = max_new_tokens or 256
    model, processor = load_whole(name, "sdpa", device, chosen)
    meta = {
        "method": "hf",
        "base_model": name,
        "temperature": 0.0 if greedy else temperature,
        "max_new_tokens": max_new_tokens,
        "precision": chosen,
        "fingerprint": (cached_commit(name) or name)[:16],
    }
    actor = ActorCritic(model, None, temperature=temperature, precision=chosen)
    return ModelPolicy(actor, processor, greedy=greedy, max_new_tokens=max_new_tokens, name=name, meta=meta)


def agent_name(folder: Path) -> str:
    """What an agent is called: its folder, or for a run's checkpoint the run and the update."""
    folder = folder.absolute()
    if folder.parent == FOLDER:
        return f"tiny-{folder.name}"
    if folder.parent.name == "checkpoints":
        return f"{folder.parent.parent.name}@{folder.name.removeprefix('update-').lstrip('0') or '0'}"
    return folder.name
