"""Several processes: their gradients are those of one process on the union of their batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gtr_agent.ranks import Ranks
from tests.agent.conftest import TOY

ROOT = Path(__file__).parents[2]


def environment(rank: int | None = None, port: int = 0) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    kept["PYTHONPATH"] = str(ROOT)
    if rank is None:
        return kept
    ranks = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "1"}
    return kept | ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def run_two(arguments: list[str]) -> list[subprocess.CompletedProcess[str]]:
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(rank, port),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=240)
        ended.append(subprocess.CompletedProcess(arguments, process.returncode, out, err))
    return ended


@pytest.mark.parametrize("ratio", ["turn", "token"])
def test_two_processes_have_the_gradients_of_one_on_the_union(tiny_folder: Path, tmp_path: Path, ratio: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    script = ["-m", "tests.agent.one_of_two", str(tiny_folder)]
    subprocess.run([sys.executable, *script, str(one), ratio], env=environment(), cwd=ROOT, check=True)
    for ended in run_two([*script, str(two), ratio]):
        assert ended.returncode == 0, ended.stderr[-2000:]
    whole, first, second = (
        load_file(folder / f"{rank}.safetensors") for folder, rank in ((one, 0), (two, 0), (two, 1))
    )
    assert whole.keys() == first.keys() == second.keys()
    assert sum(gradient.abs().sum() for gradient in whole.values()) > 0.1
    for name, gradient in whole.items():
        assert torch.equal(first[name], second[name]), "each process takes the same step"
        torch.testing.assert_close(first[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_a_run_of_two_processes_is_one_run(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    changes = [f"--set={change}" for change in (*TOY, f"model.base={tiny_folder}", "ppo.value_warmup_steps=3")]
    command = ["-m", "gtr_agent.train", "--preset", "tiny-points24", *changes]
    for ended in run_two([*command, "--out", str(out)]):
        assert ended.returncode == 0, ended.stderr[-2000:]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2], "written by one process alone"
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["update-000001", "update-000002"]

    # As one process it cannot go on; as two it ends as it did.
    weights = out / "checkpoints" / "update-000002" / "adapter_model.safetensors"
    expected = load_file(weights)
    for path in sorted((out / "checkpoints" / "update-000002").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (out / "checkpoints" / "update-000002").rmdir()
    alone = [sys.executable, "-m", "gtr_agent.train", "--resume", str(out)]
    refused = subprocess.run(alone, env=environment(), cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "start as many as there were" in refused.stderr
    for ended in run_two(["-m", "gtr_agent.train", "--resume", str(out)]):
        assert ended.returncode == 0, ended.stderr[-2000:]
    found = load_file(weights)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_one_process_communicates_nothing() -> None:
    ranks = Ranks()
    assert (ranks.count, ranks.index, ranks.is_main) == (1, 0, True)
    values = torch.tensor([1.0, 2.0, 4.0])
    mean, deviation = ranks.moments(values)
    assert mean.item() == pytest.approx(7 / 3)
    assert deviation.item() == pytest.approx(values.std(correction=0).item())
    assert ranks.mean_metrics({"success": 0.5}) == {"success": 0.5}
