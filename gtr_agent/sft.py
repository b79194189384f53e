"""The supervised warm start: learn the solver's answers, for any vision-language model.

Each step learns from turns with their pictures and, where the settings say so, from more turns without picture and
prompt, of which only what follows the fields that were read off the picture is learned. The latter are cheap, and teach
a small model the language of formulas while the former teach it to see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.checkpoint import write_model_notes
from gtr_agent.config import settings_to_toml
from gtr_agent.demonstrations import Demonstration, Points24Facts, demonstrations_for, is_usual_points24
from gtr_agent.diverged import DivergedError
from gtr_agent.launch import check_one_process, sharding_asked_for
from gtr_agent.layout import encode_answers, encode_prompts, join, pad_right
from gtr_agent.lora import add_lora, merge_lora
from gtr_agent.model import autocast, choose_device, load_base
from gtr_agent.monitor import look
from gtr_agent.parallel import Workers, add_gradients, pieces, threads_for
from gtr_agent.precision import explain_precision, resolve_precision
from gtr_agent.progress import OnRecord, RunLog
from gtr_agent.rollout import check_environment
from gtr_agent.settings import Settings
from gtr_agent.start import settle_precision
from gtr_envs.errors import SettingError
from gtr_envs.storage import check_free, new_folder

LEARNED_KEY = '"thoughts"'
"""Without a picture the answer is learned from this key on: what comes before it can only be read off the picture."""

RECORD_EVERY = 20


@dataclass(frozen=True)
class Example:
    """One micro-batch: model inputs, and the tokens to learn, (turns, tokens), each with its weight, 0 for not at all.

    The tokens are the last columns of the inputs, each predicted from the one before it.
    """

    inputs: dict[str, Tensor]
    tokens: Tensor
    weights: Tensor

    @property
    def learned(self) -> Tensor:
        """Which tokens are learned, (turns, tokens)."""
        return self.weights > 0

    def to(self, device: str) -> Example:
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Example(inputs, self.tokens.to(device), self.weights.to(device))


def picture_example(processor: Any, turns: list[Demonstration], prompt_weight: float = 0.0) -> Example:
    """Turns with pictures: the whole answer is learned, and its prompt's text as much as the weight says."""
    frames = [turn.frame for turn in turns if turn.frame is not None]
    prompt = encode_prompts(processor, [turn.prompt for turn in turns], frames)
    tokens, _ = encode_answers(processor, [turn.text for turn in turns])
    answers, mask = pad_right(tokens, processor.tokenizer.pad_token_id)
    inputs = join(prompt, answers, mask)
    if not prompt_weight:
        return Example(inputs, answers, mask.float())
    ids = prompt.inputs["input_ids"]
    is_text = prompt.inputs["attention_mask"].bool() & (ids != getattr(processor, "image_token_id", -1))
    weights = torch.cat([is_text * prompt_weight, mask.float()], dim=1)
    return Example(inputs, inputs["input_ids"][:, 1:], weights[:, 1:])


def text_example(processor: Any, turns: list[Demonstration]) -> Example:
    """Answers without picture and prompt: learned from :data:`LEARNED_KEY` on."""
    rows, offsets = encode_answers(processor, [turn.text for turn in turns])
    learned_rows = [
        [int(high > turn.text.find(LEARNED_KEY)) for _, high in spans]
        for turn, spans in zip(turns, offsets, strict=True)
    ]
    answers, mask = pad_right(rows, processor.tokenizer.pad_token_id)
    learned, _ = pad_right(learned_rows, 0)
    inputs = {"input_ids": answers, "attention_mask": mask.long()}
    return Example(inputs, answers[:, 1:], learned[:, 1:].float())


def fact_example(processor: Any, facts: list[str]) -> Example:
    """Pieces of thoughts, learned from the fourth token on: the first three are the values that they are about."""
    rows, _ = encode_answers(processor, [f" {fact}" for fact in facts])
    answers, mask = pad_right([row[:-1] for row in rows], processor.tokenizer.pad_token_id)
    learned = mask.float()
    learned[:, :3] = 0
    return Example({"input_ids": answers, "attention_mask": mask.long()}, answers[:, 1:], learned[:, 1:])


def summed_loss(model: Any, example: Example, precision: Any) -> Tensor:
    """The cross entropy of the learned tokens, in nats, each times its weight, summed."""
    n_tokens, learned = example.tokens.shape[1], example.learned
    with autocast(precision, example.tokens.device.type):
        logits = model(**example.inputs, logits_to_keep=n_tokens + 1, use_cache=False).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits[learned].float(), example.tokens[learned], reduction="none")
    return (losses * example.weights[learned]).sum()


class ExampleSource:
    """Draws and lays out each step's micro-batches, one step ahead in a thread of its own.

    Raises:
        UnknownEnvironmentError: no expert demonstrates the environment.
        SettingError: a setting asks for what its demonstrations do not have.
    """

    def __init__(self, settings: Settings, processor: Any) -> None:
        self.sft = settings.sft
        self.processor = processor
        rng = np.random.default_rng([settings.seed, 1])
        if self.sft.fact_batch_size and not is_usual_points24(settings):
            raise SettingError(
                f"sft.fact_batch_size={self.sft.fact_batch_size}: facts are about the usual Points24 only"
            )
        self.demonstrations = demonstrations_for(settings, self.sft.thoughts, rng)
        self.chains = demonstrations_for(settings, "chain", rng) if self.sft.chain_steps else self.demonstrations
        self.chain_facts = Points24Facts("chain", rng)
        self.facts = Points24Facts(self.sft.thoughts, rng)
        self.thread = ThreadPoolExecutor(1)
        self.steps = 0
        self.next = self.thread.submit(self._draw)

    def draw(self) -> list[Example]:
        """The next step's micro-batches."""
        examples = self.next.result()
        self.next = self.thread.submit(self._draw)
        return examples

    def close(self) -> None:
        """End the thread."""
        self.thread.shutdown(cancel_futures=True)

    def _draw(self) -> list[Example]:
        in_chains = self.steps < self.sft.chain_steps
        source = self.chains if in_chains else self.demonstrations
        fact_source = self.chain_facts if in_chains else self.facts
        self.steps += 1
        pictures = by_length(source.draw(self.sft.batch_size, with_pictures=True))
        texts = sorted(source.draw(self.sft.text_batch_size, with_pictures=False), key=lambda turn: len(turn.text))
        facts = sorted(fact_source.draw(self.sft.fact_batch_size), key=len)
        size = self.sft.micro_batch_size
        return [
            *(
                picture_example(self.processor, pictures[piece], self.sft.prompt_weight)
                for piece in pieces(len(pictures), size)
            ),
            *(text_example(self.processor, texts[piece]) for piece in pieces(len(texts), size)),
            *(fact_example(self.processor, facts[piece]) for piece in pieces(len(facts), 3 * size)),
        ]


def by_length(turns: list[Demonstration]) -> list[Demonstration]:
    """Turns of like length side by side, so that micro-batches hold little padding."""
    return sorted(turns, key=lambda turn: len(turn.prompt) + len(turn.text))


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(weights: list[Tensor], settings: Settings) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices alone."""
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": settings.sft.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.sft.learning_rate, betas=(0.9, 0.98))


def learn(
    model: Any, draw: Callable[[], list[Example]], settings: Settings, workers: Workers, log: RunLog, after: Any = None
) -> None:
    """The training loop.

    Args:
        model: what learns; all its weights that require gradients.
        draw: gives a step's micro-batches.
        settings: the run's settings.
        workers: who computes.
        log: where it tells of itself.
        after: called with the number of steps done after each.
    """
    sft = settings.sft
    device = next(model.parameters()).device.type
    precision = resolve_precision(settings.model.precision, device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = make_optimizer(weights, settings)
    for step in range(sft.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, sft.steps, sft.learning_rate, sft.warmup_steps)
        examples = [example.to(device) for example in draw()]
        weight = sum(float(example.weights.sum()) for example in examples)
        model.train()

        def loss(example: Example, weight: float = weight) -> tuple[Tensor, float]:
            value = summed_loss(model, example, precision) / weight
            return value, value.item()

        total = sum(add_gradients(workers, weights, loss, examples))
        if not math.isfinite(total):
            raise DivergedError(f"step {step + 1}: the loss became {total}; try a smaller sft.learning_rate")
        torch.nn.utils.clip_grad_norm_(weights, sft.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % RECORD_EVERY == 0 or step + 1 == sft.steps:
            log.record(step + 1, {"loss": total, "learning_rate": optimizer.param_groups[0]["lr"]})
        log.advance(step + 1)
        if after is not None:
            after(step + 1)


def run_sft(settings: Settings, out: Path, resume: bool = False, on_record: OnRecord | None = None) -> Path:
    """Warm-start a model and write it, with its processor, in the Hugging Face layout.

    Args:
        settings: the run's settings.
        out: a folder that does not exist yet, or is empty.
        resume: is refused: a warm start keeps nothing until it is done.
        on_record: called with the step and its metrics each time that some are recorded.

    Returns:
        the folder.

    Raises:
        OutputExistsError: the folder holds something.
        SettingError: it is to be gone on with, or to be made by several processes.
        CheckpointError: the base model cannot be loaded.
    """
    if resume:
        raise SettingError(
            f"a warm start (method=sft) keeps nothing until it is done, so {out} cannot be gone on with; "
            "begin it again with gtr-bench sft and a new --out"
        )
    sharding_asked_for()  # a launcher's mistake is named
    check_one_process("a warm start (method=sft)")
    check_free(out)
    check_environment(settings)
    settings = settle_precision(settings)
    with new_folder(out) as folder:
        device = choose_device(settings.model.device)
        model, processor = load_base(settings, device)
        digest = getattr(model, "packaged_digest", None)
        (folder / "config.toml").write_text(settings_to_toml(settings), encoding="utf-8")
        if settings.model.adapter == "lora":
            model = add_lora(model, settings.model, settings.seed)
        workers = Workers(threads_for(settings.threads, settings.model.lora_dropout), device)
        actor = ActorCritic(
            model,
            None,
            temperature=settings.rollout.temperature,
            precision=resolve_precision(settings.model.precision, device),
            logit_chunk=settings.model.logit_chunk,
            gradient_checkpointing=settings.model.gradient_checkpointing,
        )
        shown = {"loss": ".3f", "cards_read": ".1%", "success": ".1%"}
        source = ExampleSource(settings, processor)

        def after(step: int) -> None:
            every = settings.sft.eval_every
            if (every and step % every == 0) or step == settings.sft.steps:
                log.record(step, look(actor, processor, settings, workers, settings.sft.eval_episodes))

        try:
            file = folder / "metrics.jsonl"
            with RunLog("warm start", settings.sft.steps, file, shown, on_record=on_record) as log:
                log.note(f"precision: {explain_precision(actor.precision, device)}")
                learn(model, source.draw, settings, workers, log, after)
        finally:
            source.close()
            workers.close()
        if settings.model.adapter == "lora":
            model = merge_lora(model)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        write_model_notes(
            folder, settings, method="sft", update=settings.sft.steps, metrics=log.latest, final=out, base_digest=digest
        )
    return out
