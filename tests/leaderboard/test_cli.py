"""The command line: what it prints, what it writes, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from leaderboard import cli_parts
from leaderboard.agents import allowed_agents
from leaderboard.cli import main

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run gtr-bench as a process of its own."""
    command = [sys.executable, "-m", "leaderboard.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_from_two_agents_to_the_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(tmp_path / "results")
    for agent in ("random", "expert"):
        code = main(["eval", "--agent", agent, "-n", "5", "--split", "train", "--split", "test", "--out", results])
        assert code == 0
    printed = capsys.readouterr().out
    assert "expert on gtr/Points24-v0, split test" in printed
    assert "100.0% of 5" in printed
    csv, site = tmp_path / "out" / "leaderboard.csv", tmp_path / "out" / "site"
    assert main(["leaderboard", results, "--csv", str(csv), "--html", str(site), "--episodes-per-agent", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("expert") < printed.index("random")
    measured = [line for line in csv.read_text().splitlines() if ",measured," in line]
    assert len(measured) == 4
    assert "reported" in csv.read_text()
    assert "held-out multisets" in (site / "index.html").read_text()
    assert main(["leaderboard", results, "--csv", str(csv), "--no-reported"]) == 0
    assert "reported" not in csv.read_text()


MISTAKES = {
    "unknown agent": (["eval", "--agent", "nobody"], "unknown agent 'nobody'; choose random, expert"),
    "missing checkpoint": (["eval", "--agent", "no/such/folder"], "does not exist"),
    "unknown environment": (["eval", "--agent", "random", "--env", "gtr/Chess-v0"], "gtr/Points24-v0"),
    "unknown split": (["eval", "--agent", "random", "--split", "dev"], "'train'"),
    "unknown hands": (["eval", "--agent", "random", "--hands", "odd"], "'solvable'"),
    "hands where there are none": (
        ["eval", "--agent", "random", "--env", "gtr/Blackjack-v0", "--hands", "solvable"],
        "gtr/Blackjack-v0 has no option 'hands'; its options: image_size, invalid, natural, sab, theme",
    ),
    "one of two agents unknown": (["eval", "--agent", "random", "--agent", "nobody"], "unknown agent 'nobody'"),
    "one name for two agents": (
        ["eval", "--agent", "random", "--agent", "expert", "--name", "me"],
        "--name 'me' with 2",
    ),
    "no episodes": (["eval", "--agent", "random", "-n", "0"], "choose 1 to"),
    "not a number": (["eval", "--agent", "random", "-n", "many"], "--episodes"),
    "no temperature": (["eval", "--agent", "random", "--temperature", "0"], "--greedy"),
    "bad name": (["eval", "--agent", "random", "--name", "../x"], "--name"),
    "unknown option": (["eval", "--agent", "random", "--fast"], "--fast"),
    "unknown command": (["dance"], "dance"),
    "missing option": (["eval"], "--agent"),
    "no results": (["leaderboard", "no/such/folder"], "gtr-bench eval"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, hint = MISTAKES[mistake]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert hint in error
    assert not list(tmp_path.iterdir())


def test_a_process_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    done = bench("eval", "--agent", "nobody", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: unknown agent 'nobody'; {allowed_agents()}\n"


def test_another_run_in_the_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["eval", "--out", str(tmp_path), "-n", "2", "--name", "me"]
    assert main([*start, "--agent", "random"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*start, "--agent", "expert"]) == 2
    error = capsys.readouterr().err
    assert "method is 'random' there and 'expert' now; choose another --out or --name" in error
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_several_agents_are_evaluated_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agents = ["--agent", "random", "--agent", "expert", "--agent", "random"]
    assert main(["eval", *agents, "-n", "2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("random on gtr/Points24-v0") == printed.count("expert on gtr/Points24-v0") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expert", "random"]


def test_crashed_episodes_are_explained_and_end_with_code_1(
    tmp_path: Path, data_set: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data_set))
    start = ["eval", "--agent", "random", "--env", "gtr/ALFWorld-v0", "-n", "2", "--out", str(tmp_path / "results")]
    assert main(start) == 1
    output = capsys.readouterr()
    assert "random on gtr/ALFWorld-v0, split train, strict data=alfworld rules" in output.out
    assert "2 crashed" in output.out
    assert "first crash" in output.out
    assert "nan" not in output.out
    assert "note: 2 of 2 episodes crashed, the first with GameError: the game" in output.err
    assert main(start) == 1
    monkeypatch.delenv("ALFWORLD_DATA")
    site = tmp_path / "site"
    assert main(["leaderboard", str(tmp_path / "results"), "--html", str(site)]) == 0
    for page in (site / "index.html", site / "agents" / "random.html"):
        assert not re.search(r"\bnan\b", page.read_text(), re.IGNORECASE)


def test_an_unfinished_evaluation_is_left_out_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for agent in ("random", "expert"):
        assert main(["eval", "--agent", agent, "-n", "3", "--out", str(tmp_path)]) == 0
    path = tmp_path / "expert" / "gtr-Points24-v0" / "all-seed-0" / "episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    capsys.readouterr()
    assert main(["leaderboard", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "2 of 3 episodes" in output.err
    assert "expert" not in output.out


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gtr_envs.experts.RandomPolicy.act", interrupt)
    assert main(["eval", "--agent", "random", "-n", "2", "--out", str(tmp_path)]) == 130
    assert "go on where they stopped" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_parts, "find_spec", lambda name: None)
    assert main(["eval", "--agent", "random"]) == 2
    assert "pip install 'gtr-bench[eval]'" in capsys.readouterr().err
    assert main(["train", "--out", "x"]) == 2
    assert "pip install 'gtr-bench[agent]'" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gtr_envs.experts.RandomPolicy.act", fail)
    with pytest.raises(ZeroDivisionError):
        main(["eval", "--agent", "random", "-n", "2", "--out", str(tmp_path)])


def test_help_names_every_command() -> None:
    done = bench("--help")
    assert done.returncode == 0
    for command in ("init-tiny", "sft", "train", "eval", "compare", "leaderboard", "presets", "quickstart", "doctor"):
        assert command in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from leaderboard.cli import main; main(['--help'])\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & {"torch", "transformers", "numpy", "gymnasium", "scipy", "pandas", "jinja2", "PIL"}
