"""A tiny agent, made once, for the tests of the trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.config import load_settings
from gtr_agent.model import load_model, load_processor
from gtr_agent.parallel import Workers
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.settings import Settings
from gtr_agent.start import make_actor
from gtr_agent.tiny import make_config, make_model, make_processor

TOY = (
    "model.precision=float32",
    "rollout.num_envs=4",
    "rollout.turns=3",
    "rollout.max_new_tokens=8",
    "ppo.updates=2",
    "ppo.epochs=1",
    "ppo.batch_size=6",
    "ppo.micro_batch_size=3",
    "sft.steps=2",
    "sft.batch_size=3",
    "sft.text_batch_size=3",
    "sft.eval_every=0",
    "sft.eval_episodes=2",
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk, but half as deep: two layers read and write."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    processor = make_processor()
    config = make_config(processor.tokenizer)
    config.text_config.num_hidden_layers = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    make_model(config, seed=0).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def processor(tiny_folder: Path) -> Any:
    """Its processor."""
    return load_processor(tiny_folder)


@pytest.fixture
def settings(tiny_folder: Path) -> Settings:
    """The tiny preset on a toy's budget, in float32."""
    return load_settings("tiny-points24", overrides=[*TOY, f"model.base={tiny_folder}"])


@pytest.fixture
def actor(settings: Settings) -> ActorCritic:
    """A fresh agent with its adapter and value head."""
    return make_actor(load_model(settings.model.base, settings.model.attention), settings)


@pytest.fixture
def workers() -> Workers:
    """One worker: the reference."""
    return Workers(1)


@pytest.fixture
def stir() -> Callable[[ActorCritic, int], None]:
    """Gives an agent's adapter random weights, so that it differs from its base."""
    import torch

    def stir(actor: ActorCritic, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in actor.model.named_parameters():
                if "lora_B" in name:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)

    return stir


@pytest.fixture
def rollout(settings: Settings, actor: ActorCritic, processor: Any, workers: Workers, stir: Any) -> Rollout:
    """Some turns of an agent whose adapter was stirred."""
    stir(actor, 1)
    collector = Collector(settings, actor, processor, workers)
    try:
        return collector.collect()
    finally:
        collector.close()
