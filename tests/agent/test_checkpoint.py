"""Checkpoints: plain PEFT adapters, whole or absent, with errors that say the mend."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.checkpoint import checkpoint_folder, latest_checkpoint, read_notes, save_checkpoint
from gtr_agent.config import Settings
from gtr_agent.files import new_folder
from gtr_agent.policy import load_policy
from gtr_agent.train import drop_old_checkpoints
from gtr_envs.errors import CheckpointError, OutputExistsError


@pytest.fixture
def checkpoint(actor: ActorCritic, settings: Settings, tmp_path: Path, stir) -> Path:  # type: ignore[no-untyped-def]
    stir(actor, 1)
    folder = checkpoint_folder(tmp_path / "run", 3)
    save_checkpoint(folder, actor, settings, 3, {"success": 0.5})
    return folder


INPUTS = {"input_ids": torch.tensor([[300, 400, 500]])}


def test_plain_peft_loads_an_adapter_saved_here(checkpoint: Path, actor: ActorCritic, tiny_folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny_folder, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, checkpoint)
    with torch.no_grad():
        torch.testing.assert_close(model(**INPUTS).logits, actor.model(**INPUTS).logits)


def test_load_policy_finds_the_base_and_plays_the_same_function(checkpoint: Path, actor: ActorCritic) -> None:
    policy = load_policy(checkpoint)
    with torch.no_grad():
        torch.testing.assert_close(
            policy.actor.causal(**INPUTS).logits, actor.model(**INPUTS).logits, atol=2e-5, rtol=1e-4
        )
    assert policy.name == "run@3"
    assert policy.meta["method"] == "gtr-turbo-kl"
    assert load_policy(checkpoint.parent.parent).name == "run@3", "a run's folder stands for its newest checkpoint"


def test_a_checkpoint_moved_together_with_its_base_still_loads(
    actor: ActorCritic, settings: Settings, tiny_folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    shutil.copytree(tiny_folder, here / "base")
    moved_settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"base": str(here / "base")})}
    )
    actor.model.peft_config["default"].base_model_name_or_path = str(here / "base")
    save_checkpoint(here / "agent", actor, moved_settings, 1, {})
    here.rename(tmp_path / "there")
    assert load_policy(tmp_path / "there" / "agent").name == "agent"


def test_the_value_head_and_the_notes_are_saved(checkpoint: Path, actor: ActorCritic) -> None:
    from safetensors.torch import load_file

    assert actor.value_head is not None
    saved = load_file(checkpoint / "value_head.safetensors")
    assert saved.keys() == actor.value_head.state_dict().keys()
    notes = read_notes(checkpoint)
    assert (notes["update"], notes["env_id"], notes["metrics"]) == (3, "gtr/Points24-v0", {"success": 0.5})
    assert "gtr-turbo-kl" in (checkpoint / "README.md").read_text()


def test_damaged_and_missing_checkpoints_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        load_policy(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        load_policy(tmp_path / "empty")

    weights = checkpoint / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(checkpoint)
    weights.unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        load_policy(checkpoint)
    (checkpoint / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(checkpoint)


def test_a_base_that_is_gone_is_named(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "adapter_config.json").read_text())
    notes = json.loads((checkpoint / "gtr_bench.json").read_text())
    (checkpoint / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone/base"}))
    (checkpoint / "gtr_bench.json").write_text(json.dumps(notes | {"base_model_relative": "../gone"}))
    with pytest.raises(CheckpointError, match="/gone/base"):
        load_policy(checkpoint)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupted() -> None:
        with new_folder(out) as partial:
            (partial / "half").write_text("...")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with new_folder(out) as partial:
        (partial / "whole").write_text("!")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["whole"]
    with pytest.raises(OutputExistsError), new_folder(out):
        pass
    assert [path.name for path in out.iterdir()] == ["whole"]


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for update in range(1, 6):
        checkpoint_folder(tmp_path, update).mkdir(parents=True)
        drop_old_checkpoints(tmp_path, 2, update)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["update-000004", "update-000005"]
    assert latest_checkpoint(tmp_path) == checkpoint_folder(tmp_path, 5)
