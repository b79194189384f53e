"""The doctor: a line for each check, the mend beside what is missing, exit code 1 only for what was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from gtr_envs.alfworld.engine import KNOWN
from leaderboard import doctor
from leaderboard.cli import main
from leaderboard.doctor import Check, check_packages, conclusion, failures, within

from .conftest import add_broken_game

ROOT = Path(__file__).resolve().parents[2]
Hide = Callable[..., None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Make the doctor believe that packages are missing or have other versions."""
    real = metadata.version

    def change(**versions: str | None) -> None:
        def version(name: str) -> str:
            found = versions[name] if name in versions else real(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return change


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No game is played and torch is not imported."""
    monkeypatch.setattr(doctor, "check_engine", lambda: Check("ALFWorld engine", True, "played", "", "alfworld"))
    monkeypatch.setattr(doctor, "check_device", lambda: Check("torch device", True, "cpu", "", "agent"))


def line_of(name: str, output: str) -> str:
    """The report's line about something."""
    return next(line for line in output.splitlines() if f" {name} " in line)


def test_everything_is_reported_and_the_environments_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "missing", "note"}
    for name in ("Python", "numpy", "torch", "fonts", "card environments", "ALFWorld engine", "torch device", "disk"):
        assert any(line.split(maxsplit=1)[1].startswith(name) for line in lines[:-1]), name
    assert lines[-1].startswith("works here: envs")
    if all(check.ok for check in doctor.check_engine_packages()):
        assert "won a generated game" in line_of("ALFWorld engine", output.out)
    if find_spec("torch"):
        assert line_of("torch device", output.out).split()[3].startswith(("cpu", "cuda"))
    assert "Traceback" not in output.out + output.err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("package", "feature"), [("peft", "agent"), ("scipy", "eval"), ("textworld", "alfworld"), ("numpy", "envs")]
)
def test_a_missing_package_fails_the_features_that_need_it(
    package: str, feature: str, hide: Hide, capsys: pytest.CaptureFixture[str]
) -> None:
    hide(**{package: None})
    assert main(["doctor", "--for", feature]) == 1
    output = capsys.readouterr()
    line = line_of(package, output.out)
    assert line.startswith("missing")
    install = "pip install gtr-bench" if feature == "envs" else f"pip install 'gtr-bench[{feature}]'"
    assert line.endswith(f"not installed  -> {install}")
    assert f"for {feature}, mend" in output.out.splitlines()[-1]
    assert "Traceback" not in output.out + output.err
    assert main(["doctor"]) == (1 if feature == "envs" else 0)


@pytest.mark.usefixtures("quick")
def test_several_features_may_be_asked_for(hide: Hide) -> None:
    hide(torch=None, jinja2="2.0")
    checks = doctor.check_all()
    assert {check.name for check in failures(checks, ["agent", "alfworld"])} >= {"torch", "jinja2"}
    assert not failures(checks, ["envs"])
    assert main(["doctor", "--for", "envs", "--for", "agent"]) == 1


def test_another_version_of_the_engine_is_not_taken(hide: Hide) -> None:
    hide(textworld="9.9")
    check = next(check for check in doctor.check_engine_packages() if check.name == "textworld")
    assert (check.ok, check.mend) == (False, f"pip install 'textworld=={KNOWN['textworld'][-1]}'")


def test_an_unknown_feature_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--for", "chess"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "error: unknown feature 'chess': expected one of envs, eval, agent, alfworld\n"


def test_a_check_that_raises_becomes_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such thing\nand more")

    for place in (
        "gtr_envs.experts.SolverPolicy.act",
        "importlib.metadata.version",
        "shutil.disk_usage",
        "PIL.features.check",
        "gtr_envs.alfworld.games.data_root",
    ):
        monkeypatch.setattr(place, fail)
    assert main(["doctor"]) == 1
    output = capsys.readouterr()
    for name in ("numpy", "fonts", "card environments", "ALFWorld engine"):
        line = line_of(name, output.out)
        assert line.startswith("missing")
        assert "OSError: no such thing  -> " in line
    assert line_of("ALFWorld data", output.out).startswith("note")
    assert line_of("disk, cache", output.out).startswith("note")
    assert "Traceback" not in output.out + output.err
    assert "and more" not in output.out


def test_a_full_disk_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(doctor, "LOW_SPACE", 10**30)
    checks = doctor.check_disk()
    assert [check.state for check in checks] == ["note", "note"]
    assert all("2 GB" in check.mend for check in checks)
    assert str(tmp_path / "not" / "yet") in checks[1].found
    assert not failures(checks, list(doctor.NEEDS))
    assert not (tmp_path / "not").exists()


def test_the_data_set_is_found_or_not_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    game = add_broken_game(tmp_path, "pick_and_place_simple-Mug-None-SideTable-329", "valid_seen")
    game.write_text(json.dumps({"pddl_domain": "d", "grammar": "g", "pddl_problem": "p"}))
    found = f"{tmp_path}, games: 1 of valid_seen"
    assert doctor.check_data() == Check("ALFWorld data", True, found, "", "alfworld")
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    check = doctor.check_data()
    assert check.ok
    assert "generated rooms" in check.found


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("missing", "there is no data folder"),
        ("nothing in it", "no games in"),
        ("empty split", "no games in"),
        ("broken game", "is damaged, it is no JSON"),
    ],
)
def test_a_data_set_that_cannot_be_played_fails_alfworld(
    state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    if state != "missing":
        (tmp_path / "data").mkdir()
    if state == "empty split":
        (tmp_path / "data" / "json_2.1.1" / "train").mkdir(parents=True)
    if state == "broken game":
        add_broken_game(tmp_path / "data", "pick_and_place_simple-Mug-None-SideTable-329")
    check = doctor.check_data()
    assert check.state == "missing"
    assert said in check.found
    assert not check.found.startswith("GameError")
    assert check.mend == "run alfworld-download, or unset ALFWORLD_DATA to play generated rooms"
    assert failures([check], ["alfworld"]) == [check]
    assert not failures([check], ["envs", "eval", "agent"])


def test_a_cache_that_cannot_be_written_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/nope")):
        if place.parent.is_dir():
            monkeypatch.setenv("GTR_CACHE", str(place))
            check = doctor.check_disk()[1]
            assert (check.state, check.found) == ("note", f"{place} cannot be written to")


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("5.23.0", ">=5,<6", True),
        ("6.0.0.dev0", ">=5,<6", False),
        ("4.57.1", ">=5,<6", False),
        ("2.13.0+cpu", ">=2.8", True),
        ("2.8.0a0+git", ">=2.8", True),
        ("0.9", ">=0.20", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, expected: bool) -> None:
    assert within(SpecifierSet(bounds), version) is expected


def test_packages_and_bounds_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch, hide: Hide) -> None:
    asked = [
        "numpy>=1.26",
        "rich>=13.8; python_version >= '3'",
        "gtr-bench[eval]; extra == 'agent'",
        "transformers<6,>=5; extra == 'agent'",
        "torch>=2.8; extra == 'agent'",
        "scipy>=1.12; extra == 'eval'",
        "openai>=1.60; extra == 'api'",
    ]
    monkeypatch.setattr(metadata, "requires", {"gtr-bench": asked}.__getitem__)
    hide(numpy="1.20", rich="14.0", scipy="unknown", torch="2.8.0", transformers="6.1")
    checks = {check.name: check for check in check_packages()}
    assert {name: check.feature for name, check in checks.items()} == {
        "numpy": "envs",
        "rich": "envs",
        "scipy": "eval",
        "transformers": "agent",
        "torch": "agent",
    }
    assert [name for name, check in checks.items() if check.ok] == ["rich", "torch"]
    assert checks["numpy"] == Check("numpy", False, "1.20, not >=1.26", "pip install 'numpy>=1.26'", "envs")
    assert checks["transformers"].found == "6.1, not >=5,<6"


def test_bounds_that_cannot_be_read_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "packaging.requirements", None)
        (check,) = check_packages()
    assert (check.mend, failures([check], ["envs"])) == ("pip install --upgrade packaging", [check])
    monkeypatch.setattr(metadata, "requires", absent)  # as in a bare checkout
    (check,) = check_packages()
    assert (check.name, check.state) == ("gtr-bench", "note")
    assert not failures([check], list(doctor.NEEDS))


def test_the_conclusion_names_what_to_run_next() -> None:
    def without(*features: str) -> str:
        return conclusion([Check("x", False, "", "", feature) for feature in features], ["envs"])

    assert without() == "works here: envs, eval, agent, alfworld; go on with: gtr-bench quickstart"
    assert without("agent") == "works here: envs, eval, alfworld; go on with: gtr-bench eval --agent expert"
    assert without("eval", "alfworld") == "works here: envs; go on with: pip install 'gtr-bench[eval]'"
    assert without("envs").startswith("works here: nothing yet; for envs, mend")


def test_it_works_where_torch_and_alfworld_cannot_be_imported() -> None:
    absent = ("torch", "alfworld", "textworld", "fast_downward", "transformers", "scipy")
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
        "from leaderboard.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert line_of("ALFWorld engine", done.stdout).startswith("missing")
    device = line_of("torch device", done.stdout)
    assert device.startswith("missing")
    assert device.endswith("torch is not installed  -> pip install 'gtr-bench[agent]'")
