"""Checkpoints: plain PEFT adapters, whole or absent, with errors that say the mend."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.checkpoint import load_weights, read_adapter, read_notes, save_checkpoint, state_folder
from gtr_agent.model import load_model
from gtr_agent.policy import load_policy
from gtr_agent.run_folder import checkpoint_folder, latest_resumable
from gtr_agent.run_state import load_optimizer, optimizer_state, random_state, read_part, restore_random
from gtr_agent.settings import Settings
from gtr_agent.start import make_actor, make_optimizer
from gtr_agent.teacher import MergedTeacher
from gtr_envs.errors import CheckpointError
from gtr_envs.storage import find_damage

ROOT = Path(__file__).resolve().parents[2]


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


def train_a_little(actor: ActorCritic, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """A step with made-up gradients."""
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(actor: ActorCritic, settings: Settings, tmp_path: Path) -> None:
    """Adapter, value head, optimiser, teacher and generators."""
    optimizer, rng = make_optimizer(actor, settings.ppo), np.random.default_rng(1)
    teacher = MergedTeacher(actor.model, settings.merge)
    for seed in range(2):
        train_a_little(actor, optimizer, seed)
        teacher.merge(seed + 1)
        if seed == 0:
            save_checkpoint(checkpoint_folder(tmp_path, 1), actor, settings, 1, {}, {"progress": {"updates": 1}})
    rng.random(3)
    folder = checkpoint_folder(tmp_path, 2)
    state = {
        "optimizer": optimizer_state(optimizer),
        "random": random_state({"shuffle": rng}),
        "teacher": teacher.state(),
        "progress": {"updates": 2},
    }
    save_checkpoint(folder, actor, settings, 2, {}, state)
    assert latest_resumable(tmp_path, pytest.fail) == folder

    other = make_actor(load_model(settings.model.base, settings.model.attention), settings)
    other_optimizer, other_rng = make_optimizer(other, settings.ppo), np.random.default_rng(2)
    load_weights(other, folder)
    load_optimizer(other_optimizer, read_part(state_folder(folder), "optimizer"))
    restore_random(read_part(state_folder(folder), "random"), {"shuffle": other_rng})
    other_teacher = MergedTeacher(other.model, settings.merge)
    other_teacher.load_state(read_part(state_folder(folder), "teacher"), partial(read_adapter, tmp_path))
    assert read_part(state_folder(folder), "progress") == {"updates": 2}
    for one, two in ((actor, optimizer), (other, other_optimizer)):
        train_a_little(one, two, 9)
    assert teacher.merge(3) == other_teacher.merge(3)
    assert rng.random() == other_rng.random()
    weights = dict(other.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in actor.named_parameters())
    assert all(torch.equal(weight, other_teacher.weights[name]) for name, weight in teacher.weights.items())


def test_weights_of_another_architecture_are_refused(checkpoint: Path, settings: Settings) -> None:
    for section, change in (("model", {"lora_rank": 3}), ("ppo", {"value_hidden": (7,)})):
        part = getattr(settings, section).model_copy(update=change)
        other = make_actor(
            load_model(settings.model.base, settings.model.attention), settings.model_copy(update={section: part})
        )
        before = {name: weight.clone() for name, weight in other.named_parameters()}
        with pytest.raises(CheckpointError, match=r"another architecture.*settings that began the run"):
            load_weights(other, checkpoint)
        assert all(torch.equal(weight, before[name]) for name, weight in other.named_parameters())


def test_damaged_weights_are_not_resumed(checkpoint: Path, actor: ActorCritic) -> None:
    assert find_damage(checkpoint) is None
    for name in ("value_head.safetensors", "adapter_model.safetensors"):
        path = checkpoint / name
        path.write_bytes(path.read_bytes()[:-1])
        assert name in str(find_damage(checkpoint))
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            load_weights(actor, checkpoint)
        path.unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            load_weights(actor, checkpoint)
