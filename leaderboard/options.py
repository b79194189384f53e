"""The options that an environment is evaluated with: which there are, their defaults, what is recorded of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from gtr_envs.errors import GtrError, SettingError
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env

WHOLE = "all"
"""The split of an environment that has none."""

_NOT_FOR_ANSWERS = ("copy", "render_mode")


def option_defaults(env_id: str) -> dict[str, Any]:
    """The options of an environment that is played by answers, with their defaults."""
    creator = gym.envs.registration.load_env_creator(str(gym.spec(env_id).entry_point))
    found: dict[str, Any] = {}
    for function in (make_text_env, creator):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                found[name] = parameter.default
    return found


def check_names(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    """Make sure that an environment has these options.

    Raises:
        UnknownEnvironmentError: no such environment.
        SettingError: names an option that it has not, and those that it has.
    """
    task_for(env_id)
    known = option_defaults(env_id)
    for name in env_kwargs:
        if name not in known:
            allowed = ", ".join(sorted(set(known) - set(_NOT_FOR_ANSWERS)))
            raise SettingError(f"{env_id} has no option {name!r}; its options: {allowed}")


def check_engine(env_id: str) -> None:
    """Make sure that an environment can be played here.

    Raises:
        MissingExtraError: a library that it needs is missing; the message says what to install.
    """
    if env_id == "gtr/ALFWorld-v0":
        from gtr_envs.alfworld.engine import check_versions

        check_versions()


def normal_options(env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the environment's defaults, sorted by name.

    Raises:
        UnknownEnvironmentError: no such environment.
        SettingError: it knows no such option or not its value.
    """
    check_names(env_id, env_kwargs)
    make_text_env(env_id, **env_kwargs).close()
    return {name: value for name, value in sorted(env_kwargs.items()) if not _is_default(env_id, env_kwargs, name)}


def _is_default(env_id: str, env_kwargs: Mapping[str, Any], name: str) -> bool:
    """Whether an option could be left out; its default may depend on the others."""
    default = option_defaults(env_id).get(name)
    if default is None:
        try:
            env = make_text_env(env_id, **{other: value for other, value in env_kwargs.items() if other != name})
        except GtrError:  # what cannot be left out is no default
            return False
        default = getattr(env.unwrapped, name, None)
        env.close()
    return bool(env_kwargs[name] == default)


def played_split(env_id: str, env_kwargs: Mapping[str, Any]) -> str:
    """The split that is played with these options: the environment's own default where they name none."""
    return str(env_kwargs.get("split") or option_defaults(env_id).get("split") or WHOLE)


def rules_in_words(options: Mapping[str, Any]) -> str:
    """The rules an agent played by: ``strict``, and every option that differs from the default."""
    others = [f"{name}={value}" for name, value in sorted(options.items()) if name not in ("split", "rules")]
    return " ".join([str(options.get("rules", "strict")), *others])
