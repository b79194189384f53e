"""The list of environments says what there is, in the environments' own words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from gtr_envs.errors import OutputExistsError, SettingError
from gtr_envs.tasks import TASKS
from gtr_envs.text_actions import make_text_env
from leaderboard.cli import main
from leaderboard.envs_list import Listed, allowed_values, describe_environment, list_environments, write_pictures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def listed() -> list[Listed]:
    return list_environments()


def test_every_environment_is_described(listed: list[Listed]) -> None:
    assert [each.env_id for each in listed] == list(TASKS)
    for each in listed:
        assert each.title.endswith(".")
        assert each.action
        assert each.reward or "reward" in each.action or "As those of" in each.action
        page, _, _ = each.page.partition("#")
        assert (ROOT / page).is_file()
        assert each.picture is None or (ROOT / each.picture).is_file()


@pytest.mark.parametrize("env_id", list(TASKS))
def test_every_option_says_what_it_allows_and_takes_its_default(env_id: str) -> None:
    for option in describe_environment(env_id).options:
        if option.name in ("data", "backend"):
            continue
        assert option.allowed, option.name
        if option.default is not None:
            make_text_env(env_id, **{option.name: option.default}).close()


def test_allowed_values_are_the_environments_own() -> None:
    assert allowed_values("gtr/Points24-v0", "face_cards") == "'ten', 'rank'"
    assert allowed_values("gtr/NumberLine-v0", "max_position") == "a whole number from 1 to 20"
    with pytest.raises(SettingError):
        make_text_env("gtr/NumberLine-v0", max_position=21)


def test_defaults_are_those_that_act(listed: list[Listed]) -> None:
    by_name = {option.name: option.default for option in listed[0].options}
    assert (by_name["hands"], by_name["split"], by_name["image_size"]) == ("solvable", "all", 300)
    assert listed[0].splits == ("all", "train", "test")
    assert listed[2].actions == ("-", "+")


def test_pictures_are_first_frames(tmp_path: Path, listed: list[Listed]) -> None:
    notices: list[str] = []
    written = write_pictures(tmp_path, listed[:4], notices.append)
    assert [path.name for path in written] == [f"gtr-{name}-v0.png" for name in
                                               ("Points24", "EZPoints", "NumberLine", "Blackjack")]  # fmt: skip
    assert all(Image.open(path).size == (300, 300) for path in written)
    assert notices == []
    with pytest.raises(OutputExistsError):
        write_pictures(tmp_path, listed[:1])


def test_the_command_lists_for_people_and_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    assert all(env_id in text for env_id in TASKS)
    assert "a whole number from 1 to 1000" in text
    assert main(["envs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["options"][0]["name"] == "invalid"
    assert main(["envs", "gtr/Blackjack-v0", "--json", "--pictures", str(tmp_path / "p")]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert (tmp_path / "p" / "gtr-Blackjack-v0.png").is_file()
    assert main(["envs", "gtr/Chess-v0"]) == 2
