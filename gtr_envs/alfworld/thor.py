"""ALFWorld in THOR as a Gymnasium environment: a thin adapter to alfworld's `AlfredThorEnv`, with pictures by Unity."""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from gtr_envs.alfworld.choice import GENERATED
from gtr_envs.alfworld.commands import Actions
from gtr_envs.alfworld.engine import EngineState
from gtr_envs.alfworld.env import ALFWorldEnv, IllegalRule
from gtr_envs.alfworld.games import DATA_FOLDER, data_root
from gtr_envs.alfworld.rules import CutOff, RewardKind
from gtr_envs.errors import GameError, MissingExtraError, SettingError
from gtr_envs.options import checked_options

PACKAGES = ("alfworld", "ai2thor", "cv2", "torch", "torchvision")  # what alfworld imports for THOR
FRAME_SIZE = 300  # pixels, of THOR's own pictures
EVALUATIONS = {"train": "train", "valid_seen": "eval_in_distribution", "valid_unseen": "eval_out_of_distribution"}
_INSTALL = "pip install 'alfworld[full]'"
_DOWNLOAD = "run alfworld-download, and set ALFWORLD_DATA or data to its folder"
_DISPLAY = "start one, such as Xvfb :1 -screen 0 1024x768x24, and set DISPLAY, such as export DISPLAY=:1"
_TASK = "Your task is to: "


class ALFWorldThorEnv(ALFWorldEnv):
    """Do a household task in THOR, one command at a time, seeing what Unity draws.

    This adapter was not run against Unity on the project's machines, which have no X server: it is tested with a
    stand-in that has the interface of alfworld's `AlfredThorEnv`.

    It needs `pip install 'alfworld[full]'`, the data set (`alfworld-download`) and, on Linux, an X server. ai2thor
    downloads its Unity build at the first reset.

    ## Actions, rewards, episode end
    As those of `gtr/ALFWorld-v0`. An illegal command is not sent to THOR.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the agent's view, in RGB. Each is an array of its own.

    ## Options
    - `data`: the folder of the data set; without it that of `ALFWORLD_DATA`.
    - `split`, `actions`, `reward`, `illegal`, `max_steps`, `cut_off`, `image_size` and `render_mode`: as those of
      `gtr/ALFWorld-v0`.
    - `backend`: a callable without arguments that returns an `AlfredThorEnv`, before its `init_env`, for a
      configuration of one's own; `data` and `split` then change nothing.

    ## Info
    `task`, `task_type`, `admissible_commands`, `action_mask`, `feedback`, `history`, `won`,
    `goal_condition_success_rate`, `gamefile` (here a folder), `illegal`, and `is_success` at the end: as those of
    `gtr/ALFWorld-v0`. There are no records for experts.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        data: see Options, as the others.
        split: which games.
        actions: how commands are given.
        reward: what is rewarded.
        illegal: what an illegal command does.
        max_steps: when an episode is cut off.
        cut_off: by which rule.
        image_size: pixels, from 64 to 1024.
        render_mode: what `render` returns.
        backend: what builds the environment that is adapted.

    Raises:
        SettingError: for any other value.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        actions: Actions = "text",
        reward: RewardKind = "gtr",
        illegal: IllegalRule = "continue",
        max_steps: int | None = None,
        cut_off: CutOff = "steps",
        image_size: int = FRAME_SIZE,
        render_mode: str | None = None,
        backend: Callable[[], Any] | None = None,
    ) -> None:
        # The parent class looks for no games of its own when they are to be generated.
        super().__init__(
            GENERATED,
            split,
            actions=actions,
            reward=reward,
            illegal=illegal,
            max_steps=max_steps,
            cut_off=cut_off,
            image_size=image_size,
            render_mode=render_mode,
        )
        if backend is not None and not callable(backend):
            raise SettingError(f"backend={backend!r}: expected a callable that returns an AlfredThorEnv, or None")
        self._build = backend or (lambda: build_thor(data, split))
        self._thor: Any = None
        self._random_state: Any = None
        self._files: list[str] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game, and start THOR if it does not run yet.

        Args:
            seed: seeds the choice of this and the following games; None goes on with the generator.
            options: there are none.

        Returns:
            The picture (image_size, image_size, 3) uint8, and the info dictionary.

        Raises:
            SettingError: for an option.
            MissingExtraError: if a package or the X server is missing.
            GameError: if the data set is missing, or THOR fails.
        """
        self._playing, self._played = False, {}
        if checked_options(options):
            raise SettingError(f"reset options {options!r}: gtr/ALFWorldThor-v0 has none")
        super(ALFWorldEnv, self).reset(seed=seed)
        number = int(self.np_random.integers(2**31))
        self._random_state = random.Random(number).getstate()
        if self._thor is None:
            self._start()
        self._thor.seed(number)
        # alfworld takes a game that is evaluated out of its list: the same seed would play another one later.
        self._thor.json_file_list = list(self._files)
        said, infos = self._play(self._thor.reset)
        self._played = {"gamefile": str(infos["extra.gamefile"][0])}
        self._task = said[0].rpartition(_TASK)[2].strip().removesuffix(".")
        self._task_type = str(self._thor.envs[0].traj_data["task_type"])
        self._start_counting()
        self._read(said, infos)
        self._playing = True
        return self._picture(), self._info(illegal=False)

    def _start(self) -> None:
        self._thor = self._build()
        self._ask(self._thor.init_env, batch_size=1)
        self._files = sorted(self._thor.json_file_list)  # as it is, the order is that of the file system
        if not self._files:
            self.close()
            raise GameError(f"alfworld found no games of the split {self.games.split}: {_DOWNLOAD}")

    def _do(self, command: str) -> None:
        said, _, _, infos = self._play(self._thor.step, [command])
        self._done += (command,)
        self._read(said, infos)

    def _read(self, said: Any, infos: Mapping[str, Any]) -> None:
        """Take over what THOR answered, and its picture."""
        commands = tuple(sorted(set(infos["admissible_commands"][0])))
        self._said = EngineState(str(said[0]), (), commands, bool(infos["won"][0]), {})
        self._rate = float(infos["goal_condition_success_rate"][0])
        frame = np.asarray(self._ask(self._thor.get_frames)[0], np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1]))  # blue comes first
        size = (self.image_size, self.image_size)
        self._frame = np.array(picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS))

    def _ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call THOR with this environment's random numbers."""
        try:
            with self._own_random():
                return call(*arguments, **named)
        except Exception as error:
            self._give_up(repr(error), error)

    def _play(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Reset or step, and notice when THOR is gone.

        It runs in a thread, which ends at its first error: what it answers then is what it answered before, and the
        next call would wait for ever.
        """
        thread = self._thor.envs[0]
        before = thread.get_results()
        answer = self._ask(call, *arguments)
        if thread.get_results() is before:
            self._give_up("its thread ended with the error printed above")
        return answer

    def _give_up(self, reason: str, error: Exception | None = None) -> NoReturn:
        self.close()
        raise GameError(f"THOR failed ({reason}): call reset(), which starts it anew") from error

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Let alfworld draw from this environment's generator, since it uses the global one."""
        outside = random.getstate()
        random.setstate(self._random_state)
        try:
            yield
        finally:
            self._random_state = random.getstate()
            random.setstate(outside)

    def _picture(self) -> np.ndarray:
        return self._frame.copy()

    def _info(self, illegal: bool) -> dict[str, Any]:
        return self._what_is_known(illegal)

    def close(self) -> None:
        """Stop THOR. A reset starts it again."""
        thor, self._thor, self._playing = self._thor, None, False
        if thor is not None:
            with suppress(Exception):  # it may be gone already, or not have started
                thor.close()

    def __getstate__(self) -> dict[str, Any]:
        """Refuse: Unity runs in a process of its own, which cannot be copied."""
        raise TypeError("an ALFWorldThorEnv cannot be copied or pickled: build another one")


def build_thor(data: str | Path | None, split: str) -> Any:
    """Build alfworld's THOR environment, after making sure that all it needs is there: without it, it hangs.

    Args:
        data: the folder of the data set; None looks where `data_root` does.
        split: "train", "valid_seen" or "valid_unseen".

    Returns:
        An `AlfredThorEnv`, before its `init_env`.

    Raises:
        MissingExtraError: if a package or the X server is missing; names what to run.
        GameError: if the data set is missing or damaged; names what to run.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"gtr/ALFWorldThor-v0 needs {', '.join(missing)}: {_INSTALL}")
    folder = _split_folder(data, split)
    check_display()
    try:
        from alfworld.agents.environment import get_environment

        kind = get_environment("AlfredThorEnv")
    except ImportError as error:
        raise MissingExtraError(f"alfworld's THOR environment cannot be imported ({error}): {_INSTALL}") from error
    try:
        return kind(thor_config(folder), train_eval=EVALUATIONS[split])
    except (OSError, ValueError, KeyError) as error:
        raise GameError(f"a traj_data.json in {folder} is damaged ({error!r}): delete it, then {_DOWNLOAD}") from error


def thor_config(folder: str | Path) -> dict[str, Any]:
    """All that alfworld's THOR environment reads of a configuration.

    Args:
        folder: the folder of the games to play.

    Returns:
        The configuration, the same games being those of each of its splits.
    """
    games = str(folder)
    return {
        "dataset": {
            "data_path": games,
            "eval_id_data_path": games,
            "eval_ood_data_path": games,
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "env": {
            "task_types": [1, 2, 3, 4, 5, 6],
            "goal_desc_human_anns_prob": 0.0,
            "thor": {
                "screen_width": FRAME_SIZE,
                "screen_height": FRAME_SIZE,
                "smooth_nav": False,
                "save_frames_to_disk": False,
                "save_frames_path": "",
            },
        },
        "controller": {"type": "oracle", "debug": False, "load_receps": True},
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": 10_000}},  # the adapter cuts off
    }


def check_display() -> None:
    """Make sure, on Linux, that the X server that DISPLAY names answers.

    Raises:
        MissingExtraError: if it is not set, or nothing answers there.
    """
    if not sys.platform.startswith("linux"):
        return
    display = os.environ.get("DISPLAY", "")
    if not display:
        raise MissingExtraError(f"THOR needs an X server, and DISPLAY is not set: {_DISPLAY}")
    host, _, screen = display.rpartition(":")
    number = screen.partition(".")[0]
    if not number.isdecimal() or not _answers(host, int(number)):
        raise MissingExtraError(f"THOR needs an X server, and none answers at DISPLAY={display}: {_DISPLAY}")


def _answers(host: str, number: int) -> bool:
    """Whether an X server takes connections."""
    if host not in ("", "unix"):
        try:
            socket.create_connection((host, 6000 + number), timeout=5).close()
        except (OSError, OverflowError):  # the latter for a number that is no port
            return False
        return True
    path = f"/tmp/.X11-unix/X{number}"
    for address in (path, "\0" + path):  # a file, or a name without one
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.connect(address)
            return True
    return False


def _split_folder(data: str | Path | None, split: str) -> Path:
    """The folder of the split's games."""
    root = data_root(data)
    if root is None:
        raise GameError(f"gtr/ALFWorldThor-v0 needs the ALFWorld data set, which is not there: {_DOWNLOAD}")
    base = root / DATA_FOLDER if (root / DATA_FOLDER).is_dir() else root
    folder = (base / split).absolute()
    if not any(folder.glob("*/*/traj_data.json")):
        raise GameError(f"no games with a traj_data.json in {folder}: {_DOWNLOAD}")
    return folder
