"""Commands in processes of their own that need not import torch and transformers anew.

A process is forked from a server that has imported them already, which saves each of them seconds. It is a process in
every other respect: it has its own environment variables, memory, signals, output and exit code.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROCESSES = multiprocessing.get_context("forkserver")
"""There is one server for all the tests of a worker, started with the first process."""
PROCESSES.set_forkserver_preload(
    [
        "gtr_agent.command",
        "gtr_agent.processor",
        "gtr_agent.sft",
        "gtr_agent.tiny",
        "leaderboard.agents",
        "leaderboard.cli",
        "leaderboard.evaluate",
        "peft",
        "tests.agent.killed",
        "tests.warm",
        "transformers.models.qwen2.tokenization_qwen2",
        "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    ]
)


class ForkedCommand:
    """``python -m MODULE ARGUMENTS`` under way, much like a ``subprocess.Popen`` of it.

    Args:
        module: what is run as the main module.
        arguments: of its command line.
        environment: its environment variables; by default those of this process.
        cwd: the folder it runs in.
    """

    def __init__(
        self,
        module: str,
        arguments: Iterable[object] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gtr-command-")
        self.args = [module, *map(str, arguments)]
        variables = dict(os.environ if environment is None else environment)
        self._process = PROCESSES.Process(target=_run, args=(self.args, variables, str(cwd), self._folder.name))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number where one ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As ``returncode``."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end.

        Returns:
            what it wrote to stdout and to stderr.

        Raises:
            subprocess.TimeoutExpired: it has not ended by then. It goes on.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        out, err = (Path(self._folder.name, name).read_text("utf-8") for name in ("stdout", "stderr"))
        return out, err


def run_command(
    module: str,
    arguments: Iterable[object] = (),
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its arguments are those of :class:`ForkedCommand`."""
    command = ForkedCommand(module, arguments, environment, cwd)
    try:
        out, err = command.communicate(timeout)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        raise
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)


def _run(words: list[str], variables: dict[str, str], cwd: str, folder: str) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    module, *arguments = words
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # it is to run anew, as the main module
    runpy.run_module(module, run_name="__main__", alter_sys=True)
