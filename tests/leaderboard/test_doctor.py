"""The doctor: a line for each check, the mend beside what is missing, exit code 1 only for what was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from gtr_envs.alfworld.engine import KNOWN
from leaderboard import doctor, doctor_checks
from leaderboard.cli import main
from leaderboard.doctor import check_package, conclusion, failures, within
from leaderboard.doctor_checks import Check

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


def test_everything_is_reported_and_the_environments_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "missing", "note"}
    for name in ("Python", "numpy", "torch", "fonts", "card environments", "ALFWorld engine", "torch device", "disk"):
        assert any(line.split(maxsplit=1)[1].startswith(name) for line in lines[:-1]), name
    assert lines[-1].startswith("works here: envs")
    assert "Traceback" not in output.out + output.err


def test_the_engine_plays_a_game() -> None:
    if any(doctor_checks.installed_version(package) not in versions for package, versions in KNOWN.items()):
        pytest.skip("ALFWorld is not installed")
    check = doctor_checks.check_engine()
    assert check.ok
    assert "won a generated game" in check.found


def test_the_device_is_named() -> None:
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    check = doctor_checks.check_device()
    assert check.ok
    assert check.found.startswith(("cpu", "cuda"))


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
    line = next(line for line in output.out.splitlines() if line.startswith("missing") and f" {package} " in line)
    assert "not installed" in line
    assert "pip install" in line
    assert "'gtr-bench[" in line or feature == "envs"
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


def test_without_torch_the_device_is_missing(hide: Hide) -> None:
    hide(torch=None)
    check = doctor_checks.check_device()
    assert (check.ok, check.feature, check.mend) == (False, "agent", "pip install 'gtr-bench[agent]'")


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
        "leaderboard.doctor_checks.play_generated_game",
        "importlib.metadata.version",
        "shutil.disk_usage",
        "PIL.features.check",
        "gtr_envs.alfworld.games.data_root",
    ):
        monkeypatch.setattr(place, fail)
    assert main(["doctor"]) == 1
    output = capsys.readouterr()
    for name in ("numpy", "fonts", "card environments", "ALFWorld engine"):
        line = next(line for line in output.out.splitlines() if f" {name} " in line)
        assert line.startswith("missing")
        assert "OSError: no such thing  -> " in line
    assert "note     ALFWorld data" in output.out
    assert "Traceback" not in output.out + output.err
    assert "and more" not in output.out


def test_a_full_disk_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(doctor_checks, "LOW_SPACE", 10**30)
    checks = doctor_checks.check_disk()
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
    assert doctor_checks.check_data() == Check("ALFWorld data", True, found, "", "alfworld")
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    check = doctor_checks.check_data()
    assert check.ok
    assert "generated rooms" in check.found


@pytest.mark.usefixtures("quick")
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
    state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    if state != "missing":
        (tmp_path / "data").mkdir()
    if state == "empty split":
        (tmp_path / "data" / "json_2.1.1" / "train").mkdir(parents=True)
    if state == "broken game":
        add_broken_game(tmp_path / "data", "pick_and_place_simple-Mug-None-SideTable-329")
    assert main(["doctor", "--for", "alfworld"]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if " ALFWorld data " in line)
    assert line.startswith("missing")
    assert said in line
    assert line.endswith("-> run alfworld-download, or unset ALFWORLD_DATA to play generated rooms")
    assert not failures([doctor_checks.check_data()], ["envs", "eval", "agent"])


def test_a_cache_that_cannot_be_written_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/nope")):
        if place.parent.is_dir():
            monkeypatch.setenv("GTR_CACHE", str(place))
            check = doctor_checks.check_disk()[1]
            assert (check.state, check.found) == ("note", f"{place} cannot be written to")


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("5.23.0", ">=5,<6", True),
        ("6.0.0.dev0", ">=5,<6", False),
        ("4.57.1", ">=5,<6", False),
        ("2.13.0+cpu", ">=2.8", True),
        ("0.9", ">=0.20", False),
        ("unknown", ">=1", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, bounds: str, expected: bool) -> None:
    assert within(version, bounds) is expected


def test_an_old_version_is_named_with_what_is_wanted(hide: Hide) -> None:
    hide(numpy="1.20")
    expected = Check("numpy", False, "1.20, not >=1.26", "pip install 'numpy>=1.26'", "envs")
    assert check_package("numpy", ">=1.26", "envs") == expected


def test_the_packages_are_those_that_the_installation_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {"envs": project["dependencies"], **project["optional-dependencies"]}
    for feature, packages in doctor.PACKAGES.items():
        wanted = {line for line in asked[feature] if not line.startswith("gtr-bench")}
        listed = {f"{name}{bounds}" for name, bounds in packages.items()}
        assert listed == {line for line in wanted if line.split(">")[0] not in KNOWN}, feature


def test_the_conclusion_names_what_to_run_next() -> None:
    def without(*features: str) -> str:
        return conclusion([Check("x", False, "", "", feature) for feature in features], ["envs"])

    assert without() == "works here: envs, eval, agent, alfworld; go on with: gtr-bench quickstart"
    assert without("agent") == "works here: envs, eval, alfworld; go on with: gtr-bench eval --agent expert"
    assert without("eval", "alfworld") == "works here: envs; go on with: pip install 'gtr-bench[eval]'"
    assert without("envs").startswith("works here: nothing yet; for envs, mend")


def test_it_works_where_torch_and_alfworld_cannot_be_imported() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'alfworld', 'textworld', 'fast_downward', 'transformers', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from leaderboard.cli import main\n"
        "sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "missing  ALFWorld engine" in done.stdout
    assert "missing  torch device" in done.stdout
