"""Models on the hub: from its cache, of the revision that was asked for, and soon named where it does not answer."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gtr_agent.hub import hub_answers, is_on_hub
from gtr_agent.model import load_model, load_whole
from gtr_agent.policy import load_named_policy, load_policy
from gtr_agent.tiny import init_tiny
from gtr_envs.errors import CheckpointError

COMMITS = ("1" * 40, "2" * 40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of other weights."""
    return [init_tiny(tmp_path_factory.mktemp("models") / f"seed-{seed}", seed) for seed in (0, 1)]


@pytest.fixture
def cache(folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one model in two revisions: ``main``, and the tag ``v2``."""
    place = tmp_path / "cache" / "models--someone--player"
    (place / "refs").mkdir(parents=True)
    for folder, commit, name in zip(folders, COMMITS, ("main", "v2"), strict=True):
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return place


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A hub that takes calls and says nothing; ``calls`` tells how many there were."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        server.setblocking(False)

        def calls() -> int:
            count = 0
            while True:
                try:
                    server.accept()[0].close()
                except BlockingIOError:
                    return count
                count += 1

        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.3)
        yield SimpleNamespace(calls=calls, close=server.close)


def first_weight(model: Any) -> torch.Tensor:
    return next(iter(model.parameters())).detach()


def test_what_is_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "player").mkdir(parents=True)
    assert not is_on_hub("someone/player"), "a folder that is there goes first"
    assert is_on_hub("someone/other")
    assert is_on_hub("old-name")
    for name in ("runs/a/checkpoints", "/gone/model", "./gone", "../gone", "with space/x", ""):
        assert not is_on_hub(name)


def test_a_hub_that_says_nothing_is_asked_once(asked: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"someone/player .*does not answer.*hf download NAME") as caught:
        load_named_policy("someone/player", device="cpu")
    assert "127.0.0.1" in str(caught.value)
    assert asked.calls() == 1, "the library itself would have asked six times for each file"


def test_a_hub_that_is_not_there_is_given_up_at_once(asked: SimpleNamespace) -> None:
    asked.close()
    assert not hub_answers("someone/player")


def test_a_cached_model_needs_no_hub(asked: SimpleNamespace, cache: Path, folders: list[Path]) -> None:
    policy = load_named_policy("someone/player", device="cpu", max_new_tokens=3)
    assert policy.meta["fingerprint"] == COMMITS[0][:16]
    assert (policy.name, policy.max_new_tokens, policy.meta["temperature"]) == ("someone/player", 3, 1.0)
    torch.testing.assert_close(first_weight(policy.actor.model), first_weight(load_model(folders[0])))
    assert asked.calls() == 1


def test_a_revision_is_honoured(cache: Path, folders: list[Path]) -> None:
    model, _ = load_whole("someone/player", revision="v2")
    torch.testing.assert_close(first_weight(model), first_weight(load_model(folders[1])))
    with pytest.raises(CheckpointError, match=r"someone/player .*hf download NAME"):
        load_whole("someone/player", revision="v3")
    model, _ = load_whole(folders[0], revision="v2")
    torch.testing.assert_close(first_weight(model), first_weight(load_model(folders[0])), msg="a folder has none")


@pytest.mark.parametrize("revision", ["v2", COMMITS[1], None])
def test_an_adapter_plays_on_the_revision_that_it_names(
    cache: Path, folders: list[Path], tmp_path: Path, revision: str | None
) -> None:
    from peft import LoraConfig, get_peft_model

    adapter = tmp_path / "adapter"
    model = load_model(folders[0])
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    path = adapter / "adapter_config.json"
    named = {"base_model_name_or_path": "someone/player", "revision": revision}
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    played = load_policy(adapter, device="cpu").actor.model
    torch.testing.assert_close(first_weight(played), first_weight(load_model(folders[revision is not None])))


def test_a_revision_that_is_no_text_is_named(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(folders[0]), "revision": 3})
    )
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is damaged: revision=3"):
        load_policy(tmp_path)
