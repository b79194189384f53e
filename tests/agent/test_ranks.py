"""Several processes: their gradients are those of one process on the union of their batches."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gtr_agent.ranks import ProcessLostError, Ranks, join_metrics, named_lost_processes
from tests.agent.conftest import TOY
from tests.processes import ROOT, ForkedCommand, run_command


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
    """Run ``python ARGUMENTS``, which begin with -m, as two processes of one run."""
    option, module, *words = arguments
    assert option == "-m"
    port = free_port()
    started = [ForkedCommand(module, words, environment(rank, port)) for rank in (0, 1)]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode is not None
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


@pytest.mark.parametrize("ratio", ["turn", "token"])
def test_two_processes_have_the_gradients_of_one_on_the_union(tiny_folder: Path, tmp_path: Path, ratio: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    script = "tests.agent.one_of_two"
    alone = run_command(script, [tiny_folder, one, ratio], environment())
    for ended in (alone, *run_two(["-m", script, str(tiny_folder), str(two), ratio])):
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
    first, second = run_two([*command, "--out", str(out)])
    for ended in (first, second):
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert first.stdout.startswith("trained agent: ")
    assert "gtr-turbo-kl 2/2" in first.stderr
    assert second.stdout == "", "one process speaks"
    assert "gtr-turbo-kl" not in second.stderr
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2], "written by one process alone"
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["update-000001", "update-000002"]

    # As one process it cannot go on; as two it ends as it did.
    weights = out / "checkpoints" / "update-000002" / "adapter_model.safetensors"
    expected = load_file(weights)
    for path in sorted((out / "checkpoints" / "update-000002").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (out / "checkpoints" / "update-000002").rmdir()
    refused = run_command("gtr_agent.train", ["--resume", out], environment())
    assert refused.returncode == 2
    assert "start as many as there were" in refused.stderr
    for ended in run_two(["-m", "gtr_agent.train", "--resume", str(out)]):
        assert ended.returncode == 0, ended.stderr[-2000:]
    found = load_file(weights)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_where_one_process_fails_the_other_ends_too(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    begin = time.monotonic()
    first, second = run_two(["-m", "tests.agent.fails_in_one", str(tiny_folder), str(out)])
    assert time.monotonic() - begin < 90
    assert second.returncode == 2
    assert "error: the second process has had enough" in second.stderr
    assert first.returncode == 2
    assert "error: another process of the run has ended or does not answer" in first.stderr
    assert "go on with --resume" in first.stderr


def test_a_mistake_that_the_main_process_finds_is_named_by_all(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    for ended in run_two(["-m", "gtr_agent.train", "--preset", "tiny-points24", "--out", str(tmp_path)]):
        assert ended.returncode == 2
        assert "already holds something" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_one_asked_to_stop_stops_both(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for ended in run_two(["-m", "tests.agent.fails_in_one", str(tiny_folder), str(out), "SIGTERM"]):
        assert ended.returncode == 143, ended.stderr[-2000:]
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["update-000001"]


def test_metrics_of_several_processes_are_those_of_all_their_turns() -> None:
    one = {"success": 1.0, "episodes": 1.0, "ratio_at_start": 0.5, "invalid": 0.2, "thoughts_kept": 3.0}
    two = {"success": 0.2, "episodes": 9.0, "ratio_at_start": 0.1, "invalid": 0.4, "thoughts_kept": 4.0, "loss": 2.0}
    found = join_metrics([one, two])
    assert found == pytest.approx(
        # 1 of 1 episodes and 1.8 of 9 are 2.8 of 10.
        {"success": 0.28, "episodes": 10, "ratio_at_start": 0.5, "invalid": 0.3, "thoughts_kept": 7, "loss": 2.0}
    )
    nothing_ended = join_metrics([{"episodes": 0.0}, {"episodes": 2.0, "success": 0.5}])
    assert nothing_ended == {"episodes": 2.0, "success": 0.5}


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_the_launcher_may_forbid_the_gpu(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not Ranks().on_cpu
    assert Ranks("cpu").on_cpu
    monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    assert Ranks().on_cpu
    assert not Ranks("cuda").on_cpu, "the setting says so"


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert Ranks().threads(0) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert Ranks().threads(0) == 2
    assert Ranks().threads(5) == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "99")
    assert Ranks().threads(0) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistBackendError("NCCL communicator was aborted"),
        RuntimeError("[/src/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4096"),
    ],
)
def test_a_process_that_is_lost_while_layers_are_gathered_is_named(error: RuntimeError) -> None:
    with pytest.raises(ProcessLostError, match=r"another process .* go on with --resume"), named_lost_processes():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes do not go together"), ValueError("no"), ProcessLostError("it")])
def test_a_process_s_own_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=f"^{error}$"), named_lost_processes():
        raise error


def test_one_process_communicates_nothing() -> None:
    ranks = Ranks()
    assert (ranks.count, ranks.index, ranks.is_main) == (1, 0, True)
    values = torch.tensor([1.0, 2.0, 4.0])
    mean, deviation = ranks.moments(values)
    assert mean.item() == pytest.approx(7 / 3)
    assert deviation.item() == pytest.approx(values.std(correction=0).item())
    assert ranks.mean_metrics({"success": 0.5}) == {"success": 0.5}
    assert (ranks.largest(3), ranks.once(lambda: "done")) == (3, "done")
