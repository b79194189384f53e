"""A run's state comes back bit for bit, without a pickle; what is damaged or has changed is named."""

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gtr_agent import run_state
from gtr_agent.run_state import (
    load_optimizer,
    optimizer_state,
    random_state,
    read_part,
    restore_random,
    seed_globals,
    write_state,
)
from gtr_envs.errors import CheckpointError

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda weights: torch.optim.Adam(weights, lr=1e-2, betas=(0.9, 0.98), amsgrad=True),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=torch.tensor(1e-2)),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=1e-2, momentum=0.9),
    "adafactor": lambda weights: torch.optim.Adafactor(weights, lr=1e-2),
}


def same(one: Any, two: Any) -> bool:
    """Whether two nested values are of the same types and bits."""
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(bits(one), bits(two))
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two) or (one != one and two != two)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def through_files(folder: Path, part: Any) -> Any:
    write_state(folder, {"part": part})
    return read_part(folder, "part")


VALUES = {
    "plain": [None, True, 0, -1, 2**200, 0.1, 1e-300, float("inf"), float("nan"), -0.0, "", "ä♠\ud800\n"],
    "tuples": ((), (1, (2, [3, (4,)]))),
    "keys": {0: "int", "0": "text", None: 1, (1, 2): {}, True: 2.5},
    "marks": {"$tuple": [1], "$tensor": 0, "$dict": {"$array": 5}},
    "one mark": {"$tensor": 0},
    "arrays": [np.arange(6, dtype=np.uint64).reshape(2, 3), np.array(2.5, np.float32), np.zeros((0, 3), np.int8)],
}


def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    assert same(through_files(tmp_path, VALUES), VALUES)


@pytest.mark.parametrize("limit", [1, 100, 2**31])
def test_every_kind_of_tensor_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(run_state, "BYTES_IN_FILE", limit)
    whole = torch.randn(4, 6)
    tensors = {
        **{str(dtype): torch.tensor([[0, 1], [3, 127]]).to(dtype) for dtype in DTYPES},
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "scalar": torch.tensor(7.0),
        "empty": [torch.zeros(0), torch.zeros(3, 0, dtype=torch.int64)],
        "views": [whole, whole[1:, 2:], whole.t(), whole, whole[0].expand(5, 6)],
        "trained": nn.Parameter(torch.randn(3)).detach(),
    }
    found = through_files(tmp_path, tensors)
    assert same(found, tensors)
    assert found["views"][0].data_ptr() != found["views"][3].data_ptr(), "each has memory of its own"
    assert len(list(tmp_path.glob("part-*.safetensors"))) > 1 or limit == 2**31


DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int16,
    torch.uint8,
    torch.bool,
)


def test_what_cannot_be_saved_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"part\['a'\]\[1\] is a object"):
        write_state(tmp_path, {"part": {"a": [1, object()]}})
    with pytest.raises(TypeError, match="float64"):
        write_state(tmp_path, {"part": {"mean": np.float64(1)}})


def problem() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).to(torch.bfloat16)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    inputs = torch.randn(9, 5, generator=torch.Generator().manual_seed(number)).bfloat16()
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimiser_goes_on_bit_for_bit(tmp_path: Path, kind: str) -> None:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        return OPTIMIZERS[kind]([{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}])

    first = problem()
    optimizer = make(first)
    for number in range(3):
        step(first, optimizer, number)
    saved = through_files(tmp_path, optimizer_state(optimizer))
    assert same(saved, optimizer_state(optimizer))

    second = problem()
    second.load_state_dict({name: weight.clone() for name, weight in first.state_dict().items()})
    again = make(second)
    load_optimizer(again, saved)
    assert same(optimizer_state(again), optimizer_state(optimizer))
    for number in range(3, 6):
        step(first, optimizer, number)
        step(second, again, number)
    assert same(dict(first.state_dict()), dict(second.state_dict()))


def test_an_optimisers_own_precision_is_kept() -> None:
    """Torch's own loading casts to the weight's type."""
    weight = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    exact = torch.tensor([0.1, 0.2, 0.3])
    optimizer.state[weight]["exp_avg"] = exact.clone()
    other = torch.optim.Adam([nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))])
    load_optimizer(other, optimizer_state(optimizer))
    assert same(other.state_dict()["state"][0]["exp_avg"], exact)


def test_another_optimiser_is_refused() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(3))])
    before = optimizer_state(optimizer)
    for other in ([nn.Parameter(torch.zeros(4))], [nn.Parameter(torch.zeros(3))] * 1 + [nn.Parameter(torch.zeros(1))]):
        with pytest.raises(CheckpointError, match="of other weights"):
            load_optimizer(optimizer, optimizer_state(torch.optim.Adam(other)))
    with pytest.raises(CheckpointError, match="param_groups"):
        load_optimizer(optimizer, {"shapes": before["shapes"], "state": {}})
    assert same(optimizer_state(optimizer), before)


def draws(generators: dict[str, np.random.Generator]) -> list[Any]:
    own = [generator.standard_normal(3).tolist() for generator in generators.values()]
    return [*own, random.gauss(0, 1), np.random.standard_normal(), torch.randn(3).tolist()]  # noqa: NPY002


def make_generators(seed: int) -> dict[str, np.random.Generator]:
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)
    return {kind.__name__: np.random.Generator(kind(seed)) for kind in kinds}


def test_every_generator_goes_on(tmp_path: Path) -> None:
    generators = make_generators(1)
    generators["PCG64"].integers(10, dtype=np.uint32)  # half of a 64-bit draw is kept for the next
    draws(generators)
    state = through_files(tmp_path, random_state(generators))
    expected = draws(generators)
    others = make_generators(2)
    random.seed(5)
    torch.manual_seed(5)
    restore_random(state, others)
    assert draws(others) == expected


def test_seeded_globals_follow_from_seed_and_rank() -> None:
    found = []
    for seed, rank in ((1, 0), (1, 0), (2, 0), (1, 1)):
        seed_globals(seed, rank)
        found.append(draws({}))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert found[0] != found[3]


def test_other_generators_are_refused() -> None:
    state = random_state({"shuffle": np.random.default_rng(0)})
    with pytest.raises(CheckpointError, match="shuffle"):
        restore_random(state, {"mix": np.random.default_rng(0)})
    with pytest.raises(CheckpointError, match="another kind"):
        restore_random(state, {"shuffle": np.random.Generator(np.random.MT19937(0))})
    with pytest.raises(CheckpointError, match="python"):
        restore_random({key: state[key] for key in state if key != "python"}, {"shuffle": np.random.default_rng(0)})


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """A state in the third of three checkpoints."""
    for number in (1, 2, 3):
        folder = tmp_path / "checkpoints" / f"update-{number:06d}" / "state"
        write_state(folder, {"part": {"weights": torch.ones(100), "count": 3}})
    return folder


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"count": 3})),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["part.json", "part-0.safetensors"])
def test_a_damaged_part_is_named_with_the_mend(state_folder: Path, name: str, damage: str) -> None:
    DAMAGE[damage](state_folder / name)
    word = "missing" if damage == "missing" else "damaged"
    with pytest.raises(CheckpointError, match=rf"{name} is {word}.*from update-000002 .*update-000001") as caught:
        read_part(state_folder, "part")
    assert isinstance(caught.value, OSError)


def test_a_part_that_does_not_fit_its_tensors_is_named(state_folder: Path) -> None:
    path = state_folder / "part.json"
    content = json.loads(path.read_text())
    content["structure"]["weights"] = {"$tensor": 9}
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not fit its tensors"):
        read_part(state_folder, "part")
    with pytest.raises(CheckpointError, match=r"teacher\.json is missing"):
        read_part(state_folder, "teacher")


def test_without_an_earlier_checkpoint_the_mend_is_a_new_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="begin a new run"):
        read_part(tmp_path / "checkpoints" / "update-000001" / "state", "part")
