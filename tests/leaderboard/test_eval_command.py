"""``gtr-bench eval``: defaults, several environments and seeds, the summary for machines, what changes nothing."""

from __future__ import annotations

import json
import re
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from leaderboard import evaluations
from leaderboard.cli import main
from leaderboard.evaluate import Progress
from leaderboard.progress import evaluation_progress, time_left
from leaderboard.scores import SCORES, read_scores, scores_of_episode
from leaderboard.summary import find_results, load_result

from .conftest import SayingPolicy

POINTS24 = "gtr/Points24-v0"


@pytest.fixture(scope="session")
def tiny_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with notes as a training on Points24 would leave them, in float32."""
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    from gtr_agent.tiny import init_tiny

    folder = init_tiny(tmp_path_factory.mktemp("agents") / "tiny-agent", seed=0)
    notes = {
        "method": "sft",
        "env_id": POINTS24,
        "env_options": {"split": "train", "illegal": "terminate"},
        "temperature": 1.0,
        "max_new_tokens": 4,
        "precision": "float32",
        "attention": "eager",
    }
    (folder / "gtr_bench.json").write_text(json.dumps(notes))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """The episodes' files below a folder of results, by their places in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("episodes.jsonl"))}


def evaluate_in(out: Path, *arguments: object) -> dict[str, bytes]:
    assert main(["eval", "--out", str(out), *map(str, arguments)]) == 0
    return files(out)


def test_a_checkpoint_alone_is_enough(
    tiny_agent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[int] = []

    def stop(*_: Any, n_episodes: int, **__: Any) -> Any:
        asked.append(n_episodes)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluations, "evaluate", stop)
    assert main(["eval", "--agent", str(tiny_agent)]) == 130
    assert asked == [200]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["eval", "--agent", str(tiny_agent), "--agent", "random", "-n", "1"]) == 0
    assert "tiny-agent plays gtr/Points24-v0 with the options of training" in capsys.readouterr().err
    metas = [(r.meta.agent, r.meta.split, r.meta.rules, r.meta.temperature) for r in find_results([Path("results")])]
    rules = "strict illegal=terminate"
    assert sorted(metas) == [
        ("random", "test", rules, None),
        ("random", "train", rules, None),
        ("tiny-agent", "test", rules, 1.0),
        ("tiny-agent", "train", rules, 1.0),
    ]


@pytest.mark.parametrize("how", [[], ["--greedy"]])
def test_a_models_results_do_not_depend_on_the_batch_or_on_being_resumed(
    tiny_agent: Path, tmp_path: Path, how: list[str]
) -> None:
    start = ["--agent", tiny_agent, "--split", "train", *how]
    whole = evaluate_in(tmp_path / "whole", *start, "-n", 3)
    assert len(whole) == 1
    assert evaluate_in(tmp_path / "single", *start, "-n", 3, "--batch-size", 1) == whole
    evaluate_in(tmp_path / "resumed", *start, "-n", 1)
    assert evaluate_in(tmp_path / "resumed", *start, "-n", 3, "--batch-size", 2) == whole


@pytest.mark.parametrize("agent", ["random", "expert"])
def test_built_in_agents_do_not_depend_on_the_batch_or_on_being_resumed(agent: str, tmp_path: Path) -> None:
    start = ["--agent", agent, "--hands", "all"]
    whole = evaluate_in(tmp_path / "whole", *start, "-n", 12)
    assert evaluate_in(tmp_path / "single", *start, "-n", 12, "--batch-size", 1, "--concurrency", 1) == whole
    evaluate_in(tmp_path / "resumed", *start, "-n", 5, "--batch-size", 4)
    assert evaluate_in(tmp_path / "resumed", *start, "-n", 12, "--batch-size", 5) == whole


def test_greedy_results_lie_beside_those_of_sampling(tiny_agent: Path, tmp_path: Path) -> None:
    start = ["--agent", tiny_agent, "--split", "test", "-n", 1]
    evaluate_in(tmp_path, *start)
    evaluate_in(tmp_path, *start, "--greedy")
    metas = {result.meta.agent: result.meta.temperature for result in find_results([tmp_path])}
    assert metas == {"tiny-agent": 1.0, "tiny-agent-greedy": 0.0}


def test_a_mistake_is_found_before_the_model_is_loaded(
    tiny_agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "load_agent", lambda spec, how: pytest.fail("loaded"))
    out = str(tmp_path / "results")
    assert main(["eval", "--agent", str(tiny_agent), "--env", "gtr/Chess-v0", "--out", out]) == 2
    assert main(["eval", "--agent", str(tiny_agent), "--option", "colour=red", "--out", out]) == 2


def test_scores_of_a_model_and_its_teacher(tiny_agent: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_agent, teacher)
    start = ["--agent", tiny_agent, "--split", "test", "-n", 2, "--precision", "float32"]
    plain = evaluate_in(tmp_path / "plain", *start)
    scored = evaluate_in(tmp_path / "scored", *start, "--record-scores", "--teacher", teacher)
    assert scored == plain
    (folder,) = (path.parent for path in (tmp_path / "scored").rglob(SCORES))
    for episode in load_result(folder).episodes:
        scores = scores_of_episode(folder, episode)  # checks that the pieces join to the text
        assert scores is not None
        assert scores.teacher == "teacher"
        assert load_result(folder).meta.precision == "float32"
        for turn, found in zip(episode.turns, scores.turns, strict=True):
            assert len(found.pieces) == turn.tokens
            assert found.teacher_log_probs is not None
            # The teacher is the agent itself, so that it must say the same.
            assert found.teacher_log_probs == pytest.approx(found.log_probs, abs=1e-3)
            assert all(value is not None and value < 0 for value in found.log_probs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_teacher_scores_in_the_agents_precision(tiny_agent: Path, precision: Any) -> None:
    from gtr_agent.policy import load_policy
    from gtr_agent.token_scores import with_scores

    policy = with_scores(load_policy(tiny_agent, precision=precision), tiny_agent)
    assert policy.teacher is not None
    assert policy.teacher.actor.precision == policy.policy.actor.precision == precision


def test_several_environments_and_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grounds = ["--env", POINTS24, "--env", "gtr/Blackjack-v0", "--seed", "0", "--seed", "1", "--seed", "0"]
    assert main(["eval", "--agent", "expert", *grounds, "-n", "3", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    places = sorted((r.meta.env_id, r.meta.seed) for r in find_results([tmp_path]))
    assert places == [(env, seed) for env in ("gtr/Blackjack-v0", POINTS24) for seed in (0, 1)]
    assert printed.count("seeds 0, 1 pooled") == 2
    assert "middle half" in printed


def test_the_summary_for_machines_is_all_that_stands_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["eval", "--agent", "expert", "-n", "4", "--seed", "0", "--seed", "1", "--hands", "all", "--json"]
    assert main([*start, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["complete"], found["crashed"]) == (True, 0)
    assert [result["seed"] for result in found["results"]] == [0, 1]
    for result in found["results"]:
        assert Path(result["folder"]).is_dir()
        assert result["success_solvable"]["rate"]["value"] == 1.0
        assert {"illegal_rate", "invalid_answer_rate", "repaired_rate", "steps_mean", "thought_tokens_mean"} <= set(
            result
        )
    (pooled,) = found["pooled"]
    assert (pooled["agent"], pooled["seeds"], pooled["n_episodes"]) == ("expert", [0, 1], 8)
    assert "episodes and summary" in output.err


def test_crashes_end_with_code_1_and_stand_in_the_summary(
    tmp_path: Path, data_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["eval", "--agent", "random", "--env", "gtr/ALFWorld-v0", "--option", f"data={data_set}", "--json"]
    assert main([*start, "-n", "2", "--out", str(tmp_path / "results")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["complete"], found["crashed"]) == (True, 2)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown environment": (["--agent", "random", "--env", "gtr/Chess-v0"], "gtr/Points24-v0"),
    "second environment": (["--agent", "random", "--env", POINTS24, "--env", "gtr/Chess-v0"], "Chess"),
    "teacher alone": (["--agent", "random", "--teacher", "x"], "--record-scores"),
    "no teacher": (["--agent", "random", "--record-scores", "--teacher", "no/such"], "no/such is no folder"),
    "scores of none": (["--agent", "random", "--record-scores"], "tells no log-probs"),
    "no checkpoint": (["--agent", "."], "holds no adapter"),
    "greedy and not": (["--agent", "random", "--greedy", "--temperature", "1"], "--greedy"),
    "no retries": (["--agent", "random", "--retries", "-1"], "retries"),
    "cap without prices": (["--agent", "random", "--max-cost", "1"], "price"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if mistake == "no checkpoint":
        pytest.importorskip("torch")  # without it that is the mistake
    monkeypatch.chdir(tmp_path)
    arguments, hint = MISTAKES[mistake]
    assert main(["eval", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert hint in error
    assert not list(tmp_path.iterdir())


class Paid(SayingPolicy):
    """Has spent a cent for each call."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__(interrupt_at=interrupt_at)
        self.told: list[float] = []

    @property
    def usage(self) -> dict[str, Any]:
        return {"calls": self.calls, "cost": 0.01 * self.calls, "model": "text is left out"}

    def count_as_spent(self, cost: float) -> None:
        self.told.append(cost)


def test_what_was_spent_is_kept_and_told_when_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = [Paid(interrupt_at=4), Paid()]
    monkeypatch.setattr(evaluations, "load_agent", lambda spec, how: policies[0])
    start = ["eval", "--agent", "random", "-n", "2", "--out", str(tmp_path)]
    assert main(start) == 130
    policies.pop(0)
    assert main(start) == 0
    assert policies[0].told == [pytest.approx(0.04)]  # the call that was cut off was paid for, too
    (path,) = tmp_path.rglob("timing.jsonl")
    used = [json.loads(line)["usage"] for line in path.read_text().splitlines()]
    assert [one["calls"] for one in used] == [4, policies[0].calls]
    total = re.search(r"used in all attempts: calls (\d+), cost ([\d.]+)", capsys.readouterr().out)
    assert total is not None
    assert int(total[1]) == 4 + policies[0].calls


def test_progress_counts_and_gives_a_rate_only_at_the_end() -> None:
    """Episodes that fail soon are finished first: a rate among those would be too low."""
    console = Console(file=StringIO(), width=200)
    with evaluation_progress(console, "it") as report:
        for progress in (Progress(0, 0, 5), Progress(2, 0, 5), Progress(5, 3, 5)):
            report(progress)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("it: 2 of 5 episodes finished, 0 successful, 3 unfinished")
    assert lines[1] == "it: 5 of 5 episodes finished, 3 successful (60.0%)"


def test_time_left() -> None:
    assert time_left(Progress(10, 0, 10), 5, 9.0) == ""
    assert time_left(Progress(4, 0, 10), 0, 9.0) == ""
    assert time_left(Progress(4, 0, 10), 2, 9.0) == ", about 27 s left"
    assert time_left(Progress(1, 0, 100), 1, 3.0) == ", about 5 min left"
    assert time_left(Progress(1, 0, 1000), 1, 20.0) == ", about 5 h 33 min left"


def test_scores_are_read_by_seed(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == {}
