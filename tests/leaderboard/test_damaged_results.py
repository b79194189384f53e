"""Files that are damaged or foreign, disks that are full: a named error, and nothing that was there is lost."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gtr_envs.errors import OutputError, ResultError
from leaderboard.cli import main
from leaderboard.records import episode_from_line
from leaderboard.summary import find_results, load_result

from .conftest import Evaluate, SayingPolicy

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = [
    "[1]",
    "7",
    "null",
    '"text"',
    '{"seed": 1e999}',
    '{"update": 3, "loss": 0.5}',
    '{"seed": 1, "turns": 5}',
    '{"seed": 1, "turns": [{"text": 3}]}',
    "[" * 100_000,
    "\udcff",
]


@pytest.mark.parametrize("line", FOREIGN)
def test_a_foreign_line_is_named(evaluation: Evaluate, line: str) -> None:
    result = evaluation()
    path = result.folder / "episodes.jsonl"
    path.write_bytes(path.read_bytes() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(ResultError, match=r"episodes\.jsonl, line 7 is damaged.*delete that line"):
        load_result(result.folder)


@pytest.mark.parametrize("change", [{"info": 3}, {"turns": [{}]}, {"stop": "late"}, {"seed": "one"}, {"steps": 99}])
def test_a_line_that_is_almost_an_episode_is_refused(evaluation: Evaluate, change: dict[str, object]) -> None:
    result = evaluation(n_episodes=1)
    data = json.loads((result.folder / "episodes.jsonl").read_text())
    with pytest.raises(ValueError, match=r"."):
        episode_from_line(json.dumps(data | change))


def test_lines_of_another_evaluation_are_found_before_anything_is_played(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(n_episodes=2)
    other = evaluation(n_episodes=1, seed=3)
    path = result.folder / "episodes.jsonl"
    path.write_bytes(path.read_bytes() + (other.folder / "episodes.jsonl").read_bytes())
    before = path.read_bytes()
    policy = SayingPolicy()
    with pytest.raises(ResultError, match="a line of another evaluation"):
        evaluation(policy, n_episodes=6, agent=_card())
    assert policy.calls == 0
    assert path.read_bytes() == before


def _card() -> object:
    from leaderboard.agents import AgentCard

    return AgentCard("random", "random", method="random")


def test_two_results_of_one_key_are_refused(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation(out_dir=tmp_path / "a")
    evaluation(out_dir=tmp_path / "b")
    with pytest.raises(ResultError, match=r"both hold agent 'random'.*seed 0"):
        find_results([tmp_path])


def test_a_full_disk_loses_nothing(evaluation: Evaluate, tmp_path: Path, small_disk: int) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*episodes\.jsonl: File too large; what was written before"):
        evaluation(SayingPolicy("x" * 900), n_episodes=30)
    (partial,) = find_results([tmp_path / "results"])
    path = partial.folder / "episodes.jsonl"
    assert 0 < len(partial.episodes) < 30
    assert path.read_bytes().endswith(b"}\n")  # no half line
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    whole = evaluation(SayingPolicy("x" * 900), n_episodes=30)
    straight = evaluation(SayingPolicy("x" * 900), n_episodes=30, out_dir=tmp_path / "straight")
    assert path.read_bytes() == (straight.folder / "episodes.jsonl").read_bytes()
    assert len(whole.episodes) == 30


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["eval", "--agent", "random", "-n", "1", "--out", str(tmp_path / "file" / "results")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write")
    assert "choose another place" in error
    assert error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_the_limit_on_answers_is_part_of_what_a_folder_holds(evaluation: Evaluate) -> None:
    from leaderboard.agents import AgentCard

    card = AgentCard("me", "me", "sft", "tiny", "abc", 1.0, 64)
    result = evaluation(agent=card)
    assert result.meta.max_new_tokens == 64
    with pytest.raises(FileExistsError, match="max_new_tokens is 64 there and 32 now"):
        evaluation(agent=AgentCard("me", "me", "sft", "tiny", "abc", 1.0, 32))
    path = result.folder / "meta.json"
    older = {name: value for name, value in json.loads(path.read_text()).items() if name != "max_new_tokens"}
    path.write_text(json.dumps(older))
    assert evaluation(agent=card).episodes == result.episodes  # a folder that is older than this setting goes on


def test_the_precision_is_part_of_what_a_folder_holds(evaluation: Evaluate) -> None:
    from leaderboard.agents import AgentCard

    single, half = (AgentCard("me", "me", "sft", "tiny", "abc", 1.0, 64, kind) for kind in ("float32", "bfloat16"))
    result = evaluation(agent=single)
    assert result.meta.precision == "float32"
    with pytest.raises(FileExistsError, match=r"precision is 'float32' there and 'bfloat16' now; give --precision fl"):
        evaluation(agent=half)
    path = result.folder / "meta.json"
    older = {name: value for name, value in json.loads(path.read_text()).items() if name != "precision"}
    path.write_text(json.dumps(older))
    assert evaluation(agent=half).episodes == result.episodes


@pytest.mark.parametrize(
    "change",
    [{"seed": "0"}, {"seed": -1}, {"n_episodes": True}, {"n_episodes": 0}, {"agent": None}, {"env_kwargs": []}],
)
def test_settings_of_another_type_are_named(evaluation: Evaluate, change: dict[str, object]) -> None:
    path = evaluation(n_episodes=1).folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultError, match=rf"meta\.json is missing or damaged \(.*{next(iter(change))} "):
        load_result(path.parent)


KILLED = """
import os, signal, sys
from pathlib import Path
from gtr_envs.experts import RandomPolicy
from leaderboard.agents import AgentCard
from leaderboard.evaluate import evaluate

class Killed(RandomPolicy):
    calls = 0

    def act(self, requests):
        self.calls += 1
        if self.calls == 25:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(requests)

card = AgentCard("random", "random", method="random")
evaluate(Killed(), "gtr/Points24-v0", {}, agent=card, seed=0, n_episodes=6, out_dir=Path(sys.argv[1]), batch_size=2)
"""


def test_a_killed_process_loses_no_whole_episode(evaluation: Evaluate, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (partial,) = find_results([out])
    assert 0 < len(partial.episodes) < 6
    straight = evaluation(out_dir=tmp_path / "straight")
    assert partial.episodes == tuple(e for e in straight.episodes if e.seed in {p.seed for p in partial.episodes})
    resumed = evaluation()
    assert (resumed.folder / "episodes.jsonl").read_bytes() == (straight.folder / "episodes.jsonl").read_bytes()
    assert resumed.summary.wall_s is None  # how long the killed process played is not known, and not made up
