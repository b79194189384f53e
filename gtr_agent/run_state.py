"""What a run needs beside its weights to go on as if it had never stopped, as files without a pickle.

A state has parts: the optimiser, the generators, the environments, the teacher, ... Each is made of dicts, lists,
tuples, plain values, tensors and NumPy arrays, however nested, and comes back bit for bit and type for type. A part
called NAME is ``NAME.json``, in which each tensor has a number, and ``NAME-0.safetensors``, ``NAME-1.safetensors``, ...
with the tensors under their numbers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gtr_agent.run_folder import checkpoints
from gtr_envs.errors import CheckpointError
from gtr_envs.storage import write_atomic

BYTES_IN_FILE = 2**31
"""Tensors are collected on the CPU until they are about so large, and then written: a bound for memory."""

_TUPLE, _DICT, _TENSOR, _ARRAY = "$tuple", "$dict", "$tensor", "$array"
_MARKS = (_TUPLE, _DICT, _TENSOR, _ARRAY)


def write_state(folder: Path, parts: Mapping[str, Any]) -> None:
    """Write the parts of a run's state.

    Args:
        folder: where to; made if it is not there.
        parts: by name. The names become files' names.

    Raises:
        TypeError: a part holds something that is neither a plain value nor a tensor; the message says where.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        tensors: list[Tensor] = []
        structure = _pack(part, tensors, name)
        files = _write_tensors(folder, name, tensors)
        # Escapes instead of letters beyond ASCII: answers may hold anything, halves of letters too.
        text = json.dumps({"files": files, "structure": structure}) + "\n"
        write_atomic(folder / f"{name}.json", text, durable=True)


def read_part(folder: Path, name: str) -> Any:
    """Read one part of a run's state; its tensors come on the CPU and have memory of their own.

    Args:
        folder: where the state was written.
        name: the part's.

    Raises:
        CheckpointError: it is missing or damaged; the message names the file and the mend.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {_mend(folder)}")
    try:
        content = json.loads(path.read_text("utf-8"))
        structure, files = content["structure"], int(content["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}): {_mend(folder)}") from error
    tensors: dict[int, Tensor] = {}
    for index in range(files):
        tensors |= _read_tensors(folder / f"{name}-{index}.safetensors", folder)
    try:
        return _unpack(structure, tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit its tensors ({error!r}): {_mend(folder)}") from error


def seed_globals(seed: int, rank: int = 0) -> None:
    """Seed the global generators of Python, NumPy and torch, so that what libraries draw follows from the run's seed.

    Args:
        seed: the run's.
        rank: this process among those of the run; each draws numbers of its own.
    """
    numbers = np.random.SeedSequence([seed, 3, rank]).generate_state(3).tolist()
    random.seed(numbers[0])
    np.random.seed(numbers[1])  # noqa: NPY002
    torch.manual_seed(numbers[2])  # on every device


def random_state(generators: Mapping[str, np.random.Generator]) -> dict[str, Any]:
    """The state of everything that random numbers come from, as a part of a run's state.

    Args:
        generators: the run's own, by name. The global ones of Python, NumPy and torch (each GPU's too) join them.
    """
    return {
        "generators": {name: generator.bit_generator.state for name, generator in generators.items()},
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - the global one, which libraries may use
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random(state: Mapping[str, Any], generators: Mapping[str, np.random.Generator]) -> None:
    """Set everything that random numbers come from to a saved state.

    On a machine with fewer GPUs, or more, those that both have are set.

    Args:
        state: what :func:`random_state` gave.
        generators: the run's own, by the same names; they are set in place.

    Raises:
        CheckpointError: the names or the kinds of generators are others, or the state is damaged.
    """
    try:
        saved = state["generators"]
        if saved.keys() != generators.keys():
            raise CheckpointError(
                f"the saved generators are {', '.join(sorted(saved))}; this run has {', '.join(sorted(generators))}: "
                "resume with the version of gtr-bench that began the run"
            )
        for name, generator in generators.items():
            generator.bit_generator.state = saved[name]
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        for device, generator_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(generator_state, device)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"the saved random generators are damaged or of another kind ({error!r}); resume from another checkpoint"
        ) from error


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state, as a part of a run's state. The tensors are the live ones: save them before it steps."""
    return {"shapes": _shapes(optimizer), **optimizer.state_dict()}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimiser its saved state, bit for bit.

    Args:
        optimizer: of the same kind, over the same weights in the same order; it is changed in place.
        state: what :func:`optimizer_state` gave.

    Raises:
        CheckpointError: it is damaged, of another optimiser or of other weights. Nothing has changed then.
    """
    try:
        if state["shapes"] != _shapes(optimizer):
            raise ValueError("it is of other weights")
        content = {"state": state["state"], "param_groups": state["param_groups"]}
        optimizer.load_state_dict(content)
        numbers = [number for group in content["param_groups"] for number in group["params"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the saved optimiser is damaged or does not fit ({error}); resume with the settings that began the run, "
            "or from another checkpoint"
        ) from error
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, weight in zip(numbers, weights, strict=True):
        for key, saved in content["state"].get(number, {}).items():  # torch casts to the weight's type: undone here
            if torch.is_tensor(saved) and saved.dtype != optimizer.state[weight][key].dtype:
                optimizer.state[weight][key] = saved.to(optimizer.state[weight][key].device)


def _shapes(optimizer: torch.optim.Optimizer) -> list[list[list[int]]]:
    """The shapes of an optimiser's weights, group by group."""
    return [[list(weight.shape) for weight in group["params"]] for group in optimizer.param_groups]


def _pack(value: Any, tensors: list[Tensor], place: str) -> Any:
    """A value as JSON knows it; its tensors are added to the list, and stand as their numbers."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {_TENSOR: len(tensors) - 1}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {_ARRAY: [value.dtype.str, list(value.shape), value.ravel().tolist()]}
    if isinstance(value, tuple | list):
        items = [_pack(item, tensors, f"{place}[{index}]") for index, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, Mapping):
        items = [(key, _pack(item, tensors, f"{place}[{key!r}]")) for key, item in value.items()]
        if all(type(key) is str and key not in _MARKS for key, _ in items):
            return dict(items)
        keys = [_pack(key, tensors, f"{place}'s keys") for key, _ in items]
        return {_DICT: [[key, item] for key, (_, item) in zip(keys, items, strict=True)]}
    raise TypeError(
        f"{place} is a {type(value).__name__}, which no checkpoint can hold; "
        "use None, bool, int, float, str, lists, tuples, dicts, tensors or NumPy arrays of numbers"
    )


def _unpack(value: Any, tensors: Mapping[int, Tensor]) -> Any:
    """What :func:`_pack` was given."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark == _TENSOR:
            return tensors[content]
        if mark == _TUPLE:
            return tuple(_unpack(content, tensors))
        if mark == _DICT:
            return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}
        if mark == _ARRAY:
            dtype, shape, items = content
            return np.array(items, dtype=dtype).reshape(shape)
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _write_tensors(folder: Path, name: str, tensors: list[Tensor]) -> int:
    """Write tensors under their numbers; returns over how many files."""
    files, size = 0, 0
    waiting: dict[str, Tensor] = {}
    for index, tensor in enumerate(tensors):
        waiting[str(index)] = _alone(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BYTES_IN_FILE or index == len(tensors) - 1:
            save_file(_apart(waiting), folder / f"{name}-{files}.safetensors")
            files, size, waiting = files + 1, 0, {}
    return files


def _alone(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, whole in memory that holds nothing else: a copy only where it has to be one."""
    tensor = tensor.cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() else tensor.clone()


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none of them in another's memory, which safetensors would refuse."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return found


def _read_tensors(path: Path, folder: Path) -> dict[int, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            # Copied: a view of the file would depend on it, and its place in memory on the file's layout.
            return {int(key): file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: {_mend(folder)}") from error
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: {_mend(folder)}") from error


def _mend(folder: Path) -> str:
    """How to go on without a state that stands in a checkpoint's folder."""
    checkpoint = folder.parent
    earlier = [path.name for path in checkpoints(checkpoint.parent.parent) if path.name < checkpoint.name]
    if not earlier:
        return "there is no checkpoint before it; begin a new run"
    return f"move {checkpoint} away and resume, from {earlier[-1]} then (there are: {', '.join(earlier)})"
