"""Export for the Hugging Face Hub: what is written, that its own library reads it, and that nothing else is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("huggingface_hub", reason="the extra agent is not installed")
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from safetensors.numpy import save_file

from gtr_envs.errors import CheckpointError
from leaderboard.agent_card import AgentCard, fingerprint
from leaderboard.cli import main
from leaderboard.export import MARK, merge_card
from leaderboard.summary import Result

from .conftest import Evaluate, SayingPolicy

CARD = """---
# how it is licensed
license: mit
model-index:
- name: theirs
  results:
  - task: {type: text-generation}
    dataset: {name: Other, type: other/set}
    metrics:
    - {type: accuracy, value: 0.5}
# what follows is ours, too
tags: [a,   b]   # oddly spaced
---

# Hand-written

--- not front matter ---
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with weights."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file({"weight": np.arange(3, dtype=np.float32)}, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def evaluated(checkpoint: Path, evaluation: Evaluate) -> Result:
    """An evaluation of that checkpoint with two seeds, beside one of another agent."""
    card = AgentCard("mine", "ckpt", "ppo", "base", fingerprint(checkpoint), 0.0)
    evaluation()
    evaluation(SayingPolicy(), agent=card, seed=1)
    return evaluation(SayingPolicy(), agent=card)


def export(checkpoint: Path, *options: str) -> int:
    results = str(checkpoint.parent / "results")
    return main(["export", results, "--checkpoint", str(checkpoint), *options])


def front(text: str) -> Any:
    return yaml.safe_load(text.split("---")[1])


def test_a_new_card_holds_the_figures_over_all_seeds(checkpoint: Path, evaluated: Result) -> None:
    assert export(checkpoint, "--model-card") == 0
    (success, mean) = ModelCard.load(checkpoint / "README.md").data.eval_results
    assert (success.dataset_type, success.dataset_split) == ("gtr/Points24-v0", "all")
    assert success.dataset_config == "strict rules, greedy"
    assert success.dataset_args == {"harness": f"gtr-bench {evaluated.meta.version}", "seeds": [0, 1], "n_episodes": 12}
    assert (success.metric_type, success.metric_value) == ("success_rate", 0.0)
    low, high = success.metric_args["confidence_interval_95"]
    assert (low, high) == (0.0, pytest.approx(0.2425, abs=1e-4))  # Wilson's interval of 0 of 12, from a table
    assert mean.metric_type == "mean_reward"


def test_what_others_wrote_in_a_card_stays_byte_for_byte(checkpoint: Path, evaluated: Result) -> None:
    path = checkpoint / "README.md"
    path.write_text(CARD, encoding="utf-8")
    assert export(checkpoint, "--model-card") == 0
    once = path.read_bytes()
    text = once.decode()
    before, after = CARD.split("model-index:")[0], CARD[CARD.index("# what follows") :]
    assert text.startswith(before)
    assert text.endswith(after)
    (index,) = front(text)["model-index"]
    assert (index["name"], len(index["results"])) == ("theirs", 2)
    assert index["results"][0]["dataset"] == {"name": "Other", "type": "other/set"}
    assert export(checkpoint, "--model-card") == 0
    assert path.read_bytes() == once  # ours gave way to ours


@pytest.mark.parametrize(
    ("card", "kept"),
    [
        ("", "# mine\n"),
        ("# Only text\n\nmore\n", "# Only text\n\nmore\n"),
        ("---\nlicense: mit\n---\nbody", "body"),
        ("---\n---\nbody", "body"),
        ("---\nmodel-index: []\nlicense: mit\n---\n", "license: mit\n---\n"),
        ("---\nmodel-index:\nlicense: mit\n---\n", "license: mit\n---\n"),
        ("---\r\nlicense: mit\r\n---\r\nbody\r\n", "body\r\n"),
        ("---\nlanguage: no  # Norwegian\n---\n", ""),
        ("---\n{license: mit}\n---\nbody", "body"),
        ("---\n'model-index': [\n]\nlicense: mit\n---\nbody", "body"),
        ("---\nmodel-index:\n\n# none\n- name: mine\n\n  results: []\nlicense: mit\n---\nbody", "body"),
    ],
)
def test_cards_of_any_form(card: str, kept: str) -> None:
    entry = {"dataset": {"args": {"harness": "gtr-bench 1"}}, "metrics": [{"value": 1}]}
    merged = merge_card(card, "mine", [entry])
    assert merged.endswith(kept)
    data = front(merged)
    assert data["model-index"] == [{"name": "mine", "results": [entry]}]
    assert ("license" in data) == ("license" in card)
    assert merge_card(merged, "mine", [entry]) == merged
    assert ("language: no  # Norwegian" in merged) == ("language" in card)
    assert "\n" not in merged.replace("\r\n", "") or "\r" not in card


@pytest.mark.parametrize("card", ["---\n[unclosed\n---\n", "---\n- a list\n---\n", "---\nmodel-index: 3\n---\n"])
def test_a_card_that_cannot_be_read_is_left_alone(card: str, checkpoint: Path, evaluated: Result) -> None:
    (checkpoint / "README.md").write_text(card)
    with pytest.raises(CheckpointError, match="cannot be read"):
        merge_card(card, "mine", [])
    assert export(checkpoint, "--model-card") == 2
    assert (checkpoint / "README.md").read_text() == card


def test_eval_results_are_read_by_the_hubs_own_library(checkpoint: Path, evaluated: Result) -> None:
    assert export(checkpoint, "--eval-results", "--dataset", "org/bench") == 0
    (path,) = (checkpoint / ".eval_results").iterdir()
    assert path.name == "gtr_bench_points24_v0_all_greedy.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/bench", "points24_v0_all", 0.0)
    assert entry.date == evaluated.meta.date
    assert "12 episodes, seeds 0, 1" in (entry.notes or "")
    assert not (checkpoint / "README.md").exists()
    path.write_text("- their own\n")
    assert export(checkpoint, "--eval-results", "--dataset", "org/bench") == 2
    assert path.read_text() == "- their own\n"
    path.write_text(MARK + "- old\n")
    assert export(checkpoint, "--eval-results", "--dataset", "org/bench") == 0
    assert "org/bench" in path.read_text()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ([], "--model-card, --eval-results or both"),
        (["--eval-results"], "--dataset ORG/NAME"),
        (["--eval-results", "--dataset", "name"], "given: name"),
    ],
)
def test_what_is_asked_for_must_be_clear(
    options: list[str], hint: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, *options) == 2
    assert hint in capsys.readouterr().err
    assert [path.name for path in checkpoint.iterdir()] == ["adapter_model.safetensors"]


def test_results_of_other_weights_are_refused(
    checkpoint: Path, evaluated: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"weight": np.ones(3, dtype=np.float32)}, checkpoint / "adapter_model.safetensors")
    assert export(checkpoint, "--model-card") == 2
    assert "they are of: mine, random; evaluate it with gtr-bench eval" in capsys.readouterr().err
    assert not (checkpoint / "README.md").exists()
