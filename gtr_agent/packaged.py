"""The warm-started tiny agents that come with the package, as data: ``tiny:points24`` and its like.

Each is a folder in the Hugging Face layout, its weights in half precision. A name stands wherever a model, an agent or
a base may, so that an adapter which was trained from it names it and plays on any machine. ``make tiny-agents`` makes
them anew (``benchmarks/tiny_agents.py``).
"""

from __future__ import annotations

import json
from pathlib import Path

from gtr_envs.errors import CheckpointError
from gtr_envs.storage import MANIFEST, find_damage

PREFIX = "tiny:"
FOLDER = Path(__file__).with_name("tiny_agents")
WEIGHTS = "model.safetensors"


def packaged_names() -> list[str]:
    """The names of the packaged agents."""
    return sorted(PREFIX + path.name for path in FOLDER.iterdir() if path.is_dir()) if FOLDER.is_dir() else []


def is_packaged(name: str | Path) -> bool:
    """Whether a name that a user gave is of the form of a packaged agent's."""
    return str(name).startswith(PREFIX)


def packaged_folder(name: str | Path) -> Path:
    """A packaged agent's folder, after making sure that it is whole.

    Raises:
        CheckpointError: there is none of that name, or its files are not those that were packaged.
    """
    if str(name) not in packaged_names():
        raise CheckpointError(f"there is no packaged agent {str(name)!r}; there are: {', '.join(packaged_names())}")
    folder = FOLDER / str(name).removeprefix(PREFIX)
    damage = find_damage(folder)
    if damage is not None:
        raise CheckpointError(
            f"the packaged agent {name} is damaged: {damage}; install gtr-bench again (in a clone: git checkout "
            f"{FOLDER.parent.name}/{FOLDER.name})"
        )
    return folder


def located(name: str | Path) -> str:
    """Where a model is to be read from: a packaged agent's folder, else what was named.

    Raises:
        CheckpointError: as :func:`packaged_folder`.
    """
    return str(packaged_folder(name) if is_packaged(name) else name)


def packaged_digest(name: str | Path) -> str | None:
    """The digest of a packaged agent's weights, by which an adapter knows its base again; None for anything else.

    Raises:
        CheckpointError: as :func:`packaged_folder`.
    """
    if not is_packaged(name):
        return None
    manifest = json.loads((packaged_folder(name) / MANIFEST).read_text("utf-8"))
    return str(manifest["files"][WEIGHTS]["sha256"])[:16]
