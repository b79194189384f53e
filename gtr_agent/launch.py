"""What the launcher of several processes says of them, in the environment's variables; without torch."""

from __future__ import annotations

import os

from gtr_envs.errors import SettingError

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


def sharding_asked_for() -> bool:
    """Whether the launcher asks to spread the base model over the processes, by FSDP.

    Raises:
        SettingError: it asks for something that this trainer would not do.
    """
    if _is_on("ACCELERATE_USE_MEGATRON_LM"):
        raise SettingError(f"the launcher asks for Megatron-LM, with which this trainer does not work; {PRESETS}")
    if _is_on("ACCELERATE_USE_DEEPSPEED"):
        raise SettingError(
            "the launcher asks for DeepSpeed, which is not supported; FSDP is: accelerate launch --config_file "
            "presets/accelerate/fsdp.yaml"
        )
    if not _is_on("ACCELERATE_USE_FSDP"):
        return False
    _check_fsdp()
    return True


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
