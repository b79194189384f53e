"""What is kept of a batch whose loss or gradient is not finite, so that it can be looked into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from gtr_envs.errors import GtrError
from gtr_envs.storage import write_json

if TYPE_CHECKING:
    from gtr_agent.experience import Experience
    from gtr_agent.imitation import Thought


class DivergedError(GtrError, FloatingPointError):
    """A loss or a gradient that is not finite."""


def save_thoughts(out: Path, thoughts: Sequence[Thought], rank: int = 0) -> Path:
    """Write thoughts that were to be imitated, as tensors.

    Args:
        out: the run's folder.
        thoughts: of the batch.
        rank: the process.

    Returns:
        the folder, ``out/diverged/rank-N``.
    """
    tensors = {}
    for place, thought in enumerate(thoughts):
        tensors[f"thought-{place}/answer"] = torch.tensor(thought.tokens)
        tensors[f"thought-{place}/action_mask"] = torch.tensor(thought.action_mask)
        for name, tensor in (*thought.prompt.tokens.items(), *thought.prompt.picture.items()):
            tensors[f"thought-{place}/{name}"] = tensor
    return _write(out, rank, "thoughts", tensors)


def save_batch(out: Path, experience: Experience, advantages: Tensor, part: Sequence[int], rank: int = 0) -> Path:
    """Write the turns of a batch: what was asked and answered as JSON, tokens and numbers as tensors.

    Args:
        out: the run's folder.
        experience: the scored rollout.
        advantages: as the loss had them.
        part: the indices of the batch's turns.
        rank: the process.

    Returns:
        the folder, ``out/diverged/rank-N``.
    """
    rows = torch.as_tensor(list(part), device=advantages.device)
    tensors = {
        "advantages": advantages[rows],
        "returns": experience.returns[rows],
        "old_log_probs": experience.log_probs[rows],
    }
    for place, index in enumerate(part):
        transition = experience.transitions[index]
        tensors[f"turn-{place}/tokens"] = torch.tensor(transition.sample.tokens)
        tensors[f"turn-{place}/sampled_log_probs"] = torch.tensor(transition.sample.log_probs)
        for name, tensor in (*transition.prompt.tokens.items(), *transition.prompt.picture.items()):
            tensors[f"turn-{place}/{name}"] = tensor
    folder = _write(out, rank, "batch", tensors)
    turns = [experience.transitions[index].turn for index in part]
    write_json(
        folder / "turns.json",
        [{"prompt": t.prompt, "text": t.text, "reward": t.reward, "status": str(t.status)} for t in turns],
    )
    return folder


def _write(out: Path, rank: int, name: str, tensors: Mapping[str, Tensor]) -> Path:
    folder = out / "diverged" / f"rank-{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    # A copy of each: pictures of one batch may lie in one memory, which safetensors refuses.
    kept = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}
    save_file(kept, folder / f"{name}.safetensors")
    return folder
