"""In bfloat16 a small change is lost in a folded weight: it is measured, and kept apart where it counts."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load, save

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.experience import prepare
from gtr_agent.folding import beside, folding_error, folds_exactly, lora_layers, task_vectors
from gtr_agent.guidance import merged_guide
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.model import load_base, weights_type
from gtr_agent.parallel import Workers
from gtr_agent.progress import Clock
from gtr_agent.rollout import Collector
from gtr_agent.settings import MergeSettings, Settings
from gtr_agent.start import make_actor
from gtr_agent.teacher import MergedTeacher
from tests.agent.test_ppo import changed

ANSWERS = stack_answers([[400, 401, 402], [500, 501, 502]], [[False, False, True]] * 2, 0)


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    rng = np.random.default_rng(0)
    return encode_prompts(processor, ["what?"] * 2, [rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)] * 2)


def log_probs(actor: ActorCritic, prompt: PromptBatch) -> torch.Tensor:
    with torch.no_grad():
        return actor.score(prompt, ANSWERS).log_probs


def learn_a_little(actor: ActorCritic, size: float, seed: int = 0) -> None:
    """Gives the adapter a change as after some small steps."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in lora_layers(actor.model).values():
            weight = layer.lora_B["default"].weight
            weight.copy_(torch.randn(weight.shape, generator=generator).sign() * size)


def in_bfloat16(actor: ActorCritic) -> ActorCritic:
    """The agent as it would be on a GPU: its base in bfloat16, its adapter in float32."""
    actor.precision = "bfloat16"
    for layer in lora_layers(actor.model).values():
        layer.get_base_layer().to(torch.bfloat16)
    actor.train_folded = False
    return actor


def test_the_type_of_a_model_s_weights() -> None:
    assert weights_type("float32", "cuda") == torch.float32
    assert weights_type("bfloat16", "cuda") == torch.bfloat16
    assert weights_type("bfloat16", "cuda", trained=True) == torch.float32
    assert weights_type("bfloat16", "cpu") == weights_type("float32", "cpu") == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_base_is_loaded_in_the_type_of_the_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    from transformers import AutoModelForImageTextToText

    asked = []

    class Stop(Exception):
        pass

    def stop(path: str, **more: Any) -> None:
        asked.append(more["dtype"])
        raise Stop

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", stop)
    monkeypatch.setattr("gtr_agent.precision.is_fast_in_bfloat16", lambda device: True)
    with pytest.raises(Stop):
        load_base(changed(settings, model={"precision": precision}), "cuda")
    assert asked == [getattr(torch, precision)]


def test_small_changes_are_lost_in_bfloat16_and_kept_in_float32(actor: ActorCritic) -> None:
    assert folding_error(actor.model, "float32") is None, "before anything is learned"
    learn_a_little(actor, 1e-6)
    small = folding_error(actor.model, "bfloat16")
    learn_a_little(actor, 1e-2)
    large = folding_error(actor.model, "bfloat16")
    assert small is not None
    assert large is not None
    assert small > 0.9
    assert large < 0.1
    exact = folding_error(actor.model, "float32")
    assert exact is not None
    assert exact < 1e-3


def test_the_sampled_error_is_that_of_all_entries(actor: ActorCritic) -> None:
    learn_a_little(actor, 1e-4)
    lost = whole = 0.0
    for name, delta in task_vectors(actor.model).items():
        base = lora_layers(actor.model)[name].get_base_layer().weight.detach()
        kept = (base + delta).bfloat16().double() - base.double()
        lost += float((kept - delta.double()).square().sum())
        whole += float(delta.double().square().sum())
    assert folding_error(actor.model, "bfloat16") == pytest.approx((lost / whole) ** 0.5, rel=0.1)


def test_where_folding_loses_nothing(actor: ActorCritic) -> None:
    assert folds_exactly(actor.model, "float32")
    assert not folds_exactly(actor.model, "bfloat16")
    assert not in_bfloat16(actor).folds
    actor.train_folded = True
    assert actor.folds, "training computes with the same sums"


def test_what_is_sampled_is_what_is_trained_however_small_the_change(
    actor: ActorCritic, settings: Settings, processor: Any
) -> None:
    learn_a_little(in_bfloat16(actor), 2e-5)
    gaps = {}
    for wish in (None, True):
        actor.collect_folded = wish
        collector = Collector(settings, actor, processor, Workers(1))
        with actor.as_collected():
            rollout = collector.collect()
        collector.close()
        found = prepare(actor, rollout, settings, processor.tokenizer.pad_token_id, None, Workers(1), Clock()).metrics
        gaps[wish] = found["sampling_gap"]
        assert found["folding_error"] > 0.5
    assert gaps[None] < 0.7 * gaps[True], "beside the weights the change is kept"


def test_a_change_beside_the_weights_is_the_adapter_s(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    stir(actor, 1)
    plain = log_probs(actor, prompt)
    actor.collect_folded = False
    with actor.as_collected():
        torch.testing.assert_close(log_probs(actor, prompt), plain, atol=2e-5, rtol=1e-4)
    with beside(actor.model, {name: [delta] for name, delta in task_vectors(actor.model).items()}):
        torch.testing.assert_close(log_probs(actor, prompt), plain, atol=2e-5, rtol=1e-4)
    assert torch.equal(log_probs(actor, prompt), plain), "all is as it was"
    hooks = [layer.get_base_layer()._forward_hooks for layer in lora_layers(actor.model).values()]
    assert not any(hooks)


def test_a_teacher_keeps_small_changes_in_bfloat16(actor: ActorCritic, prompt: PromptBatch) -> None:
    settings = MergeSettings(weights="sma", density=1.0)
    base = log_probs(in_bfloat16(actor), prompt)
    apart = MergedTeacher(actor.model, settings, "bfloat16", apart=True)
    with apart.active():
        assert torch.equal(log_probs(actor, prompt), base), "before the first merge it is the base"
    for seed in range(2):
        learn_a_little(actor, 1e-5, seed)
        apart.merge()
    for name, weight in apart.weights.items():
        wanted = apart.delta(name)
        assert weight.dtype == torch.bfloat16
        assert (weight - wanted).norm() < 0.005 * wanted.norm(), "folded, nearly all of it would be lost"
    with apart.active():
        assert not torch.equal(log_probs(actor, prompt), base)


def test_a_teacher_apart_is_the_folded_one_and_is_resumed(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    folding, apart, resumed = (MergedTeacher(actor.model, MergeSettings(), apart=flag) for flag in (False, True, True))
    seen, adapters = [], []
    for seed in range(3):
        stir(actor, seed)
        adapters.append(load(save(get_peft_model_state_dict(actor.model))))
        one, other = apart.merge(seed), folding.merge(seed)
        assert one.distance == other.distance
        assert one.change == pytest.approx(other.change, rel=1e-4)
        with folding.active():
            wanted = log_probs(actor, prompt)
        with apart.active():
            seen.append(log_probs(actor, prompt))
        torch.testing.assert_close(seen[-1], wanted, atol=5e-5, rtol=1e-4)
    assert all(not torch.equal(one, two) for one, two in pairwise(seen))
    resumed.load_state(apart.state(), adapters.__getitem__)
    assert all(torch.equal(resumed.weights[name], weight) for name, weight in apart.weights.items())


def test_the_run_s_teacher_computes_as_its_agent(actor: ActorCritic, settings: Settings) -> None:
    guide = merged_guide(actor, settings)
    assert guide.merged is not None
    assert not guide.merged.apart
    precise = changed(settings, model={"precision": "bfloat16"})
    guide = merged_guide(in_bfloat16(actor), precise)
    assert guide.merged is not None
    assert guide.merged.apart


def test_an_agent_that_was_trained_beside_its_weights_is_played_so(
    settings: Settings, actor: ActorCritic, tmp_path: Path
) -> None:
    from gtr_agent.checkpoint import save_checkpoint
    from gtr_agent.policy import load_policy

    for folds in (False, True):
        own = changed(settings, model={"precision": "bfloat16", "train_folded": folds})
        save_checkpoint(tmp_path / str(folds), make_actor(load_base(own, "cpu")[0], own), own, 1, {})
        model = load_policy(tmp_path / str(folds), precision="bfloat16").actor.model
        assert hasattr(model, "peft_config") is not folds
