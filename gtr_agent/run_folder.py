"""A run's folder, and how a run that stopped is taken up again: its settings, checkpoints and metrics.

A run writes in this order: ``config.toml`` first of all; then for each update its line of ``metrics.jsonl`` and then
its checkpoint. So whenever the process ends, the newest whole checkpoint is all that counts: what lies behind it is
cut back, and done again.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtr_agent.config import settings_to_toml, validate_settings
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, SettingError
from gtr_envs.storage import clear_leftovers, find_damage, remove_folder, sync, write_atomic

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MERGED = "merged"
"""The folder of adapters whose checkpoints were dropped and that still take part in the teacher's merge."""

MAY_DIFFER = (
    "keep_checkpoints",
    "trackers",
    "alarm.action",
    "corrector.concurrency",
    "corrector.retries",
    "corrector.timeout_s",
    "corrector.offline",
    "corrector.price_in",
    "corrector.price_out",
    "corrector.max_cost",
)
"""The settings that may change at a resume: they change no weight. All others do, if only by rounding (the number of
threads, the device) or by the learning rate's course (``ppo.updates``)."""

Tell = Callable[[str], None]


def checkpoint_folder(run: Path, update: int) -> Path:
    """The folder of a run's checkpoint after so many updates."""
    return run / "checkpoints" / f"update-{update:06d}"


def checkpoint_update(folder: Path) -> int:
    """After how many updates a run's checkpoint was written."""
    return int(folder.name.removeprefix("update-"))


def checkpoints(run: Path) -> list[Path]:
    """A run's checkpoints, whole or not, oldest first."""
    found = [path for path in (run / "checkpoints").glob("update-[0-9]*") if path.name[7:].isdigit()]
    return sorted(found, key=checkpoint_update)


def latest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def latest_resumable(run: Path, tell: Tell = print) -> Path | None:
    """The newest checkpoint of a run that is whole, state included, or None.

    Args:
        run: the run's folder.
        tell: is told of each checkpoint that is passed over, and why.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    found = checkpoints(run)
    for folder in reversed(found):
        damage = find_damage(folder)
        if damage is None and not (folder / "state").is_dir():
            damage = f"{folder / 'state'} is missing"
        if damage is None:
            damage = missing_adapter(folder)
        if damage is None:
            return folder
        tell(f"{folder.name} is passed over: {damage}")
    if found:
        raise CheckpointError(
            f"none of the {len(found)} checkpoints of {run} can be resumed ({damage}); begin a new run elsewhere"
        )
    return None


def finished_checkpoint(run: Path, settings: Settings, tell: Tell = print) -> Path | None:
    """The last checkpoint of a run that has done all its updates, whole; None where there is something to go on with.

    Args:
        run: the run's folder.
        settings: the run's, changed in ``MAY_DIFFER`` at most.
        tell: is told that it is finished, and what can be done next.

    Raises:
        CheckpointError: there is no run, or its configuration is damaged.
        SettingError: settings differ that have to be the same.
    """
    check_same_settings(run, settings)
    last = checkpoint_folder(run, settings.ppo.updates)
    if not (last / "state").is_dir() or find_damage(last) is not None:
        return None
    tell(
        f"{run} is finished: its {settings.ppo.updates} updates are done. For more, begin a new run: gtr-bench train "
        f"--config {run / CONFIG} --set ppo.updates={2 * settings.ppo.updates} --out {run}-longer"
    )
    return last


def drop_old_checkpoints(run: Path, keep: int, newest: int) -> None:
    """Remove checkpoints until only the newest ``keep`` are left, but for adapters that one of those is merged from.

    Args:
        run: the run's folder.
        keep: how many stay; 0 keeps all.
        newest: the update of the one that was just written, which always stays.
    """
    if not keep:
        return
    found = checkpoints(run)
    older = [folder for folder in found if checkpoint_update(folder) < newest]
    dropped = older[: max(0, len(older) - (keep - 1))]
    needed = {update for folder in found if folder not in dropped for update in merged_updates(folder)}
    for folder in dropped:
        adapter = folder / ADAPTER_WEIGHTS
        if checkpoint_update(folder) in needed and adapter.is_file():
            (run / MERGED).mkdir(exist_ok=True)
            adapter.replace(run / MERGED / f"{folder.name}.safetensors")
            sync(run / MERGED)
        remove_folder(folder)
    for path in (run / MERGED).glob("update-*.safetensors"):
        if int(path.stem.removeprefix("update-")) not in needed:
            path.unlink()


def merged_updates(checkpoint: Path) -> list[int]:
    """The updates whose adapters a checkpoint's teacher is merged from; none where there is no such teacher."""
    try:
        content = json.loads((checkpoint / "state" / "teacher.json").read_text("utf-8"))
        return [int(update) for update in content["structure"]["updates"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def missing_adapter(checkpoint: Path) -> str | None:
    """What a checkpoint's teacher lacks of the adapters that it is merged from, in words; None if nothing."""
    run = checkpoint.parent.parent
    for update in merged_updates(checkpoint):
        path = adapter_file(run, update)
        if not path.is_file():
            return f"{path} is missing, of which its teacher is merged"
    return None


def adapter_file(run: Path, update: int) -> Path:
    """Where a run's adapter after an update stands: in its checkpoint, or by itself where that was dropped."""
    own = checkpoint_folder(run, update)
    inside = own / ADAPTER_WEIGHTS
    return inside if inside.is_file() else run / MERGED / f"{own.name}.safetensors"


def trim_metrics(path: Path, update: int) -> list[int]:
    """Cut ``metrics.jsonl`` back to an update, whole or not at all: what comes behind it is done again.

    A last line that was torn by the end of the process goes too.

    Args:
        path: the file; one that is not there is left so.
        update: the last one that stays.

    Returns:
        the updates up to there that have no line, as after a power cut.

    Raises:
        CheckpointError: a line in the middle cannot be read.
    """
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    lines = text.splitlines(keepends=True)
    kept, steps = [], set()
    for number, line in enumerate(lines, start=1):
        try:
            step = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}, line {number} is no record of metrics; mend or remove it") from error
        if step <= update and line.endswith("\n"):
            kept.append(line)
            steps.add(step)
    if len(kept) < len(lines):
        write_atomic(path, "".join(kept), durable=True)
    return [step for step in range(1, update + 1) if step not in steps]


def read_settings(run: Path) -> Settings:
    """The settings with which a run was begun.

    Raises:
        CheckpointError: there is no run, or its configuration is damaged.
    """
    path = run / CONFIG
    if (run / "config.json").is_file():  # a model's own; a warm start writes its settings beside it
        raise CheckpointError(
            f"{run} is a model and no run that could be gone on with; train from it with gtr-bench train --init {run}"
        )
    if not path.is_file():
        raise CheckpointError(
            f"there is no run to resume in {run}: {CONFIG} is missing; start it with gtr-bench train --out {run}"
        )
    try:
        return validate_settings(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:  # a SettingError is a ValueError
        raise CheckpointError(f"{path} cannot be read: {error}; put back what the run was begun with") from error


def check_same_settings(run: Path, given: Settings) -> None:
    """Make sure that a run is resumed with the settings with which it was begun, but for ``MAY_DIFFER``.

    Raises:
        CheckpointError: there is no run, or its configuration is damaged.
        SettingError: settings differ; the message names each.
    """
    saved, wanted = (_flat(settings.model_dump(mode="json")) for settings in (read_settings(run), given))
    odd = [
        f"{name}={wanted.get(name)!r} (begun with {saved.get(name)!r})"
        for name in sorted(saved.keys() | wanted.keys())
        if saved.get(name) != wanted.get(name) and name not in MAY_DIFFER
    ]
    if odd:
        raise SettingError(
            f"{run} cannot go on with other settings: {'; '.join(odd)}. Leave them as they were, or begin a new run "
            f"with another --out; at a resume only these may change: {', '.join(MAY_DIFFER)}"
        )


def take_up(run: Path, settings: Settings, tell: Tell = print) -> Path | None:
    """Get a run's folder ready to be gone on with.

    Leftovers of the process that was killed are removed, checkpoints that cannot be resumed are moved aside where newer
    than the one that can, and ``metrics.jsonl`` is cut back to it.

    Args:
        run: the run's folder, to which no other process writes.
        settings: the run's, changed in ``MAY_DIFFER`` at most; they replace those in ``config.toml``.
        tell: is told of all that is out of the ordinary.

    Returns:
        the checkpoint to go on from; None if the first had not been written yet, so that the run begins anew.

    Raises:
        CheckpointError: there is no run, its configuration is damaged, or no checkpoint is whole.
        SettingError: settings differ that have to be the same.
    """
    check_same_settings(run, settings)
    chosen = latest_resumable(run, tell)
    update = checkpoint_update(chosen) if chosen is not None else 0
    clear_leftovers(run)
    if chosen is not None:
        clear_leftovers(chosen.parent)
        for folder in checkpoints(run):
            if checkpoint_update(folder) > update:
                tell(f"{folder.name} is moved to {_set_aside(folder).name}")
    elif (run / "checkpoints").is_dir():
        clear_leftovers(run / "checkpoints")
    missing = trim_metrics(run / METRICS, update)
    if missing:
        tell(f"{run / METRICS} has no line for update {', '.join(map(str, missing))}")
    write_atomic(run / CONFIG, settings_to_toml(settings).encode(), durable=True)
    return chosen


def _set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is not taken for one."""
    number = 1
    while (aside := folder.with_name(f"damaged-{folder.name}-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by ``section.key``; the environment's options too, each by its own name."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
