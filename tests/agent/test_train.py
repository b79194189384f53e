"""A run that cannot start leaves nothing behind; what is logged of an update."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.checkpoint import read_notes
from gtr_agent.model import load_base
from gtr_agent.parallel import Workers
from gtr_agent.rollout import Collector
from gtr_agent.settings import Settings
from gtr_agent.sft import run_sft
from gtr_agent.train import train
from gtr_envs.episode import Response
from gtr_envs.errors import CheckpointError, MissingExtraError, OutputExistsError, RunBusyError, SettingError
from gtr_envs.protocol import AnswerStatus
from gtr_envs.storage import LOCK, locked


@pytest.mark.parametrize("start", [train, run_sft])
@pytest.mark.parametrize("options", [{"splt": "train"}, {"split": "trian"}])
def test_a_mistaken_option_is_named_before_anything_is_written(
    settings: Settings,
    tmp_path: Path,
    start,
    options: dict[str, str],  # type: ignore[no-untyped-def]
) -> None:
    mistaken = settings.model_copy(update={"env": settings.env.model_copy(update={"options": options})})
    with pytest.raises(SettingError, match=r"splt|trian"):
        start(mistaken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("run", "is a run and no whole model.*warm start.*--resume"),
        ("run/checkpoints/update-000001", "is an adapter and no whole model"),
        ("nothing", "there is no folder .*gtr-bench sft"),
    ],
)
def test_what_is_no_whole_model_is_no_base(settings: Settings, tmp_path: Path, base: str, words: str) -> None:
    adapter = tmp_path / "run" / "checkpoints" / "update-000001"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    mistaken = settings.model_copy(update={"model": settings.model.model_copy(update={"base": str(tmp_path / base)})})
    with pytest.raises(CheckpointError, match=words):
        train(mistaken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("start", [train, run_sft])
def test_another_run_is_not_overwritten(settings: Settings, tmp_path: Path, start) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "results.txt").write_text("precious")
    (tmp_path / LOCK).write_text("{}")  # of a process that was killed
    with pytest.raises(OutputExistsError):
        start(settings, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "results.txt"]


def test_a_run_that_is_trained_is_not_resumed(settings: Settings, tmp_path: Path) -> None:
    short = settings.model_copy(update={"ppo": settings.ppo.model_copy(update={"updates": 1})})
    last = train(short, tmp_path)
    assert not (tmp_path / LOCK).exists()
    (last / "manifest.json").unlink()  # so that there is something to go on with
    (tmp_path / "metrics.jsonl").write_text("as it was")
    with locked(tmp_path, "trained"), pytest.raises(RunBusyError, match=r"is being trained into by process \d+ on "):
        train(short, tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == "as it was"


@pytest.mark.parametrize("start", [train, run_sft])
def test_a_warm_start_is_not_gone_on_with_nor_shared(
    settings: Settings,
    tmp_path: Path,
    start,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = settings.model_copy(update={"method": "sft"})
    with pytest.raises(SettingError, match="begin it again with gtr-bench sft"):
        start(warm, tmp_path / "out", resume=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="made by one process, and the launcher started 2"):
        start(warm, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_warm_started_model_is_no_run(settings: Settings, tmp_path: Path) -> None:
    folder = run_sft(settings, tmp_path / "warm")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=f"gtr-bench train --init {folder}"):
        train(settings, folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.utils.is_wandb_available", lambda: False)
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        train(settings.model_copy(update={"trackers": ("wandb",)}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_at_hand_is_trained_in_place_of_the_base(settings: Settings, tmp_path: Path) -> None:
    loaded = load_base(settings, "cpu")
    nowhere = settings.model_copy(update={"model": settings.model.model_copy(update={"base": "org/nowhere"})})
    last = train(nowhere, tmp_path / "run", loaded=loaded)
    assert read_notes(last)["base_model"] == "org/nowhere"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, final = settings.ppo.learning_rate, settings.ppo.final_learning_rate
    assert [line["learning_rate"] for line in lines] == pytest.approx([first, (first + final) / 2])
    for line in lines:
        assert line["seconds_save"] > 0
        parts = sum(value for name, value in line.items() if name.startswith("seconds_"))
        assert parts == pytest.approx(line["seconds"], abs=0.005), "nothing is left out"


def test_the_time_of_writing_a_checkpoint_is_logged_with_its_update(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gtr_agent.checkpoint.write_state", lambda *_: time.sleep(0.3))
    train(settings, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0.3 <= line["seconds_save"] <= line["seconds"] for line in lines)


def test_tensorboard_shows_each_update_once_after_a_resume(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "run"
    watched = settings.model_copy(update={"trackers": ("tensorboard",)})
    last = train(watched, out)
    shutil.rmtree(last)  # as if the process had been killed while it wrote the second checkpoint
    time.sleep(1.1)  # files of events are ordered by the second of their beginning
    train(watched, out, resume=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("reward_mean")] == [1, 2]


def test_rewards_for_the_form_of_answers_are_added(
    settings: Settings, actor: ActorCritic, processor: Any, workers: Workers
) -> None:
    rewards = {"format_reward": 3.0, "repaired_reward": 1.0, "invalid_reward": -2.0}
    given = settings.model_copy(update={"rollout": settings.rollout.model_copy(update=rewards)})
    collector = Collector(given, actor, processor, workers)
    seen = collector.collect().flat()
    assert {t.turn.status for t in seen} == {AnswerStatus.INVALID}, "an untrained agent's"
    assert all(t.reward == t.turn.reward - 2.0 for t in seen)
    for status, bonus in zip((AnswerStatus.STRICT, AnswerStatus.REPAIRED), (3.0, 1.0), strict=True):
        turn = replace(seen[0].turn, status=status)
        found = collector._transition(
            collector.seats[0], seen[0].prompt, Response("", extra=seen[0].sample), turn, None
        )
        assert found.reward == turn.reward + bonus
    collector.close()
