"""What the merged teacher costs: merging, scoring with folded weights, and the bytes it keeps.

    .venv/bin/python benchmarks/merging.py
    .venv/bin/python benchmarks/merging.py --large

One merge of one layer against the number of checkpoints (from their adapters, as the teacher does it; of weight changes
at hand, all at once; by PEFT's own function), and of the whole tiny model; a layer, and whole scoring passes of the
tiny model, with the adapter beside the weights and folded in; the bytes that are kept. ``--large`` adds a merge of the
largest layer of a 7B model. Each figure is the median of some repetitions; the contestants take turns, so that a busy
machine slows them alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from peft.utils import merge_utils
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import FEATURES, AnswerBatch, stack_answers
from gtr_agent.config import load_settings
from gtr_agent.folding import folded, folded_weights
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.lora import add_lora
from gtr_agent.model import choose_device, load_base
from gtr_agent.precision import resolve_precision
from gtr_agent.settings import MergeSettings
from gtr_agent.teacher import MergedTeacher, most_kept
from gtr_agent.ties import border, ties_merge

CHECKPOINTS = (1, 2, 4, 8, 16, 32)
DENSITY = 0.8
LARGEST_LAYER = (3584, 18944)
"""Rows and columns of the down projection of Qwen2.5-VL-7B's feed-forward layers."""


def seconds(contestants: Mapping[str, Callable[[], object]], repetitions: int, device: str) -> dict[str, float]:
    """The median seconds of each contestant, after one round to warm up."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions + 1):
        for name, contestant in contestants.items():
            begin = time.perf_counter()
            contestant()
            if device == "cuda":
                torch.cuda.synchronize()
            found[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def table_of(title: str, *columns: str) -> Table:
    """An empty table: the first column is words, the others are numbers."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def one_layer(rows: int, columns: int, rank: int, device: str, settings: MergeSettings, count: int) -> MergedTeacher:
    """The teacher of a single LoRA layer, with so many checkpoints, of random adapters."""
    from peft import LoraConfig, get_peft_model

    layer = torch.nn.Sequential(OrderedDict(layer=torch.nn.Linear(columns, rows, bias=False, device=device)))
    model = get_peft_model(layer, LoraConfig(r=rank, target_modules=["layer"]))
    teacher = MergedTeacher(model, settings)
    generator = torch.Generator().manual_seed(0)
    for update in range(count):
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data.copy_(torch.randn(weight.shape, generator=generator))
        teacher.merge(update)
    return teacher


def merge_times(size: int, repetitions: int, device: str) -> Table:
    """One merge of a (size, size) layer of rank 16 with so many checkpoints."""
    title = f"one merge of a {size} x {size} layer on {device}: milliseconds"
    table = table_of(title, "checkpoints", "from adapters", "at once", "PEFT")
    generator = torch.Generator().manual_seed(0)
    for count in CHECKPOINTS:
        deltas = [torch.randn(size, size, generator=generator).to(device) for _ in range(count)]
        teacher = one_layer(size, size, 16, device, MergeSettings(weights="sma"), count)
        name, *_ = teacher.layers
        ones = torch.ones(count, device=device)
        contestants = {
            "from adapters": lambda teacher=teacher, name=name: teacher.delta(name),
            "at once": lambda deltas=deltas: ties_merge(deltas, [1.0] * len(deltas), DENSITY),
            "PEFT": lambda deltas=deltas, ones=ones: merge_utils.ties(deltas, ones, DENSITY),
        }
        found = seconds(contestants, repetitions, device)
        table.add_row(str(count), *(f"{1000 * found[name]:.1f}" for name in contestants))
    return table


def large_merge(device: str) -> Table:
    """A merge of the largest layer of a 7B model from as many adapters of rank 128 as an EMA keeps."""
    rows, columns = LARGEST_LAYER
    teacher = one_layer(rows, columns, 128, device, MergeSettings(), most_kept(MergeSettings()))
    name, *_ = teacher.layers
    delta = teacher.delta(name)
    parts: dict[str, Callable[[], object]] = {
        f"merge of {len(teacher.checkpoints)} adapters": lambda: teacher.delta(name),
        "the newest one's border, once": lambda: border(delta, DENSITY),
    }
    table = table_of(f"a {rows} x {columns} layer on {device}: seconds", "part", "seconds")
    for part, value in seconds(parts, 3, device).items():
        table.add_row(part, f"{value:.3f}")
    return table


def tiny_actor(rank: int, precision: str, device: str) -> tuple[ActorCritic, Any]:
    """The tiny agent with an adapter that changes something, and its processor."""
    settings = load_settings("tiny-points24", overrides=[f"model.lora_rank={rank}", f"model.precision={precision}"])
    model, processor = load_base(settings, device)
    model = add_lora(model, settings.model, seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    actor = ActorCritic(
        model.to(device),
        None,
        temperature=1.0,
        precision=resolve_precision(settings.model.precision, device),
        cache_features=True,
    )
    return actor, processor


def answered_turns(actor: ActorCritic, processor: Any, turns: int, device: str) -> tuple[PromptBatch, AnswerBatch]:
    """Turns with answers of 60 tokens; the pictures are features already, as in the trainer."""
    frames = list(np.random.default_rng(0).integers(0, 255, (turns, 300, 300, 3), dtype=np.uint8))
    prompt = encode_prompts(processor, ["Make 24."] * turns, frames).to(device)
    features = actor.picture_features(prompt)
    assert features is not None
    inputs = {name: values for name, values in prompt.inputs.items() if name != "pixel_values"}
    answers = stack_answers([[400] * 60] * turns, [[False] * 60] * turns, 0)
    moved = {field.name: getattr(answers, field.name).to(device) for field in dataclasses.fields(answers)}
    return PromptBatch({**inputs, FEATURES: torch.cat(features)}), AnswerBatch(**moved)


def scoring_times(repetitions: int, device: str) -> Table:
    """Whole scoring passes with the adapter beside the weights, and folded: four in each change of weights."""
    table = table_of(
        f"scoring on {device}: milliseconds a pass", "precision, rank, turns", "beside", "folded", "folded / beside"
    )
    for precision, rank, turns in itertools.product(("float32", "bfloat16"), (16, 128), (4, 32)):
        actor, processor = tiny_actor(rank, precision, device)
        prompt, answers = answered_turns(actor, processor, turns, device)
        weights = folded_weights(actor.model, precision=actor.precision)

        @torch.no_grad()
        def beside(actor: ActorCritic = actor, prompt: Any = prompt, answers: Any = answers) -> None:
            for _ in range(4):
                actor.score(prompt, answers)

        def inside(actor: ActorCritic = actor, weights: Any = weights, beside: Any = beside) -> None:
            with folded(actor.model, weights):
                beside()

        found = seconds({"beside": beside, "folded": inside}, repetitions, device)
        row = [f"{250 * found[name]:.1f}" for name in ("beside", "folded")]
        table.add_row(f"{precision}, {rank}, {turns}", *row, f"{found['folded'] / found['beside']:.2f}")
    return table


def layer_times(repetitions: int, device: str) -> Table:
    """One adapted layer by itself, with the adapter beside the weight, and folded."""
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    table = table_of(
        f"one layer, rank 16, on {device}: microseconds", "in, out, tokens", "beside", "folded", "folded / beside"
    )
    config = LoraConfig(r=16, lora_alpha=32)
    for (width, out), tokens in itertools.product(((128, 128), (128, 512)), (8, 64, 1024)):
        plain = torch.nn.Linear(width, out, bias=False).to(device)
        layer = Linear(plain, "default", config=config, r=16, lora_alpha=32).to(device)
        states = torch.randn(tokens, width, device=device)

        @torch.no_grad()
        def beside(layer: Any = layer, states: Tensor = states) -> None:
            for _ in range(20):
                layer(states)

        @torch.no_grad()
        def inside(plain: Any = plain, states: Tensor = states) -> None:
            for _ in range(20):
                plain(states)

        found = seconds({"beside": beside, "folded": inside}, 3 * repetitions, device)
        row = [f"{1e6 * found[name] / 20:.0f}" for name in ("beside", "folded")]
        table.add_row(f"{width}, {out}, {tokens}", *row, f"{found['folded'] / found['beside']:.2f}")
    return table


def bytes_kept(actor: ActorCritic, device: str) -> Table:
    """The bytes that a teacher keeps once it holds as many adapters as an EMA keeps, and the time of a whole merge."""
    table = table_of("a teacher of the tiny model", "space, method, weights", "adapters", "weights", "merge: ms")
    for choice in (
        {"space": "delta", "method": "ties", "weights": "ema"},
        {"space": "delta", "method": "linear", "weights": "ema"},
        {"space": "factors", "method": "ties", "weights": "ema"},
    ):
        teacher = MergedTeacher(actor.model, MergeSettings.model_validate(choice), actor.precision)
        for update in range(most_kept(teacher.settings)):
            teacher.merge(update)
        found = seconds({"merge": teacher.merge}, 5, device)
        held = sum(weight.nbytes for weight in teacher.weights.values())
        pairs = [pair for each in teacher.checkpoints for pair in each.factors.values()]
        adapters = sum(factor.nbytes for pair in pairs for factor in pair)
        table.add_row(
            ", ".join(choice.values()),
            f"{adapters / 1e6:.1f} MB",
            f"{held / 1e6:.1f} MB",
            f"{1000 * found['merge']:.1f}",
        )
    return table


def merge_growth(device: str, repetitions: int = 3) -> Table:
    """A whole merge of the tiny model's teacher when so many checkpoints are in it, the new one included."""
    actor, _ = tiny_actor(16, "bfloat16", device)
    factors = [weight for name, weight in actor.model.named_parameters() if "lora_" in name]
    generator = torch.Generator().manual_seed(0)
    found: dict[int, list[float]] = {count: [] for count in CHECKPOINTS}
    for _ in range(repetitions + 1):
        teacher = MergedTeacher(actor.model, MergeSettings(), actor.precision)
        for count in range(1, CHECKPOINTS[-1] + 1):
            for factor in factors:  # each checkpoint is another one
                factor.data.add_(0.002 * torch.randn(factor.shape, generator=generator).to(device))
            begin = time.perf_counter()
            teacher.merge()
            if count in found:
                found[count].append(time.perf_counter() - begin)
    table = table_of(
        f"a whole merge of the tiny model on {device}: milliseconds", "checkpoints", *map(str, CHECKPOINTS)
    )
    table.add_row("time", *(f"{1000 * statistics.median(values[1:]):.1f}" for values in found.values()))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--size", type=int, default=512, help="rows and columns of the merged layer")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; the trainer gives each worker one")
    parser.add_argument("--large", action="store_true", help="also a layer of 68 million weights")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    console = Console(highlight=False)
    torch.set_num_threads(arguments.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        console.print(merge_times(arguments.size, arguments.repetitions, device))
        console.print(layer_times(arguments.repetitions, device))
        console.print(scoring_times(arguments.repetitions, device))
        console.print(merge_growth(device))
        console.print(bytes_kept(tiny_actor(16, "bfloat16", device)[0], device))
        if arguments.large:
            console.print(large_merge(device))


if __name__ == "__main__":
    main()
