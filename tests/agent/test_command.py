"""What the command makes of a run's errors: one line, with the mend and how to go on."""

from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from gtr_agent.command import how_to_go_on, run_train
from gtr_envs.errors import CostCapError, EndpointError, MissingReplyError, OutputError, SettingError
from tests.agent.conftest import TOY


@pytest.fixture
def start(tiny_folder: Path) -> Any:
    """Starts a run with toy settings."""
    return lambda out: run_train(
        out, "tiny-points24", None, [*TOY, "ppo.updates=1", f"model.base={tiny_folder}"], None, None
    )


def test_a_folder_that_cannot_be_made_is_named(start: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write into .*file/run: .*Not a directory.*choose another --out"):
        start(tmp_path / "file" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL = OSError(28, "No space left on device")
AS_STORAGE_SAYS_IT = OutputError("cannot write that file; run the same command again")
AS_STORAGE_SAYS_IT.__cause__ = FULL


@pytest.mark.parametrize("error", [FULL, AS_STORAGE_SAYS_IT, SafetensorError("I/O error (os error 28)")])
def test_a_full_disk_is_named_and_the_run_goes_on_from_there(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    out = tmp_path / "run"
    with monkeypatch.context() as full:
        full.setattr("gtr_agent.checkpoint.write_state", fail)
        with pytest.raises(OutputError, match=f"into {out}: .*(error 28|No space).*; make room .* --resume {out}"):
            start(out)
    assert list((out / "checkpoints").iterdir()) == []
    assert run_train(None, None, None, None, None, out).name == "update-000001"


@pytest.mark.parametrize("kind", [CostCapError, EndpointError, MissingReplyError])
def test_what_an_endpoint_did_not_give_says_how_to_go_on(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise kind("no reply")

    monkeypatch.setattr("gtr_agent.train.Run.ask_teacher", fail)
    with pytest.raises(kind, match=f"no reply. Once that is mended, go on with: .* --resume {tmp_path / 'run'}"):
        start(tmp_path / "run")


def test_another_environment_at_a_resume_is_named_as_another_setting(start: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start(out)
    with pytest.raises(SettingError, match=r"cannot go on with other settings: env\.id='gtr/Blackjack-v0'"):
        run_train(None, None, None, ["env.id=gtr/Blackjack-v0"], None, out)


def test_several_processes_are_told_to_go_on_by_their_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert how_to_go_on(Path("runs/one")) == "go on with: gtr-bench train --resume runs/one"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert how_to_go_on(Path("runs/two")).endswith("as many processes and: -m gtr_agent.train --resume runs/two")
