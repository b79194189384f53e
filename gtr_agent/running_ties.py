"""The merge of all checkpoints so far: exact, in bounded memory, layer by layer.

A merge over all checkpoints costs the same at every update, however many there are, and no checkpoint is kept: only the
running sums of ``sign_sums.py``. ``ties_merge`` of ``ties.py`` is the same with all checkpoints at hand.

How exact. All sums are float32 and added in the order of arrival, so the merge is that of the batch within float32
rounding, a few parts in ten million. Two limits are worth knowing. Where the positive and the negative mass of an entry
cancel to within that rounding, the elected sign hangs on the order of the summands, here as in any batch merge. And an
EMA entry that stays trimmed for long is not faded without end (``sign_sums.FADED``): against the next checkpoint it
weighs nothing in float32 either way, but its two masses keep their ratio, so that the merge is right after any number
of arrivals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gtr_agent import sign_sums
from gtr_agent.sign_sums import SUM_NAMES, Sums, add_to_sums, blocks, empty_sums, fade_sums, merge_sums, widen_counts
from gtr_agent.ties import MergeMethod, check_alpha, check_density, check_weight, trim
from gtr_envs.errors import CheckpointError, SettingError

TOTAL_WEIGHT = "total_weight"
COUNT = "count"


class RunningTies:
    """The merge of all checkpoints added so far.

    Args:
        method: ``"ties"``, or ``"linear"`` for the plain weighted mean of untrimmed task vectors.
        density: the share of entries that is kept of each task vector (not used by ``"linear"``).
        alpha: None for equal weights (SMA), or the weight of a new checkpoint (EMA).
        device: where the sums are kept; None for where the task vectors are. The arithmetic is done where the task
            vectors are, so the result does not depend on it.

    Raises:
        SettingError: an unknown method, a density outside 0 to 1, an alpha that is not above 0 and at most 1.
    """

    def __init__(
        self,
        method: MergeMethod = "ties",
        density: float = 0.8,
        alpha: float | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if method not in ("ties", "linear"):
            raise SettingError(f"Unknown merge method {method!r}: it is 'ties' or 'linear'.")
        check_density(density)
        if alpha is not None:
            check_alpha(alpha)
        self.method = method
        self.density = density
        self.alpha = alpha
        self.device = device
        self.count = 0  # whole checkpoints added
        self.total_weight = 0.0  # sum of the weights of all checkpoints: the divisor of the linear merge
        self._sums: dict[str, Sums] = {}
        self._added: set[str] = set()  # layers of the checkpoint that is being added

    @property
    def layers(self) -> list[str]:
        """The layers' names."""
        return list(self._sums)

    @property
    def nbytes(self) -> int:
        """The bytes that the sums take."""
        return sum(values.nbytes for sums in self._sums.values() for values in sums.values())

    def update(self, deltas: Mapping[str, Tensor], weight: float | None = None) -> None:
        """Adds a whole checkpoint.

        Args:
            deltas: layer name -> untrimmed task vector; the same names and shapes at every call.
            weight: instead of the weight by the SMA or EMA rule; nothing is faded then.

        Raises:
            ValueError: other names or shapes than before, a value that is not finite, or a bad weight. Nothing is
                added then.
        """
        if weight is not None:
            check_weight(weight)
        self._check_names(deltas)
        for name, delta in deltas.items():
            self._check(name, delta)
        for name, delta in deltas.items():
            self._add(name, delta, weight)
        self.finish(weight)

    def add_layer(self, name: str, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Adds one layer of a checkpoint; `finish` ends the checkpoint when all its layers were added.

        Args:
            name: the layer's.
            delta: its untrimmed task vector.

        Returns:
            the layer's merged task vector without and with the new checkpoint, float32, on the task vector's device.

        Raises:
            ValueError: the layer was added already or is new, has another shape, or has values that are not finite.
                The layer is as before then.
        """
        if name in self._added or (self.count and name not in self._sums):
            raise ValueError(f"Layer {name} was added to this checkpoint already, or no checkpoint before had it.")
        self._check(name, delta)
        return self._add(name, delta, None)

    def finish(self, weight: float | None = None) -> None:
        """Ends the checkpoint whose layers were added.

        Args:
            weight: as in `update`.

        Raises:
            ValueError: layers that earlier checkpoints had were not added.
        """
        self._check_names(self._added)
        fade, share = self._rule(weight)
        self.total_weight = self.total_weight * fade + share
        self.count += 1
        self._added = set()

    def merged_layer(self, name: str, device: torch.device | str | None = None) -> Tensor:
        """One layer's merged task vector, float32, in fresh memory.

        Args:
            name: the layer's.
            device: where it is wanted; None for where its sums are.
        """
        return merge_sums(self._fetch(name, device), self.total_weight)

    def merged(self) -> dict[str, Tensor]:
        """The merged task vectors of all layers by name, as at the head of ``ties.py``."""
        return {name: self.merged_layer(name) for name in self._sums}

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as a flat dict, ``"positive_sum/LAYER" -> tensor`` and so on, that safetensors can save.

        The tensors are the live ones, not copies: save them before the next checkpoint is added. Settings (method,
        density, alpha) are not part of it.
        """
        state = {f"{key}/{name}": values for name, sums in self._sums.items() for key, values in sums.items()}
        state[TOTAL_WEIGHT] = torch.tensor([self.total_weight], dtype=torch.float64)
        state[COUNT] = torch.tensor([self.count], dtype=torch.int64)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes the sums of a saved `state_dict` in place of its own.

        Args:
            state: what `state_dict` gave, of a merge with the same settings. Its tensors are taken over where they are
                in the right place already, and changed from then on: a large model's sums are not to exist twice.

        Raises:
            CheckpointError: an entry is missing, unknown or of another type. Nothing is changed then.
        """
        keys = SUM_NAMES[self.method]
        found: dict[str, Sums] = {}
        for full_name, values in state.items():
            if full_name in (TOTAL_WEIGHT, COUNT):
                continue
            key, _, name = full_name.partition("/")
            if key not in keys or not name:
                raise CheckpointError(f"Unknown entry {full_name!r} in the saved state of a {self.method} merge.")
            allowed = (torch.float32, torch.int16) if key.endswith("weight") else (torch.float32,)
            if values.dtype not in allowed:
                raise CheckpointError(
                    f"The saved state of a merge has {full_name} as {values.dtype}, not {allowed[0]}."
                )
            found.setdefault(name, {})[key] = values
        missing = [key for key in (TOTAL_WEIGHT, COUNT) if key not in state]
        missing += [f"{key}/{name}" for name, sums in found.items() for key in keys if key not in sums]
        if missing:
            raise CheckpointError(f"The saved state of a merge lacks {', '.join(missing)}.")
        self._sums = {
            name: {key: sums[key].detach().to(self.device or sums[key].device).contiguous() for key in keys}
            for name, sums in found.items()
        }
        self._added = set()
        self.total_weight = float(state[TOTAL_WEIGHT].item())
        self.count = int(state[COUNT].item())

    def _rule(self, weight: float | None) -> tuple[float, float]:
        """What all weights so far are multiplied by, and the weight of the checkpoint that is being added."""
        if weight is not None:
            return 1.0, weight
        if self.alpha is None or self.count == 0:
            return 1.0, 1.0
        return 1.0 - self.alpha, self.alpha

    def _add(self, name: str, delta: Tensor, weight: float | None) -> tuple[Tensor, Tensor]:
        """Adds a layer that was checked; returns its merge before and after."""
        fade, share = self._rule(weight)
        values = delta.detach().float()
        if name not in self._sums:
            place = self.device or values.device
            self._sums[name] = empty_sums(self.method, values.shape, place, counted=self.alpha is None)
        sums = self._fetch(name, values.device)
        if fade != 1.0 or share != 1.0 or self.count >= sign_sums.MOST_COUNTED:
            widen_counts(sums)
        values = (trim(values, self.density) if self.method == "ties" else values).reshape(-1)
        before, after = torch.empty_like(values), torch.empty_like(values)
        for piece, block in blocks(sums):
            before[piece] = merge_sums(block, self.total_weight)
            fade_sums(block, fade)
            add_to_sums(block, values[piece], share)
            after[piece] = merge_sums(block, self.total_weight * fade + share)
        self._store(name, sums)
        self._added.add(name)
        return before.view(delta.shape), after.view(delta.shape)

    def _fetch(self, name: str, device: torch.device | str | None) -> Sums:
        """A layer's sums where they are wanted: the very tensors if they are there already."""
        return {key: values.to(device) if device else values for key, values in self._sums[name].items()}

    def _store(self, name: str, sums: Sums) -> None:
        """Puts back what `_fetch` gave."""
        kept = self._sums[name]
        for key, values in sums.items():
            if values.dtype != kept[key].dtype:
                kept[key] = values.to(kept[key].device)
            elif values is not kept[key]:
                kept[key].copy_(values)

    def _check_names(self, names: Iterable[str]) -> None:
        odd = sorted(set(names) ^ self._sums.keys()) if self._sums else []
        if odd:
            raise ValueError(f"Every checkpoint must have the layers of the first one; these differ: {', '.join(odd)}.")

    def _check(self, name: str, delta: Tensor) -> None:
        """Raises ValueError where a layer does not fit those before, before anything is changed."""
        if name in self._sums:
            expected = next(iter(self._sums[name].values())).shape
            if delta.shape != expected:
                raise ValueError(
                    f"Layer {name} has shape {tuple(delta.shape)}, the first checkpoint's is {tuple(expected)}."
                )
        if not torch.isfinite(delta).all():
            raise ValueError(f"The task vector of layer {name} has values that are not finite: training diverged.")
