"""Agents that are models of anybody's making: folders without our notes, the hub, and what can be wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gtr_envs.errors import CheckpointError
from leaderboard.agents import AgentOptions, describe_agent, load_agent

for library in ("torch", "transformers", "peft"):
    pytest.importorskip(library, reason="needs the extra agent: pip install 'gtr-bench[agent]'")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model as other programs save it."""
    from gtr_agent.tiny import init_tiny

    folder = init_tiny(tmp_path_factory.mktemp("base") / "a-model", 0)
    (folder / "gtr_bench.json").unlink(missing_ok=True)
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter as PEFT alone saves it."""
    from peft import LoraConfig, get_peft_model

    from gtr_agent.model import load_model

    model = get_peft_model(load_model(base), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "an-adapter")
    return tmp_path / "an-adapter"


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    """A model of the test's own."""
    return Path(shutil.copytree(base, tmp_path / "a-model"))


def change_weights(path: Path, change: Callable[[str], str | None]) -> None:
    """Rename the tensors of a file; those whose new name is None are dropped."""
    from safetensors.torch import load_file, save_file

    renamed = {change(name): tensor for name, tensor in load_file(path).items()}
    save_file({name: tensor for name, tensor in renamed.items() if name}, path, metadata={"format": "pt"})


def test_a_model_made_elsewhere_plays_with_defaults(model: Path) -> None:
    card = describe_agent(str(model), load_agent(str(model)))
    assert (card.name, card.method, card.base_model) == ("a-model", "unknown", "a-model")
    assert (card.temperature, card.max_new_tokens) == (1.0, 256)
    options = AgentOptions(greedy=True, max_new_tokens=7)
    card = describe_agent(f"hf:{model}", load_agent(f"hf:{model}", options))
    assert (card.name, card.temperature, card.max_new_tokens) == ("a-model", 0.0, 7)
    assert card.fingerprint == describe_agent(str(model), load_agent(str(model))).fingerprint


def test_an_adapter_made_elsewhere_finds_its_base_and_its_processor(adapter: Path, base: Path) -> None:
    policy = load_agent(str(adapter), AgentOptions(temperature=0.3))
    card = describe_agent(str(adapter), policy)
    assert (card.name, card.base_model, card.temperature, card.max_new_tokens) == ("an-adapter", "a-model", 0.3, 256)
    assert policy.processor.chat_template  # type: ignore[attr-defined]


def test_an_adapter_for_another_model_is_told_apart(adapter: Path) -> None:
    change_weights(adapter / "adapter_model.safetensors", lambda name: name.replace("layers", "blocks"))
    with pytest.raises(CheckpointError, match="made for another model"):
        load_agent(str(adapter))


def test_a_model_that_lacks_weights_does_not_play_with_random_ones(model: Path) -> None:
    change_weights(model / "model.safetensors", lambda name: None if "layers.1.mlp" in name else name)
    with pytest.raises(CheckpointError, match=r"3 are missing, such as .*layers\.1\.mlp"):
        load_agent(str(model))


def test_weights_that_are_pickled_are_not_read(model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="safetensors"):
        load_agent(str(model))


def test_a_base_that_is_gone_is_named(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "/gone/base"}))
    with pytest.raises(CheckpointError, match=r"base model of .* is gone: /gone/base"):
        load_agent(str(adapter))


def test_a_model_without_a_chat_template_is_refused(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="no chat template"):
        load_agent(str(model))


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to play")
    for spec in (str(tmp_path), f"hf:{tmp_path}"):
        with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
            load_agent(spec)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(CheckpointError, match="no model can be read"):
        load_agent(str(tmp_path))


@pytest.mark.parametrize("spec", ["hf:gtr-bench/no-such-model", "hf:no-such-model"])
def test_a_model_that_cannot_be_fetched_is_named_with_the_mend(spec: str) -> None:
    with pytest.raises(CheckpointError, match=r"no-such-model.*hf download NAME"):
        load_agent(spec)


def test_an_adapter_whose_base_cannot_be_fetched(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "gtr-bench/no-such-base"}))
    with pytest.raises(CheckpointError, match=r"no-such-base.*hf download NAME"):
        load_agent(str(adapter))


def test_a_hub_model_is_known_by_its_commit(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123" * 2
    kept = tmp_path / "models--org--A-Model"
    shutil.copytree(base, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    card = describe_agent("hf:org/A-Model", load_agent("hf:org/A-Model"))
    assert (card.name, card.method, card.base_model) == ("A-Model", "hf", "org/A-Model")
    assert (card.fingerprint, card.temperature, card.max_new_tokens) == ("0123456789abcdef", 1.0, 256)
