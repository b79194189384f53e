"""A few updates of a published model's architecture with random weights, and the paper's run projected from them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from shapes import build_shape
from train_parts import PARTS, Record, median, metered, read_records, rest, settings_of, tokens_per_second

from gtr_agent.config import load_settings
from gtr_agent.lora import lora_targets
from gtr_agent.model import load_base
from gtr_agent.precision import resolve_precision
from gtr_agent.progress import Clock
from gtr_agent.run import Run
from gtr_agent.settings import Settings
from gtr_agent.sharding import blocks
from gtr_agent.start import with_model
from gtr_agent.teacher import most_kept
from gtr_agent.train import train

PAPER_UPDATES = 30
PAPER_TURNS = 1024
PAPER_GPU_HOURS = 178
"""GTR-Turbo (KL) on Points24 with Qwen2.5-VL-7B: 89 hours on two GPUs (https://arxiv.org/abs/2512.13043)."""
ONCE_AN_UPDATE = ("merge",)
"""What does not grow with the number of turns."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        shape: one of :func:`shapes.shape_names`, or ``tiny``.
        device: ``cpu`` or ``cuda``.
        preset: whose settings are trained with.
        answer_tokens: how long each answer is; random weights do not end one.
        envs: environments side by side; None for the preset's.
        turns: turns of each in an update; None for the preset's.
        updates: how many are measured.
        warm_up: how many before those are not.
        merge_space: ``merge.space``.
        changes: further settings, ``section.key=value``.
    """

    shape: str
    device: str
    preset: str = "points24-qwen2.5-vl-7b"
    answer_tokens: int = 150
    envs: int | None = None
    turns: int | None = None
    updates: int = 1
    warm_up: int = 1
    merge_space: str = "factors"
    changes: Sequence[str] = ()

    def settings(self) -> Settings:
        """The run's settings: the preset's, cut down; ``changes`` have the last word."""
        preset = load_settings(self.preset)
        envs = preset.rollout.num_envs if self.envs is None else self.envs
        turns = preset.rollout.turns if self.turns is None else self.turns
        own = [
            f"model.device={self.device}",
            f"rollout.num_envs={envs}",
            f"rollout.turns={turns}",
            f"rollout.max_new_tokens={self.answer_tokens}",
            f"ppo.updates={self.updates + self.warm_up}",
            f"ppo.batch_size={min(preset.ppo.batch_size, envs * turns)}",
            f"merge.space={self.merge_space}",
            "alarm.action=off",
            *(["model.base=tiny"] if self.shape == "tiny" else []),
        ]
        settings = settings_of(self.preset, [*own, *self.changes])
        if settings.model.precision != "auto":
            return settings
        # A GPU that is only reckoned with computes in bfloat16.
        precision = resolve_precision("auto", "cpu") if self.device == "cpu" else "bfloat16"
        return with_model(settings, precision=precision)


def build(plan: Plan, settings: Settings) -> tuple[Any, Any]:
    """The model, with random weights, on its device, and its processor."""
    if plan.shape == "tiny":
        return load_base(settings, plan.device)
    dtype = torch.float32 if plan.device == "cpu" else torch.bfloat16
    return build_shape(plan.shape, plan.device, dtype, settings.seed, settings.model.attention)


def measure(plan: Plan, settings: Settings, loaded: tuple[Any, Any]) -> list[Record]:
    """Train, and return the records of the measured updates.

    No checkpoint is written: of a 7B model each would be some 5 GB.
    """
    with tempfile.TemporaryDirectory() as folder, metered(plan.device), patch.object(Run, "save", log_alone):
        out = Path(folder) / "run"
        train(settings, out, loaded=loaded)
        return read_records(out)[plan.warm_up :]


def log_alone(run: Run, number: int, metrics: Record, clock: Clock) -> None:
    """What :meth:`gtr_agent.run.Run.save` does, without the checkpoint."""
    run.log.record(number, {**metrics, **clock.report(run.turns)})


def projected_hours(records: Sequence[Record], turns: int) -> float:
    """Hours that the paper's run would take at the speed of the measured updates.

    Args:
        records: the updates.
        turns: of each, over all environments. What is done once an update, however many turns it has, is not scaled.
    """
    total = median(records, "seconds")
    fixed = sum(median(records, f"seconds_{part}") for part in ONCE_AN_UPDATE)
    return PAPER_UPDATES * ((total - fixed) * PAPER_TURNS / turns + fixed) / 3600


def memory(model: Any, settings: Settings) -> dict[str, float]:
    """What a run keeps in memory between passes, by arithmetic, in bytes.

    Args:
        model: without its adapter; one on the device ``meta`` will do.
        settings: the run's.
    """
    modules = dict(model.named_modules())
    layers = [modules[name] for name in lora_targets(model, settings.model.lora_vision)]
    entries = sum(layer.weight.numel() for layer in layers)
    factors = sum(settings.model.lora_rank * (layer.in_features + layer.out_features) for layer in layers)
    entry = 2 if settings.model.precision == "bfloat16" else model.dtype.itemsize
    sharded = [weight for block in blocks(model) for weight in block.parameters()]
    found = {
        "the base model": sum(weight.nbytes for weight in model.parameters()),
        "of that, what FSDP would shard": sum(weight.nbytes for weight in sharded),
        "the adapter, its gradient and Adam's two moments, float32": factors * 16,
        "the adapter in the form in which it collects": (entries if collects_folded(settings) else factors) * entry,
    }
    if settings.method in ("gtr-turbo-kl", "gtr-turbo-sft"):
        found |= {
            "the teacher: a matrix for each adapted weight": entries * entry,
            "the adapters that are merged, where merge.keep_on says": factors * 4 * most_kept(settings.merge),
        }
    return {name: float(value) for name, value in found.items()}


def collects_folded(settings: Settings) -> bool:
    """Whether answers are sampled with the adapter folded into copies of its weights, or beside them."""
    model = settings.model
    if model.collect_folded == "auto":
        return model.train_folded or model.precision == "float32"
    return model.collect_folded


def report(plan: Plan, console: Console) -> None:
    """Build, measure and print."""
    settings = plan.settings()
    loaded = build(plan, settings)
    kept = Table(title=f"{plan.shape}, LoRA rank {settings.model.lora_rank}: memory by arithmetic")
    kept.add_column("what")
    kept.add_column("GB", justify="right")
    for name, value in memory(loaded[0], settings).items():
        kept.add_row(name, f"{value / 1e9:.1f}")
    console.print(kept)

    records = measure(plan, settings, loaded)
    turns = settings.rollout.num_envs * settings.rollout.turns
    table = Table(title=f"{plan.shape} on {device_name(plan.device)}: seconds an update of {turns} turns", min_width=64)
    table.add_column("part")
    table.add_column("seconds", justify="right")
    for part in PARTS:
        table.add_row(part, f"{median(records, f'seconds_{part}'):.2f}")
    table.add_row("rest", f"{rest(records):.2f}")
    table.add_row("all", f"{median(records, 'seconds'):.2f}")
    console.print(table)
    written = median(records, "written_tokens") / turns
    console.print(
        f"method {settings.method}, {settings.ppo.epochs} epochs, merge.space={settings.merge.space}; "
        f"{len(records)} measured update(s); answers of {written:.0f} tokens\n"
        f"decode: {tokens_per_second(records):.0f} tokens/s; whole loop: "
        f"{median(records, 'steps_per_second'):.2f} env steps/s\n"
        f"peak memory: {max(record['peak_memory'] for record in records) / 1e9:.1f} GB "
        f"({'tensors on the GPU' if plan.device == 'cuda' else 'the process'})\n"
        f"projected for the paper's {PAPER_UPDATES * PAPER_TURNS:,} env steps ({PAPER_UPDATES} updates of "
        f"{PAPER_TURNS:,} turns): {projected_hours(records, turns):.1f} hours on one such device, without writing "
        f"checkpoints; the paper: {PAPER_GPU_HOURS} GPU-hours"
    )


def device_name(device: str) -> str:
    """What the device is called."""
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"
