"""What is kept of a batch whose loss or gradient is not finite, so that it can be looked into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from gtr_agent.files import write_json
from gtr_envs.errors import GtrError

if TYPE_CHECKING:
    from gtr_agent.experience import Experience


class DivergedError(GtrError, FloatingPointError):
    """A loss or a gradient that is not finite."""


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
    folder = out / "diverged" / f"rank-{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    turns = [experience.transitions[index].turn for index in part]
    write_json(
        folder / "turns.json",
        [{"prompt": t.prompt, "text": t.text, "reward": t.reward, "status": str(t.status)} for t in turns],
    )
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
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / "batch.safetensors"
    )
    return folder
