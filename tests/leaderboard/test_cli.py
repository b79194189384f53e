"""The command line: what it prints, what it writes, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import json
import re
import shlex
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
    "no such precision": (["eval", "--agent", "random", "--precision", "half"], "'float32', 'bfloat16'"),
    "no such packaged agent": (["eval", "--agent", "tiny:poker"], "there are: tiny:alfworld, tiny:points24"),
    "no packaged agent named": (["play", "--agent", "tiny"], "write tiny:NAME"),
    "no such packaged start": (
        ["train", "--preset", "tiny-points24", "--init", "tiny:poker", "--out", "run"],
        "no packaged agent 'tiny:poker'; there are: tiny:alfworld",
    ),
    "bad name": (["eval", "--agent", "random", "--name", "../x"], "--name"),
    "unknown option": (["eval", "--agent", "random", "--fast"], "--fast"),
    "unknown command": (["dance"], "dance"),
    "missing option": (["eval"], "--agent"),
    "no results": (["leaderboard", "no/such/folder"], "gtr-bench eval"),
    "a folder as table": (["leaderboard", ".", "--csv", "."], "name a file, such as leaderboard.csv"),
    "no name": (["eval", "--agent", "random", "--name", ""], "--name"),
    "seed too large": (["eval", "--agent", "random", "--seed", "99999999999999999999"], "choose 0 to"),
    "whose options": (["eval", "--agent", "random", "--fast"], "gtr-bench eval --help"),
    "quickstart without episodes": (["quickstart", "-n", "0"], "--episodes"),
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


def test_the_readme_goes_from_a_checkpoint_to_csv_pages_and_replay_in_three_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    from gtr_agent.tiny import init_tiny

    readme = (ROOT / "README.md").read_text("utf-8")
    block = next(
        text for text in re.findall(r"^```\w*\n(.*?)^```$", readme, re.DOTALL | re.M) if "gtr-bench replay" in text
    )
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["eval", "leaderboard", "replay"]
    agent = init_tiny(tmp_path / "runs" / "quickstart" / "gtr-turbo-kl", seed=0)
    notes = {"env_id": "gtr/Points24-v0", "env_options": {}, "temperature": 1.0, "max_new_tokens": 1}
    (agent / "gtr_bench.json").write_text(json.dumps(notes))
    monkeypatch.chdir(tmp_path)
    small = {"eval": ["-n", "8"], "leaderboard": [], "replay": []}
    for command in commands:
        assert main([*command, *small[command[0]]]) == 0
    assert (tmp_path / "leaderboard.csv").is_file()
    assert (tmp_path / "site" / "index.html").is_file()
    assert len(list((tmp_path / "replays").glob("*test-seed-0-episode-7.html"))) == 1
    told = capsys.readouterr().out  # an evaluation says how to go on, and that works as printed
    for line in re.findall(r"gtr-bench (.*--.*)", told):
        assert main(shlex.split(line)) == 0


def test_a_folder_that_is_none_names_those_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--agent", "random", "--name", "run@16", "-n", "1", "--out", str(tmp_path)]) == 0
    assert main(["replay", str(tmp_path / "run")]) == 2
    assert f"{tmp_path} has run@16: name one of these" in capsys.readouterr().err
    file = tmp_path / "file"
    file.touch()
    assert main(["leaderboard", str(file)]) == 2
    assert f"{file} is a file" in capsys.readouterr().err


def test_a_replay_takes_the_split_where_there_are_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--split", "train", "--split", "test"]
    assert main(["eval", "--agent", "expert", *both, "-n", "1", "--out", str(tmp_path)]) == 0
    page = tmp_path / "page.html"
    assert main(["replay", str(tmp_path), "--out", str(page)]) == 2
    assert "say --split or --seed" in capsys.readouterr().err
    assert main(["replay", str(tmp_path), "--split", "all", "--out", str(page)]) == 2
    assert "has no evaluation with split all; there are test, train" in capsys.readouterr().err
    assert not page.exists()
    assert main(["replay", str(tmp_path), "--split", "test", "--out", str(page)]) == 0
    assert page.is_file()


@pytest.mark.parametrize("damage", ["{", "", None, "\udcff"])
def test_settings_that_are_damaged_are_no_reason_to_leave_a_result_out(
    damage: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--agent", "random", "--agent", "expert", "-n", "1", "--out", str(tmp_path)]) == 0
    meta = tmp_path / "random" / "gtr-Points24-v0" / "all-seed-0" / "meta.json"
    if damage is None:
        meta.unlink()
    else:
        meta.write_text(damage, errors="surrogateescape")
    capsys.readouterr()
    for command in (["leaderboard", str(tmp_path)], ["compare", "random", "expert", "--results", str(tmp_path)]):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith(f"error: {meta} is missing or damaged")


def test_a_narrow_terminal_cuts_no_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ["--split", "train", "--split", "test"]
    assert main(["eval", "--agent", "random", "--agent", "expert", *both, "-n", "3", "--out", str(tmp_path)]) == 0
    monkeypatch.setenv("COLUMNS", "40")
    capsys.readouterr()
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert main(["compare", "random", "expert", "--results", str(tmp_path)]) == 0
    assert main(["validate", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "…" not in told
    assert "[43.9, 100.0]" in told
    assert "\n expert" in told
