"""Training through folded weights is the same training."""

from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.config import load_settings
from gtr_agent.experience import Experience, prepare
from gtr_agent.folding import folded_for_training, lora_layers
from gtr_agent.model import load_model
from gtr_agent.parallel import Workers
from gtr_agent.ppo import Update, ppo_loss
from gtr_agent.progress import Clock
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.settings import Settings
from gtr_agent.start import make_actor
from gtr_envs.errors import SettingError


@pytest.fixture
def pair(settings: Settings, stir: Any) -> tuple[ActorCritic, ActorCritic]:
    """The same agent twice: trained with its adapter beside the weights, and folded."""
    actors = []
    for train_folded in (False, True):
        actor = make_actor(load_model(settings.model.base, settings.model.attention), settings)
        actor.train_folded = train_folded
        stir(actor, 1)
        actors.append(actor)
    return actors[0], actors[1]


@pytest.fixture
def rollout(settings: Settings, pair: tuple[ActorCritic, ActorCritic], processor: Any, workers: Workers) -> Rollout:
    collector = Collector(settings, pair[0], processor, workers)
    try:
        return collector.collect()
    finally:
        collector.close()


def experience_of(actor: ActorCritic, rollout: Rollout, settings: Settings, pad: int, workers: Workers) -> Experience:
    return prepare(actor, rollout, settings, pad, None, workers, Clock())


def test_the_gradients_are_those_of_the_adapter(
    pair: tuple[ActorCritic, ActorCritic], rollout: Rollout, settings: Settings, processor: Any, workers: Workers
) -> None:
    pad = processor.tokenizer.pad_token_id
    gradients = []
    for actor in pair:
        experience = experience_of(actor, rollout, settings, pad, workers)
        everyone = range(len(experience.transitions))
        advantages = torch.linspace(-1, 1, len(everyone))
        with actor.trained_weights() as weights:
            loss, report = ppo_loss(actor, experience, advantages, everyone, settings.ppo, pad)
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = gradient
        assert report.ratio_gap < 1e-4, "what was scored is what is trained"
        for layer in lora_layers(actor.model).values():
            base = layer.get_base_layer().weight
            assert base.grad is None
            assert not base.requires_grad
        gradients.append({name: weight.grad for name, weight in actor.named_parameters() if weight.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient is not None
        assert gradient.abs().max() > 0 or "value_head" in name, name  # the value head begins at zero
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-3)


def test_an_update_comes_to_the_same_weights(
    pair: tuple[ActorCritic, ActorCritic], rollout: Rollout, settings: Settings, processor: Any, workers: Workers
) -> None:
    pad = processor.tokenizer.pad_token_id
    trained = []
    for actor in pair:
        experience = experience_of(actor, rollout, settings, pad, workers)
        optimizer = torch.optim.SGD([weight for weight in actor.parameters() if weight.requires_grad], lr=0.1)
        Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), workers)(experience)
        trained.append({name: weight for name, weight in actor.named_parameters() if weight.requires_grad})
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, atol=1e-5, rtol=1e-3)


def test_the_base_may_be_kept_less_precisely_than_the_adapter(pair: tuple[ActorCritic, ActorCritic]) -> None:
    layers = lora_layers(pair[1].model)
    for layer in layers.values():
        layer.get_base_layer().weight.data = layer.get_base_layer().weight.data.bfloat16()
    with folded_for_training(pair[1].model) as weights:
        for weight in weights:
            assert weight.dtype == torch.bfloat16
            weight.grad = torch.ones_like(weight)
    for layer in layers.values():
        factor_a, factor_b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        down = (layer.scaling["default"] * factor_b.sum(0)).unsqueeze(1).expand_as(factor_a)
        torch.testing.assert_close(factor_a.grad, down.detach())
        across = (layer.scaling["default"] * factor_a.sum(1)).unsqueeze(0).expand_as(factor_b)
        torch.testing.assert_close(factor_b.grad, across.detach())


def test_an_error_on_the_way_leaves_the_model_as_it_was(pair: tuple[ActorCritic, ActorCritic]) -> None:
    actor = pair[1]
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in actor.named_parameters()}
    with pytest.raises(RuntimeError, match="midway"), actor.trained_weights():
        raise RuntimeError("midway")
    for name, weight in actor.named_parameters():
        assert torch.equal(weight, before[name][0])
        assert weight.requires_grad == before[name][1], name
        assert weight.grad is None


def test_dropout_and_folding_exclude_each_other() -> None:
    with pytest.raises(SettingError, match=r"^model: lora_dropout=0\.1 cannot be had with"):
        load_settings("tiny-points24", overrides=["model.lora_dropout=0.1", "model.train_folded=true"])
