"""From a spec to an agent, and the errors on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtr_envs.errors import CheckpointError, SettingError
from leaderboard import agents
from leaderboard.agents import describe_agent, fingerprint, load_agent


@pytest.mark.parametrize("spec", ["random", "expert"])
def test_built_in_agents(spec: str) -> None:
    policy = load_agent(spec)
    card = describe_agent(spec, policy)
    assert (card.name, card.method, card.temperature, card.fingerprint) == (spec, spec, None, None)
    assert describe_agent(spec, policy, name="other").name == "other"


def test_an_unknown_agent_is_told_what_is_allowed() -> None:
    with pytest.raises(SettingError, match="unknown agent 'solver'; choose random, expert, explorer"):
        load_agent("solver")


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist.*gtr-bench train"):
        load_agent(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        load_agent(str(tmp_path / "file"))


@pytest.mark.parametrize("temperature", [0.0, -1.0, 11.0, float("nan")])
def test_temperatures_out_of_range(temperature: float) -> None:
    with pytest.raises(SettingError, match="--greedy"):
        load_agent("random", temperature)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "-n", "x" * 101, "a\n"])
def test_names_that_are_no_folder(name: str) -> None:
    policy = load_agent("random")
    policy.name = name or ".."
    with pytest.raises(SettingError, match="--name"):
        describe_agent("random", policy, name=name)


def test_a_fingerprint_follows_the_weights_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    first = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    assert fingerprint(tmp_path) == first
    (tmp_path / "adapter_model.safetensors").write_bytes(b"Weights")
    assert fingerprint(tmp_path) != first


def test_a_large_file_is_sampled_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "_WHOLE", 10)
    monkeypatch.setattr(agents, "_BLOCK", 4)
    seen = set()
    for content in (b"a" * 400, b"b" + b"a" * 399, b"a" * 399 + b"b", b"a" * 401):
        (tmp_path / "model.safetensors").write_bytes(content)
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 4
