"""Makes the packaged tiny agents anew: warm start, half precision, evaluation, card. ``make tiny-agents`` runs it.

    python benchmarks/tiny_agents.py [NAME ...] [--out FOLDER]

Each takes minutes to half an hour on two cores. What is made replaces what is packaged; commit it when it is final.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gtr_agent.checkpoint import NOTES, read_notes
from gtr_agent.model import load_whole
from gtr_agent.packaged import FOLDER, PREFIX
from gtr_agent.precision import cpu_name
from gtr_envs.storage import new_folder, remove_folder, write_json, write_manifest
from leaderboard.provenance import git_commit, library_versions, today

SEED = 0
EPISODES = 200


@dataclass(frozen=True)
class Plan:
    """What a packaged agent is made from: its preset, and what it does in a few words."""

    preset: str
    what: str


PLANS = {
    "points24": Plan("tiny-points24", "plays Points24, thinking in chains of reductions"),
    "points24-search": Plan("tiny-points24-search", "plays Points24, thinking in searches with verdicts"),
    "alfworld": Plan("tiny-alfworld", "plays ALFWorld's household tasks in generated rooms"),
}

CARD = """---
library_name: transformers
license: apache-2.0
pipeline_tag: image-text-to-text
tags: [gtr-bench, sft]
---

# {name}

A Qwen2.5-VL of {parameters:,} weights, warm-started from random ones on an expert's episodes.
It {what}, and knows nothing else.
It is there to try the pipeline, and to begin training from.

    gtr-bench play --agent {name}
    gtr-bench eval --agent {name}
    gtr-bench train --preset {preset} --init {name} --out runs/my-agent

## How it was made

    {command} --out runs/start

at commit {commit}, in {minutes:.0f} minutes on {cores} cores ({cpu}); then the weights were rounded to half precision.
`make tiny-agents` does all of it.

## What it scores

By `gtr-bench eval --agent {name} --precision float32` (sampled) and the same with `--greedy`
(likeliest tokens): {episodes} episodes a split, evaluation seed 0, 95% intervals. One training seed: another would
give another agent.

| split | success, sampled | success, likeliest tokens | {skill} |
|---|---|---|---|
{rows}
"""


def run(*words: str) -> str:
    """Run a command of ``gtr-bench``; returns what it prints."""
    command = [sys.executable, "-m", "leaderboard.cli", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def make(name: str, work: Path) -> Path:
    """Make one agent in a folder; returns that of the agent."""
    plan = PLANS[name]
    words = ["sft", "--preset", plan.preset, "--set", "model.precision=float32", "--set", f"seed={SEED}"]
    start = time.monotonic()
    run(*words, "--out", str(work / "start"))
    minutes = (time.monotonic() - start) / 60
    folder = halved(work / "start", work / name)
    scores = [evaluated(folder, work / "results", *extra) for extra in ((), ("--greedy",))]
    made = {
        "command": " ".join(["gtr-bench", *words]),
        "seed": SEED,
        "commit": git_commit(),
        "date": today(),
        "minutes": round(minutes, 1),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": library_versions(),
    }
    notes = read_notes(folder) | {"made": made, "scores": {"sampled": scores[0], "greedy": scores[1]}}
    write_json(folder / NOTES, notes)
    finish(name, folder)
    return folder


def finish(name: str, folder: Path) -> None:
    """Write the card from the notes, and the manifest."""
    (folder / "README.md").write_text(card(name, PLANS[name], folder, read_notes(folder)), encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)
    write_manifest(folder)


def halved(source: Path, out: Path) -> Path:
    """The model with its weights in half precision, and the notes of its making."""
    model, processor = load_whole(source, precision="float32")
    model.to(torch.float16).save_pretrained(out)
    processor.save_pretrained(out)
    notes = read_notes(source)
    # What depends on where it was made is left out.
    write_json(out / NOTES, {key: value for key, value in notes.items() if key != "base_model_relative"})
    return out


def evaluated(folder: Path, out: Path, *extra: str) -> dict[str, Any]:
    """What ``gtr-bench eval`` says of it, by split."""
    words = ("eval", "--agent", str(folder), "--precision", "float32", "-n", str(EPISODES), "--out", str(out), "--json")
    found = json.loads(run(*words, *extra))
    return {result["split"]: figures(result) for result in found["results"]}


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """What a card keeps of an evaluation."""
    reading = result["card_reading"]
    return {
        "episodes": result["n_episodes"],
        "successes": result["success"]["successes"],
        "success": [round(result["success"]["rate"][key], 4) for key in ("value", "low", "high")],
        "episode_return": round(result["episode_return"]["value"], 3),
        "cards_read": None if reading is None else round(reading["accuracy"], 4),
        "illegal_rate": round(result["illegal_rate"], 4),
        "invalid_answer_rate": round(result["invalid_answer_rate"], 4),
    }


def card(name: str, plan: Plan, folder: Path, notes: dict[str, Any]) -> str:
    """The model card."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as weights:
        parameters = sum(weights.get_tensor(key).numel() for key in weights.keys())  # noqa: SIM118
    sampled, greedy = notes["scores"]["sampled"], notes["scores"]["greedy"]
    reads = any(figure["cards_read"] is not None for figure in sampled.values())

    def skill(figure: dict[str, Any]) -> float:
        return figure["cards_read"] if reads else 1 - figure["illegal_rate"] - figure["invalid_answer_rate"]

    def percent(figure: dict[str, Any]) -> str:
        value, low, high = (100 * part for part in figure["success"])
        return f"{value:.1f}% [{low:.1f}, {high:.1f}]"

    rows = [
        f"| {split} | {percent(figure)} | {percent(greedy[split])} | {100 * skill(figure):.1f}% |"
        for split, figure in sampled.items()
    ]
    made = notes["made"]
    return CARD.format(
        name=PREFIX + name,
        what=plan.what,
        preset=plan.preset,
        parameters=parameters,
        skill="cards read" if reads else "commands that are admissible",
        rows="\n".join(rows),
        episodes=EPISODES,
        **{key: made[key] for key in ("command", "commit", "minutes", "cores", "cpu")},
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(PLANS)}; all if left out")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder that holds one folder for each")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(PLANS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(PLANS)}")
    for name in chosen.names or PLANS:
        with tempfile.TemporaryDirectory() as work:
            folder = make(name, Path(work))
            remove_folder(chosen.out / name)
            with new_folder(chosen.out / name) as partial:
                shutil.copytree(folder, partial, dirs_exist_ok=True)
        print((chosen.out / name / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
