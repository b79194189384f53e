"""In which precision passes run: what the settings say, else what the machine is fast in."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from gtr_agent import precision
from gtr_agent.checkpoint import read_notes
from gtr_agent.config import load_settings, preset_names
from gtr_agent.policy import load_policy
from gtr_agent.precision import describe_precision, explain_precision, resolve_precision
from gtr_agent.run_folder import CONFIG
from gtr_agent.settings import Settings
from gtr_agent.start import make_actor, settle_precision, with_model
from gtr_agent.train import train
from gtr_envs.errors import CheckpointError, SettingError
from tests.agent.test_ppo import changed

CPU_KINDS = [(True, "bfloat16"), (False, "float32")]


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the CPU one with AMX, or one without."""
    return lambda there: monkeypatch.setattr(precision, "has_amx", lambda: there)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for a GPU that computes in bfloat16, or for one that does not."""

    def make(bfloat16: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Stand-In 100")

    return make


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_follows_the_machine(name: str, amx: Any, gpu: Any) -> None:
    settings = load_settings(name)
    assert settings.model.precision == "auto"
    for there, expected in CPU_KINDS:
        amx(there)
        assert settle_precision(with_model(settings, device="cpu")).model.precision == expected
    for there, expected in CPU_KINDS:
        gpu(there)
        assert settle_precision(settings).model.precision == expected
        assert settle_precision(settings, on_cpu=True).model.precision == "float32"


@pytest.mark.parametrize("wish", ["float32", "bfloat16"])
def test_a_precision_that_is_named_stays(wish: Any, amx: Any) -> None:
    for there, _ in CPU_KINDS:
        amx(there)
        assert resolve_precision(wish, "cpu") == wish


def test_what_the_machine_cannot_do_is_named_with_what_it_can(gpu: Any) -> None:
    gpu(False)
    with pytest.raises(SettingError, match=r"'bfloat16': Stand-In 100 does not compute in it; choose float32"):
        resolve_precision("bfloat16", "cuda")
    with pytest.raises(SettingError, match=r"'float16' is not known; choose auto, float32 or bfloat16"):
        resolve_precision("float16", "cpu")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"model\.precision='half': Input should be 'auto', 'float32' or 'bfloat16'"):
        load_settings("tiny-points24", overrides=["model.precision=half"])


def test_the_machine_is_described(amx: Any, gpu: Any) -> None:
    amx(True)
    assert describe_precision("cpu").startswith("bfloat16 (AMX")
    amx(False)
    assert describe_precision("cpu").startswith("float32 (")
    gpu(False)
    assert describe_precision("cuda") == "float32 (the GPU does not compute in bfloat16)"
    gpu(True)
    assert describe_precision("cuda") == "bfloat16 (the GPU computes in bfloat16)"


def test_a_run_says_what_it_computes_in_and_why(amx: Any) -> None:
    amx(False)
    assert explain_precision("float32", "cpu") == describe_precision("cpu")
    assert explain_precision("bfloat16", "cpu").endswith("(slow: this CPU has no AMX; auto would take float32)")
    amx(True)
    assert explain_precision("float32", "cpu") == "float32, as the settings say"


def test_where_onednn_is_kept_from_amx_float32_is_taken() -> None:
    """The environment variable stands for an older CPU, and a patch for one with AMX."""
    code = (
        "import torch; torch.cpu._is_amx_tile_supported = lambda: True\n"
        "from gtr_agent.precision import resolve_precision; print(resolve_precision('auto', 'cpu'))"
    )
    for limit, expected in (("AVX2", "float32"), ("avx512_core_bf16", "float32"), ("AVX10_1_512_AMX", "bfloat16")):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": limit},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.split() == [expected]


@pytest.mark.parametrize(("there", "expected"), CPU_KINDS)
def test_a_run_records_what_it_computed_in(
    settings: Settings, tmp_path: Path, amx: Any, there: bool, expected: str
) -> None:
    amx(there)
    run = tmp_path / "run"
    auto = changed(settings, model={"precision": "auto"}, ppo={"updates": 1})
    checkpoint = train(auto, run)
    assert tomllib.loads((run / CONFIG).read_text("utf-8"))["model"]["precision"] == expected
    assert read_notes(checkpoint)["precision"] == expected
    amx(not there)
    assert settle_precision(auto, run).model.precision == expected, "a resume keeps the run's own"
    assert train(auto, run, resume=True) == checkpoint
    assert settle_precision(with_model(auto, device="cuda"), run).model.precision == expected, "seen when computing"
    with pytest.raises(CheckpointError, match="no run to resume"):
        settle_precision(auto, tmp_path / "elsewhere")


@pytest.mark.parametrize(("there", "expected"), CPU_KINDS)
def test_a_checkpoint_plays_in_the_machines_own(tiny_folder: Path, amx: Any, there: bool, expected: str) -> None:
    amx(there)
    assert load_policy(tiny_folder).actor.precision == expected
    for wish in precision.PRECISIONS:
        policy = load_policy(tiny_folder, precision=wish)
        assert policy.actor.precision == policy.meta["precision"] == wish


def test_an_actor_of_unsettled_settings_follows_the_machine(settings: Settings, amx: Any) -> None:
    from gtr_agent.model import load_base

    amx(True)
    auto = changed(settings, model={"precision": "auto"})
    assert make_actor(load_base(auto, "cpu")[0], auto).precision == "bfloat16"
