"""A run's merged teacher as a model of its own, which plays and is evaluated like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtr_agent.checkpoint import find_agent, find_base, read_adapter, state_folder, write_model_notes
from gtr_agent.methods import METHODS
from gtr_agent.model import choose_device, load_model, load_processor
from gtr_agent.precision import resolve_precision
from gtr_agent.run_folder import checkpoint_update, read_settings
from gtr_agent.run_state import read_part
from gtr_agent.start import make_actor, with_model
from gtr_agent.teacher import MergedTeacher
from gtr_agent.teacher_export import Form, save_teacher
from gtr_envs.errors import CheckpointError, SettingError


def export_teacher(agent: Path, out: Path, form: Form = "adapter", rank: int | None = None) -> float:
    """Save the merged teacher as it was after an update.

    Args:
        agent: a run's folder, of which the newest checkpoint is taken, or one of its checkpoints.
        out: the folder to write, which does not exist yet or is empty.
        form: ``"adapter"`` or ``"weights"``, see :func:`gtr_agent.teacher_export.save_teacher`.
        rank: of the adapter; None for that of the agent's own.

    Returns:
        the share of the merged change that is lost by the adapter's rank; 0 for full weights.

    Raises:
        SettingError: the run has no merged teacher, or the form and the rank do not go together.
        CheckpointError: there is no run's checkpoint, or it is damaged.
        OutputExistsError: the folder holds something.
    """
    checkpoint = find_agent(agent)
    if checkpoint.absolute().parent.name != "checkpoints":
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of a run; give a run's folder, or one in its checkpoints/"
        )
    settings = read_settings(checkpoint.absolute().parents[1])
    if METHODS[settings.method].teacher != "merged":
        merged = " or ".join(name for name, terms in METHODS.items() if terms.teacher == "merged")
        raise SettingError(f"{checkpoint} was trained by {settings.method}, which merges no teacher; {merged} does")
    settings = with_model(settings, base=find_base(checkpoint))
    choice = settings.model
    device = choose_device(choice.device)
    precision = resolve_precision(choice.precision, device)
    model = load_model(choice.base, choice.attention, device, precision)
    actor = make_actor(model, settings)
    teacher = MergedTeacher(actor.model, settings.merge, precision, apart=not actor.folds)
    run = checkpoint.absolute().parents[1]
    teacher.load_state(read_part(state_folder(checkpoint), "teacher"), lambda update: read_adapter(run, update))

    def add_files(folder: Path) -> None:
        if form == "weights":
            processor: Any = load_processor(choice.base)
            processor.save_pretrained(folder)
        update, digest = checkpoint_update(checkpoint), getattr(model, "packaged_digest", None)
        write_model_notes(folder, settings, settings.method, update, {}, out, digest)

    return save_teacher(teacher, out, form, rank, add_files)
