"""Many tables at once: environments that paint side by side into one array, stepped in one process.

`gymnasium.make_vec` finds these by the `vector_entry_point` of each id. What comes out is what Gymnasium's own
`SyncVectorEnv` gives for the same environments and seeds, array for array; it is only faster: no picture is copied
before the whole batch is handed out, and the infos are put together column by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gtr_envs.cards.blackjack import BlackjackEnv
from gtr_envs.cards.ez_points import EZPointsEnv
from gtr_envs.cards.frame_copy import FrameCopy
from gtr_envs.cards.number_line import NumberLineEnv
from gtr_envs.cards.points24 import Points24Env
from gtr_envs.cards.table import TableEnv
from gtr_envs.errors import ActionError, SettingError
from gtr_envs.options import check_choice, check_whole, checked_options

MAX_ENVS = 1 << 16
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class TableVectorEnv(SyncVectorEnv):
    """Card environments of one kind, played side by side.

    Args:
        kind: the class of the environments.
        num_envs: how many.
        autoreset_mode: when an episode that ended is followed by the next: "NextStep", "SameStep" or "Disabled", or
            Gymnasium's `AutoresetMode`.
        copy: whether each batch of observations is an array of its own (True), or all of them the one that is painted
            on, which later steps change.
        **options: the environments' own options.

    Raises:
        SettingError: for any other value.
    """

    envs: list[TableEnv]  # type: ignore[assignment]

    def __init__(
        self,
        kind: type[TableEnv],
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        **options: Any,
    ) -> None:
        check_choice("copy", copy, (True, False))
        number = check_whole("num_envs", num_envs, 1, MAX_ENVS)
        make = partial(kind, copy=False, **options)
        super().__init__([make] * number, copy=copy, autoreset_mode=_checked_mode(autoreset_mode))
        self._share_frames()

    def _share_frames(self) -> None:
        """Let each environment paint into its part of the batch."""
        self._frames: np.ndarray = self._observations
        for env, frame in zip(self.envs, self._frames, strict=True):
            env.canvas = frame

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy: its environments paint into its own batch."""
        self.__dict__.update(state)
        self._share_frames()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every environment, or in those that `options["reset_mask"]` names.

        Args:
            seed: of the first environment, the others get the numbers after it; or one for each; or None.
            options: the environments' own, and "reset_mask": a bool array (num_envs,).

        Returns:
            Pictures (num_envs, image_size, image_size, 3) uint8, and the infos of the environments that began.

        Raises:
            SettingError: for options or seeds that do not fit.
        """
        own = dict(checked_options(options))
        mask = _checked_mask(own.pop("reset_mask", None), self.num_envs)
        seeds = _checked_seeds(seed, self.num_envs)
        infos = [
            env.start(seed=each, options=own) if chosen else None
            for env, each, chosen in zip(self.envs, seeds, mask.tolist(), strict=True)
        ]
        self._autoreset_envs[mask] = False
        pictures = self._frames.copy() if self.copy else self._frames
        return pictures, stack_infos(infos)

    def step(self, actions: np.ndarray) -> Step:
        """Do one action in every environment.

        Args:
            actions: (num_envs,) whole numbers, each an index into `action_names`.

        Returns:
            Pictures (num_envs, image_size, image_size, 3) uint8; rewards float64, terminated bool and truncated bool,
            (num_envs,) each; infos.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, and, without autoreset, for an episode that ended.
            ActionError: if there is no such action, with nothing done in any environment.
        """
        chosen = self._checked_actions(actions)
        again = self._autoreset_envs if self.autoreset_mode is AutoresetMode.NEXT_STEP else None
        self._check_running(again)
        copying = FrameCopy(self._frames) if self.copy else None
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        infos: list[dict[str, Any]] = []
        finals: list[dict[str, Any] | None] = [None] * self.num_envs
        for index, (env, action) in enumerate(zip(self.envs, chosen, strict=True)):
            if again is not None and again[index]:
                infos.append(env.start())
                continue
            reward, ends, is_cut_off, info = env.advance(action)
            if reward:
                rewards[index] = reward
            if ends or is_cut_off:
                terminated[index], truncated[index] = ends, is_cut_off
                if self.autoreset_mode is AutoresetMode.SAME_STEP:
                    finals[index] = {"final_obs": env.canvas.copy(), "final_info": info}
                    info = env.start()
            infos.append(info)
        self._autoreset_envs = terminated | truncated
        stacked = {**stack_infos(finals), **stack_infos(infos)}
        pictures = self._frames if copying is None else copying.finish(env.changed for env in self.envs)
        return pictures, rewards, terminated, truncated, stacked

    def _checked_actions(self, actions: Any) -> list[int]:
        count = len(self.envs[0].action_names)
        try:
            given = np.asarray(actions)
        except ValueError:  # lists of different lengths
            given = np.empty(0)
        if given.shape != (self.num_envs,) or given.dtype.kind not in "iu":
            raise ActionError(f"actions {actions!r}: expected {self.num_envs} whole numbers from 0 to {count - 1}")
        outside = np.flatnonzero((given < 0) | (given >= count))
        if outside.size:
            index = int(outside[0])
            raise ActionError(
                f"action {given[index]} for environment {index}: expected a whole number from 0 to {count - 1}"
            )
        return given.tolist()

    def _check_running(self, again: np.ndarray | None) -> None:
        for index, env in enumerate(self.envs):
            if not env.is_playing and not (again is not None and again[index]):
                raise ResetNeeded(
                    f"no episode is running in environment {index}: call reset() before step(), "
                    "for some of them with options={'reset_mask': ...}"
                )


def stack_infos(infos: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Put the environments' infos together, as Gymnasium's `VectorEnv` does.

    Args:
        infos: one for each environment, None where there is none.

    Returns:
        For each key its values in one array, of the type of the first, and under "_key" a bool array that says which
        environments have it.
    """
    stacked: dict[str, Any] = {}
    present = [info or {} for info in infos]
    for key in dict.fromkeys(chain.from_iterable(present)):
        try:
            values, mask = [info[key] for info in present], np.ones(len(present), np.bool_)
        except KeyError:
            values, mask = [info[key] for info in present if key in info], np.array([key in info for info in present])
        stacked[key], stacked[f"_{key}"] = _column(key, values, mask), mask
    return stacked


def _column(key: str, values: list[Any], mask: np.ndarray) -> Any:
    """The values in an array with one place for each environment; those that the mask leaves out get a zero or None."""
    first = values[0]
    kind = type(first)
    if isinstance(first, dict):
        left = iter(values)
        return stack_infos([next(left) if has else None for has in mask])
    if kind in (int, float, bool) or issubclass(kind, np.number):
        column = np.zeros(len(mask), kind)
        column[mask] = values
    elif isinstance(first, np.ndarray) and key != "final_obs":
        column = np.zeros((len(mask), *first.shape), first.dtype)
        column[mask] = np.concatenate(values).reshape(-1, *first.shape)
    else:
        column = np.full(len(mask), None, object)
        column[mask] = np.fromiter(values, object, len(values))
    return column


def _checked_mode(mode: str | AutoresetMode) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        names = ", ".join(repr(each.value) for each in AutoresetMode)
        raise SettingError(f"autoreset_mode={mode!r}: expected one of {names}") from None


def _checked_mask(mask: Any, num_envs: int) -> np.ndarray:
    if mask is None:
        return np.ones(num_envs, np.bool_)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.any():
        raise SettingError(f"reset_mask {mask!r}: expected a bool array ({num_envs},) with at least one True")
    return mask


def _checked_seeds(seed: Any, num_envs: int) -> list[int | None]:
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        seed = range(int(seed), int(seed) + num_envs)
    seeds: list[Any] = list(seed) if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else [seed]
    fits = all(one is None or (isinstance(one, int | np.integer) and one >= 0) for one in seeds)
    if len(seeds) != num_envs or not fits:
        raise SettingError(
            f"{seed!r} as seeds for {num_envs} environments: expected a whole number from 0, or a list with such a "
            "number or None for each, or None"
        )
    return seeds


Points24VectorEnv = partial(TableVectorEnv, Points24Env)
EZPointsVectorEnv = partial(TableVectorEnv, EZPointsEnv)
NumberLineVectorEnv = partial(TableVectorEnv, NumberLineEnv)
BlackjackVectorEnv = partial(TableVectorEnv, BlackjackEnv)
