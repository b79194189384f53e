"""One process of the test of sharding: the same run with whole and with sharded weights, one after the other.

    python sharded_in_two.py BASE OUT

Each KIND, ``whole`` and ``FSDP``, has a run for each method, in ``OUT/KIND-METHOD``. With FSDP the last update of
gtr-turbo-kl is taken away and done again. What each process holds of the blocks goes to ``OUT/KIND-RANK.json``.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from gtr_agent.config import load_settings
from gtr_agent.model import load_model
from gtr_agent.ranks import Ranks, part
from gtr_agent.sharding import blocks, shard
from gtr_agent.train import train
from tests.agent.conftest import TOY

ASKED = {"whole": {}, "FSDP": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}}


def held(model: torch.nn.Module) -> int:
    """How many numbers of the blocks' weights this process holds."""
    weights = [weight for block in blocks(model) for weight in block.parameters()]
    return sum((weight.to_local() if isinstance(weight, DTensor) else weight).numel() for weight in weights)


def present(model: torch.nn.Module) -> int:
    """How many numbers of the blocks' weights are there to compute with."""
    weights = [weight for block in blocks(model) for weight in block.parameters()]
    return sum(weight.numel() for weight in weights if not isinstance(weight, DTensor))


def main(base: str, out: str) -> None:
    torch.set_num_threads(1)
    ranks = Ranks()
    for kind, asked in ASKED.items():
        os.environ.update(asked)
        for method in ("gtr", "gtr-turbo-kl"):
            run = Path(out, f"{kind}-{method}")
            recompute = str(method != "gtr").lower()
            changes = [f"method={method}", "model.train_folded=false", f"model.gradient_checkpointing={recompute}"]
            settings = load_settings("tiny-points24", overrides=[*TOY, f"model.base={base}", *changes])
            last = train(settings, run)
            if (kind, method) == ("FSDP", "gtr-turbo-kl"):
                if ranks.is_main:
                    shutil.copytree(last, Path(out) / "before")
                    shutil.rmtree(last)
                ranks.wait()
                train(settings, run, resume=True)

        model = load_model(base)
        before = held(model)
        sharding = shard(model, ranks)
        report = {"all": before, "held": held(model), "between": present(model)}
        with sharding.whole():
            report["within"] = present(model)
        report["after"] = present(model)
        Path(out, f"{kind}-{ranks.index}.json").write_text(json.dumps(report))
        for variable in asked:
            del os.environ[variable]
    part()


if __name__ == "__main__":
    main(*sys.argv[1:])
