"""The quickstart on a toy budget: from nothing to the CSV, by the command itself, with real models."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from gtr_agent.config import load_settings
from gtr_agent.packaged import packaged_folder
from gtr_envs.errors import CheckpointError, OutputExistsError
from leaderboard.agents import describe_agent, load_agent
from leaderboard.cli import main
from leaderboard.quickstart import train_agents
from leaderboard.quickstart_plan import BUDGETS, PRESET, START, Plan
from leaderboard.stages import STATE, Stages, finished_stages, kept_precision
from leaderboard.table import parse_csv
from tests.processes import ForkedCommand, run_command

for library in ("torch", "transformers", "peft"):
    pytest.importorskip(library, reason="needs the extra agent: pip install 'gtr-bench[agent]'")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished toy quickstart, and what it printed in ``printed.txt`` beside it."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    done = run_command("leaderboard.cli", ["quickstart", "--budget", "toy", "--out", out])
    assert done.returncode == 0, done.stderr
    (out.parent / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return out


def test_the_quickstart_ranks_four_agents_on_three_kinds_of_hands(finished: Path) -> None:
    rows = [row for row in parse_csv((finished / "leaderboard.csv").read_text("utf-8")) if row.source == "measured"]
    assert {(row.agent, row.split) for row in rows} == {
        (agent, split)
        for agent in ("random", "expert", "warm-start", "gtr-turbo-kl")
        for split in ("train", "test", "all")
    }
    by_agent = {row.agent: row for row in rows}
    assert by_agent["expert"].success_rate == 1.0
    assert (by_agent["gtr-turbo-kl"].method, by_agent["warm-start"].method) == ("gtr-turbo-kl", "sft")
    assert by_agent["gtr-turbo-kl"].base_model == START
    assert (by_agent["warm-start"].tokens_out or 0) > 0
    page = (finished / "site" / "agents" / "gtr-turbo-kl.html").read_text("utf-8")
    assert "<img" in page
    assert "<polyline" in page
    assert list((finished / "site" / "replays").glob("*.html"))


def test_the_quickstart_ends_with_the_table_and_what_next(finished: Path) -> None:
    printed = (finished.parent / "printed.txt").read_text("utf-8")
    for part in ("held-out", "on the same hands", "gtr-bench eval --agent", "gtr-bench train --preset"):
        assert part in printed
    assert f"--init {START}" in printed


def test_it_says_what_it_is_about_to_do_and_how_long_that_takes(finished: Path) -> None:
    printed = (finished.parent / "printed.txt").read_text("utf-8")
    plan, _, rest = printed.partition("Training with GTR-Turbo")
    for part in (
        "cores, in ",
        f"start        {START}",
        "2 updates of 16 turns",
        "2 episodes each",
        "the first step",
    ):
        assert part in plan
    assert rest.count("so training should take") == 1


def test_from_scratch_the_start_is_made_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    start, agent = train_agents(
        Stages(out, {"seed": 3, "start": "scratch"}), Plan(3, BUDGETS["toy"], True, 2, Console())
    )
    assert (start, agent.parents[1]) == (str(out / "warm-start"), out / "gtr-turbo-kl")
    assert load_agent(start).meta["base_model"] == str(out / "tiny")
    assert capsys.readouterr().out.count("\nWarm start on") == 1


def test_the_same_command_again_finds_everything_done(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert main(["quickstart", "--budget", "toy", "--out", str(finished)]) == 0
    assert capsys.readouterr().out.count("(done before)") == 1
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_an_interrupted_training_is_gone_on_with(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ((finished / "gtr-turbo-kl" / "checkpoints" / f"update-{number:06d}") for number in (1, 2))
    weights, written = (second / "adapter_model.safetensors").read_bytes(), first.stat().st_mtime_ns
    state = json.loads((finished / STATE).read_text())
    del state["done"]["gtr-turbo-kl"]
    (finished / STATE).write_text(json.dumps(state))
    shutil.rmtree(second)
    train_agents(Stages(finished, state["settings"]), Plan(0, BUDGETS["toy"], False, 2, Console()))
    assert "anew" not in capsys.readouterr().out
    assert first.stat().st_mtime_ns == written, "the first update is not done again"
    assert (second / "adapter_model.safetensors").read_bytes() == weights


def test_another_quickstart_does_not_overwrite_it(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--budget", "toy", "--out", str(finished), "--seed", "5"]) == 2
    assert "seed is 0 there and 5 now; choose another --out" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert main(["quickstart", "--budget", "toy", "--out", str(finished), "--from-scratch"]) == 2
    error = capsys.readouterr().err
    assert f"start is '{START}' there and 'scratch' now; choose another --out" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_trained_agent_is_known_by_its_weights(finished: Path) -> None:
    run = finished / "gtr-turbo-kl"
    of_run, of_checkpoint = (
        describe_agent(str(path), load_agent(str(path))) for path in (run, run / "checkpoints" / "update-000002")
    )
    assert of_run.fingerprint == of_checkpoint.fingerprint
    assert of_run.temperature == load_settings(PRESET).rollout.temperature
    earlier = run / "checkpoints" / "update-000001"
    assert describe_agent(str(earlier), load_agent(str(earlier))).fingerprint != of_run.fingerprint


@pytest.mark.parametrize("damage", ["empty", "cut", "no weights"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    if damage != "empty":
        for file in packaged_folder(START).iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        weights = tmp_path / "model.safetensors"
        content = weights.read_bytes()
        weights.unlink()
        if damage == "cut":
            weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError) as caught:
        load_agent(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def interrupted(process: ForkedCommand) -> str:
    """What a process says on stderr when it is interrupted.

    Python drops an interrupt that falls into a destructor or a callback; whoever sits there presses the keys again.
    """
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)[1]
    return process.communicate(timeout=120)[1]


def test_ctrl_c_while_training_leaves_whole_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = ForkedCommand("leaderboard.cli", ["quickstart", "--budget", "toy", "--from-scratch", "--out", out])
    while not (out / STATE).is_file() or "tiny" not in json.loads((out / STATE).read_text())["done"]:
        assert process.poll() is None
        time.sleep(0.05)
    error = interrupted(process)
    assert process.returncode == 130
    assert "go on where they stopped" in error
    assert "Traceback" not in error
    assert set(finished_stages(out, {})) == {"tiny"}
    assert {path.name for path in out.iterdir()} <= {"tiny", STATE, ".lock"}


def test_stages_are_done_once_and_interrupted_ones_again(tmp_path: Path) -> None:
    settings = {"seed": 0}
    calls: list[str] = []

    def work(folder: Path) -> Path:
        assert not folder.exists()
        calls.append(folder.name)
        folder.mkdir()
        return folder

    out = tmp_path / "out"
    assert Stages(out, settings).run("tiny", work) == (out / "tiny", False)
    (out / "warm-start").mkdir()
    (out / "warm-start" / "half.bin").write_text("half")
    again = Stages(out, settings)
    assert again.run("tiny", work) == (out / "tiny", True)
    assert again.run("warm-start", work) == (out / "warm-start", False)
    assert calls == ["tiny", "warm-start"]
    assert not (out / "warm-start" / "half.bin").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_an_interrupted_stage_is_gone_on_with_where_it_can_be(tmp_path: Path, whole: bool) -> None:
    def go_on(folder: Path) -> Path:
        if not whole:
            raise CheckpointError("nothing to go on from")
        return folder / "rest"

    def work(folder: Path) -> Path:
        folder.mkdir()
        return folder

    stages = Stages(tmp_path / "out", {"seed": 0})
    folder = tmp_path / "out" / "agent"
    folder.mkdir()
    (folder / "half.bin").write_text("half")
    assert stages.run("agent", work, go_on) == (folder / "rest" if whole else folder, False)
    assert (folder / "half.bin").exists() == whole


def test_checkpoints_that_cannot_be_gone_on_with_are_set_aside(tmp_path: Path) -> None:
    stages = Stages(tmp_path / "out", {"seed": 0})
    folder = tmp_path / "out" / "agent"
    for number in (1, 2):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "hours").write_text("of work")
        assert stages.run("agent", lambda out: out.mkdir() or out) == (folder, False)
        assert (tmp_path / "out" / f"agent-set-aside-{number}" / "checkpoints" / "hours").read_text() == "of work"
        del stages.done["agent"]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="something else; choose another --out"):
        finished_stages(tmp_path, {})
    with pytest.raises(OutputExistsError, match="is a file"):
        finished_stages(tmp_path / "mine.txt", {})
    (tmp_path / STATE).write_text("{")
    with pytest.raises(OutputExistsError, match="damaged"):
        finished_stages(tmp_path, {})


def test_an_unknown_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--budget", "huge", "--out", str(tmp_path)]) == 2
    assert "unknown budget 'huge'; choose one of full, toy" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


SMALL = (
    "sft.steps=1",
    "sft.text_batch_size=0",
    "sft.batch_size=2",
    "sft.eval_every=0",
    "sft.eval_episodes=1",
    "rollout.num_envs=2",
    "rollout.turns=2",
    "rollout.max_new_tokens=4",
    "ppo.updates=1",
    "ppo.epochs=1",
    "ppo.batch_size=4",
)


def test_each_step_is_a_command_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [part for change in SMALL for part in ("--set", change)]
    model, warm, run = (str(tmp_path / name) for name in ("model", "warm", "run"))
    start = ["--preset", "tiny-points24", *changes]
    assert main(["init-tiny", model, "--seed", "3"]) == 0
    assert main(["sft", *start, "--set", f"model.base={model}", "--out", warm]) == 0
    assert main(["train", *start, "--set", "method=ppo", "--init", warm, "--out", run]) == 0
    assert main(["eval", "--agent", run, "-n", "1", "--out", str(tmp_path / "results"), "--name", "mine"]) == 0
    assert main(["leaderboard", str(tmp_path / "results"), "--csv", str(tmp_path / "l.csv")]) == 0
    row = parse_csv((tmp_path / "l.csv").read_text("utf-8"))[0]
    assert (row.agent, row.method, row.base_model, row.n_episodes) == ("mine", "ppo", "warm", 1)
    capsys.readouterr()
    for arguments in (["sft", *start, "--out", warm], ["train", *start, "--out", run], ["init-tiny", model]):
        assert main(arguments) == 2
        assert "already holds something; choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--preset", "huge"], "unknown preset 'huge'; there are: "),
        (["--config", "no.toml"], "no.toml"),
        (["--set", "ppo.speed=1"], "unknown setting ppo.speed; known here: "),
        (["--set", "ppo.epochs=0"], "ppo.epochs=0"),
        (["--set", "method=magic"], "gtr-turbo-kl"),
        (["--set", "fast"], "section.key=value"),
        (["--preset", "tiny-points24", "--init", "no/such/model"], "no/such/model"),
    ],
)
@pytest.mark.parametrize("command", ["sft", "train"])
def test_bad_settings_are_one_line(
    command: str,
    arguments: list[str],
    hint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if command == "sft" and "--init" in arguments:
        arguments = ["--preset", "tiny-points24", "--set", "model.base=no/such/model"]
    assert main([command, *arguments, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert hint in error
    assert not list(tmp_path.iterdir())


def test_the_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    assert "tiny-points24" in capsys.readouterr().out.splitlines()


def test_a_seed_out_of_range_is_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", "--seed", "5000", "--out", str(tmp_path / "out")]) == 2
    assert "seed=5000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_it_is_gone_on_with_in_the_precision_that_it_began_with(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine of another kind, or where a setting of oneDNN has changed."""
    kept = kept_precision(finished)
    assert kept is not None
    monkeypatch.setattr("gtr_agent.precision.has_amx", lambda: kept == "float32")
    assert main(["quickstart", "--budget", "toy", "--out", str(finished)]) == 0
    assert f"in {kept}, as the settings say" in capsys.readouterr().out
    assert kept_precision(finished) == kept
    assert kept_precision(finished / "nowhere") is None


def test_the_rest_is_reckoned_from_the_first_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(0, BUDGETS["full"], True, 150, Console(width=200), "float32")
    times = iter((100.0, 110.0))
    monkeypatch.setattr("leaderboard.quickstart_plan.time.monotonic", lambda: next(times))
    for step in (20, 40, 60):  # 20 steps in 10 s, 810 left of 850 after the second record
        plan.warm_start_recorded(step, {})
    for number in (1, 2):  # 15 of 16 left; 6,300 turns at 1,024 in 4 s
        plan.update_recorded(number, {"seconds": 20.0, "seconds_collect": 4.0})
    assert capsys.readouterr().out.splitlines() == [
        "the warm start should take 7 min more, then come training and evaluation",
        "an update took 20 s, so training should take 5 min more, evaluation 25 s",
    ]
