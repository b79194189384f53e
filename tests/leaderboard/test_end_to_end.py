"""The command line as a user runs it: from a warm start to the leaderboard, on a toy's budget."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

TOY = (
    "model.precision=float32",
    "threads=1",
    "sft.steps=2",
    "sft.batch_size=2",
    "sft.text_batch_size=2",
    "sft.fact_batch_size=2",
    "sft.eval_every=0",
    "sft.eval_episodes=1",
    "rollout.num_envs=2",
    "rollout.turns=2",
    "rollout.max_new_tokens=4",
    "ppo.updates=2",
    "ppo.epochs=1",
    "ppo.batch_size=4",
)
SETTINGS = [argument for change in TOY for argument in ("--set", change)]


def gtr_bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "leaderboard.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an agent was warm-started, trained, evaluated and ranked."""
    folder = tmp_path_factory.mktemp("user")
    train = ("train", "--preset", "tiny-points24", *SETTINGS, "--init", "warm")
    for arguments in (
        ("sft", "--preset", "tiny-points24", *SETTINGS, "--out", "warm"),
        (*train, "--out", "runs/kl"),
        ("eval", "--agent", "runs/kl", "--episodes", "2", "--split", "test"),
        ("eval", "--agent", "expert", "--episodes", "3", "--split", "test"),
        ("leaderboard", "results", "--csv", "leaderboard.csv", "--html", "site"),
    ):
        done = gtr_bench(folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_leaderboard_ranks_both_agents(folder: Path) -> None:
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "measured"]
    by_method = {row["method"]: row for row in rows}
    assert set(by_method) == {"expert", "gtr-turbo-kl"}
    assert float(by_method["expert"]["success_rate"]) == 1
    assert float(by_method["expert"]["return_mean"]) == 10
    assert (by_method["gtr-turbo-kl"]["n_episodes"], by_method["gtr-turbo-kl"]["split"]) == ("2", "test")
    assert "<html" in (folder / "site" / "index.html").read_text(encoding="utf-8")


def test_a_run_leaves_whole_artefacts(folder: Path) -> None:
    run = folder / "runs" / "kl"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    assert all(record["ratio_at_start"] < 1e-3 for record in records)
    assert all(record["teacher_change"] > 0 for record in records)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["update-000001", "update-000002"]
    assert 'method = "gtr-turbo-kl"' in (run / "config.toml").read_text()
    assert not list(folder.rglob("*partial*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--preset", "tiny-points24", "--init", "warm", "--out", "runs/kl"), "already holds"),
        (("train", "--preset", "tiny-points24", "--init", "nothing", "--out", "runs/new"), "nothing"),
        (("sft", "--preset", "giant", "--out", "new"), "tiny-points24"),
        (("sft", "--preset", "tiny-points24", "--set", "sft.stepz=1", "--out", "new"), "sft.stepz"),
        (("eval", "--agent", "expert", "--env", "gtr/Chess-v0"), "gtr/Points24-v0"),
        (("eval", "--agent", "warm/config.toml"), "warm/config.toml"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    before = sorted(folder.rglob("*"))
    done = gtr_bench(folder, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert sorted(folder.rglob("*")) == before, "nothing was written or overwritten"
