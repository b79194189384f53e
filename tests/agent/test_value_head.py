"""A new value head is fitted before its first use."""

import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.experience import explained_variance, fit_value_head
from gtr_agent.ranks import Ranks
from gtr_agent.settings import Settings


def test_fitting_explains_returns_that_follow_from_the_states(actor: ActorCritic, settings: Settings) -> None:
    assert actor.value_head is not None
    states = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    returns = 3 * states[:, 0] - 2
    before = {name: weight.clone() for name, weight in actor.model.named_parameters()}
    fit_value_head(actor, states, returns, settings.ppo.model_copy(update={"value_warmup_steps": 200}), Ranks())
    with torch.no_grad():
        assert explained_variance(actor.value(states), returns) > 0.8
    assert all(torch.equal(weight, before[name]) for name, weight in actor.model.named_parameters())


def test_explained_variance_by_hand() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.zeros(4), returns) == 0
    assert explained_variance(torch.tensor([1.5, 1.5, 3.5, 3.5]), returns) == pytest.approx(0.8)  # 0.25 of 1.25 is left
    assert explained_variance(returns, torch.ones(4)) == 0
