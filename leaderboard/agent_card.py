"""Who an agent is, for the leaderboard: its name, how it was made, and a digest that tells it from others."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gtr_envs.episode import Policy
from gtr_envs.errors import SettingError

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
        method: how it was made; ``api`` for a model behind an endpoint.
        base_model: the model it started from, None if it is no model.
        fingerprint: a digest of its weights, or of an endpoint's model and host; None if it is no model.
        temperature: of its sampling, 0 if greedy, None if it samples from no model.
        max_new_tokens: tokens after which its answers are cut off, None if it is no model.
        precision: of its forward passes, None if it is no model here.
    """

    name: str
    spec: str
    method: str
    base_model: str | None = None
    fingerprint: str | None = None
    temperature: float | None = None
    max_new_tokens: int | None = None
    precision: str | None = None


def fingerprint(folder: Path) -> str:
    """A digest of a model's weights: of all ``.safetensors`` files in the folder, names and contents.

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


def plain_name(text: str) -> str:
    """A name that results can be filed under, made of any text, such as a model's name on a hub or at an endpoint."""
    return re.sub(r"[^A-Za-z0-9._+@-]+", "-", text.rstrip("/").rpartition("/")[2]).strip("._+@-")[:100] or "agent"


def _base_name(base: object) -> str | None:
    """A base model's name for the leaderboard: of a folder only the last part, a hub's name whole."""
    if base is None:
        return None
    text = str(base)
    is_path = text.startswith((".", "/", "~")) or Path(text).exists() or text.count("/") > 1
    return Path(text).name if is_path else text


def describe_agent(spec: str, policy: Policy, *, name: str | None = None) -> AgentCard:
    """Who a loaded agent is.

    Args:
        spec: what it was loaded from.
        policy: the agent. Its attribute ``meta``, if it has one, may hold ``method``, ``base_model``, ``temperature``
            (0 if greedy), ``max_new_tokens``, ``precision`` and either ``fingerprint`` or the ``folder`` of its
            weights.
        name: its name in the leaderboard; its own name if None.

    Raises:
        SettingError: the name cannot be a folder's.
    """
    called = policy.name if name is None else name
    if not _NAME.fullmatch(called):
        raise SettingError(
            f"agent name {called!r} is not allowed; use letters, digits and . _ + - @ (at most 100), by --name"
        )
    meta = getattr(policy, "meta", {})
    kind = spec.partition(":")[0]
    weights, temperature, limit = meta.get("fingerprint"), meta.get("temperature"), meta.get("max_new_tokens")
    if weights is None and meta.get("folder"):
        weights = fingerprint(Path(meta["folder"]))
    return AgentCard(
        name=called,
        spec=spec,
        method=str(meta.get("method") or ("unknown" if Path(spec).is_dir() else kind)),
        base_model=_base_name(meta.get("base_model")),
        fingerprint=weights,
        temperature=None if temperature is None else float(temperature),
        max_new_tokens=None if limit is None else int(limit),
        precision=None if meta.get("precision") is None else str(meta["precision"]).removeprefix("torch."),
    )
