"""A run that is killed, wherever it is, and resumed ends with the very weights of a run that was not."""

import json
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from gtr_agent.checkpoint import state_folder
from gtr_agent.config import load_settings
from gtr_agent.run_folder import checkpoint_folder, checkpoints
from gtr_agent.run_state import read_part
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, OutputExistsError, SettingError
from tests.agent.conftest import TOY
from tests.agent.killed import train_until
from tests.agent.test_run_state import same
from tests.processes import PROCESSES

UPDATES = 4
KEPT = 2
USUAL = (
    *TOY,
    f"ppo.updates={UPDATES}",
    f"keep_checkpoints={KEPT}",
    "ppo.epochs=2",
    "ppo.value_warmup_steps=5",
    "rollout.num_envs=2",
    "ppo.batch_size=3",
    "env.invalid=random",
)
METHODS = {
    "ppo": ("method=ppo", "threads=2", "model.train_folded=false", "model.lora_dropout=0.1"),
    "gtr": ("method=gtr", "imitation.batch_size=2"),
    "gtr-turbo-sft": ("method=gtr-turbo-sft", "imitation.batch_size=2"),
}
"""Those beside the usual one; with dropout, torch's own generator counts too."""


@pytest.fixture(scope="module")
def settings(tiny_folder: Path) -> Settings:
    return load_settings("tiny-points24", overrides=[*USUAL, f"model.base={tiny_folder}"])


@pytest.fixture(scope="module")
def unbroken(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    go(settings, out)
    return out


def start(
    settings: Settings, out: Path, resume: bool = False, point: str = "", number: int = signal.SIGKILL
) -> BaseProcess:
    """Begin or resume a run in a process of its own."""
    process = PROCESSES.Process(target=train_until, args=(settings, out, resume, point, number))
    process.start()
    return process


def go(settings: Settings, out: Path, resume: bool = False) -> None:
    """Train to the end in a process of its own."""
    process = start(settings, out, resume)
    process.join(60)
    assert process.exitcode == 0


def kill_at(point: str, settings: Settings, out: Path, resume: bool) -> None:
    """Train until the process is about to do something."""
    process = start(settings, out, resume, point)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, f"{point!r} never came"


def kill_after(lines: int, seconds: float, settings: Settings, out: Path, resume: bool) -> None:
    """Train until so many updates are logged, and some time more; the process may be anywhere then."""
    process = start(settings, out, resume)
    path, deadline = out / "metrics.jsonl", time.monotonic() + 60
    while not path.is_file() or path.read_bytes().count(b"\n") < lines:
        assert process.is_alive(), "the run ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.join(60)


def records(out: Path) -> list[dict[str, Any]]:
    """The metrics without the times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith(TIMES)} for line in lines]


TIMES = ("seconds", "steps_per_second")


def check_same_run(one: Path, two: Path, updates: int = UPDATES) -> None:
    """The same checkpoints, weights, states and metrics."""
    assert [path.name for path in checkpoints(one)] == [path.name for path in checkpoints(two)]
    folders = [checkpoint_folder(out, updates) for out in (one, two)]
    for name in ("adapter_model.safetensors", "value_head.safetensors"):
        first, second = (load_file(folder / name) for folder in folders)
        assert same(dict(sorted(first.items())), dict(sorted(second.items()))), name
    parts = [{path.stem for path in state_folder(folder).glob("*.json")} for folder in folders]
    assert parts[0] == parts[1]
    for part in parts[0]:
        assert same(*(read_part(state_folder(folder), part) for folder in folders)), part
    assert records(one) == records(two)
    assert [record["step"] for record in records(one)] == list(range(1, updates + 1))
    assert not [path.name for path in (*two.iterdir(), *(two / "checkpoints").iterdir()) if path.name.startswith(".")]


ENDS = {
    "before anything is learnt": partial(kill_at, "open metrics.jsonl"),
    "before the first checkpoint": partial(kill_at, "os.mkdir checkpoints/.update-000001.partial-*"),
    "in a checkpoint's weights": partial(kill_at, "open checkpoints/.update-000002.partial-*/value_head.safetensors"),
    "in a checkpoint's state": partial(kill_at, "open checkpoints/.update-000002.partial-*/state/*"),
    "before a checkpoint has its name": partial(kill_at, "os.rename checkpoints/.update-000003.partial-*"),
    "behind it, while an old one goes": partial(kill_at, "os.rename checkpoints/update-000001"),
    "in the old one's removal": partial(kill_at, "shutil.rmtree checkpoints/.update-000001.dropped-*"),
    "as soon as an update is logged": partial(kill_after, 2, 0.0),
    "later": partial(kill_after, 2, 0.15),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_killed_run_ends_as_if_it_had_not_been(settings: Settings, unbroken: Path, tmp_path: Path, end: str) -> None:
    out = tmp_path / "run"
    ENDS[end](settings, out, False)
    go(settings, out, resume=True)
    check_same_run(unbroken, out)


def test_a_run_may_be_killed_again_and_again(settings: Settings, unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    kill_after(1, 0.0, settings, out, False)
    for point in ("os.mkdir checkpoints/.update-000002.partial-*", "os.rename checkpoints/.update-000003.partial-*"):
        kill_at(point, settings, out, True)
    kill_after(3, 0.02, settings, out, True)
    go(settings, out, resume=True)
    check_same_run(unbroken, out)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_resumed(settings: Settings, tmp_path: Path, method: str) -> None:
    changes = [*USUAL, *METHODS[method], "ppo.updates=3", f"model.base={settings.model.base}"]
    given = load_settings("tiny-points24", overrides=changes)
    go(given, tmp_path / "unbroken")
    kill_at("os.mkdir checkpoints/.update-000002.partial-*", given, tmp_path / "killed", False)
    go(given, tmp_path / "killed", resume=True)
    check_same_run(tmp_path / "unbroken", tmp_path / "killed", updates=3)


@pytest.mark.parametrize(
    ("number", "point"),
    [
        (signal.SIGINT, "open metrics.jsonl"),
        (signal.SIGTERM, "open checkpoints/.update-000002.partial-*/value_head.safetensors"),
    ],
)
def test_asked_to_stop_the_update_under_way_is_done_first(
    settings: Settings, unbroken: Path, tmp_path: Path, number: int, point: str
) -> None:
    """The first point is before the handlers are there."""
    out = tmp_path / "run"
    process = start(settings, out, point=point, number=number)
    process.join(60)
    assert process.exitcode not in (0, None)
    if "update-000002" in point:
        assert process.exitcode == 1, "an error in Python, no death by the signal"
        assert [path.name for path in checkpoints(out)] == ["update-000001", "update-000002"]
        assert len(records(out)) == 2
        assert not list(out.rglob(".*"))
    go(settings, out, resume=True)
    check_same_run(unbroken, out)


def test_a_finished_run_stays_as_it_is(
    settings: Settings, unbroken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gtr_agent import train as trainer

    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()}
    go(settings, unbroken, resume=True)
    monkeypatch.setattr(trainer, "Run", None)  # nothing is loaded for it
    assert trainer.train(settings, unbroken, resume=True) == checkpoint_folder(unbroken, UPDATES)
    assert f"{unbroken} is finished: its 4 updates are done" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()} == before


def test_what_cannot_be_resumed_is_named_and_stays_as_it_is(settings: Settings, unbroken: Path, tmp_path: Path) -> None:
    from gtr_agent.train import train

    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()}
    other = settings.model_copy(
        update={"env": settings.env.model_copy(update={"id": "gtr/EZPoints-v0", "options": {}})}
    )
    with pytest.raises(SettingError, match=r"env\.id='gtr/EZPoints-v0' \(begun with 'gtr/Points24-v0'\)"):
        train(other, unbroken, resume=True)
    with pytest.raises(CheckpointError, match="no run to resume"):
        train(settings, tmp_path / "nothing", resume=True)
    with pytest.raises(OutputExistsError):
        train(settings, unbroken)
    assert {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == []
