"""Environments in mid-episode, saved without a pickle and without knowing what is inside of them.

An episode follows from its seed and from the answers given so far, so these are all that is saved. Restoring begins the
episode again and gives the same answers; what was found then, turn by turn, and the picture that waits to be answered
have to be the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import gtr_envs
from gtr_envs.episode import Response, Seat, Turn
from gtr_envs.errors import CheckpointError

_PACKAGES = ("gymnasium", "numpy", "pillow", "alfworld", "textworld", "ai2thor")


class EnvironmentChangedError(CheckpointError):
    """An environment that does not play a saved episode as it did before."""


def versions() -> dict[str, str]:
    """The versions of what environments rest on, as far as it is installed."""
    found = {"gtr-bench": gtr_envs.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def save_seat(seat: Seat) -> dict[str, Any]:
    """An environment in mid-episode, as plain JSON."""
    return {"seed": seat.seed, "picture": _digest(seat), "turns": [_save_turn(turn) for turn in seat.turns]}


def restore_seat(seat: Seat, saved: Mapping[str, Any], saved_versions: Mapping[str, str]) -> None:
    """Bring an environment to where it was saved: begin the episode again and play the same answers.

    Args:
        seat: an environment that was made with the same settings; whatever it was playing is given up.
        saved: what :func:`save_seat` gave.
        saved_versions: what :func:`versions` gave then, for the error.

    Raises:
        EnvironmentChangedError: the episode does not go as it went.
        CheckpointError: what was saved is damaged.
    """
    try:
        seed, picture, turns = int(saved["seed"]), saved["picture"], list(saved["turns"])
        responses = [Response(str(turn["text"]), int(turn["tokens"]), int(turn["thought_tokens"])) for turn in turns]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"a saved episode is damaged ({error!r}); resume from another checkpoint") from error
    seat.start(seed)
    for number, (response, before) in enumerate(zip(responses, turns, strict=True), start=1):
        if seat.done:
            raise _changed(seed, f"ends before turn {number}", saved_versions)
        now = _save_turn(seat.apply(response))
        odd = [name for name in now if now[name] != before.get(name)]
        if odd:
            what = ", ".join(f"{name} {now[name]!r} instead of {before.get(name)!r}" for name in odd)
            raise _changed(seed, f"has in turn {number} {what}", saved_versions)
    if seat.done:
        raise _changed(seed, f"ends with turn {len(turns)}", saved_versions)
    if _digest(seat) != picture:
        raise _changed(seed, f"shows another picture after turn {len(turns)}", saved_versions)


def _save_turn(turn: Turn) -> dict[str, Any]:
    """A turn's answer, and what came of it."""
    return {
        "text": turn.text,
        "tokens": turn.tokens,
        "thought_tokens": turn.thought_tokens,
        "status": str(turn.status),
        "action": turn.action,
        "reward": turn.reward,
        "illegal": turn.illegal,
    }


def _digest(seat: Seat) -> str:
    return hashlib.sha256(repr(seat.frame.shape).encode() + seat.frame.tobytes()).hexdigest()[:16]


def _changed(seed: int, what: str, saved_versions: Mapping[str, str]) -> EnvironmentChangedError:
    now = versions()
    names = sorted(saved_versions.keys() | now.keys())
    others = [
        f"{name} {saved_versions.get(name, 'none')} (now {now.get(name, 'none')})"
        for name in names
        if saved_versions.get(name) != now.get(name)
    ]
    mend = f"install what it was saved with: {', '.join(others)}" if others else "put back the games that it played"
    return EnvironmentChangedError(
        f"the environment has changed: the saved episode with seed {seed} {what}. To go on exactly, {mend}; "
        "or begin a new run"
    )
