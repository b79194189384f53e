"""The launchers' files and the commands that docs/cluster.md prints: they are read, they start what they say."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer

from gtr_agent.config import load_settings
from gtr_agent.launch import sharding_asked_for
from gtr_agent.packaged import FOLDER
from leaderboard.cli import app

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "gtr_agent" / "presets" / "accelerate"
PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
TRAIN: Any = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]


def printed(launcher: str) -> list[list[str]]:
    """The words behind a launcher's name in the commands of the documentation."""
    pages = [PAGE, (ROOT / "docs" / "training.md").read_text("utf-8")]
    blocks = [block for page in pages for block in re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(f"{launcher} ")]
    return [shlex.split(line)[len(launcher.split()) :] for line in dict.fromkeys(lines)]


def load(name: str) -> Any:
    """A launcher's file as Accelerate reads it."""
    from accelerate.commands.config.config_args import load_config_from_file

    return load_config_from_file(str(PRESETS / name))


@pytest.mark.parametrize(
    ("name", "machines", "processes"), [("one-machine", 1, 8), ("several-machines", 2, 16), ("cpu", 1, 2)]
)
def test_accelerate_reads_its_presets(name: str, machines: int, processes: int) -> None:
    config = load(f"{name}.yaml")
    assert (config.num_machines, config.num_processes, config.use_cpu) == (machines, processes, name == "cpu")
    assert config.distributed_type == "MULTI_GPU", "the only kind for which it starts processes itself"
    assert not config.fsdp_config
    assert (config.main_process_ip is not None) == (machines > 1)


def test_the_presets_come_with_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    shipped = {path for pattern in patterns["gtr_agent"] for path in (ROOT / "gtr_agent").glob(pattern)}
    files = set(PRESETS.iterdir())
    names = {"one-machine", "several-machines", "cpu", "fsdp"}
    assert {path.name for path in files} == {f"{name}.yaml" for name in names}
    assert files <= shipped
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= shipped, "and the tiny agents"


def test_the_cpu_preset_starts_two_processes(tmp_path: Path) -> None:
    script = tmp_path / "who.py"
    script.write_text(
        "import pathlib\n"
        "from gtr_agent.ranks import Ranks\n"
        "ranks = Ranks('cpu')\n"
        f"pathlib.Path({str(tmp_path)!r}, f'process-{{ranks.index}}').write_text(str(ranks.count))\n"
    )
    unset = {"WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file"]
    done = subprocess.run(
        [*launch, str(PRESETS / "cpu.yaml"), str(script)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name: path.read_text() for path in tmp_path.glob("process-*")} == {"process-0": "2", "process-1": "2"}


@pytest.mark.parametrize(("name", "asked"), [("fsdp", True), ("one-machine", False)])
def test_what_accelerates_presets_ask_for(monkeypatch: pytest.MonkeyPatch, name: str, asked: bool) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    words = ["--config_file", str(PRESETS / f"{name}.yaml"), "--num_processes", "2", "-m", "gtr_agent.train"]
    given, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert given.num_processes == 2
    for variable, value in prepare_multi_gpu_env(given).items():
        if variable.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.setenv(variable, value)
    assert sharding_asked_for() is asked


def check_trainer(words: list[str]) -> None:
    """The trainer's part of a command is understood."""
    given = TRAIN.make_context("train", words).params
    if given["resume"] is None:
        assert given["out"] is not None
        load_settings(given["preset"], overrides=given["overrides"] or [])


@pytest.mark.parametrize("words", printed("accelerate launch"), ids=" ".join)
def test_printed_commands_of_accelerate_are_understood(words: list[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    given = launch_command_parser().parse_args(words)
    assert (ROOT / given.config_file).parent == PRESETS
    load(Path(given.config_file).name)
    assert given.module
    assert given.training_script == "gtr_agent.train"
    check_trainer(given.training_script_args)


@pytest.mark.parametrize("words", printed("torchrun"), ids=" ".join)
def test_printed_commands_of_torchrun_are_understood(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    given = get_args_parser().parse_args(words)
    assert given.module
    assert given.training_script == "gtr_agent.train"
    check_trainer(given.training_script_args)


def test_printed_memory_is_what_the_benchmark_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from train_shape import Plan, memory

    from benchmarks.shapes import build_shape

    columns = []
    for name in ("qwen2.5-vl-3b", "qwen2.5-vl-7b"):
        model, _ = build_shape(name, device="meta")
        base, sharded, adapter, _, teacher, merged = memory(model, Plan(name, "cuda").settings()).values()
        columns.append([f"{value / 1e9:.1f}" for value in (base, sharded, adapter, teacher, merged)])
    table = PAGE.split("| | 3B | 7B |\n|---|---|---|\n", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")][1:] for line in table.splitlines()]
    assert [list(column) for column in zip(*rows, strict=True)] == columns


STAND_INS = {
    "srun": 'echo "srun $*" >> log; trap "echo saved >> log; exit 1" TERM; touch ready; while :; do sleep 0.05; done',
    "scancel": 'echo "scancel $*" >> log; kill -TERM "$(cat step)"',
    "scontrol": 'echo "scontrol $*" >> log; [ "$1" = show ] && echo first-machine',
}


@pytest.mark.parametrize("begun", [False, True])
def test_the_script_for_slurm_stops_saves_and_requeues(tmp_path: Path, begun: bool) -> None:
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", PAGE, re.DOTALL)
    (tmp_path / "job.sh").write_text(script)
    if begun:
        (tmp_path / "runs" / "points24-7b").mkdir(parents=True)
        (tmp_path / "runs" / "points24-7b" / "config.toml").touch()
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{'echo $$ > step' if name == 'srun' else ''}\n{body}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2"}
    environment["SLURM_JOB_NODELIST"] = "machines"
    job = subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        wait_for(tmp_path / "ready")
        job.send_signal(signal.SIGTERM)
        job.wait(timeout=20)
    finally:
        with suppress(ProcessLookupError):  # what is left where the script went wrong
            os.killpg(job.pid, signal.SIGKILL)
    found = (tmp_path / "log").read_text().splitlines()
    assert found[0] == "scontrol show hostnames machines"
    words = shlex.split(found[1])
    assert words[:2] == ["srun", "torchrun"]
    check_trainer(words[words.index("gtr_agent.train") + 1 :])
    assert ("--resume" in words) == begun
    assert "first-machine:29500" in words
    assert found[2:] == ["scancel --signal=TERM 7", "saved", "scontrol requeue 7"]


def wait_for(path: Path, seconds: float = 20) -> None:
    """Until a file is there."""
    import time

    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.02)
