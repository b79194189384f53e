"""Whether pictures are kept as features or as pixels is decided once, and not in a worker."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.features import tower_features
from gtr_agent.layout import encode_prompts
from gtr_agent.parallel import Workers
from gtr_agent.rollout import Collector
from gtr_agent.settings import Settings
from gtr_envs.errors import CheckpointError


def test_how_pictures_are_kept_is_decided_once_before_the_workers(
    settings: Settings, actor: ActorCritic, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def in_pieces(*arguments: Any) -> list[torch.Tensor]:
        """As of a model that cuts each picture in two."""
        looked.append(threading.get_ident())
        return [piece for piece in tower_features(*arguments) for _ in range(2)]

    monkeypatch.setattr("gtr_agent.actor_critic.tower_features", in_pieces)
    workers = Workers(2)
    collector = Collector(settings, actor, processor, workers)
    rows = [row for time in collector.collect().transitions for row in time]
    collector.close()
    workers.close()
    assert looked == [threading.get_ident()], "once, and in no worker"
    assert not actor.cache_features
    assert all("pixel_values" in row.prompt.picture for row in rows)


def test_pictures_that_change_their_kind_on_the_way_are_an_error(
    actor: ActorCritic, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [np.zeros((300, 300, 3), np.uint8)] * 2
    one, two = (encode_prompts(processor, ["what?"] * count, frames[:count]) for count in (1, 2))
    actor.settle_features(one)
    monkeypatch.setattr("gtr_agent.actor_critic.tower_features", lambda *given: tower_features(*given) * 2)
    with pytest.raises(CheckpointError, match="4 pictures' features for 2 turns"):
        actor.picture_features(two)
