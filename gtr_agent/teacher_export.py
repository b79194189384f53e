"""The merged teacher as a model of its own: a plain PEFT adapter, or full weights in the Hugging Face layout.

A merge of many adapters of rank r has a higher rank than r. As an adapter it is cut to the nearest change of the wished
rank, layer by layer (Eckart and Young 1936: the truncated singular value decomposition is the nearest in the Frobenius
norm); how much is lost is returned. As full weights nothing is lost but the rounding to the weights' own type.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from gtr_agent.folding import ADAPTER, fold
from gtr_agent.teacher import MergedTeacher, squared_norm
from gtr_envs.errors import SettingError
from gtr_envs.storage import new_folder

Form = Literal["adapter", "weights"]

PEFT_PREFIX = "base_model.model."
"""What PEFT puts before the names of the base model's layers."""


@torch.no_grad()
def save_teacher(
    teacher: MergedTeacher,
    folder: Path,
    form: Form = "adapter",
    rank: int | None = None,
    add_files: Callable[[Path], None] | None = None,
) -> float:
    """Write the teacher as it is now; the folder appears only when it is whole.

    Args:
        teacher: the merged teacher.
        folder: its final name, which does not exist yet or is empty.
        form: ``"adapter"`` for a LoRA adapter that ``PeftModel.from_pretrained`` loads onto the base model,
            ``"weights"`` for a whole model that ``from_pretrained`` loads, in the base's types.
        rank: of the adapter; None for the rank of the agent's own. Full weights have none.
        add_files: is called with the folder before it appears, for what else belongs there (a processor, a card).

    Returns:
        what was lost, relative: the Frobenius norm of the difference over all layers, over that of the merged change;
        0 for full weights.

    Raises:
        SettingError: an unknown form, a rank below 1, or a rank with full weights.
        OutputExistsError: the folder holds something.
    """
    if form not in ("adapter", "weights"):
        raise SettingError(f"a teacher is saved as 'adapter' or 'weights', not as {form!r}")
    if rank is not None and (form == "weights" or rank < 1):
        raise SettingError(f"rank={rank}: an adapter's rank is 1 or more, and full weights have none")
    with new_folder(folder) as partial:
        lost = _save_adapter(teacher, partial, rank) if form == "adapter" else _save_weights(teacher, partial)
        if add_files is not None:
            add_files(partial)
    return lost


def low_rank_factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors of the matrix of a rank that is nearest to a given one.

    The singular vectors of the shorter side are the eigenvectors of ``D @ D^T``, in float64; projected on the first of
    them, D is the nearest matrix of that rank. That is much less work than a decomposition of D itself, and it needs
    nothing larger than a float64 copy of D.

    Args:
        delta: D, ``(out_features, in_features)``.
        rank: r, 1 or more. What it has beyond the matrix's own size is filled with zeros.

    Returns:
        A ``(r, in_features)`` and B ``(out_features, r)`` in float32, whose product ``B @ A`` is the matrix.
    """
    if delta.shape[0] > delta.shape[1]:
        factor_a, factor_b = low_rank_factors(delta.T, rank)
        return factor_b.T.contiguous(), factor_a.T.contiguous()
    wide = delta.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T)  # upwards
    first = vectors[:, -rank:].flip(1)  # (out, at most r)
    # Each singular value goes into both factors by halves, its root: neither is much larger than the other.
    roots = values[-rank:].flip(0).clamp(min=0).sqrt().sqrt()
    along = first.T @ wide  # (at most r, in): singular values times right singular vectors
    safe = torch.where(roots > 0, roots, 1.0)
    missing = rank - len(roots)
    factor_a = torch.nn.functional.pad(along / safe[:, None], (0, 0, 0, missing))
    factor_b = torch.nn.functional.pad(first * safe, (0, missing))
    return factor_a.float().contiguous(), factor_b.float().contiguous()


def _save_adapter(teacher: MergedTeacher, folder: Path, rank: int | None) -> float:
    """Write a LoRA adapter with scaling 1; returns what was lost."""
    config = deepcopy(teacher.model.peft_config[ADAPTER])
    config.r = config.lora_alpha = rank = config.r if rank is None else rank
    config.rank_pattern, config.alpha_pattern = {}, {}
    config.use_rslora, config.inference_mode = False, True
    factors: dict[str, Tensor] = {}
    whole = lost = torch.zeros((), dtype=torch.float64)
    for name in teacher.layers:
        delta = teacher.delta(name)
        factor_a, factor_b = low_rank_factors(delta, rank)
        whole = whole + squared_norm(delta)
        lost = lost + squared_norm(delta - factor_b @ factor_a)
        factors[f"{name}.lora_A.weight"], factors[f"{name}.lora_B.weight"] = factor_a.cpu(), factor_b.cpu()
    config.save_pretrained(folder)
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return float((lost / whole).sqrt()) if whole else 0.0


def _save_weights(teacher: MergedTeacher, folder: Path) -> float:
    """Write the base model with the merged changes in its weights, each weight in its own type."""
    base: Any = teacher.model.get_base_model()
    changed = {f"{name.removeprefix(PEFT_PREFIX)}.base_layer.weight": name for name in teacher.layers}
    state: dict[str, Tensor] = {}
    for key, weight in base.state_dict().items():
        if key in changed:
            weight = fold(weight, teacher.delta(changed[key])).cpu()  # one at a time: the model's device holds no copy
        if ".lora_" not in key:
            state[key.replace(".base_layer.", ".")] = weight
    base.save_pretrained(folder, state_dict=state)
    return 0.0
