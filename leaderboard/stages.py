"""Work in stages, each with a folder of its own; what is finished is noted, so that the same command goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gtr_envs.errors import CheckpointError, OutputExistsError, SettingError
from gtr_envs.storage import LOCK, write_atomic

STATE = "quickstart.json"
SCRATCH = "scratch"


def kept_precision(out: Path) -> str | None:
    """The precision that the quickstart in a folder computes in; None where there is none, or where it is not known."""
    try:
        found = json.loads((out / STATE).read_text(encoding="utf-8"))["precision"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def finished_stages(out: Path, settings: dict[str, Any]) -> dict[str, str]:
    """What a quickstart's folder already holds: where each finished stage's result lies, by the stage's name.

    Args:
        out: the folder.
        settings: what the quickstart was asked for.

    Raises:
        OutputExistsError: the folder holds something else, or a quickstart with other settings.
    """
    mend = "choose another --out, or delete that folder"
    if out.is_file():
        raise OutputExistsError(f"{out} is a file; choose another --out")
    if not (out / STATE).is_file():
        if out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
            raise OutputExistsError(f"{out} holds something else; {mend}")
        return {}
    try:
        state = json.loads((out / STATE).read_text(encoding="utf-8"))
        there, done = {"start": SCRATCH, **state["settings"]}, dict(state["done"])  # older ones do not say
    except (ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(f"{out / STATE} is damaged; {mend}") from error
    for name, value in settings.items():
        if there.get(name) != value:
            raise OutputExistsError(
                f"{out} holds another quickstart: {name} is {there.get(name)!r} there and {value!r} now; {mend}"
            )
    return done


def set_aside(folder: Path) -> None:
    """Make room for a new attempt: what holds checkpoints is renamed, as they may be hours of work; else it goes."""
    if not (folder / "checkpoints").is_dir():
        shutil.rmtree(folder)
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}-set-aside-{number}")).exists():
        number += 1
    folder.rename(aside)


class Stages:
    """Does stages and notes which are done.

    Args:
        out, settings: as for :func:`finished_stages`, which it begins with.
        precision: in which it computes; whoever goes on with it, on whatever machine, does so in the same.
    """

    def __init__(self, out: Path, settings: dict[str, Any], precision: str = "float32") -> None:
        self.out = out
        self.settings = settings
        self.precision = precision
        self.done = finished_stages(out, settings)
        self._save()

    def _save(self) -> None:
        text = json.dumps({"settings": self.settings, "precision": self.precision, "done": self.done}, indent=2)
        write_atomic(self.out / STATE, text + "\n")

    def run(
        self, name: str, work: Callable[[Path], Path], go_on: Callable[[Path], Path] | None = None
    ) -> tuple[Path, bool]:
        """Do a stage, or find it done.

        Args:
            name: the stage's name and that of its folder.
            work: fills the folder it is given and returns where the result lies.
            go_on: does the rest of what was interrupted there, or raises a CheckpointError or SettingError where there
                is nothing to go on from; None for a stage that is always begun anew.

        Returns:
            where the result lies, and whether it was there already.
        """
        folder = self.out / name
        if name in self.done and (self.out / self.done[name]).exists():
            return self.out / self.done[name], True
        result: Path | None = None
        if folder.exists():  # an interrupted attempt of ours: the state file says that this folder is the quickstart's
            if go_on is not None:
                with suppress(CheckpointError, SettingError):
                    result = go_on(folder)
            if result is None:
                set_aside(folder)
        if result is None:
            result = work(folder)
        self.done[name] = str(result.relative_to(self.out))
        self._save()
        return result, False
