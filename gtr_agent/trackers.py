"""Where metrics go beside ``metrics.jsonl``: TensorBoard, wandb or trackio, through Accelerate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtr_envs.errors import MissingExtraError


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that trackers can be used.

    Args:
        names: which: "tensorboard", "wandb" or "trackio".

    Raises:
        MissingExtraError: one is not installed.
    """
    if not names:
        return
    from accelerate.utils import is_tensorboard_available, is_trackio_available, is_wandb_available

    there = {
        "tensorboard": is_tensorboard_available,
        "wandb": is_wandb_available,
        "trackio": is_trackio_available,
    }
    missing = [name for name in names if not there[name]()]
    if missing:
        raise MissingExtraError(
            f"trackers that are not installed: {', '.join(missing)}; pip install {' '.join(missing)}, or leave them "
            "out of the setting trackers"
        )


class Trackers:
    """The experiment trackers of a run; none at all where none is asked for.

    Args:
        names: which: "tensorboard", "wandb" or "trackio".
        out: the run's folder; TensorBoard's files go there.
        config: the run's settings, to be shown beside the curves.
        done: how many updates were done before; TensorBoard hides what it was told of later ones.

    Raises:
        MissingExtraError: one is not installed.
    """

    def __init__(self, names: Sequence[str], out: Path, config: Mapping[str, Any], done: int = 0) -> None:
        self._accelerator: Any = None
        if not names:
            return
        check_trackers(names)
        from accelerate import Accelerator

        self._accelerator = Accelerator(log_with=list(names), project_dir=str(out), cpu=True)
        self._accelerator.init_trackers(
            "tensorboard" if list(names) == ["tensorboard"] else out.name,
            dict(_flat(config)),
            init_kwargs={"tensorboard": {"purge_step": done + 1}} if done else {},
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass an update's metrics on."""
        if self._accelerator is not None:
            self._accelerator.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the trackers' runs."""
        if self._accelerator is not None:
            for tracker in self._accelerator.trackers:  # end_training would end the processes' talk to each other, too
                tracker.finish()


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, ``section.key``; what is no number, truth value or text is written as text."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
