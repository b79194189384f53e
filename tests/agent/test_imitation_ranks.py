"""Several processes that imitate: the main one alone collects their thoughts, and each takes up its own again."""

import json
from pathlib import Path

import torch

from gtr_agent.run_folder import checkpoint_folder
from gtr_agent.run_state import read_part
from tests.agent.conftest import TOY
from tests.agent.test_ranks import run_two


def test_each_process_s_thoughts_are_saved_and_taken_up(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    changes = [
        f"--set={change}" for change in (*TOY, f"model.base={tiny_folder}", "method=gtr", "imitation.weight=0.1")
    ]
    command = ["-m", "gtr_agent.train", "--preset", "tiny-points24", *changes, "--out", str(out)]
    for ended in run_two(command):
        assert ended.returncode == 0, ended.stderr[-2000:]
    first, second = read_part(checkpoint_folder(out, 2) / "state", "thoughts")
    assert len(first) == len(second) > 0
    assert any(not torch.equal(first[name], second[name]) for name in first if name in second)
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert logged[0]["thoughts_kept"] == 24, "of both processes"
    assert logged[0]["corrector_calls"] == 0
