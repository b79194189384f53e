"""Where an agent is evaluated: what the command line says, else what the checkpoint's own notes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gtr_envs.errors import CheckpointError
from leaderboard.wording import DEFAULT_ENV, wording

TRAINING_ONLY = ("split", "num_games", "order")
"""Options that say which hands or games training plays, and in which order; an evaluation has its own."""


@dataclass(frozen=True)
class Ground:
    """An environment and its options; ``trained`` says whether they are those that the agent was trained with."""

    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = False


def evaluation_splits(env_id: str) -> tuple[str, ...]:
    """The splits that a checkpoint is evaluated on by default; none for an environment without splits.

    Points24's are both sides of the hands, as a small model may know the solutions of its own side by heart;
    ALFWorld's are those of other games and of other rooms than training's.
    """
    if env_id == DEFAULT_ENV:
        return ("train", "test")
    return tuple(split for split, _ in wording(env_id).columns if split not in ("all", "train"))


def trained_in(spec: str) -> Ground | None:
    """The environment that a checkpoint was trained in; None for an agent that knows of none.

    Args:
        spec: of an agent, as for ``load_agent``.

    Raises:
        CheckpointError: the folder holds no agent, or its notes are damaged.
    """
    from gtr_agent.packaged import is_packaged

    folder = Path(spec.removeprefix("hf:"))
    if not (is_packaged(spec) or folder.is_dir()):
        return None
    from gtr_agent.checkpoint import NOTES, find_agent, read_notes

    place = find_agent(folder)
    notes = read_notes(place)
    if "env_id" not in notes:
        return None
    env_id, options = notes["env_id"], notes.get("env_options") or {}
    if not isinstance(env_id, str) or not isinstance(options, dict):
        raise CheckpointError(f"{place / NOTES} is damaged: env_id or env_options; say --env and it is not asked for")
    return Ground(env_id, {name: value for name, value in options.items() if name not in TRAINING_ONLY}, trained=True)


def choose_grounds(
    specs: Sequence[str], envs: Sequence[str], splits: Sequence[str], options: Mapping[str, Any]
) -> dict[str, list[Ground]]:
    """Where each agent is evaluated.

    Args:
        specs: the agents.
        envs: the environments that were asked for; none to go by the checkpoints' notes.
        splits: the splits that were asked for; none for the usual ones.
        options: what else was asked of the environments; it goes before what the notes say.

    Returns:
        by spec, the grounds in order. With ``envs`` given, each of them, plain but for the options. Else a
        checkpoint's own environment, on its evaluation splits, with the options of its training; an agent without
        notes plays what the checkpoints beside it play, or Points24 where there are none.

    Raises:
        CheckpointError: a checkpoint's notes are damaged.
    """
    if envs:
        asked = [Ground(env_id) for env_id in dict.fromkeys(envs)]
        return {spec: _with(asked, splits, options) for spec in specs}
    own = {spec: trained_in(spec) for spec in specs}
    known: list[Ground] = []
    for ground in own.values():
        if ground is not None and ground not in known:
            known.append(ground)
    others = known or [Ground(DEFAULT_ENV)]
    return {spec: _with(others if ground is None else [ground], splits, options) for spec, ground in own.items()}


def _with(grounds: Sequence[Ground], splits: Sequence[str], options: Mapping[str, Any]) -> list[Ground]:
    """The grounds on each split that was asked for, else on their usual ones, with options on top."""
    found = []
    for ground in grounds:
        usual = evaluation_splits(ground.env_id) if ground.trained else ()
        for split in dict.fromkeys(splits or usual or ("",)):
            chosen = {**({"split": split} if split else {}), **ground.options, **options}
            found.append(Ground(ground.env_id, chosen, ground.trained))
    return found
