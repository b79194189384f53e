"""In which precision forward passes run where the settings leave it to the machine.

Bfloat16 is taken where it is known to be faster: on a GPU that computes in it, and on a CPU with AMX. What the CPU is
able to do decides, and no stopwatch: so one machine always gives one answer, and the same inputs the same bytes. The
rule is measured (docs/tiny.md): with AMX passes of the tiny model take half of float32's time; with AVX-512's bfloat16
instructions alone a warm-start step takes 0.8 of it and an update of training 1.1; without either 4 to 9 times.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch

from gtr_envs.errors import SettingError

Precision = Literal["float32", "bfloat16"]
Wish = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def resolve_precision(wish: Wish, device: str) -> Precision:
    """The precision to compute in.

    Args:
        wish: a precision, or ``auto`` for the machine's own.
        device: where the model computes.

    Raises:
        SettingError: no such precision, or the device cannot compute in it.
    """
    if wish not in ("auto", *PRECISIONS):
        raise SettingError(f"precision {wish!r} is not known; choose auto, {' or '.join(PRECISIONS)}")
    if wish == "auto":
        return "bfloat16" if is_fast_in_bfloat16(device) else "float32"
    if wish == "bfloat16" and device != "cpu" and not is_fast_in_bfloat16(device):
        raise SettingError(
            f"precision 'bfloat16': {device_name(device)} does not compute in it; choose float32, or auto for the "
            "machine's own (a run that was begun in it can be resumed only where it is computed)"
        )
    return wish


def is_fast_in_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are faster there than in float32."""
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_amx()


def has_amx() -> bool:
    """Whether torch's products use a CPU's AMX units; not where ``ONEDNN_MAX_CPU_ISA`` keeps oneDNN from them."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    allowed = limit in ("", "ALL", "DEFAULT") or "AMX" in limit
    return allowed and bool(torch.cpu._is_amx_tile_supported())  # torch 2.8 has no public name for it


def describe_precision(device: str) -> str:
    """What a device is fast at, in words."""
    chosen = resolve_precision("auto", device)
    if device != "cpu":
        return f"{chosen} (the GPU {'computes' if chosen == 'bfloat16' else 'does not compute'} in bfloat16)"
    if chosen == "bfloat16":
        return "bfloat16 (AMX: about twice as fast as float32)"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"float32 ({capability} without AMX: bfloat16 would hardly be faster, on many such CPUs far slower)"


def explain_precision(precision: Precision, device: str) -> str:
    """What a run computes in and why, in words."""
    if precision == resolve_precision("auto", device):
        return describe_precision(device)
    slow = precision == "bfloat16" and device == "cpu"
    return f"{precision}, as the settings say" + (
        " (slow: this CPU has no AMX; auto would take float32)" if slow else ""
    )


def device_name(device: str) -> str:
    """What a device is called by its maker."""
    return cpu_name() if device == "cpu" else torch.cuda.get_device_name()


def cpu_name() -> str:
    """What the CPU is called by its maker."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine() or "a CPU"
