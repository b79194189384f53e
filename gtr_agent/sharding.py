"""The frozen base model spread over the processes of a run by FSDP, where the launcher asks for it.

Only what is large and never changes is sharded: the weights of the repeated blocks, of the language model and of the
vision tower. The adapter, the value head, their gradients and Adam's moments, the embeddings and the output layer stay
whole in every process, so that gradients are averaged, checkpoints written and teachers merged just as without.

Answers are written token by token, and gathering each block anew for each token would take far longer than computing
it. So all that has no gradients (collecting, scoring, the teacher) happens with the weights gathered once, as TRL does
for generation; between passes with gradients, where activations need the memory, each process holds its part alone and
blocks are gathered one after the other. Every process must then make as many passes as the others: see
:class:`gtr_agent.ppo.Update`.

Source: FSDP2 (https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn

from gtr_agent.launch import sharding_asked_for
from gtr_agent.ranks import Ranks
from gtr_agent.settings import Settings
from gtr_envs.errors import SettingError


class Sharding(Protocol):
    """How the base model's weights lie.

    Attributes:
        active: whether a process holds only a part of them.
    """

    active: bool

    def whole(self) -> Any:
        """A context within which every process holds all of them, for passes without gradients, however many."""


class NoSharding:
    """Every process holds the whole model."""

    active = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Nothing has to be gathered."""
        yield


def check_sharding(settings: Settings, resume: bool = False) -> None:
    """Make sure that what the launcher asks for can be had with the run's settings.

    Args:
        settings: the run's.
        resume: whether the run is gone on with, so that its settings cannot be changed.

    Raises:
        SettingError: it cannot.
    """
    if not sharding_asked_for() or settings.method == "sft":
        return
    folded = [name for name in ("train_folded", "collect_folded") if getattr(settings.model, name) is True]
    if folded:
        mend = " ".join(f"--set model.{name}=false" for name in folded)
        if resume:
            mend = (
                "the run was begun so; go on with it without sharding: torchrun, or presets/accelerate/one-machine.yaml"
            )
        raise SettingError(
            f"the launcher asks for FSDP, and model.{folded[0]}=true folds the adapter into whole weights; {mend}"
        )


def shard(model: nn.Module, ranks: Ranks) -> Sharding:
    """Spread a model over the processes of the run, as the launcher asks.

    Args:
        model: the base model, before it gets an adapter; in place.
        ranks: the processes of the run.

    Raises:
        SettingError: the launcher asks for something that is not done here.
    """
    return FsdpSharding(model, ranks) if sharding_asked_for() and ranks.count > 1 else NoSharding()


def blocks(model: nn.Module) -> list[nn.Module]:
    """The model's repeated blocks, in the order in which they are registered: what stands in its outermost lists.

    The layers of language model and vision tower are what nearly all weights are in; embeddings, the output layer and
    what connects the two are not among them.
    """
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            found += [block for block in child if next(block.parameters(), None) is not None]
        else:
            found += blocks(child)
    return found


class FsdpSharding:
    """By torch's own ``fully_shard``, a block at a time.

    Args:
        model: the base model; in place.
        ranks: the processes of the run.
    """

    active = True

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(ranks.device.type, (ranks.count,))
        self.blocks: list[Any] = blocks(model)
        for block in self.blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=True)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Gather every block, and let go of the others' parts at the end."""
        for block in self.blocks:
            block.set_reshard_after_forward(False)
            block.unshard()
        try:
            yield
        finally:
            for block in self.blocks:
                block.reshard()
                block.set_reshard_after_forward(True)
