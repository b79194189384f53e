"""A run that cannot start leaves nothing behind."""

from pathlib import Path

import pytest

from gtr_agent.settings import Settings
from gtr_agent.sft import run_sft
from gtr_agent.train import train
from gtr_envs.errors import OutputExistsError, SettingError


@pytest.mark.parametrize("start", [train, run_sft])
@pytest.mark.parametrize("options", [{"splt": "train"}, {"split": "trian"}])
def test_a_mistaken_option_is_named_before_anything_is_written(
    settings: Settings,
    tmp_path: Path,
    start,
    options: dict[str, str],  # type: ignore[no-untyped-def]
) -> None:
    mistaken = settings.model_copy(update={"env": settings.env.model_copy(update={"options": options})})
    with pytest.raises(SettingError, match=r"splt|trian"):
        start(mistaken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", [train, run_sft])
def test_another_run_is_not_overwritten(settings: Settings, tmp_path: Path, start) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "results.txt").write_text("precious")
    with pytest.raises(OutputExistsError):
        start(settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.txt"]
