"""What the launcher of several processes says of them, in the environment's variables; without torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from gtr_envs.errors import SettingError

Sharded = Literal["FSDP", "DeepSpeed"]
"""Who spreads the base model over the processes."""

PRESETS = "accelerate launch --config_file with one of presets/accelerate/*.yaml"
_LOCAL_COUNTS = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")


def process_count() -> int:
    """How many processes the run has."""
    return max(1, _number("WORLD_SIZE", 1))


def is_main_process() -> bool:
    """Whether this is the process that speaks for the run."""
    return process_count() == 1 or _number("RANK", 0) == 0


def cpu_asked_for() -> bool:
    """Whether the launcher was told to use no GPU, as by ``accelerate launch --cpu``."""
    return _is_on("ACCELERATE_USE_CPU")


def cores_of_process() -> int:
    """The cores that fall to this process: those it may use, shared with the run's others on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = (_number(name, 0) for name in _LOCAL_COUNTS)
    local = next((count for count in found if count > 0), process_count())
    return max(1, cores // local)


def sharding_asked_for() -> Sharded | None:
    """Whether the launcher asks to spread the base model over the processes, and by whom; None where it does not.

    Raises:
        SettingError: it asks for something that this trainer would not do.
    """
    if _is_on("ACCELERATE_USE_MEGATRON_LM"):
        raise SettingError(f"the launcher asks for Megatron-LM, with which this trainer does not work; {PRESETS}")
    if _is_on("ACCELERATE_USE_FSDP"):
        _check_fsdp()
        return "FSDP"
    if _is_on("ACCELERATE_USE_DEEPSPEED"):
        _check_deepspeed()
        return "DeepSpeed"
    return None


def _check_fsdp() -> None:
    version, offload = os.environ.get("FSDP_VERSION", "2"), _is_on("FSDP_OFFLOAD_PARAMS")
    if version != "2":
        raise SettingError(f"the launcher asks for FSDP with fsdp_version: {version}; only 2 is done here; {PRESETS}")
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower()
    if reshard not in ("true", "full_shard"):
        raise SettingError(
            f"the launcher asks for FSDP with fsdp_reshard_after_forward: {reshard}; only true is done here: else the "
            f"frozen base would be whole in every process, as it is without FSDP; {PRESETS}"
        )
    if offload:
        raise SettingError(
            f"the launcher asks for FSDP with fsdp_offload_params: true, which is not done here; {PRESETS}"
        )


def _check_deepspeed() -> None:
    """Only ZeRO's stage 3 has something to spread: the others spread what the adapter alone has."""
    stage, offload = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", ""), _parameters_offloaded()
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "")
    if file and file.lower() != "none":
        stage, offload = _zero_of_file(Path(file))
    if stage != "3":
        raise SettingError(
            f"the launcher asks for DeepSpeed with zero_stage: {stage or 'none'}; only 3 is done here: 1 and 2 spread "
            f"the optimiser's state and the gradients, which are the adapter's alone and stay whole; {PRESETS}"
        )
    if offload:
        raise SettingError(
            f"the launcher asks for DeepSpeed with offload_param_device, which is not done here; {PRESETS}"
        )


def _parameters_offloaded() -> bool:
    return os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "none").lower() not in ("", "none")


def _zero_of_file(path: Path) -> tuple[str, bool]:
    """The stage that a DeepSpeed file of settings asks for, and whether parameters are to leave the device."""
    try:
        zero = json.loads(path.read_text("utf-8")).get("zero_optimization", {})
        device = (zero.get("offload_param") or {}).get("device")
        return str(zero.get("stage", "")), device not in (None, "none")
    except (OSError, ValueError, AttributeError) as error:
        raise SettingError(f"the launcher's deepspeed_config_file {path} cannot be read: {error}") from error


def check_one_process(what: str) -> None:
    """Make sure that something is done by one process.

    Raises:
        SettingError: there are several.
    """
    if process_count() > 1:
        raise SettingError(
            f"{what} is made by one process, and the launcher started {process_count()}; run gtr-bench sft without it, "
            "then train from what came of that with --init, on as many processes as you like"
        )


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.strip().isdigit() else default


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "y", "on", "t")
