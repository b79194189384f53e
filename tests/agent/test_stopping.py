"""Ctrl-C and SIGTERM: the first waits for the update's end, the second does not; both say how to go on."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gtr_agent.run_folder import checkpoints
from gtr_agent.stopping import STOPPING, StopRequest
from tests.agent.conftest import TOY
from tests.processes import ROOT, ForkedCommand


@pytest.fixture(autouse=True)
def usual_handlers():  # type: ignore[no-untyped-def]
    """As in a process that was started in a terminal, whatever this one was started from."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_heard_and_the_second_has_its_usual_effect(
    first: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with StopRequest() as stop:
        assert stop.heard == 0
        signal.raise_signal(first)
        assert stop.heard == first
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_handlers_are_put_back() -> None:
    with StopRequest(speaks=False):
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.heard == 0
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_in_another_thread_signals_are_left_alone() -> None:
    seen = []

    def work() -> None:
        with StopRequest():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def fresh_command(module: str, arguments: Sequence[object]) -> "subprocess.Popen[str]":
    """A command in a new interpreter, which imports all that it needs."""
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("start", "module", "number", "code"),
    [
        (ForkedCommand, ("leaderboard.cli", "train"), signal.SIGINT, 130),
        (fresh_command, ("gtr_agent.train",), signal.SIGTERM, 143),
    ],
)
def test_a_command_ends_with_whole_files_and_says_how_to_go_on(
    tiny_folder: Path, tmp_path: Path, start: Any, module: tuple[str, ...], number: int, code: int
) -> None:
    out = tmp_path / "run"
    changes = [f"--set={change}" for change in (*TOY, "ppo.updates=500", f"model.base={tiny_folder}")]
    process = start(module[0], [*module[1:], "--preset", "tiny-points24", *changes, "--out", out])
    deadline = time.monotonic() + 100
    while not (out / "metrics.jsonl").is_file() or not (out / "metrics.jsonl").read_bytes():
        assert process.poll() is None, process.communicate(timeout=1)[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert STOPPING in said
    assert f"go on with: gtr-bench train --resume {out}" in said
    assert "Traceback" not in said
    updates = [path.name for path in checkpoints(out)]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert 0 < len(updates) == len(lines) < 500
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
