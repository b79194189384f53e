"""Where a result comes from: versions of the libraries, the commit of the code, the date."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import gtr_envs

LIBRARIES = ("numpy", "gymnasium", "pillow", "torch", "transformers", "peft")


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def package_version() -> str:
    """The version of gtr-bench."""
    return gtr_envs.__version__


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries that a result may depend on; imports none of them."""
    found = {name: _version_of(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit this code was run from, with ``-dirty`` behind it if tracked files were changed; None if unknown.

    An installed copy can lie inside some other repository (a ``.venv`` in a project), whose commit says nothing about
    this code; so the commit counts only if that repository tracks this very file.
    """
    folder = Path(__file__).resolve().parent
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def today() -> str:
    """The date in UTC, as ``YYYY-MM-DD``."""
    return datetime.now(UTC).date().isoformat()
