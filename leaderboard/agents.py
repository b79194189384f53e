"""From what a user names to an agent that plays: ``random``, ``expert``, or the folder of a checkpoint."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gtr_envs.episode import Policy
from gtr_envs.errors import CheckpointError, GtrError, MissingExtraError, SettingError
from gtr_envs.experts import ExplorerPolicy, RandomPolicy, SolverPolicy

BUILT_IN: dict[str, type[RandomPolicy] | type[SolverPolicy] | type[ExplorerPolicy]] = {
    "random": RandomPolicy,
    "expert": SolverPolicy,
    "explorer": ExplorerPolicy,
}
ALLOWED = "choose random, expert, explorer (ALFWorld), or the folder of a checkpoint"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,99}")
_WHOLE = 64 * 2**20
_BLOCK = 2**20
_SAMPLES = 64


@dataclass(frozen=True)
class AgentCard:
    """Who an agent is, for the leaderboard.

    Attributes:
        name: its name, also that of its folder of results.
        spec: what the user asked for.
        method: how it was made.
        base_model: the model it started from, None if it is no model.
        fingerprint: a digest of its weights, None if it is no model.
        temperature: of its sampling, 0 if greedy, None if it samples from no model.
    """

    name: str
    spec: str
    method: str
    base_model: str | None = None
    fingerprint: str | None = None
    temperature: float | None = None


def check_agent(spec: str) -> None:
    """Make sure that a spec names an agent, without loading it.

    Raises:
        SettingError: the spec names nothing.
        CheckpointError: the folder is missing.
    """
    folder = Path(spec)
    if spec in BUILT_IN or folder.is_dir():
        return
    if len(folder.parts) == 1 and not folder.suffix and not folder.exists():
        raise SettingError(f"unknown agent {spec!r}; {ALLOWED}")
    kind = "is a file" if folder.exists() else "does not exist"
    raise CheckpointError(f"checkpoint {spec} {kind}; {ALLOWED} (gtr-bench train makes them)")


def load_agent(spec: str, temperature: float | None = None, greedy: bool = False) -> Policy:
    """Load an agent.

    Args:
        spec: ``random``, ``expert``, or the folder of a checkpoint, a model or a training run (its newest checkpoint).
        temperature: of the sampling; None for the one it was trained with. Built-in agents have none.
        greedy: take the likeliest token each time instead of sampling.

    Raises:
        SettingError: the spec names nothing, or the temperature is out of range.
        CheckpointError: the folder is missing or damaged.
        MissingExtraError: playing a model needs libraries that are not installed.
    """
    if temperature is not None and not 0.0 < temperature <= 10.0:
        raise SettingError(f"temperature {temperature} is not allowed; choose one above 0 and up to 10, or --greedy")
    check_agent(spec)
    if spec in BUILT_IN:
        return BUILT_IN[spec]()
    return _load_checkpoint(Path(spec), temperature, greedy)


def _load_checkpoint(folder: Path, temperature: float | None, greedy: bool) -> Policy:
    try:
        from gtr_agent.policy import load_policy
    except ImportError as error:
        if (error.name or "").startswith("gtr_agent"):
            raise
        raise MissingExtraError(f"playing a model needs {error.name}: pip install 'gtr-bench[agent]'") from error
    try:
        return load_policy(folder, temperature=temperature, greedy=greedy)
    except GtrError:
        raise
    except Exception as error:  # whatever a library says about a broken file, the user needs one line and the mend
        first = (str(error).splitlines() or [""])[0]
        raise CheckpointError(
            f"checkpoint {folder} is damaged or not one of ours ({type(error).__name__}: {first}); "
            "choose another update's folder, or train again"
        ) from error


def fingerprint(folder: Path) -> str:
    """A digest of a checkpoint's weights: of all ``.safetensors`` files in the folder, names and contents.

    Files over 64 MiB are sampled (their size and 64 evenly spaced blocks of 1 MiB): training changes every tensor.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as handle:
            if size <= _WHOLE:
                digest.update(handle.read())
                continue
            for number in range(_SAMPLES):
                handle.seek((size - _BLOCK) * number // (_SAMPLES - 1))
                digest.update(handle.read(_BLOCK))
    return digest.hexdigest()[:16]


def _base_name(base: object) -> str | None:
    """A base model's name for the leaderboard: of a folder only the last part, a hub's name whole."""
    if base is None:
        return None
    text = str(base)
    is_path = text.startswith((".", "/", "~")) or Path(text).exists() or text.count("/") > 1
    return Path(text).name if is_path else text


def describe_agent(
    spec: str, policy: Policy, *, name: str | None = None, temperature: float | None = None, greedy: bool = False
) -> AgentCard:
    """Who a loaded agent is.

    Args:
        spec: what it was loaded from.
        policy: the agent; a checkpoint's has ``meta`` with ``method``, ``base_model`` and ``folder``.
        name: its name in the leaderboard; its own name if None.
        temperature, greedy: how it was loaded.

    Raises:
        SettingError: the name cannot be a folder's.
    """
    called = name or policy.name
    if not _NAME.fullmatch(called):
        raise SettingError(
            f"agent name {called!r} is not allowed; use letters, digits and . _ + - @ (at most 100), by --name"
        )
    if spec in BUILT_IN:
        return AgentCard(called, spec, method=spec)
    meta = getattr(policy, "meta", {})
    return AgentCard(
        name=called,
        spec=spec,
        method=str(meta.get("method", "unknown")),
        base_model=_base_name(meta.get("base_model")),
        fingerprint=fingerprint(Path(meta.get("folder", spec))),
        temperature=0.0 if greedy else float(meta.get("temperature", 1.0) if temperature is None else temperature),
    )
