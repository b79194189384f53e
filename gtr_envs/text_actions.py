"""A wrapper that lets raw answers play: text in, environment actions out."""

from __future__ import annotations

import string
from typing import Any, Literal, SupportsFloat, get_args

import gymnasium as gym
import numpy as np

from gtr_envs.errors import GtrError, SettingError, UnknownEnvironmentError
from gtr_envs.protocol import MAX_ANSWER_LENGTH, AnswerStatus
from gtr_envs.tasks import Task, task_for

InvalidAnswer = Literal["penalty", "random"]


class TextActions(gym.Wrapper[np.ndarray, str, np.ndarray, Any]):
    """Plays the action named in an answer.

    Actions: ``Text``: the agent's whole answer. Observations and rewards: the environment's own.

    An invalid answer either costs ``invalid_penalty`` and leaves the state as it is (``invalid="penalty"``), or plays a
    random action that is not illegal (``invalid="random"``, what the released GTR code does). After ``task.max_turns``
    answers the episode is truncated.

    Info: the environment's own, and after each step ``answer``, the :class:`~gtr_envs.protocol.Answer`.
    """

    def __init__(
        self, env: gym.Env[Any, Any], task: Task, invalid: InvalidAnswer = "penalty", invalid_penalty: float = -1.0
    ) -> None:
        super().__init__(env)
        if invalid not in get_args(InvalidAnswer):
            raise SettingError(f"invalid={invalid!r} is not allowed; choose one of {get_args(InvalidAnswer)}")
        self.task = task
        self.invalid = invalid
        self.invalid_penalty = invalid_penalty
        self.action_space = gym.spaces.Text(max_length=MAX_ANSWER_LENGTH, charset=frozenset(string.printable))
        self._turns = 0
        self._observation: np.ndarray | None = None
        self._info: dict[str, Any] = {}
        self._random = np.random.default_rng(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. Arguments and returns as in Gymnasium."""
        self._observation, self._info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._random = np.random.default_rng([seed, 1])
        self._turns = 0
        return self._observation, dict(self._info)

    def step(self, action: str) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Read an answer and play it. Returns as in Gymnasium."""
        if self._observation is None:
            raise gym.error.ResetNeeded("step() was called before reset(); call reset() first")
        self._turns += 1
        answer = self.task.read(action, self._info)
        late = self._turns >= self.task.max_turns
        if answer.status is AnswerStatus.INVALID and self.invalid == "penalty":
            info = {**self._info, "illegal": False, "answer": answer}
            if late:
                info["is_success"] = False
            return self._observation, self.invalid_penalty, False, late, info
        name = answer.action if answer.action is not None else self._random_action()
        observation, reward, terminated, truncated, info = self.env.step(self.task.env_action(name, self._info))
        self._observation, self._info = observation, info
        if late and not terminated and not truncated:
            truncated = True
            info = {**info, "is_success": False}
        return observation, reward, terminated, truncated, {**info, "answer": answer}

    def _random_action(self) -> str:
        """A random action among those that the environment does not call illegal."""
        names = self.task.legal(self._info)
        return names[int(self._random.integers(len(names)))]


def make_text_env(env_id: str, invalid: InvalidAnswer = "penalty", **kwargs: Any) -> TextActions:
    """Make an environment that is played by answers.

    Args:
        env_id: a Gymnasium id that speaks the protocol, such as ``"gtr/Points24-v0"``.
        invalid: what an answer does that cannot be read.
        **kwargs: options of the environment.

    Raises:
        UnknownEnvironmentError: the id is not registered or does not speak the protocol.
        SettingError: the environment does not know an option, or not its value.
    """
    task_for(env_id)
    for name in ("copy", "render_mode"):
        if name in kwargs:
            raise SettingError(
                f"{name}={kwargs[name]!r}: this option is not for environments that are played by answers"
            )
    try:
        env = gym.make(env_id, **kwargs)
    except gym.error.UnregisteredEnv as error:
        raise UnknownEnvironmentError(f"unknown environment {env_id!r}: {error}") from error
    except TypeError as error:
        if isinstance(error, GtrError) or "unexpected keyword argument" not in str(error):
            raise
        raise SettingError(f"{env_id} has no such option: {error}") from error
    return TextActions(env, task_for(env_id, kwargs), invalid)
