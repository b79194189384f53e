"""The environments as a list: what an action is, what is rewarded, the options with their defaults and allowed values.

Nothing of it is written down here. The words are those of the environments' own docstrings, and what an option allows
is asked of the environment itself: given something impossible, it says what it expected.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from gtr_envs.errors import GtrError, OutputExistsError, SettingError
from gtr_envs.storage import writing
from gtr_envs.tasks import TASKS, task_for
from gtr_envs.text_actions import make_text_env
from leaderboard.options import WHOLE, option_defaults
from leaderboard.wording import wording

NOT_OPTIONS = ("copy", "render_mode")
DOCS = "docs"
ALFWORLD_PAGES = {
    "gtr/ALFWorld-v0": ("alfworld.md", "alfworld_moments.png"),
    "gtr/ALFWorldThor-v0": ("alfworld.md#ai2-thor", None),
}
"""Where the documentation describes and shows what is not called like its module."""

_EXPECTED = re.compile(r"(?:expected|choose)(?: one of)? (.*)$", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """An option of an environment: its default as it acts, and what it allows in words."""

    name: str
    default: Any
    allowed: str


@dataclass(frozen=True)
class Listed:
    """An environment.

    Attributes:
        env_id: its id.
        title: what is to be done, in a sentence.
        action: what an action is; ``actions`` lists those that exist in every state, if there are such.
        observation, reward, end: in the environment's own words.
        splits: the splits that it has; "all" alone where there are none.
        options: those that ``--option`` takes.
        page, picture: where the documentation describes and shows it; None for none.
        missing: what it needs that is not installed, empty if it can be played here.
    """

    env_id: str
    title: str
    action: str
    actions: tuple[str, ...]
    observation: str
    reward: str
    end: str
    splits: tuple[str, ...]
    options: tuple[Option, ...]
    page: str
    picture: str | None
    missing: str


def list_environments() -> list[Listed]:
    """All environments that an agent can play, in the order of their registration."""
    return [describe_environment(env_id) for env_id in TASKS]


def describe_environment(env_id: str) -> Listed:
    """What there is to know of an environment before playing it.

    Raises:
        UnknownEnvironmentError: no such environment.
    """
    task_for(env_id)
    creator = gym.envs.registration.load_env_creator(str(gym.spec(env_id).entry_point))
    doc = inspect.getdoc(creator) or ""
    env, missing = _made(env_id)
    defaults = {name: value for name, value in option_defaults(env_id).items() if name not in NOT_OPTIONS}
    options = tuple(
        Option(name, default if default is not None else _in_effect(env, name), allowed_values(env_id, name))
        for name, default in defaults.items()
    )
    if env is not None:
        env.close()
    actions = TASKS[env_id]().actions
    page, picture = _documents(env_id)
    return Listed(
        env_id=env_id,
        title=" ".join(doc.split("\n\n")[0].split()),
        action=_section(doc, "Actions") or _section(doc, "Actions, rewards, episode end"),
        actions=tuple(actions),
        observation=_section(doc, "Observations"),
        reward=_section(doc, "Rewards"),
        end=_section(doc, "Episode end"),
        splits=_splits(env_id, defaults),
        options=options,
        page=page,
        picture=picture,
        missing=missing,
    )


class _Impossible:
    """A value that no option takes."""

    def __repr__(self) -> str:
        return "?"


def allowed_values(env_id: str, option: str) -> str:
    """What an option allows, in the words of the error that it raises; empty if it takes anything."""
    impossible: dict[str, Any] = {option: _Impossible()}
    try:
        make_text_env(env_id, **impossible).close()
    except SettingError as error:
        text = " ".join(str(error).split())
        found = _EXPECTED.search(text)
        return found.group(1).strip("()") if found else text
    except Exception:  # an engine that is not installed says nothing of values
        return ""
    return ""


def _made(env_id: str) -> tuple[gym.Env[Any, Any] | None, str]:
    try:
        return make_text_env(env_id), ""
    except (GtrError, ImportError, OSError) as error:
        return None, " ".join(str(error).split())


def _in_effect(env: gym.Env[Any, Any] | None, name: str) -> Any:
    """The value that an option has when it is left out, where its default depends on others."""
    value = getattr(env.unwrapped, name, None) if env is not None else None
    return value if isinstance(value, (str, int, float, bool)) else None


def _section(doc: str, title: str) -> str:
    """A section of a docstring as running text."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", doc, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def _splits(env_id: str, defaults: Mapping[str, Any]) -> tuple[str, ...]:
    if "split" not in defaults:
        return (WHOLE,)
    allowed = re.findall(r"\w+", allowed_values(env_id, "split"))
    return tuple(allowed) or tuple(split for split, _ in wording(env_id).columns)


def _documents(env_id: str) -> tuple[str, str | None]:
    """The documentation's page and picture of an environment, as paths in the repository."""
    if env_id in ALFWORLD_PAGES:
        page, picture = ALFWORLD_PAGES[env_id]
    else:
        name = str(gym.spec(env_id).entry_point).partition(":")[0].rpartition(".")[2]
        page, picture = f"{name}.md", f"{name}.png"
    return f"{DOCS}/{page}", None if picture is None else f"{DOCS}/images/{picture}"


def write_pictures(folder: Path, listed: list[Listed], notice: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Write the first frame of the evaluation's first episode of each environment as a PNG.

    Args:
        folder: where to.
        listed: the environments.
        notice: told of those that cannot be played here.

    Raises:
        OutputExistsError: a file is there already.
        OutputError: a file cannot be written.
    """
    from PIL import Image

    from gtr_envs.episode import episode_seeds

    paths = {each.env_id: folder / (each.env_id.replace("/", "-") + ".png") for each in listed}
    for path in paths.values():
        if path.exists():
            raise OutputExistsError(f"{path} is there already; choose another --pictures, or delete it")
    written = []
    for env_id, path in paths.items():
        try:
            env = make_text_env(env_id)
            frame, _ = env.reset(seed=episode_seeds(0, 1)[0])
            env.close()
        except Exception as error:  # what is not installed here, such as Unity: the others have pictures all the same
            first = (str(error).splitlines() or [type(error).__name__])[0]
            notice(f"no picture of {env_id}: {first}")
            continue
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(frame)).save(path)
        written.append(path)
    return written
