"""One process of the tests of several: the gradients of an update's first step, written to a file.

    python one_of_two.py BASE OUT RATIO

Alone it plays the environments of both processes of a run of two; as one of two it plays its own.
"""

import sys
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from gtr_agent.config import load_settings
from gtr_agent.experience import prepare
from gtr_agent.model import load_model, load_processor
from gtr_agent.parallel import Workers
from gtr_agent.ppo import Update
from gtr_agent.progress import Clock
from gtr_agent.ranks import Ranks
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.start import make_actor, make_optimizer
from tests.agent.conftest import TOY


def main(base: str, out: str, ratio: str) -> None:
    torch.set_num_threads(1)
    ranks, workers = Ranks(), Workers(1)
    changes = [f"model.base={base}", f"ppo.ratio={ratio}", "ppo.max_grad_norm=1e9", "rollout.format_reward=1.0"]
    settings = load_settings("tiny-points24", overrides=[*TOY, *changes])
    actor, processor = make_actor(load_model(base, "eager"), settings), load_processor(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in actor.named_parameters():
            if "lora_B" in name or name.startswith("value_head"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
    played = []
    for index in [ranks.index] if ranks.count == 2 else [0, 1]:
        collector = Collector(settings, actor, processor, workers, rank=index, ranks=2)
        played.append(collector.collect())
        collector.close()
    rows = [list(chain(*parts)) for parts in zip(*(rollout.transitions for rollout in played), strict=True)]
    pad = processor.tokenizer.pad_token_id
    experience = prepare(actor, Rollout(rows, []), settings, pad, None, workers, Clock(), ranks)
    experience.returns[:] = torch.linspace(-1, 1, len(experience.returns)) + ranks.index  # of other means in each
    if ranks.count == 1:
        owner = torch.tensor([[0] * 4 + [1] * 4] * len(rows)).flatten()
        half = torch.linspace(-1, 1, len(owner) // 2)
        for index in (0, 1):
            experience.returns[owner == index] = half + index
    update = Update(
        actor, make_optimizer(actor, settings.ppo), settings.ppo, pad, np.random.default_rng(0), workers, ranks
    )
    advantages = update._normalise(experience)
    update._step(experience, advantages, list(range(len(experience.transitions))))
    gradients = {name: weight.grad for name, weight in actor.named_parameters() if weight.grad is not None}
    save_file(
        {name: gradient.contiguous() for name, gradient in gradients.items()}, Path(out) / f"{ranks.index}.safetensors"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
