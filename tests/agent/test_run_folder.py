"""Whenever a run's process ends, its folder can be gone on with."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gtr_agent.config import load_settings, settings_to_toml
from gtr_agent.run_folder import (
    ADAPTER_WEIGHTS,
    MAY_DIFFER,
    MERGED,
    adapter_file,
    check_same_settings,
    checkpoint_folder,
    checkpoint_update,
    checkpoints,
    drop_old_checkpoints,
    latest_checkpoint,
    latest_resumable,
    merged_updates,
    missing_adapter,
    read_settings,
    take_up,
    trim_metrics,
)
from gtr_agent.run_state import write_state
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError, SettingError
from gtr_envs.storage import clear_leftovers, find_damage, new_folder, write_manifest


def fill(run: Path, update: int) -> Path:
    """A small checkpoint, whole."""
    folder = checkpoint_folder(run, update)
    with new_folder(folder) as partial:
        (partial / "state").mkdir()
        (partial / "state" / "part.json").write_text(f"[{update}]")
        (partial / "weights").write_bytes(bytes(range(256)) * 8)
        (partial / "README.md").write_text("a card")
        write_manifest(partial)
    return folder


def change(old: Path) -> object:
    data = bytearray(old.read_bytes())
    data[len(data) // 2] ^= 1
    return old.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (lambda folder: change(folder / "weights"), "weights is damaged: its contents"),
    "cut off": (lambda folder: (folder / "weights").write_bytes(b"123"), "weights is damaged: 3 bytes instead of 2048"),
    "a file": (lambda folder: (folder / "state" / "part.json").unlink(), r"part\.json is missing"),
    "manifest": (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest cut": (lambda folder: (folder / "manifest.json").write_text('{"files": {'), "manifest.json is damaged"),
    "manifest odd": (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_newest_whole_checkpoint_is_found(tmp_path: Path, damage: str) -> None:
    told: list[str] = []
    assert latest_resumable(tmp_path, told.append) is None
    first, second = fill(tmp_path, 1), fill(tmp_path, 2)
    assert latest_resumable(tmp_path, told.append) == second
    assert told == []
    hurt, message = DAMAGE[damage]
    hurt(second)
    assert latest_resumable(tmp_path, told.append) == first
    (line,) = told
    assert re.match(f"update-000002 is passed over: .*{message}", line)
    hurt(first)
    with pytest.raises(CheckpointError, match=f"none of the 2 checkpoints .*{message}.*begin a new run"):
        latest_resumable(tmp_path, told.append)


def test_a_checkpoint_without_a_state_is_passed_over(tmp_path: Path) -> None:
    first = fill(tmp_path, 1)
    with new_folder(checkpoint_folder(tmp_path, 2)) as partial:
        (partial / "weights").write_bytes(b"1")
        write_manifest(partial)
    told: list[str] = []
    assert latest_resumable(tmp_path, told.append) == first
    assert "state is missing" in told[0]


def test_a_model_card_may_be_edited(tmp_path: Path) -> None:
    folder = fill(tmp_path, 1)
    (folder / "README.md").write_text("what I found out about it")
    assert find_damage(folder) is None


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for update in range(1, 7):
        fill(tmp_path, update)
        drop_old_checkpoints(tmp_path, 3, update)
        assert len(checkpoints(tmp_path)) == min(update, 3)
    assert [path.name for path in checkpoints(tmp_path)] == ["update-000004", "update-000005", "update-000006"]
    drop_old_checkpoints(tmp_path, 0, 6)
    assert len(checkpoints(tmp_path)) == 3
    drop_old_checkpoints(tmp_path, 1, 5)
    assert [path.name for path in checkpoints(tmp_path)] == ["update-000005", "update-000006"], "5 was just written"
    assert latest_checkpoint(tmp_path) == checkpoint_folder(tmp_path, 6)


def fill_merged(run: Path, update: int, merged: list[int]) -> Path:
    """A small checkpoint whose teacher is merged from the adapters of these updates."""
    folder = checkpoint_folder(run, update)
    with new_folder(folder) as partial:
        write_state(partial / "state", {"teacher": {"updates": merged, "weights": [1.0], "norms": [1.0]}})
        (partial / ADAPTER_WEIGHTS).write_text(f"adapter {update}")
        write_manifest(partial)
    return folder


@pytest.mark.parametrize(("alpha", "every"), [(0.5, 1), (0.5, 2), (0.5, 5), (0.1, 1)])
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_every_checkpoint_that_stays_has_the_adapters_it_is_merged_from(
    tmp_path: Path, alpha: float, every: int, keep: int
) -> None:
    weights: dict[int, float] = {}
    for update in range(1, 41):
        if update % every == 0:
            faded = {number: weight * (1 - alpha) for number, weight in weights.items()}
            weights = {number: weight for number, weight in faded.items() if weight >= 0.005}
            weights[update] = alpha if faded else 1.0
        fill_merged(tmp_path, update, list(weights))
        drop_old_checkpoints(tmp_path, keep, update)
        kept = checkpoints(tmp_path)
        assert len(kept) == min(update, keep)
        assert [missing_adapter(folder) for folder in kept] == [None] * len(kept)
        needed = {number for folder in kept for number in merged_updates(folder)}
        apart = {int(path.stem[7:]) for path in (tmp_path / MERGED).glob("*")}
        assert apart == needed - set(map(checkpoint_update, kept)), "and no others"
        for number in needed:
            assert adapter_file(tmp_path, number).read_text() == f"adapter {number}"


def test_a_checkpoint_that_lacks_an_adapter_is_passed_over(tmp_path: Path) -> None:
    first = fill_merged(tmp_path, 1, [1])
    second = fill_merged(tmp_path, 2, [1, 2])
    fill_merged(tmp_path, 3, [2, 3])
    told: list[str] = []
    (second / ADAPTER_WEIGHTS).unlink()
    assert latest_resumable(tmp_path, told.append) == first
    assert "update-000002.safetensors is missing, of which its teacher is merged" in told[0]


def record(step: int) -> str:
    return json.dumps({"step": step, "loss": step / 7}) + "\n"


@pytest.mark.parametrize("torn", ["", '{"step": 6, "lo', "\0\0\0", '{"step": 3, "loss": 0.1}', "{}", "\n"])
def test_metrics_are_cut_back(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(record(step) for step in range(1, 6)) + torn)
    assert trim_metrics(path, 3) == []
    assert path.read_text() == "".join(record(step) for step in range(1, 4))
    assert trim_metrics(path, 5) == [4, 5]
    assert trim_metrics(path, 0) == []
    assert path.read_text() == ""
    assert trim_metrics(tmp_path / "none.jsonl", 1) == [1]


def test_a_broken_line_amid_the_metrics_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(record(1) + "so la la\n" + record(3))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2"):
        trim_metrics(path, 1)
    assert len(path.read_text().splitlines()) == 3


def changed(settings: Settings, name: str, value: Any) -> Settings:
    section, _, key = name.rpartition(".")
    if not section:
        return settings.model_copy(update={key: value})
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update={key: value})})


@pytest.fixture
def settings() -> Settings:
    return load_settings("tiny-points24")


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Path:
    (tmp_path / "config.toml").write_text(settings_to_toml(settings))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("method", "ppo", r"method='ppo' \(begun with 'gtr-turbo-kl'\)"),
        ("seed", 1, r"seed=1 \(begun with 0\)"),
        ("threads", 1, "threads=1"),
        ("env.id", "gtr/Blackjack-v0", "env.id='gtr/Blackjack-v0'"),
        ("env.options", {"split": "test"}, r"env\.options\.illegal=None.*env\.options\.split='test'"),
        ("model.base", "other", "model.base='other'"),
        ("ppo.updates", 99, "ppo.updates=99"),
        ("merge.density", 0.5, "merge.density=0.5"),
        ("alarm.patience", 9, "alarm.patience=9"),
    ],
)
def test_other_settings_are_refused(run: Path, settings: Settings, name: str, value: Any, message: str) -> None:
    other = changed(changed(settings, name, value), "keep_checkpoints", 7)
    with pytest.raises(SettingError, match=message) as caught:
        check_same_settings(run, other)
    assert "keep_checkpoints=7" not in str(caught.value)
    assert "Leave them as they were" in str(caught.value)


def test_settings_that_change_no_weight_may_change(run: Path, settings: Settings) -> None:
    values = {
        **dict.fromkeys(MAY_DIFFER, 3),
        "trackers": ("tensorboard",),
        "alarm.action": "stop",
        "corrector.offline": True,
    }
    for name, value in values.items():
        settings = changed(settings, name, value)
    settings = Settings.model_validate(settings.model_dump())
    check_same_settings(run, settings)
    take_up(run, settings)
    assert read_settings(run) == settings


def test_what_is_no_run_is_named(run: Path, settings: Settings) -> None:
    with pytest.raises(CheckpointError, match=r"no run to resume.*start it with gtr-bench train"):
        take_up(run / "nowhere", settings)
    (run / "config.toml").write_text("method = ")
    with pytest.raises(CheckpointError, match=r"config\.toml cannot be read"):
        take_up(run, settings)
    (run / "config.toml").write_text("methd = 1")
    with pytest.raises(CheckpointError, match="methd"):
        take_up(run, settings)


def test_a_run_is_taken_up(run: Path, settings: Settings) -> None:
    told: list[str] = []
    (run / "metrics.jsonl").write_text("".join(record(step) for step in range(1, 5)))
    assert take_up(run, settings, told.append) is None, "it was killed before its first checkpoint"
    assert (run / "metrics.jsonl").read_text() == ""

    (run / "metrics.jsonl").write_text("".join(record(step) for step in range(1, 5)))
    for update in (1, 2, 3):
        fill(run, update)
    change(checkpoint_folder(run, 3) / "weights")
    (run / ".metrics.jsonl.partial-77").write_text("left")
    for name in (".update-000004.partial-77", ".update-000000.dropped-77"):
        (run / "checkpoints" / name).mkdir()
    assert take_up(run, settings, told.append) == checkpoint_folder(run, 2)
    assert (run / "metrics.jsonl").read_text() == record(1) + record(2)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.toml", "metrics.jsonl"]
    names = ["damaged-update-000003-1", "update-000001", "update-000002"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == names
    assert "passed over" in told[0]
    assert "moved to damaged-update-000003-1" in told[1]
    fill(run, 3)  # its place is free
    assert take_up(run, settings, told.append) == checkpoint_folder(run, 3)
    assert told[2:] == [f"{run / 'metrics.jsonl'} has no line for update 3"]


def test_a_refused_resume_changes_nothing(run: Path, settings: Settings) -> None:
    (run / "metrics.jsonl").write_text(record(1) + record(2))
    change(fill(run, 1) / "weights")
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    with pytest.raises(CheckpointError):
        take_up(run, settings, lambda _: None)
    with pytest.raises(SettingError):
        take_up(run, changed(settings, "seed", 5), lambda _: None)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before


KILLED_AT = """
import os, shutil, signal, sys
from pathlib import Path
from gtr_agent.run_folder import checkpoint_folder, drop_old_checkpoints, trim_metrics
from gtr_envs.storage import new_folder, write_atomic, write_manifest

run = Path(sys.argv[1])
calls = at = 0
def watch(event, arguments):  # each time that Python is about to touch the file system
    global calls
    if event.split(".")[0] in ("os", "shutil", "pathlib") or event == "open":
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

def work(folder):
    with new_folder(checkpoint_folder(folder, 3)) as partial:
        (partial / "state").mkdir()
        (partial / "state" / "part.json").write_text("[3]")
        (partial / "weights").write_bytes(b"12345678" * 100)
        write_manifest(partial)
    drop_old_checkpoints(folder, 1, 3)
    trim_metrics(folder / "metrics.jsonl", 3)
    write_atomic(folder / "config.toml", "new", durable=True)

sys.addaudithook(watch)
for number in range(1, 10000):
    shutil.copytree(run / "template", run / str(number))
    child = os.fork()
    if not child:
        calls, at = 0, number
        work(run / str(number))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(number)
"""


def test_a_process_killed_at_any_point_leaves_all_whole(tmp_path: Path) -> None:
    """Each child is killed one call later than the one before it."""
    template = tmp_path / "template"
    for update in (1, 2):
        fill(template, update)
    (template / "config.toml").write_text("old")
    (template / "metrics.jsonl").write_text("".join(map(record, range(1, 6))))
    done = subprocess.run([sys.executable, "-c", KILLED_AT, tmp_path], capture_output=True, text=True, check=True)
    tried = int(done.stdout)
    assert tried > 40
    long, short = ("".join(map(record, range(1, 1 + count))) for count in (5, 3))
    seen = set()
    for at in range(1, tried + 1):
        run = tmp_path / str(at)
        newest = latest_resumable(run, pytest.fail)
        assert newest is not None
        assert all(find_damage(folder) is None for folder in checkpoints(run))
        assert (run / "metrics.jsonl").read_text() in (long, short)
        assert (run / "config.toml").read_text() in ("old", "new")
        clear_leftovers(run)
        clear_leftovers(run / "checkpoints")
        assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.toml", "metrics.jsonl"]
        assert {path.name[:6] for path in (run / "checkpoints").iterdir()} == {"update"}
        seen.add((newest.name, len(checkpoints(run)), (run / "config.toml").read_text()))
    assert seen == {
        ("update-000002", 2, "old"),
        *((("update-000003", count, "old")) for count in (3, 2, 1)),
        ("update-000003", 1, "new"),
    }
